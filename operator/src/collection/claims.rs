//! Disks: whose they are, and growing them. Pure.
//!
//! Invariant: a disk of another collection, or of other vectors, is never mounted, changed or deleted.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use serde_json::{Value, json};
use shoal_crds::conditions::reason;
use shoal_crds::labels;

use super::observe::Seen;
use super::validate::Valid;
use crate::error::Problem;
use crate::kubernetes::meta;
use crate::quantity;

/// Name of the volume, and of the template of its claim.
pub const VOLUME: &str = "data";

/// Name of the claim of a StatefulSet's only pod.
pub fn claim_name(stateful_set: &str) -> String {
    format!("{VOLUME}-{stateful_set}-0")
}

/// The first disk, of those that carry the collection's name, that holds something else.
pub fn conflict(valid: &Valid, seen: &Seen) -> Option<Problem> {
    seen.claims.values().find_map(|claim| check(valid, claim).err())
}

/// Whether a claim is of the collection of this name and fingerprint.
pub fn is_of(name: &str, fingerprint: &str, claim: &PersistentVolumeClaim) -> bool {
    meta::label(claim, labels::COLLECTION) == Some(name)
        && meta::annotation(claim, labels::FINGERPRINT) == Some(fingerprint)
}

/// Whether a claim is this collection's; says what to do if not.
pub fn check(valid: &Valid, claim: &PersistentVolumeClaim) -> Result<(), Problem> {
    let name = claim.name_any();
    if is_of(&valid.name, &valid.fingerprint, claim) {
        return Ok(());
    }
    let own = meta::label(claim, labels::COLLECTION) == Some(valid.name.as_str());
    let message = match (own, meta::annotation(claim, labels::FINGERPRINT)) {
        (false, _) => format!(
            "the disk {name} exists and belongs to something else: delete or rename the claim, or give this collection \
             another metadata.name"
        ),
        (true, None) => format!(
            "the disk {name} does not say what it holds (annotation {}): restore it, or delete the claim to give its \
             data up",
            labels::FINGERPRINT
        ),
        (true, Some(_)) => format!(
            "the disk {name} was left by a collection with another spec.name or other vectors: apply that spec again to \
             have its data back, or give the data up: kubectl delete pvc -l {}={}",
            labels::COLLECTION,
            valid.name
        ),
    };
    Err(Problem::new(reason::DISK_CONFLICT, message))
}

/// The size a claim asks for.
pub fn size(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// What a claim needs to become as large as the spec asks: a patch, or nothing.
pub fn growth(valid: &Valid, claim: &PersistentVolumeClaim) -> Result<Option<Value>, Problem> {
    let wanted = &valid.storage_size;
    let Some(current) = size(claim) else { return Ok(None) };
    match quantity::parse(&wanted.0).cmp(&quantity::parse(&current.0)) {
        std::cmp::Ordering::Equal => Ok(None),
        std::cmp::Ordering::Greater => {
            Ok(Some(json!({"spec": {"resources": {"requests": {"storage": wanted.0}}}})))
        }
        std::cmp::Ordering::Less => {
            let message = format!(
                "the disk {} has {} and spec.storage.size asks for {}: disks cannot shrink; set it to {} or more",
                claim.name_any(),
                current.0,
                wanted.0,
                current.0
            );
            Err(Problem::new(reason::STORAGE_UNCHANGEABLE, message))
        }
    }
}

/// What to say when the API server refuses to grow a claim.
pub fn refused_growth(valid: &Valid, claim: &PersistentVolumeClaim, message: &str) -> Problem {
    let text = format!(
        "the disk {} cannot grow to {}: {message}. Let its storage class expand volumes (allowVolumeExpansion: true), or \
         set spec.storage.size back to {}; the collection keeps serving meanwhile",
        claim.name_any(),
        valid.storage_size.0,
        size(claim).map_or("what it was", |size| size.0.as_str())
    );
    Problem::new(reason::STORAGE_UNCHANGEABLE, text)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, VolumeResourceRequirements};

    use super::*;
    use crate::collection::testing::collection;
    use crate::collection::validate::validate;

    fn valid() -> Valid {
        validate(&collection("c")).expect("valid")
    }

    fn claim(collection: &str, fingerprint: Option<&str>, size: &str) -> PersistentVolumeClaim {
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = Some("data-c-0-r0-0".into());
        claim.metadata.labels = Some(meta::labels_of([(labels::COLLECTION, collection)]));
        claim.metadata.annotations =
            fingerprint.map(|f| meta::labels_of([(labels::FINGERPRINT, f)]));
        let requests = Some([("storage".to_owned(), Quantity(size.into()))].into());
        claim.spec = Some(PersistentVolumeClaimSpec {
            resources: Some(VolumeResourceRequirements { requests, limits: None }),
            ..PersistentVolumeClaimSpec::default()
        });
        claim
    }

    #[test]
    fn only_a_disk_of_this_collection_and_these_vectors_is_ours() {
        let print = valid().fingerprint;
        assert_eq!(check(&valid(), &claim("c", Some(&print), "1Gi")), Ok(()));
        for (other, fingerprint, says) in [
            ("d", Some(print.as_str()), "belongs to something else"),
            ("c", None, "does not say what it holds"),
            ("c", Some("0000"), "other vectors"),
        ] {
            let problem = check(&valid(), &claim(other, fingerprint, "1Gi")).expect_err("refused");
            assert_eq!(problem.reason, reason::DISK_CONFLICT);
            assert!(problem.message.contains(says), "{}", problem.message);
        }
    }

    #[test]
    fn disks_grow_are_left_alone_or_the_spec_is_refused() {
        let patch = growth(&valid(), &claim("c", None, "1Gi")).expect("may grow").expect("a patch");
        assert_eq!(patch["spec"]["resources"]["requests"]["storage"], "10Gi");
        assert_eq!(growth(&valid(), &claim("c", None, "10240Mi")), Ok(None));
        let problem = growth(&valid(), &claim("c", None, "11Gi")).expect_err("cannot shrink");
        assert_eq!(problem.reason, reason::STORAGE_UNCHANGEABLE);
        assert!(problem.message.contains("11Gi or more"), "{}", problem.message);
    }
}
