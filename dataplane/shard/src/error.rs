//! Why a shard could not be opened, and the one error that reading its files gives inside.

use std::io;
use std::path::{Path, PathBuf};

/// Why a shard could not be opened. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle in this one, has the folder open.
    #[error("{} is in use by another process; stop it first, or use another data folder", .0.display())]
    InUse(PathBuf),
    /// The disk holds something else.
    #[error(
        "{} holds {found}, but {wanted} was asked for; attach the disk that belongs to it, or start on an empty one",
        .dir.display()
    )]
    WrongIdentity {
        /// The shard's folder.
        dir: PathBuf,
        /// What its identity file says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// There is no shard where one is known to be. Nothing was changed.
    #[error("{} is missing or empty, and its points with it; restore the folder from a backup, or delete the collection", .0.display())]
    Missing(PathBuf),
    /// The folder holds a part of a snapshot: restoring it was cut short. Nothing was changed.
    #[error("{} holds only a part of a snapshot, because restoring it was cut short; restore it again", .0.display())]
    HalfRestored(PathBuf),
    /// A file is damaged. Nothing was changed.
    #[error("{} is damaged: {detail}; restore the shard from a replica or a backup", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where, and what is wrong.
        detail: String,
    },
    /// The disk contradicts what was committed. Nothing was changed.
    #[error("{} is in quarantine: {why}; replace this replica's disk by an empty one, and keep the old one to look into it", .dir.display())]
    Quarantined {
        /// The shard's folder.
        dir: PathBuf,
        /// What was found.
        why: String,
    },
    /// A file was written by a newer version.
    #[error("{} was written by a newer version of shoal ({detail}); run that version or a later one", .file.display())]
    TooNew {
        /// The file.
        file: PathBuf,
        /// What was not understood.
        detail: String,
    },
    /// The identity asked for cannot be served.
    #[error("{0}")]
    Invalid(String),
    /// The system refused an operation.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn corrupt(file: &Path, detail: impl Into<String>) -> Self {
        OpenError::Corrupt { file: file.to_owned(), detail: detail.into() }
    }

    pub(crate) fn too_new(file: &Path, detail: impl Into<String>) -> Self {
        OpenError::TooNew { file: file.to_owned(), detail: detail.into() }
    }

    /// For `map_err`: names the path an operation was about.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| OpenError::Io { path: path.to_owned(), source }
    }

    /// Whether the cause is a full disk, which passes, and not damage, which does not.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, OpenError::Io { source, .. } if crate::disk::is_full(source))
    }
}
