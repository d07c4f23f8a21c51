//! The Shard objects.

use shoal_crds::collection::ShardSlots;
use shoal_crds::shard::Placement;
use shoal_crds::{Shard, ShardSpec, VectorCollection};

use super::super::replicas::Replicas;
use super::super::validate::Valid;
use super::{owner, shard_labels};
use crate::kubernetes::meta;

/// A Shard that holds a part of the ring.
pub fn build(
    collection: &VectorCollection,
    valid: &Valid,
    part: &ShardSlots,
    generation: i64,
    image: &str,
    replicas: &Replicas,
) -> Shard {
    let labels = meta::with_manager(shard_labels(valid, &part.shard));
    Shard {
        metadata: meta::metadata(&part.shard, &valid.namespace, labels, owner(collection)),
        spec: ShardSpec {
            collection: valid.name.clone(),
            placement: Placement { generation, slots: part.slots.clone() },
            replicas: replicas.count,
            // Of several it goes without saying.
            replicated: replicas.is_replicated() && replicas.count <= 1,
            replica_names: replicas.names(),
            next_replica: Some(replicas.next),
            image: image.to_owned(),
        },
        status: None,
    }
}
