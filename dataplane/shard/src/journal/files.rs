//! Small files beside the log: what was promised, up to where it was known to be committed, and that it contradicts what
//! was committed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::entry::Epoch;
use crate::disk;
use crate::error::OpenError;
use crate::fail::{Mistake, makes};
use crate::format::{FileKind, read_sealed, seal, write_sealed};

const PROMISE: &str = "promise";
pub(crate) const COMMIT: &str = "commit";
const QUARANTINE: &str = "quarantine";

/// The epoch that was promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promised(pub(crate) Epoch);

/// What was promised on a disk; nothing if there is no such file. One that does not read is damage: without it the disk
/// could take back its word.
pub(crate) fn read_promise(dir: &Path, disk_id: Uuid) -> Result<Promised, OpenError> {
    let read = read_sealed::<Promised>(&dir.join(PROMISE), FileKind::Promise, Some(disk_id))?;
    Ok(read.map(|(_, promised)| promised).unwrap_or_default())
}

pub(super) fn write_promise(
    dir: &Path,
    disk_id: Uuid,
    promised: Promised,
) -> Result<(), OpenError> {
    let path = dir.join(PROMISE);
    if makes(Mistake::UnsyncedPromise) {
        let bytes = seal(FileKind::Promise, disk_id, 0, &promised).map_err(OpenError::io(&path))?;
        return std::fs::write(&path, bytes).map_err(OpenError::io(&path));
    }
    write_sealed(&path, FileKind::Promise, disk_id, 0, &promised)
}

/// Up to where the log was known to be committed; 0 if that is not known.
pub(crate) fn read_commit(dir: &Path, disk_id: Uuid) -> u64 {
    let read = read_sealed::<u64>(&dir.join(COMMIT), FileKind::Commit, Some(disk_id));
    read.ok().flatten().map_or(0, |(_, seq)| seq)
}

/// Not synced: after a power cut there may be an older one, or one that does not read.
pub(crate) fn write_commit(dir: &Path, disk_id: Uuid, seq: u64) -> std::io::Result<()> {
    let (path, unfinished) = (dir.join(COMMIT), unfinished(dir));
    std::fs::write(&unfinished, seal(FileKind::Commit, disk_id, 0, &seq)?)?;
    std::fs::rename(&unfinished, &path)
}

fn unfinished(dir: &Path) -> PathBuf {
    dir.join(format!("{COMMIT}.{}", disk::UNFINISHED))
}

/// Writes down why a disk is not to be opened any more.
pub(crate) fn quarantined(dir: &Path, disk_id: Uuid, why: &str) -> Result<(), OpenError> {
    write_sealed(&dir.join(QUARANTINE), FileKind::Quarantine, disk_id, 0, &why.to_owned())
}

/// Fails if a disk is in quarantine. A note of it that does not read is one too.
pub(crate) fn refuse_quarantined(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(QUARANTINE);
    let why = match read_sealed::<String>(&path, FileKind::Quarantine, None) {
        Ok(None) => return Ok(()),
        Ok(Some((_, why))) => why,
        Err(error) => error.to_string(),
    };
    Err(OpenError::Quarantined { dir: dir.to_owned(), why })
}
