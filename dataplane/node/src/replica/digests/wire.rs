//! Digests and blocks of points as they travel. Pure.
//!
//! Invariant: decoding never panics, and what decodes is what was encoded.

use bytes::Bytes;
use shoal_proto::pb;
use shoal_shard::digest::{Bucket, DIGEST_BUCKETS, Digest};
use shoal_shard::moment::Block;
use tonic::Status;
use xxhash_rust::xxh3::Xxh3Default;

/// Bytes of a bucket: its points, and its sum.
const BUCKET_BYTES: usize = 24;

pub(super) fn encode_buckets(digest: &Digest) -> Bytes {
    let mut bytes = Vec::with_capacity(BUCKET_BYTES * digest.buckets.len());
    for bucket in &digest.buckets {
        bytes.extend(bucket.points.to_le_bytes());
        bytes.extend(bucket.sum.to_le_bytes());
    }
    bytes.into()
}

/// The digest of a seq that these bytes are.
pub(super) fn decode_buckets(seq: u64, bytes: &[u8]) -> Result<Digest, Status> {
    let bucket = |bytes: &[u8]| {
        let (points, sum) = bytes.split_first_chunk::<8>()?;
        let sum: [u8; 16] = sum.try_into().ok()?;
        Some(Bucket { points: u64::from_le_bytes(*points), sum: u128::from_le_bytes(sum) })
    };
    let buckets: Option<Vec<Bucket>> = bytes.chunks(BUCKET_BYTES).map(bucket).collect();
    match buckets.filter(|buckets| buckets.len() == DIGEST_BUCKETS) {
        Some(buckets) => Ok(Digest { seq, buckets }),
        None => Err(Status::invalid_argument(format!("no digest: {} bytes", bytes.len()))),
    }
}

pub(super) fn encode_block(block: Block) -> pb::MendBlock {
    let sum = sum(&block.seqs, &block.points);
    pb::MendBlock { seqs: block.seqs, points: block.points.into(), sum }
}

pub(super) fn decode_block(block: pb::MendBlock) -> Result<Block, Status> {
    match sum(&block.seqs, &block.points) == block.sum {
        true => Ok(Block { seqs: block.seqs, points: block.points.into() }),
        false => Err(Status::data_loss("points came that were not sent so")),
    }
}

fn sum(seqs: &[u64], points: &[u8]) -> u64 {
    let mut sum = Xxh3Default::new();
    seqs.iter().for_each(|seq| sum.update(&seq.to_le_bytes()));
    sum.update(points);
    sum.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_comes_back_and_other_bytes_are_none() {
        let bucket = |n: u64| Bucket { points: n, sum: u128::from(n) << 70 | 5 };
        let digest = Digest { seq: 7, buckets: (0..DIGEST_BUCKETS as u64).map(bucket).collect() };
        let bytes = encode_buckets(&digest);
        assert_eq!(decode_buckets(7, &bytes).unwrap(), digest);
        for other in [&bytes[..0], &bytes[1..], &bytes[BUCKET_BYTES..]] {
            assert!(decode_buckets(7, other).is_err());
        }
        let longer = [&bytes[..], &[0; BUCKET_BYTES]].concat();
        assert!(decode_buckets(7, &longer).is_err());
    }

    #[test]
    fn a_changed_block_is_refused() {
        let block = Block { seqs: vec![3, 4], points: vec![1, 2, 3] };
        let sent = encode_block(block.clone());
        assert_eq!(decode_block(sent.clone()).unwrap(), block);
        assert!(decode_block(pb::MendBlock { seqs: vec![4, 3], ..sent.clone() }).is_err());
        let points = Bytes::from_static(&[1, 2, 4]);
        assert!(decode_block(pb::MendBlock { points, ..sent }).is_err());
    }
}
