//! The data folder of a laptop server, and the few steps on it that must survive a crash.
//!
//! ```text
//! DIR/lock                             held while a process serves the folder
//! DIR/collections/<uuid>/              a collection; the name clients use is inside, never in a path
//! DIR/collections/<uuid>/collection.json
//! DIR/collections/<uuid>/shard-<n>/    what the shard keeps
//! DIR/collections/new-<uuid>/          being made: removed at start
//! DIR/collections/deleted-<uuid>/      being removed: removed at start
//! ```
//!
//! Invariant: a collection exists exactly if its folder has its final name; that is one rename, synced before anyone
//! is told. By then its shards are in it, so one that is not there later was lost.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

const FILE: &str = "collection.json";
/// What is to become it; one that a crash left is written over.
const NEW_FILE: &str = "collection.json.new";
const MAKING: &str = "new-";
const REMOVING: &str = "deleted-";

/// A data folder that this process holds.
#[derive(Debug)]
pub(super) struct DataFolder {
    collections: PathBuf,
    /// Unlocked by the system when the process ends, however it ends.
    _lock: File,
}

/// Why a data folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process serves it.
    #[error("{} is in use by another shoal: stop that one first, or use another --data", .0.display())]
    Locked(PathBuf),
    /// A collection's file is damaged or newer. Serving without it would let its name be taken again.
    #[error("{}: {detail}; restore the file, or move that folder out of the data folder to serve without it", .path.display())]
    Unreadable {
        /// The collection's folder.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The system said no.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

fn at<T>(path: &Path, outcome: io::Result<T>) -> Result<T, FolderError> {
    outcome.map_err(|error| FolderError::Io { path: path.to_owned(), error })
}

impl DataFolder {
    /// Takes a folder, makes it if there is none, and clears away what was being made or removed.
    pub(super) fn open(dir: &Path) -> Result<Self, FolderError> {
        let collections = dir.join("collections");
        at(&collections, fs::create_dir_all(&collections))?;
        let path = dir.join("lock");
        let lock =
            at(&path, OpenOptions::new().create(true).truncate(false).write(true).open(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(FolderError::Io { path, error }),
        }
        at(dir, sync_dir(dir))?;
        let folder = Self { collections, _lock: lock };
        for (name, path) in folder.entries()? {
            if name.starts_with(MAKING) || name.starts_with(REMOVING) {
                at(&path, fs::remove_dir_all(&path))?;
            }
        }
        Ok(folder)
    }

    /// Collections: their folders and the content of their files.
    pub(super) fn load(&self) -> Result<Vec<(PathBuf, Vec<u8>)>, FolderError> {
        let mut found = Vec::new();
        for (name, path) in self.entries()? {
            if Uuid::parse_str(&name).is_err() {
                tracing::warn!(path = %path.display(), "not a collection's folder; left alone");
                continue;
            }
            let file = path.join(FILE);
            found.push((path, at(&file, fs::read(&file))?));
        }
        found.sort();
        Ok(found)
    }

    /// Begins a collection's folder, with its file. Until it is finished the collection does not exist.
    pub(super) fn make(&self, id: Uuid, content: &[u8]) -> Result<Making<'_>, FolderError> {
        let path = self.collections.join(format!("{MAKING}{id}"));
        at(&path, fs::create_dir(&path))?;
        let making = Making { folder: self, path, named: self.collections.join(id.to_string()) };
        let file = making.path.join(FILE);
        at(&file, write_synced(&file, content))?;
        Ok(making)
    }

    /// Puts what `change` makes of a collection's file in its place: wholly or, after a crash, not at all.
    pub(super) fn rewrite<E: std::fmt::Display>(
        &self,
        path: &Path,
        change: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<(), FolderError> {
        let (file, new) = (path.join(FILE), path.join(NEW_FILE));
        let content = change(&at(&file, fs::read(&file))?).map_err(|error| {
            FolderError::Unreadable { path: path.to_owned(), detail: error.to_string() }
        })?;
        at(&new, write_synced(&new, &content))?;
        at(&file, fs::rename(&new, &file))?;
        at(path, sync_dir(path))
    }

    /// Removes a collection's folder. Once this returns it stays gone; a crash before leaves it as it was.
    pub(super) fn remove(&self, path: &Path) -> Result<(), FolderError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let removing = self.collections.join(format!("{REMOVING}{name}"));
        at(path, fs::rename(path, &removing))?;
        at(&self.collections, sync_dir(&self.collections))?;
        if let Err(error) = fs::remove_dir_all(&removing) {
            tracing::warn!(path = %removing.display(), %error, "the rest is cleared away at the next start");
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<(String, PathBuf)>, FolderError> {
        let listed = at(&self.collections, fs::read_dir(&self.collections))?;
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = at(&self.collections, entry)?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
        };
        listed.map(entry).collect()
    }
}

/// A collection's folder that is being made; cleared away when dropped unfinished.
pub(super) struct Making<'a> {
    folder: &'a DataFolder,
    path: PathBuf,
    named: PathBuf,
}

impl Making<'_> {
    /// Where to put what belongs into it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its final name: wholly or, after a crash, not at all. What was put into it must be synced, but
    /// for the names at its top.
    pub(super) fn finish(self) -> Result<PathBuf, FolderError> {
        at(&self.path, sync_dir(&self.path))?;
        at(&self.named, fs::rename(&self.path, &self.named))?;
        let collections = &self.folder.collections;
        at(collections, sync_dir(collections))?;
        Ok(self.named.clone())
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        // Once finished it is not there. What is left otherwise goes at the next start if it cannot now.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Folder of a collection's shard.
pub(super) fn shard_dir(collection: &Path, index: usize) -> PathBuf {
    collection.join(format!("shard-{index}"))
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_found_again_and_what_was_removed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path()).unwrap();
        let (kept, gone) = (Uuid::new_v4(), Uuid::new_v4());
        let path = folder.make(kept, b"{}").unwrap().finish().unwrap();
        let removed = folder.make(gone, b"{}").unwrap().finish().unwrap();
        folder.remove(&removed).unwrap();
        drop(folder);
        assert_eq!(DataFolder::open(dir.path()).unwrap().load().unwrap(), [(path, b"{}".to_vec())]);
    }

    #[test]
    fn a_folder_that_is_not_finished_is_no_collection_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path()).unwrap();
        let making = folder.make(Uuid::new_v4(), b"{}").unwrap();
        fs::create_dir(shard_dir(making.path(), 0)).unwrap();
        drop(making);
        assert_eq!(fs::read_dir(dir.path().join("collections")).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_changed_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path()).unwrap();
        let path = folder.make(Uuid::new_v4(), b"1").unwrap().finish().unwrap();
        let content = || folder.load().unwrap()[0].1.clone();
        // What a crash left does not count and is in nobody's way.
        fs::write(path.join(NEW_FILE), b"half").unwrap();
        assert_eq!(content(), b"1");
        folder.rewrite(&path, |old| Ok::<_, String>([old, b"2"].concat())).unwrap();
        assert_eq!(content(), b"12");
        assert!(folder.rewrite(&path, |_| Err("no")).is_err());
        assert_eq!(content(), b"12");
    }

    #[test]
    fn a_crash_while_making_or_removing_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let collections = dir.path().join("collections");
        for name in [format!("{MAKING}{}", Uuid::new_v4()), format!("{REMOVING}{}", Uuid::new_v4())]
        {
            fs::create_dir_all(collections.join(&name).join("shard-0")).unwrap();
        }
        assert_eq!(DataFolder::open(dir.path()).unwrap().load().unwrap(), []);
        assert_eq!(fs::read_dir(collections).unwrap().count(), 0);
    }

    #[test]
    fn two_processes_cannot_have_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataFolder::open(dir.path()).unwrap();
        assert!(matches!(DataFolder::open(dir.path()), Err(FolderError::Locked(_))));
        drop(first);
        assert!(DataFolder::open(dir.path()).is_ok());
    }
}
