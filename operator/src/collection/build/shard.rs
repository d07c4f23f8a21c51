//! The Shard objects.

use shoal_crds::collection::ShardSlots;
use shoal_crds::shard::Placement;
use shoal_crds::{Shard, ShardSpec, VectorCollection};

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
) -> Shard {
    let labels = meta::with_manager(shard_labels(valid, &part.shard));
    Shard {
        metadata: meta::metadata(&part.shard, &valid.namespace, labels, owner(collection)),
        spec: ShardSpec {
            collection: valid.name.clone(),
            placement: Placement { generation, slots: part.slots.clone() },
            replicas: 1,
            image: image.to_owned(),
        },
        status: None,
    }
}
