//! Keys in the store. Each begins with the number of its segment, big-endian, so that what belongs to one lies together.

/// Of a payload: an item of a segment.
pub(super) fn key(segment: u64, item: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&segment.to_be_bytes());
    key[8..].copy_from_slice(&item.to_be_bytes());
    key
}

/// Of a chunk of the index of a field.
pub(super) fn index_key(segment: u64, field: &[u8], chunk: u32) -> Vec<u8> {
    [&segment.to_be_bytes(), field, &chunk.to_be_bytes()].concat()
}

/// The field that the key of a chunk names.
pub(super) fn index_field(key: &[u8]) -> Option<&[u8]> {
    key.get(8..key.len().checked_sub(4)?)
}

/// The segment that any key is of.
pub(super) fn segment_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.first_chunk()?))
}
