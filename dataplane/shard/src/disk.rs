//! Files and folders, written so that they survive a power cut.
//!
//! Invariant: a file that appears under its final name is whole: it was written under another name, synced, renamed,
//! and then the folder was synced.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::fail::{FailPoint, reached};

/// Ending of files that are not whole yet; what a crash left of them is deleted at the next start.
pub(crate) const UNFINISHED: &str = "tmp";

/// Whether an error says that there is no room: on the disk, in a quota, or under a limit on the file's size.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Makes names in a folder durable: creations, renames and deletions.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a folder, and its name durable, if it is not there.
pub(crate) fn ensure_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Puts a file in place, or replaces it, all or nothing. A failed attempt leaves no trace but takes its room back.
pub(crate) fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut new = NewFile::create(path)?;
    write(&mut new.file)?;
    new.commit()
}

/// A file on its way to its place. Dropped without [`NewFile::commit`] it leaves no trace.
pub(crate) struct NewFile {
    pub(crate) file: File,
    path: PathBuf,
    unfinished: PathBuf,
    in_place: bool,
}

impl NewFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let unfinished = unfinished_name(path);
        let file = File::create(&unfinished)?;
        reached(FailPoint::FileBegun, path);
        Ok(Self { file, path: path.to_owned(), unfinished, in_place: false })
    }

    /// Makes what was written durable, and then its name.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        self.file.flush()?;
        reached(FailPoint::FileWritten, &self.path);
        self.file.sync_all()?;
        reached(FailPoint::FileSynced, &self.path);
        fs::rename(&self.unfinished, &self.path)?;
        self.in_place = true;
        reached(FailPoint::FileRenamed, &self.path);
        self.path.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.in_place {
            // Ignored: what went wrong was told already, and the next start deletes the file too.
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}

fn unfinished_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Deletes a file if it is there.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Files of a folder by name, in order of names.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    files.sort();
    Ok(files)
}

/// Bytes of all files under a folder. Files that vanish meanwhile count nothing.
pub(crate) fn bytes_under(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_under(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Bytes that the disk of a folder has left for us; `None` where that cannot be told.
pub(crate) fn free_bytes(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replacement_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace_file(&path, |file| file.write_all(b"old")).unwrap();
        let failed = replace_file(&path, |file| {
            file.write_all(b"new")?;
            Err(io::Error::from(ErrorKind::StorageFull))
        });
        assert!(is_full(&failed.unwrap_err()));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(list(dir.path()).unwrap().len(), 1);
        assert_eq!(bytes_under(dir.path()), 3);
    }
}
