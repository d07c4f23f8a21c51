//! Ops and filters as bytes: one version byte, then postcard.
//!
//! A router encodes an op once; the same bytes travel, stand in the log, and are decoded at every replay. Variants of
//! the types are only ever added at the end, so a newer program reads what an older one wrote; a byte that names a
//! newer version is refused by name.

use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_vector::payload::PayloadIndex;
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
    /// The bytes hold a variant that is not one of this program's. (The decoder tells so much and no more; a filter nested
    /// too deeply ends here as well, which no program writes.)
    #[error(
        "an op, or a condition in it, is of a kind that is not known here, or is nested too deeply; the sender is newer than this program: upgrade this shard"
    )]
    Unknown,
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

/// A payload index as bytes.
pub fn encode_index(index: &PayloadIndex) -> Vec<u8> {
    encode(index)
}

/// A payload index from its bytes; `None` for one of a kind that is not known here.
pub fn decode_index(bytes: &[u8]) -> Option<PayloadIndex> {
    decode(bytes).ok()
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
            Err(postcard::Error::SerdeDeCustom) => Err(CodecError::Unknown),
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

    /// The filter of [`FILTER_0_1`], as the dialect writes it.
    fn filter_of_the_version_before() -> Filter {
        let json = serde_json::json!({
            "must": [
                {"key": "a", "match": {"value": "x"}},
                {"key": "b.c[]", "match": {"any": [1, -2]}},
                {"key": "d", "match": {"except": ["y", "z"]}},
                {"key": "e", "range": {"gte": 1.5, "lt": 3}},
                {"has_id": [7, "f47ac10b-58cc-4372-a567-0e02b2c3d479"]},
            ],
            "should": [
                {"is_empty": {"key": "f"}},
                {"is_null": {"key": "g"}},
                {
                    "must": [{"key": "h", "match": {"value": true}}],
                    "must_not": [{"key": "i", "match": {"value": 3}}],
                },
            ],
            "must_not": {"is_empty": {"key": "j"}},
        });
        Filter::parse(&json).unwrap()
    }

    /// Made by the program before filters had `min_should`, `nested`, dates, places and texts.
    const FILTER_0_1: &str = "0105000161000001780005622e635b5d010201020103000164020200017900017a00016503010000000000000840000001000000000000f83f0102000000000000000000000000000000000701f47ac10b58cc4372a5670e02b2c3d47903020166030167040100016800020100010001690001060102016a";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn what_the_version_before_wrote_reads_back_and_is_written_alike() {
        let filter = filter_of_the_version_before();
        let old = bytes(FILTER_0_1);
        assert_eq!(decode_filter(&old).as_ref(), Ok(&filter));
        assert_eq!(encode_filter(&filter), old, "an older shard must read what it knows");

        let delete: Vec<u8> = [1, 1, 1].into_iter().chain(old[1..].iter().copied()).collect();
        assert_eq!(decode_op(&delete), Ok(Op::Delete(Selector::Filter(filter.clone()))));
        let set = bytes("0102077b226b223a317d01036e2e6d01");
        let set: Vec<u8> = set.into_iter().chain(old[1..].iter().copied()).collect();
        let op = Op::SetPayload {
            payload: b"{\"k\":1}".to_vec(),
            key: Some("n.m".into()),
            points: Selector::Filter(filter),
        };
        assert_eq!(decode_op(&set), Ok(op));
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
    fn what_a_newer_program_added_is_refused_and_named() {
        // must: a condition of a kind that comes next, and what it may hold.
        let condition = encode_filter(&Filter {
            must: vec![Condition::HasVector("v".into())],
            ..Filter::default()
        });
        assert_eq!(condition, [1, 1, 7, 1, b'v', 0, 0]);
        assert_eq!(decode_filter(&[1, 1, 8, 1, b'v', 0, 0]), Err(CodecError::Unknown));
        // must: a field, with a test that comes next.
        assert_eq!(decode_filter(&[1, 1, 0, 1, b'a', 14, 1, 0, 0]), Err(CodecError::Unknown));
        // delete by filter, and an op that comes next.
        assert_eq!(decode_op(&[1, 1, 1, 1, 8, 1, b'v', 0, 0]), Err(CodecError::Unknown));
        assert_eq!(decode_op(&[1, 9, 0, 0]), Err(CodecError::Unknown));
    }

    /// The numbers of all kinds of conditions and tests, and the order of what is in them.
    #[test]
    fn the_encoding_of_a_filter_does_not_change() {
        let point = |lon: f64, lat: f64| serde_json::json!({"lon": lon, "lat": lat});
        let ring = serde_json::json!({"points": vec![point(0.0, 0.0); 4]});
        let json = serde_json::json!({
            "must": [
                {"key": "a", "range": {"lt": "1970-01-01"}},
                {"key": "a", "values_count": {"gt": 1}},
                {"key": "a", "geo_bounding_box": {"top_left": point(1.0, 2.0), "bottom_right": point(3.0, 0.0)}},
                {"key": "a", "geo_radius": {"center": point(1.0, 2.0), "radius": 3.0}},
                {"key": "a", "geo_polygon": {"exterior": ring, "interiors": [ring]}},
                {"key": "a", "match": {"text": "t"}},
                {"key": "a", "match": {"text_any": "t"}},
                {"key": "a", "match": {"phrase": "t"}},
                {"key": "a", "is_empty": true},
                {"key": "a", "is_null": false},
                {"nested": {"key": "n", "filter": {"must_not": {"has_vector": "v"}}}},
            ],
            "min_should": {"conditions": [{"is_null": {"key": "x"}}], "min_count": 1},
        });
        let filter = Filter::parse(&json).unwrap();
        let f = |number: f64| number.to_le_bytes().to_vec();
        let field = |test: Vec<u8>| [vec![0, 1, b'a'], test].concat();
        let square = || [vec![4], f(0.0).repeat(8)].concat();
        let expected = [
            vec![1, 12],
            field(vec![4, 1, 0, 0, 0, 0]),
            field(vec![5, 0, 1, 1, 0, 0]),
            field([vec![6], f(1.0), f(2.0), f(3.0), f(0.0)].concat()),
            field([vec![7], f(1.0), f(2.0), f(3.0)].concat()),
            field([vec![8], square(), vec![1], square()].concat()),
            field(vec![9, 1, b't']),
            field(vec![10, 1, b't']),
            field(vec![11, 1, b't']),
            field(vec![12, 1]),
            field(vec![13, 0]),
            vec![6, 1, b'n', 0, 0, 1, 7, 1, b'v'],
            vec![5, 1, 3, 1, b'x', 1],
            vec![0, 0],
        ];
        assert_eq!(encode_filter(&filter), expected.concat());
        assert_eq!(decode_filter(&expected.concat()), Ok(filter));
    }

    #[test]
    fn a_filter_nested_without_end_is_refused_and_not_followed() {
        // must: one condition, a filter, whose must: one condition, a filter ...
        let level = [1u8, 4];
        let bytes: Vec<u8> =
            std::iter::once(1).chain(level.into_iter().cycle().take(2_000_000)).collect();
        assert_eq!(decode_filter(&bytes), Err(CodecError::Unknown));
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
