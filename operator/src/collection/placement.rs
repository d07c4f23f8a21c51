//! Which shard holds which slots. Pure.
//!
//! The table is written once, in the collection's status, before the first Shard exists. Should the status be lost it
//! is rebuilt from what repeats it: the Shards' placement, and the annotations of the disks.
//!
//! Invariant: a table that stands in the status, or that Shards or disks tell of, is never replaced by a new one.

use std::collections::BTreeMap;

use shoal_crds::collection::{Routing, ShardSlots};
use shoal_crds::conditions::reason;
use shoal_crds::{VectorCollection, labels};
use shoal_proto::routing::RoutingTable;

use super::observe::Seen;
use super::validate::Valid;
use crate::error::Problem;
use crate::kubernetes::meta;

/// Version of a collection's first table.
const FIRST_GENERATION: i64 = 1;

/// A table, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The table.
    pub routing: Routing,
    /// Where it is from.
    pub source: Source,
}

/// Where a table is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The collection's status.
    Status,
    /// Its Shards, and disks where Shards are missing.
    Shards,
    /// Disks of a former life alone.
    Disks,
    /// Nothing is there yet: the table a collection starts with.
    New,
}

/// Finds a collection's table, or makes its first.
pub fn place(collection: &VectorCollection, valid: &Valid, seen: &Seen) -> Result<Placed, Problem> {
    let told = collection.status.as_ref().and_then(|status| status.routing.as_ref());
    if let Some(routing) = told.filter(|routing| check(routing).is_ok()) {
        return Ok(Placed { routing: routing.clone(), source: Source::Status });
    }
    let parts = parts(seen)?;
    if parts.is_empty() {
        return initial(valid);
    }
    let source = if seen.shards.is_empty() { Source::Disks } else { Source::Shards };
    let generation =
        parts.values().map(|(generation, _)| *generation).max().unwrap_or(FIRST_GENERATION);
    let mut table: Vec<ShardSlots> =
        parts.into_iter().map(|(shard, (_, slots))| ShardSlots { shard, slots }).collect();
    // `c-10` comes after `c-9`.
    table.sort_by(|a, b| (a.shard.len(), &a.shard).cmp(&(b.shard.len(), &b.shard)));
    let routing = Routing { generation, table };
    match check(&routing) {
        Ok(()) => Ok(Placed { routing, source }),
        Err(error) => {
            Err(Problem::new(reason::DISK_CONFLICT, incomplete(&valid.name, &routing, &error)))
        }
    }
}

/// Every shard's part, as Shards tell, and disks where a Shard is missing.
fn parts(seen: &Seen) -> Result<BTreeMap<String, (i64, String)>, Problem> {
    let mut parts = BTreeMap::new();
    for (name, claim) in &seen.claims {
        // Nothing rests on it, and the other replicas' disks tell the same or something newer.
        if meta::annotation(claim.as_ref(), labels::LEFT).is_some() {
            continue;
        }
        let told = |key| meta::annotation(claim.as_ref(), key);
        let shard = meta::label(claim.as_ref(), labels::SHARD);
        let generation = told(labels::ROUTING_GEN).and_then(|generation| generation.parse().ok());
        let (Some(shard), Some(generation), Some(slots)) = (shard, generation, told(labels::SLOTS))
        else {
            let message = format!(
                "the disk {name} does not say which slots it holds (label {}, annotations {}, {}): restore them, or \
                 delete the claim to give its data up",
                labels::SHARD,
                labels::SLOTS,
                labels::ROUTING_GEN
            );
            return Err(Problem::new(reason::DISK_CONFLICT, message));
        };
        let part = (generation, slots.to_owned());
        let newest = parts.entry(shard.to_owned()).or_insert_with(|| part.clone());
        if newest.0 < part.0 {
            *newest = part;
        }
    }
    for (name, shard) in &seen.shards {
        let placement = &shard.spec.placement;
        parts.insert(name.clone(), (placement.generation, placement.slots.clone()));
    }
    Ok(parts)
}

fn initial(valid: &Valid) -> Result<Placed, Problem> {
    let names = (0..valid.initial_shards as usize)
        .map(|index| labels::shard_name(&valid.name, index as u32));
    let table = RoutingTable::initial(names).map_err(|error| {
        Problem::new(reason::INVALID_SPEC, format!("spec.sharding.initialShards: {error}"))
    })?;
    let shards = table.shards().iter();
    let table = shards
        .map(|(shard, slots)| ShardSlots { shard: shard.clone(), slots: slots.to_string() })
        .collect();
    Ok(Placed { routing: Routing { generation: FIRST_GENERATION, table }, source: Source::New })
}

/// Whether a table covers every slot exactly once.
fn check(routing: &Routing) -> Result<(), String> {
    let generation =
        u64::try_from(routing.generation).map_err(|_| "its version is negative".to_owned())?;
    RoutingTable::parse(
        generation,
        routing.table.iter().map(|part| (part.shard.clone(), &part.slots)),
    )
    .map(|_| ())
    .map_err(|error| error.to_string())
}

