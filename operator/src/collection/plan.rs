//! What is to be done with a collection, from what it asks and what exists. Pure.
//!
//! Invariant: what already runs goes on running whatever the spec newly asks; nothing new is started for a collection
//! that asks for what cannot be.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use shoal_crds::VectorCollection;
use shoal_crds::collection::Routing;
use shoal_crds::conditions::reason;

use super::claims;
use super::observe::Seen;
use super::placement::{self, Placed, Source};
use super::replicas::{self, Replicas};
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
    /// The replicas of each shard.
    pub replicas: BTreeMap<String, Replicas>,
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
    let problem = namesake(valid, seen).or_else(|| claims::conflict(valid, seen));
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
            replicas: replicas_of(&placed, seen, valid.replicas),
            routing: placed.routing,
            problem: problem.or(resharding),
        }),
    }
}

fn replicas_of(placed: &Placed, seen: &Seen, copies: u32) -> BTreeMap<String, Replicas> {
    let names = placed.routing.table.iter().map(|part| &part.shard);
    names.map(|shard| (shard.clone(), replicas::plan(seen, shard, copies))).collect()
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

/// Of two collections of one name the younger is refused.
fn namesake(valid: &Valid, seen: &Seen) -> Option<Problem> {
    seen.namesake.as_ref().map(|older| {
        let message = format!(
            "the collection {older}, which is older, has the name `{}` already: delete one of them, or create this one \
             with another spec.name",
            valid.client_name
        );
        Problem::new(reason::NAME_CONFLICT, message)
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
#[path = "plan_tests.rs"]
mod tests;
