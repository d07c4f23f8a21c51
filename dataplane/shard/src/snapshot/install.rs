//! Putting a restored snapshot in the place of what a replica has, on the same disk.
//!
//! The snapshot is restored into a folder inside the replica's ([`incoming`]), under the disk's own id, and is a whole shard
//! there before anything is touched. Then the file `installing` says that it counts, durably, and from there on each start goes
//! on with moving its files up until all are: each step may be done twice. What the disk promised stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::fail::{FailPoint, Mistake, makes, reached};
use crate::journal::{COMMIT, is_aside};
use crate::manifest::{self, SEGMENTS_DIR};
use crate::open::{WAL_DIR, lock};
use crate::{disk, identity, index, store};

const MARK: &str = "installing";
const INCOMING: &str = "incoming";

/// Where a snapshot for a replica is restored.
pub fn incoming(dir: &Path) -> PathBuf {
    dir.join(INCOMING)
}

/// Has the shard that was restored in [`incoming`] take the place of the one in `dir`, which must be closed. Crashes do no
/// harm: the next time it is opened goes on.
pub fn install(dir: &Path) -> Result<(), OpenError> {
    // Fails while a thread or a reader of the shard that was there is left.
    let _lock = lock(dir)?;
    let from = incoming(dir);
    super::refuse_half(&from)?;
    let whole = from.join(identity::FILE);
    if !whole.try_exists().map_err(OpenError::io(&whole))? {
        return Err(OpenError::Missing(from));
    }
    let mark = dir.join(MARK);
    if makes(Mistake::InstallUnmarked) {
        return move_up(dir);
    }
    disk::replace_file(&mark, |_| Ok(())).map_err(OpenError::io(&mark))?;
    finish_install(dir)
}

/// Goes on with what a crash cut short.
pub(crate) fn finish_install(dir: &Path) -> Result<(), OpenError> {
    let mark = dir.join(MARK);
    match mark.try_exists().map_err(OpenError::io(&mark))? {
        true => move_up(dir),
        false => Ok(()),
    }
}

fn move_up(dir: &Path) -> Result<(), OpenError> {
    let (mark, from) = (dir.join(MARK), incoming(dir));
    // A cache of what is there no more.
    remove(&dir.join(store::files::DIR))?;
    for name in [WAL_DIR, SEGMENTS_DIR, manifest::FILE, index::WANTED_FILE, COMMIT] {
        let (new, old) = (from.join(name), dir.join(name));
        if new.try_exists().map_err(OpenError::io(&new))? {
            if name == WAL_DIR {
                keep_asides(&old, &new).map_err(OpenError::io(&old))?;
            }
            remove(&old)?;
            fs::rename(&new, &old).map_err(OpenError::io(&old))?;
            reached(FailPoint::InstallMoved, &old);
        }
    }
    disk::sync_dir(dir).map_err(OpenError::io(dir))?;
    remove(&from)?;
    remove(&mark)?;
    disk::sync_dir(dir).map_err(OpenError::io(dir))
}

/// What was cut off the log that goes is kept on beside the one that comes.
fn keep_asides(old: &Path, new: &Path) -> io::Result<()> {
    // Gone already, where a crash came behind that.
    if !old.try_exists()? {
        return Ok(());
    }
    let files = disk::list(old)?.into_iter().filter(|(name, _)| is_aside(name));
    let files: Vec<_> = files.collect();
    for (name, path) in &files {
        fs::rename(path, new.join(name))?;
    }
    if !files.is_empty() {
        disk::sync_dir(new)?;
    }
    Ok(())
}

/// Deletes a file or a folder with all in it, if it is there.
fn remove(path: &Path) -> Result<(), OpenError> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => disk::remove_if_there(path),
    };
    removed.map_err(OpenError::io(path))
}
