//! The store's folder, and what is done to it as a whole.

use std::path::Path;
use std::{fs, io};

use crate::disk;
use crate::fail::{FailPoint, reached};

pub(crate) const DIR: &str = "store";
/// What was moved aside, one at most: for someone who wants to know why.
const ASIDE: &str = "store.aside";

/// Takes the store's folder out of the way.
pub(super) fn move_aside(shard: &Path) -> io::Result<()> {
    let unless_missing = |outcome: io::Result<()>| match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    unless_missing(fs::remove_dir_all(shard.join(ASIDE)))?;
    unless_missing(fs::rename(shard.join(DIR), shard.join(ASIDE)))?;
    reached(FailPoint::StoreSetAside, shard);
    Ok(())
}

/// A crash while sled opens leaves a snapshot that is half written, and the next open fails on it.
pub(super) fn remove_unfinished_snapshots(path: &Path) {
    for (name, file) in disk::list(path).unwrap_or_default() {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            // If it stays, the open fails and the whole store is set aside.
            let _ = disk::remove_if_there(&file);
        }
    }
}
