//! The routing table: which shard holds which slot, as an explicit and versioned value.
//!
//! Invariant: a table that exists covers every slot exactly once, so looking up a slot cannot fail.

use shoal_vector::PointId;

use crate::ring::{self, SLOTS, SlotError, SlotSet};

/// Which shard holds which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    generation: u64,
    shards: Vec<(String, SlotSet)>,
    /// Slot -> position in `shards`.
    owner: Box<[u16]>,
}

/// Why shards and their slots are no routing table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// No shard holds this slot.
    #[error("slot {0} belongs to no shard")]
    Gap(u16),
    /// Two shards hold this slot.
    #[error("slot {slot} belongs to both {first} and {second}")]
    Overlap {
        /// The slot.
        slot: u16,
        /// One shard.
        first: String,
        /// The other.
        second: String,
    },
    /// Two entries have one name.
    #[error("shard {0} is named twice")]
    Duplicate(String),
    /// More shards than slots.
    #[error("{0} shards, and there are only {SLOTS} slots")]
    TooMany(usize),
    /// The slots of a shard are not a set of slots.
    #[error("the slots of shard {shard}: {error}")]
    Slots {
        /// The shard.
        shard: String,
        /// What is wrong with them.
        error: SlotError,
    },
}

impl RoutingTable {
    /// A table of shards and their slots. Every slot must have exactly one shard.
    pub fn new(generation: u64, shards: Vec<(String, SlotSet)>) -> Result<Self, RoutingError> {
        if shards.len() > usize::from(SLOTS) {
            return Err(RoutingError::TooMany(shards.len()));
        }
        let mut owner: Vec<Option<u16>> = vec![None; usize::from(SLOTS)];
        for (position, (shard, slots)) in (0u16..).zip(&shards) {
            let earlier = shards.get(..usize::from(position)).unwrap_or_default();
            if earlier.iter().any(|(name, _)| name == shard) {
                return Err(RoutingError::Duplicate(shard.clone()));
            }
            for slot in slots.iter() {
                let Some(entry) = owner.get_mut(usize::from(slot)) else { continue };
                if let Some((first, _)) = entry.and_then(|p| shards.get(usize::from(p))) {
                    return Err(RoutingError::Overlap {
                        slot,
                        first: first.clone(),
                        second: shard.clone(),
                    });
                }
                *entry = Some(position);
            }
        }
        let owner: Result<Box<[u16]>, RoutingError> = (0..SLOTS)
            .zip(owner)
            .map(|(slot, owner)| owner.ok_or(RoutingError::Gap(slot)))
            .collect();
        Ok(Self { generation, owner: owner?, shards })
    }

    /// A table from slots in print, as they stand in objects and files.
    pub fn parse<S: Into<String>>(
        generation: u64,
        shards: impl IntoIterator<Item = (S, impl AsRef<str>)>,
    ) -> Result<Self, RoutingError> {
        let parsed = shards.into_iter().map(|(shard, slots)| {
            let shard = shard.into();
            match slots.as_ref().parse() {
                Ok(slots) => Ok((shard, slots)),
                Err(error) => Err(RoutingError::Slots { shard, error }),
            }
        });
        Self::new(generation, parsed.collect::<Result<_, _>>()?)
    }

    /// The table a collection of these shards starts with.
    pub fn initial(shards: impl ExactSizeIterator<Item = String>) -> Result<Self, RoutingError> {
        let count = u32::try_from(shards.len()).map_err(|_| RoutingError::TooMany(shards.len()))?;
        Self::new(1, shards.zip(ring::initial(count)).collect())
    }

    /// Version of the table.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Shards and their slots, in the order they were given.
    pub fn shards(&self) -> &[(String, SlotSet)] {
        &self.shards
    }

    /// Position in [`shards`](Self::shards) of the shard that holds a point.
    pub fn shard_of(&self, id: PointId) -> usize {
        self.owner.get(usize::from(ring::slot_of(id))).copied().map_or(0, usize::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(shards: &[(&str, &str)]) -> Result<RoutingTable, RoutingError> {
        RoutingTable::parse(7, shards.iter().copied())
    }

    #[test]
    fn gaps_overlaps_duplicates_and_bad_slots_are_refused_by_name() {
        assert_eq!(table(&[("a", "0-99,101-16383")]).unwrap_err(), RoutingError::Gap(100));
        assert_eq!(table(&[]).unwrap_err(), RoutingError::Gap(0));
        assert_eq!(
            table(&[("a", "0-16383"), ("a", "")]).unwrap_err(),
            RoutingError::Duplicate("a".into())
        );
        let overlap = table(&[("a", "0-8191"), ("b", "8191-16383")]).unwrap_err();
        assert_eq!(overlap.to_string(), "slot 8191 belongs to both a and b");
        let malformed = table(&[("a", "0-x")]).unwrap_err();
        assert_eq!(
            malformed.to_string(),
            "the slots of shard a: `0-x` is not a range of slots such as 0-511"
        );
    }

    #[test]
    fn the_table_is_explicit_and_not_recomputed_from_a_count() {
        let even = table(&[("a", "0-8191"), ("b", "8192-16383")]).unwrap();
        let skewed = table(&[("a", "0"), ("b", "1-16383")]).unwrap();
        let on_first =
            |t: &RoutingTable| (0..1000).filter(|&n| t.shard_of(PointId::Num(n)) == 0).count();
        assert!(on_first(&even) > 400);
        assert!(on_first(&skewed) < 5);
        assert_eq!(even.generation(), 7);
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_the_sets(shards in 1usize..40, ids in proptest::collection::vec(any::<u64>(), 50)) {
            let table = RoutingTable::initial((0..shards).map(|n| format!("s{n}"))).unwrap();
            for id in ids.into_iter().map(PointId::Num) {
                let (_, slots) = &table.shards()[table.shard_of(id)];
                prop_assert!(slots.contains(ring::slot_of(id)));
            }
        }

        #[test]
        fn adding_a_shard_moves_only_the_slots_that_were_handed_over(cut in 1u16..SLOTS, id in any::<u64>()) {
            let whole = table(&[("a", "0-16383")]).unwrap();
            let (kept, given) = (format!("0-{}", cut - 1), format!("{cut}-16383"));
            let split = table(&[("a", &kept), ("b", &given)]).unwrap();
            let id = PointId::Num(id);
            let moved = split.shard_of(id) != whole.shard_of(id);
            prop_assert_eq!(moved, ring::slot_of(id) >= cut);
        }
    }
}
