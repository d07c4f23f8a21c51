//! Bytes on the wire <-> types of `shoal-vector`: ids and payloads.
//!
//! Ids travel as their canonical bytes, payloads as JSON text. Ops and filters travel as they stand in the log, in the
//! shard's own encoding; conversions that need a shard's types live with the process that serves it.
//!
//! Invariant: decoding never panics, whatever the bytes, and what it refuses it names.

use bytes::Bytes;
use shoal_vector::{Payload, PointId};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the canonical bytes of an id.
    #[error("not a point id: {0} bytes that no id has")]
    Id(usize),
    /// Not a filter.
    #[error("not a filter: {0}")]
    Filter(String),
    /// Not a sparse vector.
    #[error("not a sparse vector: indices {0}")]
    Sparse(String),
    /// Not a JSON object.
    #[error("not a payload: {0}")]
    Payload(String),
    /// A part of the message that must be there is not.
    #[error("the message lacks {0}")]
    Missing(&'static str),
}

/// An id as it travels.
pub fn encode_id(id: PointId) -> Bytes {
    Bytes::copy_from_slice(&id.canonical_bytes())
}

/// The id these bytes are.
pub fn decode_id(bytes: &[u8]) -> Result<PointId, DecodeError> {
    let id = bytes.try_into().ok().and_then(PointId::from_canonical_bytes);
    id.ok_or(DecodeError::Id(bytes.len()))
}

/// A payload as it travels.
pub fn encode_payload(payload: &Payload) -> Result<Bytes, DecodeError> {
    serde_json::to_vec(payload)
        .map(Bytes::from)
        .map_err(|error| DecodeError::Payload(error.to_string()))
}

/// The payload this text is.
pub fn decode_payload(bytes: &[u8]) -> Result<Payload, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Payload(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn payloads_come_back_as_they_were_and_nothing_else_is_one() {
        let payload: Payload = serde_json::from_str(r#"{"a":[1,2.5,null,"x"]}"#).unwrap();
        assert_eq!(decode_payload(&encode_payload(&payload).unwrap()), Ok(payload));
        assert!(decode_payload(b"[1]").is_err());
    }

    proptest! {
        #[test]
        fn ids_come_back_as_they_were(n in any::<u64>(), u in any::<u128>()) {
            let uuid: PointId = format!("{u:032x}").parse().unwrap();
            for id in [PointId::Num(n), uuid] {
                prop_assert_eq!(decode_id(&encode_id(id)), Ok(id));
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_id(&bytes);
            let _ = decode_payload(&bytes);
        }
    }
}
