//! Who a disk belongs to: its shard, and an id of its own that is drawn when the disk is first used.
//!
//! Invariant: the identity file is written last when a disk is set up, so a disk that has one is complete, and a disk
//! that has data and none was damaged and is refused.

use std::path::Path;

use serde::{Deserialize, Serialize};
use shoal_vector::VectorConfig;
use uuid::Uuid;

use crate::api::Identity;
use crate::error::OpenError;
use crate::format::{FileKind, read_sealed, write_sealed};
use crate::limits::{MAX_NAME_BYTES, MAX_VECTORS};
use crate::vectors::number_of;

pub(crate) const FILE: &str = "identity";

#[derive(Serialize, Deserialize)]
struct Body {
    identity: Identity,
}

/// The disk's id if it has been set up, after checking that it is the disk of `wanted`, and its identity as it stands
/// there: a vector's number, by which segments know it, is its position in that list.
pub(crate) fn read(dir: &Path, wanted: &Identity) -> Result<Option<(Uuid, Identity)>, OpenError> {
    let Some((header, body)) = read_sealed::<Body>(&dir.join(FILE), FileKind::Identity, None)?
    else {
        return Ok(None);
    };
    if !is_same(&body.identity, wanted) {
        let (found, wanted) = (describe(&body.identity), describe(wanted));
        return Err(OpenError::WrongIdentity { dir: dir.to_owned(), found, wanted });
    }
    Ok(Some((header.disk, body.identity)))
}

/// Whether two identities differ in the order of the vectors at most.
fn is_same(a: &Identity, b: &Identity) -> bool {
    let by_name = |identity: &Identity| {
        let mut vectors = identity.vectors.clone();
        vectors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        vectors
    };
    (&a.collection, &a.shard) == (&b.collection, &b.shard) && by_name(a) == by_name(b)
}

pub(crate) fn write(dir: &Path, disk_id: Uuid, identity: &Identity) -> Result<(), OpenError> {
    write_sealed(
        &dir.join(FILE),
        FileKind::Identity,
        disk_id,
        0,
        &Body { identity: identity.clone() },
    )
}

/// Refuses identities that cannot be served, before anything is written.
pub(crate) fn check(identity: &Identity) -> Result<(), OpenError> {
    for (what, name) in [("collection", &identity.collection), ("shard", &identity.shard)] {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(OpenError::Invalid(format!(
                "the {what}'s name must have 1 to {MAX_NAME_BYTES} bytes"
            )));
        }
    }
    check_vectors(&identity.vectors)
}

fn check_vectors(vectors: &[VectorConfig]) -> Result<(), OpenError> {
    let invalid = |text: String| Err(OpenError::Invalid(format!("vectors: {text}")));
    if vectors.is_empty() || vectors.len() > MAX_VECTORS {
        return invalid(format!("from 1 to {MAX_VECTORS} must be given, not {}", vectors.len()));
    }
    let greatest = shoal_vector::MAX_DIMENSIONS;
    for (number, vector) in vectors.iter().enumerate() {
        let name = &vector.name;
        if name.len() > MAX_NAME_BYTES {
            return invalid(format!("the name must have at most {MAX_NAME_BYTES} bytes"));
        }
        if number_of(vectors, name) != Some(number) {
            return invalid(format!("the name `{name}` is there twice"));
        }
        if vector.size == 0 || vector.size > greatest {
            return invalid(format!("size must be 1 to {greatest}, not {}", vector.size));
        }
    }
    Ok(())
}

fn describe(identity: &Identity) -> String {
    let describe = |VectorConfig { name, size, distance }: &VectorConfig| match name.as_str() {
        "" => format!("{size} x {distance:?}"),
        name => format!("{name}: {size} x {distance:?}"),
    };
    let vectors: Vec<String> = identity.vectors.iter().map(describe).collect();
    format!(
        "shard `{}` of collection `{}` ({})",
        identity.shard,
        identity.collection,
        vectors.join(", ")
    )
}
