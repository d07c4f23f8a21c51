//! The file `restoring`: says that a folder holds a part of a snapshot, and how much of it.
//!
//! Invariant: it is durable before anything else is restored, names a file only once that is whole and durable, and goes
//! last. So a folder without it is whole or was never begun.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::frame::{FileName, Start, Sum};
use crate::api::Identity;
use crate::disk;
use crate::error::OpenError;
use crate::format::{FileKind, Header, read_sealed, write_sealed};

const FILE: &str = "restoring";

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) snapshot: Uuid,
    /// The id that the new disk drew.
    pub(super) disk_id: Uuid,
    pub(super) start: Start,
    /// Whose disk it is to be.
    pub(super) identity: Identity,
    /// Files that are in place, in the snapshot's order.
    pub(super) files: Vec<(FileName, Sum)>,
}

impl Progress {
    /// What is held in a folder; `None` if nothing can be gone on with.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let read = read_sealed::<Self>(&dir.join(FILE), FileKind::Restoring, None);
        // One that does not read, or is of another version, says as much as is needed: restore from the beginning.
        let own = |(header, _): &(Header, Self)| header.version == FileKind::Restoring.version();
        read.ok().flatten().filter(own).map(|(_, progress)| progress)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), OpenError> {
        write_sealed(&dir.join(FILE), FileKind::Restoring, self.disk_id, self.start.seq, self)
    }

    /// Says that all is in place, durably.
    pub(super) fn finish(dir: &Path) -> Result<(), OpenError> {
        let path = dir.join(FILE);
        disk::remove_if_there(&path)
            .and_then(|()| disk::sync_dir(dir))
            .map_err(OpenError::io(&path))
    }
}

/// Whether a folder holds a part of a snapshot.
pub(super) fn is_half(dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join(FILE);
    path.try_exists().map_err(OpenError::io(&path))
}

/// Fails if a folder holds a part of a snapshot.
pub(crate) fn refuse_half(dir: &Path) -> Result<(), OpenError> {
    match is_half(dir)? {
        true => Err(OpenError::HalfRestored(dir.to_owned())),
        false => Ok(()),
    }
}