fn incomplete(collection: &str, routing: &Routing, error: &str) -> String {
    let found: Vec<&str> = routing.table.iter().map(|part| part.shard.as_str()).collect();
    format!(
        "the disks that are left do not make a whole collection (found {}; {error}): restore the missing claims, or \
         delete the others to start empty: kubectl delete pvc -l {}={collection}",
        found.join(", "),
        labels::COLLECTION
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use proptest::prelude::*;
    use shoal_crds::collection::{Sharding, VectorCollectionStatus};

    use super::*;
    use crate::collection::build::shard;
    use crate::collection::replicas::Replicas;
    use crate::collection::testing::collection;
    use crate::collection::validate::validate;

    fn with_shards(count: u32) -> (VectorCollection, Valid) {
        let mut made = collection("c");
        made.spec.sharding = Some(Sharding { initial_shards: Some(count) });
        let valid = validate(&made).expect("valid");
        (made, valid)
    }

    fn shards_of(made: &VectorCollection, valid: &Valid, routing: &Routing) -> Seen {
        let one = Replicas::alone();
        let built = routing
            .table
            .iter()
            .map(|part| shard::build(made, valid, part, routing.generation, "i", &one));
        let shards =
            built.map(|s| (s.metadata.name.clone().expect("named"), Arc::new(s))).collect();
        Seen { shards, ..Seen::default() }
    }

    fn claims_of(routing: &Routing) -> Seen {
        let claim = |part: &ShardSlots| {
            let annotations =
                meta::labels_of([(labels::SLOTS, &part.slots), (labels::ROUTING_GEN, "1")]);
            let labels = meta::labels_of([(labels::SHARD, &part.shard)]);
            let mut claim = PersistentVolumeClaim::default();
            claim.metadata.labels = Some(labels);
            claim.metadata.annotations = Some(annotations);
            (format!("data-{}-r0-0", part.shard), Arc::new(claim))
        };
        Seen { claims: routing.table.iter().map(claim).collect(), ..Seen::default() }
    }

    proptest! {
        #[test]
        fn a_lost_table_is_rebuilt_from_shards_or_disks_as_it_was(count in 1u32..=64) {
            let (made, valid) = with_shards(count);
            let first = place(&made, &valid, &Seen::default()).expect("placed");
            prop_assert_eq!(first.source, Source::New);
            prop_assert_eq!(first.routing.table.len(), count as usize);
            let shards = place(&made, &valid, &shards_of(&made, &valid, &first.routing)).expect("placed");
            prop_assert_eq!(shards, Placed { routing: first.routing.clone(), source: Source::Shards });
            let disks = place(&made, &valid, &claims_of(&first.routing)).expect("placed");
            prop_assert_eq!(disks, Placed { routing: first.routing, source: Source::Disks });
        }

        #[test]
        fn a_table_in_the_status_stands_whatever_the_spec_asks(count in 1u32..=8, asked in 1u32..=8) {
            let (mut made, valid) = with_shards(count);
            let routing = place(&made, &valid, &Seen::default()).expect("placed").routing;
            made.status = Some(VectorCollectionStatus { routing: Some(routing.clone()), ..Default::default() });
            let (_, other) = with_shards(asked);
            let placed = place(&made, &other, &Seen::default()).expect("placed");
            prop_assert_eq!(placed, Placed { routing, source: Source::Status });
        }
    }

    #[test]
    fn a_missing_shard_is_filled_in_from_its_disk() {
        let (made, valid) = with_shards(2);
        let routing = place(&made, &valid, &Seen::default()).expect("placed").routing;
        let mut seen = shards_of(&made, &valid, &routing);
        seen.shards.remove("c-1");
        assert!(place(&made, &valid, &seen).is_err(), "half a ring is no collection");
        seen.claims = claims_of(&routing).claims;
        let placed = place(&made, &valid, &seen).expect("placed");
        assert_eq!(placed, Placed { routing, source: Source::Shards });
    }

    #[test]
    fn a_missing_disk_is_told_and_never_papered_over() {
        let (made, valid) = with_shards(3);
        let routing = place(&made, &valid, &Seen::default()).expect("placed").routing;
        let mut seen = claims_of(&routing);
        seen.claims.remove("data-c-1-r0-0");
        let problem = place(&made, &valid, &seen).expect_err("incomplete");
        assert_eq!(problem.reason, reason::DISK_CONFLICT);
        assert!(problem.message.contains("found c-0, c-2"), "{}", problem.message);
        assert!(problem.message.contains("kubectl delete pvc"), "{}", problem.message);
    }

    #[test]
    fn a_disk_that_does_not_say_what_it_holds_is_refused_by_name() {
        let (made, valid) = with_shards(1);
        let claims =
            [("data-c-0-r0-0".to_owned(), Arc::new(PersistentVolumeClaim::default()))].into();
        let problem =
            place(&made, &valid, &Seen { claims, ..Seen::default() }).expect_err("unlabelled");
        assert!(problem.message.contains("data-c-0-r0-0"), "{}", problem.message);
    }

    #[test]
    fn shards_are_ordered_by_number() {
        let (made, valid) = with_shards(12);
        let routing = place(&made, &valid, &Seen::default()).expect("placed").routing;
        let placed = place(&made, &valid, &claims_of(&routing)).expect("placed");
        assert_eq!(placed.routing.table.last().map(|part| part.shard.as_str()), Some("c-11"));
    }
}
