//! The claim of a shard's disk, as the StatefulSet's template has it.
//!
//! Its labels and annotations are enough to rebuild the Shard from a retained disk, and to refuse it to another
//! collection.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use shoal_crds::collection::ShardSlots;
use shoal_crds::labels;

use super::super::claims::VOLUME;
use super::super::validate::Valid;
use super::{Replica, replica_labels};
use crate::kubernetes::meta;

/// The claim of a shard's disk.
pub fn build(
    valid: &Valid,
    part: &ShardSlots,
    generation: i64,
    replica: Replica,
) -> PersistentVolumeClaim {
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.name = Some(VOLUME.to_owned());
    claim.metadata.labels =
        Some(meta::with_manager(replica_labels(valid, &part.shard, replica.number)));
    let mut annotations = meta::labels_of([
        (labels::SLOTS, &part.slots),
        (labels::ROUTING_GEN, &generation.to_string()),
        (labels::FINGERPRINT, &valid.fingerprint),
    ]);
    // A lone shard must never start on the disk of one of several: it would ask nobody what was acknowledged.
    if replica.replicated {
        annotations.insert(labels::REPLICATED.to_owned(), "true".to_owned());
    }
    claim.metadata.annotations = Some(annotations);
    claim.spec = Some(PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".into()]),
        storage_class_name: valid.storage_class.clone(),
        resources: Some(VolumeResourceRequirements {
            requests: Some([("storage".to_owned(), valid.storage_size.clone())].into()),
            limits: None,
        }),
        ..PersistentVolumeClaimSpec::default()
    });
    claim
}
