//! Digests: what tells whether two copies of a shard hold the same points, without sending them.
//!
//! Ids are sorted into buckets of neighbouring slots; a bucket is the number of its live points and the sum of a hash over
//! id and seq of each. A sum does not depend on order, so flushes, compactions and restores leave it as it is; a point
//! that is missing, more, or of another seq changes it. Points that were deleted are in no digest, nor are tombstones:
//! compaction drops those when it likes, and a copy that missed a delete still holds the point, which shows. Invariant:
//! the digest of a state never changes, also not between versions; two programs compare theirs.

use shoal_vector::PointId;
use shoal_vector::slot::{SLOTS, slot_of};
use xxhash_rust::xxh3::xxh3_128;

use crate::cancel::{Cancel, Cancelled};
use crate::view::{Located, View};

/// Buckets of a digest: sixteen slots each, so that a bucket that differs is a thousandth of the ring and a digest is
/// 24 KiB.
pub const DIGEST_BUCKETS: usize = 1_024;

const SLOTS_PER_BUCKET: u16 = SLOTS / DIGEST_BUCKETS as u16;

/// The points of some neighbouring slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Live points.
    pub points: u64,
    /// Sum, modulo 2^128, of xxh3-128 over the 17 canonical bytes of each id and its seq, u64 little-endian.
    pub sum: u128,
}

/// The live points of a shard at one seq. Only digests of the same seq can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The last op whose effect is in it.
    pub seq: u64,
    /// By number: bucket `b` has the slots from `16 b` to `16 b + 15`.
    pub buckets: Vec<Bucket>,
}

impl Digest {
    /// The bucket that a point is counted in.
    pub fn bucket_of(id: PointId) -> usize {
        usize::from(slot_of(id) / SLOTS_PER_BUCKET)
    }

    /// Numbers of the buckets that differ.
    pub fn differing(&self, other: &Digest) -> Vec<usize> {
        let pairs = self.buckets.iter().zip(&other.buckets).enumerate();
        pairs.filter(|(_, (own, theirs))| own != theirs).map(|(number, _)| number).collect()
    }

    /// Points in all buckets.
    pub fn points(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.points).sum()
    }

    fn add(&mut self, id: PointId, seq: u64) {
        let mut bytes = [0; 25];
        bytes[..17].copy_from_slice(&id.canonical_bytes());
        bytes[17..].copy_from_slice(&seq.to_le_bytes());
        if let Some(bucket) = self.buckets.get_mut(Self::bucket_of(id)) {
            bucket.points += 1;
            bucket.sum = bucket.sum.wrapping_add(xxh3_128(&bytes));
        }
    }
}

/// Some of the buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSet(Vec<bool>);

impl BucketSet {
    /// Those of these numbers; others than there are do not count.
    pub fn of(numbers: impl IntoIterator<Item = usize>) -> Self {
        let mut set = vec![false; DIGEST_BUCKETS];
        for number in numbers {
            if let Some(member) = set.get_mut(number) {
                *member = true;
            }
        }
        Self(set)
    }

    /// Whether a point is counted in one of them.
    pub fn contains(&self, id: PointId) -> bool {
        self.0.get(Digest::bucket_of(id)).is_some_and(|member| *member)
    }
}

/// The digest of a view. Looks at id and seq of every point.
pub(crate) fn digest(view: &View, cancel: &Cancel) -> Result<Digest, Cancelled> {
    let buckets = vec![Bucket::default(); DIGEST_BUCKETS];
    let mut digest = Digest { seq: view.applied_seq, buckets };
    each(view, cancel, |located| digest.add(located.id, located.seq()))?;
    Ok(digest)
}

/// Calls `visit` with every live point.
pub(crate) fn each(
    view: &View,
    cancel: &Cancel,
    mut visit: impl FnMut(Located<'_>),
) -> Result<(), Cancelled> {
    let mut add = |located: Located<'_>| {
        cancel.check()?;
        visit(located);
        Ok(())
    };
    view.memory().try_for_each(|layer| view.each_in_layer(layer, &mut add))?;
    for placed in &view.segments {
        let living = (0..placed.segment.len()).filter(|ordinal| !placed.dead.contains(*ordinal));
        let mut points =
            living.map(|ordinal| view.in_segment(placed, placed.segment.spot(ordinal)));
        points.try_for_each(&mut add)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_state_does_not_change_between_versions() {
        let mut digest = Digest { seq: 9, buckets: vec![Bucket::default(); DIGEST_BUCKETS] };
        digest.add(PointId::Num(7), 3);
        digest.add(PointId::Uuid(uuid::Uuid::from_u128(7)), 4);
        let found: Vec<(usize, Bucket)> = digest
            .buckets
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, bucket)| bucket.points > 0)
            .collect();
        // If this fails, replicas of two versions would repair each other for ever.
        let bucket = |sum| Bucket { points: 1, sum };
        let (first, second): (u128, u128) = (
            3_969_555_466_701_330_508_697_721_235_256_879_499,
            204_947_615_018_722_421_455_944_073_057_144_090_468,
        );
        assert_eq!(found, [(622, bucket(first)), (705, bucket(second))]);
        assert_eq!(digest.points(), 2);
    }
}
