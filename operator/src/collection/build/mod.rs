//! The objects of a collection: one file per kind. Pure, and cannot fail.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use shoal_crds::labels;

use super::validate::Valid;
use crate::kubernetes::meta::{self, Labels};

pub mod budget;
pub mod pod;
pub mod service;
pub mod shard;
pub mod stateful_set;
pub mod volume_claim;

/// Number of the only copy there is so far.
pub const ONLY_REPLICA: u32 = 0;

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
pub fn replica_labels(valid: &Valid, shard: &str) -> Labels {
    let mut labels = shard_labels(valid, shard);
    labels.insert(labels::REPLICA.to_owned(), ONLY_REPLICA.to_string());
    labels
}

/// A reference that makes an object go with its owner. Empty only for an owner that was never on an API server.
pub fn owner<K: Resource<DynamicType = ()>>(owner: &K) -> Option<OwnerReference> {
    owner.controller_owner_ref(&())
}
