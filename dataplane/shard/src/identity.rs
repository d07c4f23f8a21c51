//! Who a disk belongs to: its shard, and an id of its own that is drawn when the disk is first used.
//!
//! Invariant: the identity file is written last when a disk is set up, so a disk that has one is complete, and a disk
//! that has data and none was damaged and is refused.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use shoal_vector::{Datatype, Metric, SparseVectorConfig, VectorConfig};
use uuid::Uuid;

use crate::api::Identity;
use crate::error::OpenError;
use crate::format::{FileKind, read_sealed, write_sealed};
use crate::limits::{MAX_NAME_BYTES, MAX_VECTORS};
use crate::vectors::{number_of, sparse_number_of};

pub(crate) const FILE: &str = "identity";

/// An identity as version 1 of the file had it: it ended before the sparse vectors.
#[derive(Deserialize)]
struct Identity1 {
    collection: String,
    shard: String,
    vectors: Vec<Vector2>,
}

/// As version 2 had it, and version 1 of a snapshot: before there were datatypes.
#[derive(Deserialize)]
pub(crate) struct Identity2 {
    collection: String,
    shard: String,
    vectors: Vec<Vector2>,
    sparse: Vec<SparseVectorConfig>,
}

#[derive(Deserialize)]
struct Vector2 {
    name: String,
    size: usize,
    distance: Metric,
}

impl From<Identity1> for Identity {
    fn from(Identity1 { collection, shard, vectors }: Identity1) -> Self {
        Identity2 { collection, shard, vectors, sparse: Vec::new() }.into()
    }
}

impl From<Identity2> for Identity {
    fn from(Identity2 { collection, shard, vectors, sparse }: Identity2) -> Self {
        let vector = |Vector2 { name, size, distance }| VectorConfig::new(name, size, distance);
        Self { collection, shard, vectors: vectors.into_iter().map(vector).collect(), sparse }
    }
}

/// The disk's id if it has been set up, after checking that it is the disk of `wanted`, and its identity as it stands
/// there: a vector's number, by which segments know it, is its position in that list.
pub(crate) fn read(dir: &Path, wanted: &Identity) -> Result<Option<(Uuid, Identity)>, OpenError> {
    let path = dir.join(FILE);
    // Of the body nothing yet: its form depends on the version.
    let Some((header, ())) = read_sealed(&path, FileKind::Identity, None)? else {
        return Ok(None);
    };
    let found = match header.version {
        1 => read_as::<Identity1>(&path)?,
        2 => read_as::<Identity2>(&path)?,
        _ => read_as::<Identity>(&path)?,
    };
    let Some(found) = found else { return Ok(None) };
    if !has_same_names(&found, wanted) || !has_same_vectors(&found, wanted) {
        let (found, wanted) = (describe(&found), describe(wanted));
        return Err(OpenError::WrongIdentity { dir: dir.to_owned(), found, wanted });
    }
    Ok(Some((header.disk, found)))
}

fn read_as<T: DeserializeOwned + Into<Identity>>(
    path: &Path,
) -> Result<Option<Identity>, OpenError> {
    let read = read_sealed::<T>(path, FileKind::Identity, None)?;
    Ok(read.map(|(_, identity)| identity.into()))
}

fn has_same_names(a: &Identity, b: &Identity) -> bool {
    (&a.collection, &a.shard) == (&b.collection, &b.shard)
}

/// Whether the vectors of two identities differ in their order at most.
pub(crate) fn has_same_vectors(a: &Identity, b: &Identity) -> bool {
    let by_name = |identity: &Identity| {
        let mut vectors = identity.vectors.clone();
        vectors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        vectors
    };
    let sparse = |identity: &Identity| {
        let mut names: Vec<String> = identity.sparse.iter().map(|s| s.name.clone()).collect();
        names.sort_unstable();
        names
    };
    by_name(a) == by_name(b) && sparse(a) == sparse(b)
}

pub(crate) fn write(dir: &Path, disk_id: Uuid, identity: &Identity) -> Result<(), OpenError> {
    write_sealed(&dir.join(FILE), FileKind::Identity, disk_id, 0, identity)
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
    check_vectors(&identity.vectors)?;
    check_sparse(identity)
}

fn check_sparse(identity: &Identity) -> Result<(), OpenError> {
    let invalid = |text: String| Err(OpenError::Invalid(format!("sparse vectors: {text}")));
    let sparse = &identity.sparse;
    if sparse.len() > MAX_VECTORS {
        return invalid(format!("at most {MAX_VECTORS} may be given, not {}", sparse.len()));
    }
    for (number, SparseVectorConfig { name }) in sparse.iter().enumerate() {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return invalid(format!("the name must have 1 to {MAX_NAME_BYTES} bytes"));
        }
        if sparse_number_of(sparse, name) != Some(number)
            || number_of(&identity.vectors, name).is_some()
        {
            return invalid(format!("the name `{name}` is there twice"));
        }
    }
    Ok(())
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
    let describe = |VectorConfig { name, size, distance, datatype }: &VectorConfig| {
        let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
        let stored = match datatype {
            Datatype::Float32 => String::new(),
            other => format!(" as {other}"),
        };
        format!("{name}{size} x {distance:?}{stored}")
    };
    let mut vectors: Vec<String> = identity.vectors.iter().map(describe).collect();
    vectors.extend(identity.sparse.iter().map(|sparse| format!("{}: sparse", sparse.name)));
    format!(
        "shard `{}` of collection `{}` ({})",
        identity.shard,
        identity.collection,
        vectors.join(", ")
    )
}
