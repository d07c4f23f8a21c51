//! Ops and filters as bytes: one version byte, then postcard.
//!
//! A router encodes an op once; the same bytes travel, stand in the log, and are decoded at every replay. Variants of
//! the types are only ever added at the end, so a newer program reads what an older one wrote; a byte that names a
//! newer version is refused by name.

use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_vector::{Filter, Op};

/// Version of the encoding, its first byte.
const VERSION: u8 = 1;

/// The bytes are not an op or a filter that this program knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The encoding is of another version.
    #[error(
        "encoding version {0} is not known, expected {VERSION}; the sender is newer than this program"
    )]
    Version(u8),
    /// The bytes do not decode.
    #[error("not a valid encoding: {0}")]
    Malformed(String),
}

/// An op as bytes.
pub fn encode_op(op: &Op) -> Vec<u8> {
    encode(op)
}

/// An op from its bytes.
pub fn decode_op(bytes: &[u8]) -> Result<Op, CodecError> {
    decode(bytes)
}

/// A filter as bytes.
pub fn encode_filter(filter: &Filter) -> Vec<u8> {
    encode(filter)
}

/// A filter from its bytes.
pub fn decode_filter(bytes: &[u8]) -> Result<Filter, CodecError> {
    decode(bytes)
}

#[expect(
    clippy::expect_used,
    reason = "postcard fails only on sequences of unknown length, and these types have none"
)]
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("encodes into memory")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let malformed = |text: String| CodecError::Malformed(text);
    match bytes.split_first() {
        None => Err(malformed("no bytes".into())),
        Some((&VERSION, body)) => match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(malformed(format!("{} bytes too many", rest.len()))),
            Err(error) => Err(malformed(error.to_string())),
        },
        Some((&version, _)) => Err(CodecError::Version(version)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_vector::filter::Condition;
    use shoal_vector::op::Selector;
    use shoal_vector::{Point, PointId, PointVectors, PointWithSparse, SparseVector};

    use super::*;

    fn sample() -> Op {
        let point = Point {
            id: PointId::Num(7),
            vectors: vec![(String::new(), vec![1.0, -2.5])],
            payload: b"{\"a\":1}".to_vec(),
        };
        Op::Upsert(vec![point])
    }

    #[test]
    fn the_encoding_on_disk_does_not_change() {
        // If this fails, logs that exist can no longer be read: restore the encoding, or raise VERSION and read both.
        let mut expected = vec![1, 0, 1];
        expected.extend(PointId::Num(7).canonical_bytes());
        expected.extend([1, 0, 2]);
        expected.extend(1.0f32.to_le_bytes().into_iter().chain((-2.5f32).to_le_bytes()));
        expected.extend([7].into_iter().chain(*b"{\"a\":1}"));
        assert_eq!(encode_op(&sample()), expected);
        assert_eq!(encode_op(&Op::ClearPayload(Selector::Ids(vec![]))), [1, 5, 0, 0]);
        let vectors = vec![("a".into(), vec![1.0])];
        let sparse = vec![("b".into(), SparseVector::new(vec![300], vec![2.0]).unwrap())];
        let update = PointVectors { id: PointId::Num(7), vectors, sparse };
        let mut expected = vec![1, 6, 1];
        expected.extend(PointId::Num(7).canonical_bytes());
        expected.extend([1, 1, b'a', 1].into_iter().chain(1.0f32.to_le_bytes()));
        // 300 as a variable-length number.
        expected.extend([1, 1, b'b', 1, 0xac, 2, 1].into_iter().chain(2.0f32.to_le_bytes()));
        assert_eq!(encode_op(&Op::UpdateVectors(vec![update])), expected);
        let (names, points) = (vec!["a".into()], Selector::Ids(vec![]));
        let expected = [1, 7, 1, 1, b'a', 0, 0];
        assert_eq!(encode_op(&Op::DeleteVectors { names, points }), expected);
        let point = Point { id: PointId::Num(7), vectors: vec![], payload: vec![] };
        let sparse = vec![("b".into(), SparseVector::new(vec![9], vec![2.0]).unwrap())];
        let mut expected = vec![1, 8, 1];
        expected.extend(PointId::Num(7).canonical_bytes());
        expected.extend([0, 0, 1, 1, b'b', 1, 9, 1].into_iter().chain(2.0f32.to_le_bytes()));
        let op = Op::UpsertWithSparse(vec![PointWithSparse { point, sparse }]);
        assert_eq!(encode_op(&op), expected);
    }

    #[test]
    fn other_versions_and_trailing_bytes_are_refused() {
        let mut bytes = encode_op(&sample());
        assert_eq!(decode_op(&bytes), Ok(sample()));
        bytes.push(0);
        assert_eq!(decode_op(&bytes), Err(CodecError::Malformed("1 bytes too many".into())));
        bytes[0] = 9;
        assert_eq!(decode_op(&bytes), Err(CodecError::Version(9)));
        assert!(decode_op(&[]).is_err());
    }

    #[test]
    fn a_filter_nested_without_end_is_refused_and_not_followed() {
        // must: one condition, a filter, whose must: one condition, a filter ...
        let level = [1u8, 4];
        let bytes: Vec<u8> =
            std::iter::once(1).chain(level.into_iter().cycle().take(2_000_000)).collect();
        assert!(matches!(decode_filter(&bytes), Err(CodecError::Malformed(_))));
        let filter = Filter { must: vec![Condition::Filter(Box::default())], ..Filter::default() };
        assert_eq!(decode_filter(&encode_filter(&filter)), Ok(filter));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_op_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let with_version: Vec<u8> = std::iter::once(VERSION).chain(bytes).collect();
            if let Ok(op) = decode_op(&with_version) {
                prop_assert_eq!(decode_op(&encode_op(&op)).map(|op| encode_op(&op)), Ok(encode_op(&op)));
            }
        }

        #[test]
        fn any_cut_or_flip_of_an_op_is_an_op_or_an_error(at in 0usize..60, bit in 0u8..8) {
            let mut bytes = encode_op(&sample());
            let at = at % bytes.len();
            prop_assert!(decode_op(&bytes[..at]).is_err());
            bytes[at] ^= 1 << bit;
            let _ = decode_op(&bytes);
        }
    }
}
