//! What runs, what is held, and what a person is told.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use shoal_crds::collection::{Replication, Sharding, VectorCollectionStatus};
use shoal_crds::labels;

use super::*;
use crate::collection::build::{Replica, shard, volume_claim};
use crate::collection::testing::collection;
use crate::collection::validate::validate;

fn planned(collection: &VectorCollection, seen: &Seen) -> Plan {
    plan(collection, &validate(collection).expect("valid"), seen, "default:1")
}

fn running(made: &VectorCollection) -> Run {
    match planned(made, &Seen::default()) {
        Plan::Run(run) => run,
        other => panic!("not running: {other:?}"),
    }
}

/// A collection whose table and image are written.
fn established(shards: u32) -> VectorCollection {
    let mut made = collection("c");
    made.spec.sharding = Some(Sharding { initial_shards: Some(shards) });
    let run = running(&made);
    made.status = Some(VectorCollectionStatus {
        routing: Some(run.routing),
        image: Some(run.image),
        ..VectorCollectionStatus::default()
    });
    made
}

fn disks(made: &VectorCollection) -> Seen {
    let valid = validate(made).expect("valid");
    let routing = made.status.as_ref().and_then(|s| s.routing.clone()).expect("routing");
    let replicated = valid.replicas > 1;
    let claims = routing.table.iter().flat_map(|part| {
        (0..valid.replicas).map(|number| {
            let replica = Replica { number, replicated };
            let claim: PersistentVolumeClaim =
                volume_claim::build(&valid, part, routing.generation, replica);
            (format!("data-{}-r{number}-0", part.shard), Arc::new(claim))
        })
    });
    Seen { claims: claims.collect(), ..Seen::default() }
}

/// The Shards of a collection that runs as its spec asks.
fn shards(made: &VectorCollection) -> Seen {
    let valid = validate(made).expect("valid");
    let run = running(made);
    let shard = |part: &shoal_crds::collection::ShardSlots| {
        let shard = shard::build(made, &valid, part, 1, "i", &run.replicas[&part.shard]);
        (part.shard.clone(), Arc::new(shard))
    };
    Seen { shards: run.routing.table.iter().map(shard).collect(), ..Seen::default() }
}

fn with_replicas(mut made: VectorCollection, replicas: u32) -> VectorCollection {
    made.spec.replication =
        Some(Replication { replicas: Some(replicas), ..Replication::default() });
    made
}

#[test]
fn a_new_collection_gets_its_shards_and_pins_the_operators_image() {
    let run = running(&collection("c"));
    assert_eq!(
        (run.image.as_str(), run.routing_is_written, run.problem),
        ("default:1", false, None)
    );
    assert_eq!(run.routing.table.len(), 1);
}

#[test]
fn the_image_stays_when_the_operator_is_upgraded_and_follows_the_spec() {
    let mut made = established(1);
    let valid = validate(&made).expect("valid");
    let image = |made: &VectorCollection, valid: &Valid| match plan(
        made,
        valid,
        &Seen::default(),
        "default:2",
    ) {
        Plan::Run(run) => run.image,
        other => panic!("not running: {other:?}"),
    };
    assert_eq!(image(&made, &valid), "default:1");
    made.spec.image = Some("mine:7".into());
    assert_eq!(image(&made, &validate(&made).expect("valid")), "mine:7");
}

#[test]
fn copies_are_as_asked_for_a_new_collection() {
    let run = running(&with_replicas(collection("c"), 3));
    assert_eq!(run.problem, None);
    assert_eq!(run.replicas["c-0"].names(), ["r0", "r1", "r2"]);
    assert_eq!(run.replicas["c-0"].count, 3);
}

