//! Point ids, as in Qdrant: an unsigned 64-bit number or a UUID.
//!
//! Invariant: `canonical_bytes` is injective, and it is what placement hashes, so it never changes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A point's id. Numbers order before UUIDs; that is the order `scroll` pages in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointId {
    /// An unsigned integer.
    Num(u64),
    /// A UUID, any version.
    Uuid(Uuid),
}

/// The text is neither an unsigned integer nor a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("value {0} is not a valid point ID, valid values are either an unsigned integer or a UUID")]
pub struct InvalidId(pub String);

impl PointId {
    /// A tag byte, then the number or UUID, big-endian: sorts as the ids do.
    pub fn canonical_bytes(&self) -> [u8; 17] {
        let mut bytes = [0; 17];
        match self {
            PointId::Num(n) => bytes[9..].copy_from_slice(&n.to_be_bytes()),
            PointId::Uuid(u) => {
                bytes[0] = 1;
                bytes[1..].copy_from_slice(u.as_bytes());
            }
        }
        bytes
    }

    /// The inverse of [`canonical_bytes`](Self::canonical_bytes); `None` for bytes it cannot have made.
    pub fn from_canonical_bytes(bytes: &[u8; 17]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match (tag, rest.split_at(8)) {
            (0, (zeros, n)) if zeros == [0; 8] => {
                Some(PointId::Num(u64::from_be_bytes(n.try_into().ok()?)))
            }
            (1, _) => Some(PointId::Uuid(Uuid::from_slice(rest).ok()?)),
            _ => None,
        }
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointId::Num(n) => n.fmt(f),
            PointId::Uuid(u) => u.fmt(f),
        }
    }
}

impl fmt::Debug for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PointId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let uuid =
            || Uuid::parse_str(text).map(PointId::Uuid).map_err(|_| InvalidId(text.to_owned()));
        text.parse().map(PointId::Num).or_else(|_| uuid())
    }
}

/// In JSON a number or a string; in binary formats the canonical bytes.
impl Serialize for PointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (serializer.is_human_readable(), self) {
            (false, id) => id.canonical_bytes().serialize(serializer),
            (true, PointId::Num(n)) => serializer.serialize_u64(*n),
            (true, PointId::Uuid(u)) => serializer.collect_str(u),
        }
    }
}

impl<'de> Deserialize<'de> for PointId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(JsonId);
        }
        let bytes = <[u8; 17]>::deserialize(deserializer)?;
        PointId::from_canonical_bytes(&bytes).ok_or_else(|| D::Error::custom("not a point id"))
    }
}

struct JsonId;

impl serde::de::Visitor<'_> for JsonId {
    type Value = PointId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a point ID: an unsigned integer or a UUID")
    }

    fn visit_u64<E>(self, n: u64) -> Result<PointId, E> {
        Ok(PointId::Num(n))
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<PointId, E> {
        Err(E::custom(InvalidId(n.to_string())))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PointId, E> {
        // A number in quotes is not an id in Qdrant's dialect.
        Uuid::parse_str(text).map(PointId::Uuid).map_err(|_| E::custom(InvalidId(text.to_owned())))
    }
}
