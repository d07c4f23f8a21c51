//! What is to be done with a collection, from what it asks and what exists. Pure.
//!
//! Invariant: what already runs goes on running whatever the spec newly asks; nothing new is started for a collection
//! that asks for what cannot be.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use shoal_crds::VectorCollection;
use shoal_crds::collection::Routing;
use shoal_crds::conditions::reason;

use super::claims;
use super::observe::Seen;
use super::placement::{self, Source};
use super::validate::Valid;
use crate::error::Problem;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Have this run.
    Run(Run),
    /// Start nothing; a person must do something first.
    Hold(Problem),
    /// Start nothing yet; what is named here ends by itself.
    Wait(String),
}

/// What is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Which shard holds which slots.
    pub routing: Routing,
    /// Whether the table stands in the status already. If not, it is written before anything is built by it.
    pub routing_is_written: bool,
    /// The data plane image.
    pub image: String,
    /// What the spec asks for and does not get.
    pub problem: Option<Problem>,
}

/// Plans.
pub fn plan(
    collection: &VectorCollection,
    valid: &Valid,
    seen: &Seen,
    default_image: &str,
) -> Plan {
    let written = collection.status.as_ref().is_some_and(|status| status.routing.is_some());
    let established = written || !seen.shards.is_empty();
    let problem = refusal(valid, seen).or_else(|| claims::conflict(valid, seen));
    if !established {
        if let Some(problem) = problem {
            return Plan::Hold(problem);
        }
        if let Some(claim) = seen.claims.values().find(|claim| is_going(claim)) {
            return Plan::Wait(format!(
                "waiting until the disk {} of a former life is deleted",
                claim.name_any()
            ));
        }
    }
    let placed = match placement::place(collection, valid, seen) {
        Ok(placed) => placed,
        Err(problem) => return Plan::Hold(problem),
    };
    let shards = placed.routing.table.len();
    let resharding =
        (shards != valid.initial_shards as usize).then(|| resharding(valid, shards, placed.source));
    match resharding {
        Some(problem) if !established => Plan::Hold(problem),
        resharding => Plan::Run(Run {
            routing_is_written: placed.source == Source::Status,
            image: image(collection, valid, seen, default_image),
            routing: placed.routing,
            problem: problem.or(resharding),
        }),
    }
}

/// The spec's image; else the one pinned when the collection was created, wherever that is still known; else the
/// operator's, which thereby becomes the pinned one.
fn image(collection: &VectorCollection, valid: &Valid, seen: &Seen, default: &str) -> String {
    let pinned = collection.status.as_ref().and_then(|status| status.image.clone());
    let running = || {
        seen.shards.values().map(|shard| shard.spec.image.clone()).find(|image| !image.is_empty())
    };
    valid.image.clone().or(pinned).or_else(running).unwrap_or_else(|| default.to_owned())
}

/// What the spec asks for that no collection gets.
fn refusal(valid: &Valid, seen: &Seen) -> Option<Problem> {
    if let Some(older) = &seen.namesake {
        let message = format!(
            "the collection {older}, which is older, has the name `{}` already: delete one of them, or create this one \
             with another spec.name",
            valid.client_name
        );
        return Some(Problem::new(reason::NAME_CONFLICT, message));
    }
    (valid.replicas > 1).then(|| {
        let message = format!(
            "spec.replication.replicas is {} and more than one copy is not supported yet: set it to 1",
            valid.replicas
        );
        Problem::new(reason::REPLICATION_UNSUPPORTED, message)
    })
}

fn resharding(valid: &Valid, shards: usize, source: Source) -> Problem {
    let asked = valid.initial_shards;
    let message = match source {
        Source::Disks => format!(
            "the disks of a former life hold {shards} shards and spec.sharding.initialShards asks for {asked}: set \
             initialShards: {shards} to have their data back"
        ),
        _ => format!(
            "spec.sharding.initialShards was changed to {asked} and splitting shards is not supported yet: set \
             initialShards: {shards}; the collection keeps serving as it is"
        ),
    };
    Problem::new(reason::RESHARDING_UNSUPPORTED, message)
}

fn is_going(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use shoal_crds::collection::{Replication, Sharding, VectorCollectionStatus};
    use shoal_crds::labels;

    use super::*;
    use crate::collection::build::volume_claim;
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
        let claim = |part| {
            let claim: PersistentVolumeClaim =
                volume_claim::build(&valid, part, routing.generation);
            (format!("data-{}-r0-0", part.shard), Arc::new(claim))
        };
        Seen { claims: routing.table.iter().map(claim).collect(), ..Seen::default() }
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
    fn more_copies_are_refused_for_a_new_collection_and_told_for_one_that_runs() {
        let replicas = Some(Replication { replicas: Some(3) });
        let mut new = collection("c");
        new.spec.replication = replicas.clone();
        assert!(
            matches!(planned(&new, &Seen::default()), Plan::Hold(p) if p.reason == reason::REPLICATION_UNSUPPORTED)
        );
        let mut old = established(2);
        old.spec.replication = replicas;
        let run = running(&old);
        assert_eq!(run.problem.map(|p| p.reason), Some(reason::REPLICATION_UNSUPPORTED));
        assert_eq!(run.routing.table.len(), 2);
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
}
