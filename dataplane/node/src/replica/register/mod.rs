//! Where the register of a shard is kept, and beside it the replicas' addresses.
//!
//! Invariant: a register is only ever changed by a swap that names the version it was read in, and that is done only if the
//! register still is what it was then: also where it was deleted or an older one was put back in its place meanwhile.

pub mod file;
pub mod founding;
mod keep;
pub mod kube;
mod text;

use std::path::PathBuf;

use async_trait::async_trait;
use shoal_consensus::{CasOutcome, DiskId, Register, Version};
use tokio::sync::watch;

pub use keep::keep_announced;

/// A register as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What a swap names.
    pub version: Version,
    /// What it says.
    pub register: Register,
}

/// What a replica says about itself. It decides nothing but whether a shard is founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its name among the shard's replicas, such as `r0`.
    pub name: String,
    /// Its disk.
    pub disk: DiskId,
    /// `HOST:PORT` where the others reach it.
    pub address: String,
    /// Whether the disk holds nothing: no entry and no promise. A replica says that it no longer does before it writes the
    /// first of them. From then on it is not believed to be blank, whatever arrives late or is said after a crash.
    pub blank: bool,
}

/// All that is kept, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The register; `None` if there is none.
    pub stored: Option<Stored>,
    /// The replicas, by name.
    pub announced: Vec<Announced>,
}

impl Announced {
    /// The same of a disk that is not blank.
    #[must_use]
    pub fn not_blank(&self) -> Self {
        Self { blank: false, ..self.clone() }
    }
}

impl Seen {
    /// Where a disk is reached.
    pub fn address(&self, disk: DiskId) -> Option<&str> {
        self.announced.iter().find(|a| a.disk == disk).map(|a| a.address.as_str())
    }
}

/// Why something was not read or announced.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The file, or its lock, could not be used.
    #[error("the register {}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// What is there is no register.
    #[error(
        "the register {place} cannot be read: {detail}; put back a copy of it, or remove it to have the replicas make it anew"
    )]
    Damaged {
        /// The file or object.
        place: String,
        /// What is wrong with it.
        detail: String,
    },
    /// It was written by a newer version.
    #[error(
        "the register {place} is of version {found}, this program reads up to {known}: run that version or a later one"
    )]
    TooNew {
        /// The file or object.
        place: String,
        /// Its version.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// Whoever keeps it did not answer, or refused.
    #[error("the register {place} cannot be reached: {detail}")]
    Unreachable {
        /// The object.
        place: String,
        /// Why.
        detail: String,
    },
}

/// Where the register of one shard is kept.
#[async_trait]
pub trait RegisterStore: Send + Sync {
    /// Reads live: from where swaps are decided.
    async fn read(&self) -> Result<Seen, RegisterError>;

    /// Changes the register if it still is of a version; creates it, if there is none, for `None`. What was announced
    /// meanwhile does not matter. `Unknown` for all that is not certain (R1), with the cause in the log.
    async fn swap(&self, from: Option<&Version>, to: &Register) -> CasOutcome;

    /// Says about a replica what it is now, in the place of what was said under its name before. It may be lost when the
    /// register is: see [`keep_announced`].
    async fn announce(&self, own: &Announced) -> Result<(), RegisterError>;

    /// The newest that was seen, which may be behind. Nothing until something was.
    fn watch(&self) -> watch::Receiver<Seen>;
}
