//! Who a disk belongs to: its shard, and an id of its own that is drawn when the disk is first used.
//!
//! Invariant: the identity file is written last when a disk is set up, so a disk that has one is complete, and a disk
//! that has data and none was damaged and is refused.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::Identity;
use crate::error::OpenError;
use crate::format::{FileKind, read_sealed, write_sealed};
use crate::limits::MAX_NAME_BYTES;

pub(crate) const FILE: &str = "identity";

#[derive(Serialize, Deserialize)]
struct Body {
    identity: Identity,
}

/// The disk's id if it has been set up, after checking that it is the disk of `wanted`.
pub(crate) fn read(dir: &Path, wanted: &Identity) -> Result<Option<Uuid>, OpenError> {
    let Some((header, body)) = read_sealed::<Body>(&dir.join(FILE), FileKind::Identity, None)?
    else {
        return Ok(None);
    };
    if body.identity != *wanted {
        let (found, wanted) = (describe(&body.identity), describe(wanted));
        return Err(OpenError::WrongIdentity { dir: dir.to_owned(), found, wanted });
    }
    Ok(Some(header.disk))
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
    let [vector] = identity.vectors.as_slice() else {
        let count = identity.vectors.len();
        return Err(OpenError::Invalid(format!(
            "a shard serves exactly one vector a point for now, not {count}"
        )));
    };
    if vector.name.len() > MAX_NAME_BYTES {
        return Err(OpenError::Invalid(format!(
            "vectors: the name must have at most {MAX_NAME_BYTES} bytes"
        )));
    }
    let greatest = shoal_vector::MAX_DIMENSIONS;
    if vector.size == 0 || vector.size > greatest {
        return Err(OpenError::Invalid(format!(
            "vectors: size must be 1 to {greatest}, not {}",
            vector.size
        )));
    }
    Ok(())
}

fn describe(identity: &Identity) -> String {
    let vectors =
        identity.vectors.iter().map(|vector| format!("{} x {:?}", vector.size, vector.distance));
    let vectors: Vec<String> = vectors.collect();
    format!(
        "shard `{}` of collection `{}` ({})",
        identity.shard,
        identity.collection,
        vectors.join(", ")
    )
}
