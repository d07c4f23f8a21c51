//! The objects of a collection: one file per kind. Pure, and cannot fail.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use shoal_crds::{Shard, labels};

use super::validate::Valid;
use crate::kubernetes::meta::{self, Labels};

pub mod budget;
pub mod job;
pub mod pod;
pub mod rights;
pub mod service;
pub mod shard;
pub mod stateful_set;
pub mod volume_claim;

/// The replica that something is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its number.
    pub number: u32,
    /// Whether there are others, or were, with which it agrees through a register.
    pub replicated: bool,
}

impl Replica {
    /// The one replica of a shard that has no other.
    pub const ONLY: Self = Self { number: 0, replicated: false };
}

/// Labels that select a collection's pods.
pub fn collection_labels(valid: &Valid) -> Labels {
    let mut labels = meta::component(meta::SHARD_COMPONENT);
    labels.insert(labels::COLLECTION.to_owned(), valid.name.clone());
    labels
}

/// Labels that select a shard's pods.
pub fn shard_labels(valid: &Valid, shard: &str) -> Labels {
    let mut labels = collection_labels(valid);
    labels.insert(labels::SHARD.to_owned(), shard.to_owned());
    labels
}

/// Labels that select the pod of one replica.
pub fn replica_labels(valid: &Valid, shard: &str, number: u32) -> Labels {
    let mut labels = shard_labels(valid, shard);
    labels.insert(labels::REPLICA.to_owned(), number.to_string());
    labels
}

/// A reference that makes what a shard consists of go with its owner. A lone shard's goes with the Shard. That of replicas goes
/// with the collection: the Shard holds their register, and they live through the loss of it.
pub fn owner_of_parts(shard: &Shard) -> Option<OwnerReference> {
    let replicated = shard.spec.is_replicated();
    let collection = shard.metadata.owner_references.iter().flatten().find(|_| replicated);
    collection.cloned().or_else(|| owner(shard))
}

/// A reference that makes an object go with its owner. Empty only for an owner that was never on an API server.
pub fn owner<K: Resource<DynamicType = ()>>(owner: &K) -> Option<OwnerReference> {
    owner.controller_owner_ref(&())
}
