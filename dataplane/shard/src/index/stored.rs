//! An index as it lies in the store: a version, then its parts, cut into chunks that carry a checksum each.
//!
//! Invariant: what decodes has every property that answers rely on; anything else is a typed error, upon which the index is
//! made anew from payloads. So version N need not read N-1 here, and does not.

use serde::Deserialize;

use super::bits::Bits;
use super::field::{FieldIndex, Keys};
use super::presence::Presence;

const VERSION: u8 = 1;

/// Bytes of a chunk: far below what the store keeps in files of its own, which it never syncs.
const CHUNK_BYTES: usize = 64 << 10;

/// Why stored bytes are not an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("it is of version {0}")]
    Version(u8),
    #[error("{0}")]
    Malformed(String),
}

/// Written as a tuple, which has the same bytes.
#[derive(Deserialize)]
struct Parts {
    len: u32,
    presence: Presence,
    other: Bits,
    keys: Keys,
}

/// The bytes of an index.
pub(crate) fn encode(index: &FieldIndex) -> Result<Vec<u8>, Broken> {
    let FieldIndex { len, presence, other, keys, several: _ } = index;
    let parts = (len, presence, other, keys);
    postcard::to_extend(&parts, vec![VERSION]).map_err(|error| Broken::Malformed(error.to_string()))
}

/// The index of `len` points that these bytes are.
pub(crate) fn decode(bytes: &[u8], len: u32) -> Result<FieldIndex, Broken> {
    let malformed = |detail: &dyn std::fmt::Display| Broken::Malformed(detail.to_string());
    let (version, bytes) = bytes.split_first().ok_or_else(|| malformed(&"it is empty"))?;
    if *version != VERSION {
        return Err(Broken::Version(*version));
    }
    let mut parts: Parts = postcard::from_bytes(bytes).map_err(|error| malformed(&error))?;
    if parts.len != len || !parts.other.is_whole(len) {
        return Err(malformed(&"it is of another number of points"));
    }
    parts.presence.revive(len).map_err(|detail| malformed(&detail))?;
    parts.keys.revive(len).map_err(|detail| malformed(&detail))?;
    Ok(FieldIndex::new(len, parts.presence, parts.other, parts.keys))
}

impl Keys {
    fn revive(&mut self, len: u32) -> Result<(), &'static str> {
        match self {
            Keys::Strings(strings) => strings.revive(len),
            Keys::Numbers(integers, numbers) => {
                integers.revive(len).and_then(|()| numbers.revive(len))
            }
            Keys::Bools(bools) => bools.revive(len),
            Keys::Times(times) => times.revive(len),
            Keys::Places(places) => places.revive(len),
            Keys::Texts(texts) => texts.revive(len),
        }
    }
}

/// Values to store under 0, 1, 2 and so on.
pub(crate) fn chunks(bytes: &[u8]) -> Vec<Vec<u8>> {
    let whole = [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    let sealed = |chunk: &[u8]| [&crc32c::crc32c(chunk).to_le_bytes(), chunk].concat();
    whole.chunks(CHUNK_BYTES).map(sealed).collect()
}

/// What [`chunks`] was given, from what is stored under each number; `None` if some of it is missing or damaged.
pub(crate) fn join(chunk: impl Fn(u32) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let open = |number| {
        let sealed = chunk(number)?;
        let (crc, bytes) = sealed.split_first_chunk()?;
        (u32::from_le_bytes(*crc) == crc32c::crc32c(bytes)).then(|| bytes.to_vec())
    };
    let first = open(0)?;
    let (len, first) = first.split_first_chunk()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let mut bytes = first.to_vec();
    let mut number = 1;
    while bytes.len() < len {
        bytes.extend(open(number)?);
        number += 1;
    }
    (bytes.len() == len).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_are_whole_or_nothing() {
        for len in [0, 1, CHUNK_BYTES - 8, CHUNK_BYTES - 7, 3 * CHUNK_BYTES] {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 31 % 251) as u8).collect();
            let stored = chunks(&bytes);
            let get = |number: u32| stored.get(number as usize).cloned();
            assert_eq!(join(get), Some(bytes));
            for spoilt in 0..stored.len() as u32 {
                assert_eq!(join(|n| get(n).filter(|_| n != spoilt)), None);
                let flip = |n: u32| {
                    get(n).map(|mut chunk| {
                        chunk[if n == spoilt { 4 } else { 0 }] ^= u8::from(n == spoilt);
                        chunk
                    })
                };
                assert_eq!(join(flip), None);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_index_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..80), len in 0u32..70) {
            let _ = decode(&bytes, len);
            bytes.insert(0, VERSION);
            let _ = decode(&bytes, len);
        }
    }
}