#[test]
fn one_copy_becomes_several_by_way_of_its_own_disk_and_several_wait_for_a_primary() {
    let made = with_replicas(established(2), 1);
    let Plan::Run(run) = planned(&with_replicas(made.clone(), 3), &shards(&made)) else {
        panic!("held")
    };
    assert_eq!(run.problem, None);
    for replicas in run.replicas.values() {
        assert_eq!(
            (replicas.count, replicas.is_replicated(), replicas.names()),
            (3, true, vec!["r0".to_owned()])
        );
    }
    let made = with_replicas(established(1), 3);
    let before = running(&made).replicas["c-0"].clone();
    let Plan::Run(run) = planned(&with_replicas(made.clone(), 1), &shards(&made)) else {
        panic!("held")
    };
    let replicas = &run.replicas["c-0"];
    assert_eq!((replicas.count, replicas.is_replicated()), (1, true));
    assert_eq!(replicas.numbers, before.numbers, "nobody is known to lead");
}

#[test]
fn disks_of_another_number_of_copies_are_gone_on_with() {
    for (had, asked, numbers) in [(1, 3, &[0][..]), (3, 1, &[0, 1, 2])] {
        let former = with_replicas(established(1), had);
        let mut again = with_replicas(former.clone(), asked);
        again.status = None;
        let Plan::Run(run) = planned(&again, &disks(&former)) else { panic!("held") };
        assert_eq!((run.problem, &run.replicas["c-0"].numbers[..]), (None, numbers));
        assert!(run.replicas["c-0"].is_replicated());
    }
}

#[test]
fn replicas_of_a_former_life_are_found_again_by_their_disks() {
    let former = with_replicas(established(1), 3);
    let mut again = former.clone();
    again.status = None;
    let Plan::Run(run) = planned(&again, &disks(&former)) else { panic!("held") };
    assert_eq!(run.problem, None);
    assert_eq!(run.replicas["c-0"].names(), ["r0", "r1", "r2"]);
}

#[test]
fn a_changed_number_of_shards_is_told_and_the_collection_keeps_serving() {
    let mut made = established(2);
    made.spec.sharding = Some(Sharding { initial_shards: Some(5) });
    let run = running(&made);
    let problem = run.problem.expect("told");
    assert_eq!(problem.reason, reason::RESHARDING_UNSUPPORTED);
    assert!(problem.message.contains("initialShards: 2"), "{}", problem.message);
    assert_eq!(run.routing.table.len(), 2);
}

#[test]
fn the_younger_of_two_namesakes_starts_nothing() {
    let seen = Seen { namesake: Some("older".into()), ..Seen::default() };
    let Plan::Hold(problem) = planned(&collection("c"), &seen) else { panic!("started") };
    assert_eq!(problem.reason, reason::NAME_CONFLICT);
    assert!(problem.message.contains("older"), "{}", problem.message);
}

#[test]
fn disks_of_a_former_life_are_found_again() {
    let former = established(3);
    let mut again = former.clone();
    again.status = None;
    let Plan::Run(run) = planned(&again, &disks(&former)) else { panic!("held") };
    assert_eq!(Some(run.routing), former.status.and_then(|s| s.routing));
    assert!(!run.routing_is_written);
}

#[test]
fn disks_that_hold_another_number_of_shards_say_what_to_set() {
    let former = established(3);
    let mut again = collection("c");
    again.spec.sharding = Some(Sharding { initial_shards: Some(2) });
    let Plan::Hold(problem) = planned(&again, &disks(&former)) else { panic!("started") };
    assert_eq!(problem.reason, reason::RESHARDING_UNSUPPORTED);
    assert!(problem.message.contains("set initialShards: 3"), "{}", problem.message);
}

#[test]
fn disks_of_other_vectors_are_refused() {
    let former = established(1);
    let mut other = collection("c");
    other.spec.vectors[0].size = 99;
    let Plan::Hold(problem) = planned(&other, &disks(&former)) else { panic!("started") };
    assert_eq!(problem.reason, reason::DISK_CONFLICT);
}

#[test]
fn disks_that_are_being_deleted_are_waited_for() {
    let former = established(1);
    let mut seen = disks(&former);
    for claim in seen.claims.values_mut() {
        Arc::make_mut(claim).metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    }
    let mut again = former;
    again.status = None;
    assert!(matches!(planned(&again, &seen), Plan::Wait(_)));
    assert!(
        seen.claims
            .keys()
            .all(|name| *name == super::claims::claim_name(&labels::replica_name("c-0", 0)))
    );
}
