//! A shard without threads, for simulations: whoever opened it says when a flush or a compaction happens, and nothing else does.
//!
//! Not part of the crate's interface. The code is that of the threads, one round of it at a time, so a run that is driven from
//! one seed does the same every time. Payloads are read from segments: there is no store.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use crate::api::{Identity, ShardError, Tunings};
use crate::error::OpenError;
use crate::journal::{Journal, Recovered};
use crate::limits::Limits;
use crate::open::{self, Cache, Commits, IfNew};
use crate::shard::Shard;
use crate::shared::Shared;
use crate::{compact, env, flush};

/// See the file's comment. Holds the shard's folder.
pub struct ByHand {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for ByHand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByHand").finish_non_exhaustive()
    }
}

impl ByHand {
    /// Sets up a disk of a chosen id.
    pub fn set_up(dir: &Path, identity: &Identity, disk_id: Uuid) -> Result<(), OpenError> {
        open::set_up_closed(dir, identity, disk_id)
    }

    /// [`Shard::open_replica`], without its threads.
    pub fn open(
        dir: &Path,
        identity: Identity,
        tuning: impl Into<Tunings>,
        limits: Limits,
    ) -> Result<(Shard, Journal, Recovered, ByHand), OpenError> {
        let (tuning, commits) = (tuning.into(), Commits::Replicas);
        let (journal, recovered) =
            open::open(dir, IfNew::Refuse, identity, tuning, limits, commits, Cache::None)?;
        let shared = journal.shared.clone();
        Ok((Shard::without_threads(shared.clone()), journal, recovered, ByHand { shared }))
    }

    /// Makes a segment of the oldest that is frozen. False if nothing is.
    pub fn flush(&self) -> Result<bool, OpenError> {
        let oldest = env::lock(&self.shared.state).view.frozen.first().cloned();
        match oldest {
            Some(frozen) => flush::flush(&self.shared, &frozen, &mut None).map(|()| true),
            None => Ok(false),
        }
    }

    /// Merges segments, if some are to be. False if none are.
    pub fn compact(&self) -> Result<bool, OpenError> {
        compact::once(&self.shared)
    }

    /// Reads all segments.
    pub fn verify(&self) -> Result<(), ShardError> {
        flush::verify_all(&self.shared);
        self.shared.check_whole()
    }
}
