//! Slots: the 16,384 places on the ring, and which of them an id has.
//!
//! Here and not beside the routing table, because a shard sorts its points by slot too. Disks are filled by it and
//! digests are made by it, so it never changes.

use xxhash_rust::xxh3::xxh3_64;

use crate::PointId;

/// Slots on the ring.
pub const SLOTS: u16 = 16_384;

/// The slot of a point.
pub fn slot_of(id: PointId) -> u16 {
    // The remainder is below SLOTS, so it fits.
    (xxh3_64(&id.canonical_bytes()) % u64::from(SLOTS)) as u16
}
