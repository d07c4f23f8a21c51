//! Objects that unit tests start from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use shoal_crds::collection::VectorSpec;
use shoal_crds::{VectorCollection, VectorCollectionSpec};

/// The smallest collection.
pub(crate) fn collection(name: &str) -> VectorCollection {
    let vectors = vec![VectorSpec { size: 4, ..VectorSpec::default() }];
    VectorCollection {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some("ns".into()),
            uid: Some(format!("uid-of-{name}")),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: VectorCollectionSpec { vectors, ..VectorCollectionSpec::default() },
        status: None,
    }
}
