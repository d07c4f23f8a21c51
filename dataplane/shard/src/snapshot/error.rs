//! Why a snapshot was not restored, by what the caller can do.

use std::path::PathBuf;

use super::frame::StreamError;
use crate::error::OpenError;

/// Why a snapshot was not restored. Each text says what to do; the folder keeps the files that are whole.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The folder holds a shard. Nothing was changed.
    #[error("{} holds a shard already; restore into an empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// The snapshot is of other vectors than were asked for.
    #[error(
        "the snapshot holds {found}, but {wanted} was asked for; restore it for a shard of the same vectors"
    )]
    WrongVectors {
        /// What the snapshot says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The bytes are not those that were sent, or in another order.
    #[error(
        "the snapshot is damaged: {0}; send it again from the files that are held on, or take another"
    )]
    Damaged(String),
    /// The stream ended early.
    #[error(
        "the snapshot ended after {files} whole files and before its end; send it again from there on"
    )]
    Short {
        /// Files that are held.
        files: u32,
    },
    /// The stream was written by a newer version.
    #[error(
        "the snapshot is of version {found}, this program reads up to {known}; run that version or a later one"
    )]
    TooNew {
        /// The stream's version.
        found: u16,
        /// This program's.
        known: u16,
    },
    /// An earlier call failed.
    #[error("an earlier part of the snapshot was refused; begin the restore again")]
    Refused,
    /// The folder could not be used, or a restored file does not hold what a shard needs.
    #[error(transparent)]
    Disk(#[from] OpenError),
}

impl From<StreamError> for RestoreError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Damaged(detail) => RestoreError::Damaged(detail),
            StreamError::TooNew { found, known } => RestoreError::TooNew { found, known },
        }
    }
}
