//! The log of a shard as whoever decides about it sees it: entries are appended, made durable, cut again if another
//! primary says otherwise, and applied once they are committed. It decides nothing itself.
//!
//! One thread owns it. A shard without replicas is written by `write.rs`, which commits what is durable; replicas are
//! driven from outside the crate.
//!
//! Invariants: `applied <= durable <= last`; nothing at or below `applied` is ever cut; entries are applied in their
//! order; what is not applied waits here, all of it.

mod cut;
mod entry;
mod files;
mod mending;
mod read;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_vector::Op;

pub use self::cut::CutOps;
pub(crate) use self::cut::{Aside, is_aside};
pub use self::entry::{Entry, Epoch, Position, RecentOp, Recovered, What};
pub(crate) use self::files::{COMMIT, read_commit, read_promise, refuse_quarantined, write_commit};
use self::files::{Promised, quarantined};
use self::read::Cursor;
pub(crate) use self::read::entry as entry_of;
use crate::api::{OpOrigin, ShardError};
use crate::codec::decode_op;
use crate::env;
use crate::fail::{FailPoint, Mistake, makes, reached};
use crate::limits::{COMMIT_NOTE, GROUP_BYTES, MAX_FROZEN};
use crate::log_state::LogState;
use crate::shared::Shared;
use crate::sync_times::SyncClock;
use crate::view::View;
use crate::wal::{AppendError, Kind, Place, Record, Wal};

/// Why the journal did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No room. Nothing was written; it may be tried again.
    #[error("the disk is full: {0}")]
    Full(String),
    /// It would undo what was applied: this disk and whoever said so do not agree about what was committed.
    #[error("{0}")]
    Contradiction(String),
    /// An entry is of a newer program.
    #[error("seq {seq}: {detail}; upgrade this replica")]
    TooNew {
        /// The entry.
        seq: u64,
        /// What was not understood.
        detail: String,
    },
    /// The shard's files are damaged.
    #[error(transparent)]
    Damage(ShardError),
}

/// What an entry that waits to be applied will do.
pub(crate) enum Step {
    /// An op, decoded.
    Op(Op),
    /// An op as it lies in the log.
    Encoded(bytes::Bytes),
    NoOp,
    Config(bytes::Bytes),
}

/// An entry on its way into the log.
pub(crate) struct New<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) origin: OpOrigin,
    pub(crate) kind: Kind,
    pub(crate) body: &'a [u8],
    pub(crate) step: Step,
}

/// An entry in the log that is not applied yet.
pub(crate) struct Waiting {
    pub(crate) seq: u64,
    pub(crate) epoch: Epoch,
    pub(crate) origin: OpOrigin,
    /// Bytes of its body.
    pub(crate) bytes: u64,
    /// Where it begins.
    pub(crate) place: Place,
    pub(crate) step: Step,
}

/// What applying came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Ops that had no effect, and why.
    pub refused: Vec<(u64, ShardError)>,
}

/// See the module's comment.
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wal: Wal,
    waiting: VecDeque<Waiting>,
    waiting_bytes: u64,
    /// Encoded records of a group; kept for its room.
    buffer: Vec<u8>,
    /// Counts cuts: a sync that was begun before one says nothing about what came after it.
    cuts: u64,
    cursor: Option<Cursor>,
    noted: Option<std::time::Instant>,
    /// The newest epoch that was promised.
    promised: Epoch,
    aside: Aside,
}

/// A sync to be made, on any thread. While it runs the journal may be appended to.
pub struct Sync {
    file: Arc<std::fs::File>,
    shared: Arc<Shared>,
    last: u64,
    cuts: u64,
}

/// A sync that was made.
#[derive(Clone, Copy, Debug)]
pub struct Synced {
    last: u64,
    cuts: u64,
}

impl Sync {
    /// Blocks until the disk has it. A failed sync ends the process: nobody knows then what is there, and only a restart
    /// can find out.
    pub fn run(self) -> Synced {
        sync(&self.shared.sync_clock, || self.file.sync_data());
        Synced { last: self.last, cuts: self.cuts }
    }
}

fn sync(clock: &SyncClock, sync: impl FnOnce() -> std::io::Result<()>) {
    let begun = env::now();
    if let Err(error) = sync() {
        env::fatal(&format!("the log could not be synced: {error}"));
    }
    clock.record(begun.elapsed());
}

impl Journal {
    pub(crate) fn new(
        shared: Arc<Shared>,
        wal: Wal,
        waiting: VecDeque<Waiting>,
        promised: Epoch,
        aside: Aside,
    ) -> Self {
        let waiting_bytes = waiting.iter().map(|entry| entry.bytes).sum();
        let (buffer, cursor, noted) = (Vec::new(), None, None);
        Self {
            shared,
            wal,
            waiting,
            waiting_bytes,
            buffer,
            cuts: 0,
            cursor,
            noted,
            promised,
            aside,
        }
    }

    /// Seq of the last entry.
    pub fn last(&self) -> u64 {
        self.wal.last_seq()
    }

    /// Seq of the last entry that is durable.
    pub fn durable(&self) -> u64 {
        self.shared.progress.read().durable
    }

    /// Seq of the last entry that was applied.
    pub fn applied(&self) -> u64 {
        self.waiting.front().map_or(self.last(), |first| first.seq - 1)
    }

    /// Bytes of entries that are not applied.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Seq of the last entry that is in no file of the log any more.
    pub fn trimmed(&self) -> u64 {
        self.shared.progress.trimmed()
    }

    /// Appends entries right behind the last one, in one write. They are not durable before they are synced. A full disk
    /// leaves nothing of them.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        debug_assert!(entries.first().is_none_or(|first| first.at.seq == self.last() + 1));
        debug_assert!(entries.is_sorted_by(|a, b| a.at.seq + 1 == b.at.seq), "consecutive");
        let new = entries.iter().map(|entry| {
            let (origin, kind, body, step) = match &entry.what {
                What::NoOp => (OpOrigin::default(), Kind::NoOp, &[][..], Step::NoOp),
                What::Config(body) => {
                    (OpOrigin::default(), Kind::Config, &body[..], Step::Config(body.clone()))
                }
                What::Op { client_id, op_id, body } => {
                    let origin = OpOrigin { client_id: *client_id, op_id: *op_id };
                    (origin, Kind::Op, &body[..], Step::Encoded(body.clone()))
                }
            };
            New { epoch: entry.at.epoch, origin, kind, body, step }
        });
        let new: Vec<New<'_>> = new.collect();
        self.append_new(new).map_err(|error| JournalError::Full(error.to_string()))
    }

    /// The same for entries that take their seqs here. The error is that of a full disk.
    pub(crate) fn append_new(&mut self, group: Vec<New<'_>>) -> std::io::Result<()> {
        self.buffer.clear();
        // One huge group must not hold its room for ever.
        self.buffer.shrink_to(2 * GROUP_BYTES);
        let (first, place) = (self.last() + 1, self.wal.end());
        // What was durable when a record was written tells a torn write from damage; see `wal/record.rs`.
        let durable = self.shared.progress.read().durable;
        let mut waiting = Vec::with_capacity(group.len());
        for (New { epoch, origin, kind, body, step }, seq) in group.into_iter().zip(first..) {
            let place = Place { offset: place.offset + self.buffer.len() as u64, ..place };
            let record = Record {
                kind_number: kind as u8,
                place_in_group: u32::try_from(seq - durable - 1).unwrap_or(u32::MAX),
                epoch: epoch.number,
                nonce: epoch.nonce,
                seq,
                client_id: origin.client_id,
                op_id: origin.op_id,
                body,
            };
            record.encode(self.shared.disk_id, &mut self.buffer);
            waiting.push(Waiting { seq, epoch, origin, bytes: body.len() as u64, place, step });
        }
        let last = first + waiting.len() as u64 - 1;
        match self.wal.append(&self.buffer, last) {
            Ok(()) => {}
            Err(AppendError::Full(error)) => return Err(error),
            Err(AppendError::Broken(error)) => {
                env::fatal(&format!("the log could not be written: {error}"))
            }
        }
        self.shared.progress.appended(last);
        self.waiting_bytes += waiting.iter().map(|entry| entry.bytes).sum::<u64>();
        self.waiting.extend(waiting);
        reached(FailPoint::LogAppended, &self.shared.dir);
        Ok(())
    }

    /// Makes all that was appended durable. Blocks.
    pub fn sync(&mut self) {
        let last = self.last();
        if self.shared.progress.read().durable < last {
            sync(&self.shared.sync_clock, || self.wal.sync());
            self.shared.progress.synced(last);
            reached(FailPoint::LogSynced, &self.shared.dir);
        }
    }

    /// The sync by which all that was appended so far becomes durable, if there is need for one.
    pub fn begin_sync(&self) -> Option<Sync> {
        let last = self.last();
        (self.shared.progress.read().durable < last).then(|| Sync {
            file: self.wal.file(),
            shared: self.shared.clone(),
            last,
            cuts: self.cuts,
        })
    }

    /// Takes note of a sync that was made.
    pub fn synced(&mut self, synced: Synced) {
        let counts = synced.cuts == self.cuts || makes(Mistake::SyncAcrossCut);
        let last = synced.last.min(self.last());
        if counts && last > self.shared.progress.read().durable {
            self.shared.progress.synced(last);
            reached(FailPoint::LogSynced, &self.shared.dir);
        }
    }

    /// Takes all entries behind a seq out of the log, durably, and keeps them aside. What was applied is never cut.
    pub fn cut(&mut self, after: u64) -> Result<(), JournalError> {
        if after < self.applied() {
            let (first, applied) = (after + 1, self.applied());
            return Err(JournalError::Contradiction(format!(
                "entry {first} is to be cut, and entries up to {applied} were applied"
            )));
        }
        let kept = self.waiting.partition_point(|entry| entry.seq <= after);
        let Some(place) = self.waiting.get(kept).map(|first| first.place) else { return Ok(()) };
        self.keep_aside(kept);
        if let Err(error) = self.wal.cut(place, after) {
            env::fatal(&format!("the log could not be cut: {error}"));
        }
        self.waiting_bytes -= self.waiting.drain(kept..).map(|entry| entry.bytes).sum::<u64>();
        (self.cuts, self.cursor) = (self.cuts + 1, None);
        self.shared.progress.cut(after);
        Ok(())
    }

    /// Promises to take nothing of an earlier epoch, durably, and makes durable what was appended before. Blocks.
    pub fn promise(&mut self, epoch: Epoch) -> Result<(), JournalError> {
        self.sync();
        let shared = &self.shared;
        files::write_promise(&shared.dir, shared.disk_id, Promised(epoch)).map_err(|error| {
            match error.is_disk_full() {
                true => JournalError::Full(error.to_string()),
                false => env::fatal(&format!("a promise could not be written: {error}")),
            }
        })?;
        self.promised = epoch;
        Ok(())
    }

    /// Writes down that this disk contradicts what was committed: it opens no more.
    pub fn quarantine(&self, why: &str) {
        if let Err(error) = quarantined(&self.shared.dir, self.shared.disk_id, why) {
            tracing::error!(shard = self.shared.identity.shard, %error, "the quarantine is not written down");
        }
    }

    /// Whether there is room to apply more. If flushes fail, says why there is none.
    pub fn has_room(&self) -> Result<bool, ShardError> {
        let shared = &*self.shared;
        shared.check_whole()?;
        let state = env::lock(&shared.state);
        match &state.flush_failure {
            _ if state.view.frozen.len() < MAX_FROZEN => Ok(true),
            None => Ok(false),
            Some(failure) if failure.disk_full => Err(shared.disk_full(&failure.detail)),
            Some(failure) => Err(shared.unavailable(&failure.detail)),
        }
    }

    /// Applies what is committed up to a seq and durable here, as far as there is room, and shows it to readers.
    pub fn apply(&mut self, commit: u64) -> Result<Applied, JournalError> {
        let durable = self.shared.progress.read().durable;
        self.apply_as_far(commit.min(durable), MAX_FROZEN)
    }

    /// The same for a group that there is room for.
    pub(crate) fn apply_group(&mut self, commit: u64) -> Result<Applied, JournalError> {
        self.apply_as_far(commit, usize::MAX)
    }

    fn apply_as_far(&mut self, commit: u64, most_frozen: usize) -> Result<Applied, JournalError> {
        let shared = self.shared.clone();
        let (mut applied, mut froze) = (Applied::default(), false);
        if self.waiting.front().is_none_or(|first| first.seq > commit) {
            return Ok(applied);
        }
        let mut state = env::lock(&shared.state);
        while self.waiting.front().is_some_and(|next| next.seq <= commit)
            && state.view.frozen.len() < most_frozen
            && let Some(next) = self.waiting.pop_front()
        {
            self.waiting_bytes -= next.bytes;
            let seq = next.seq;
            if let Some(refused) = apply_one(&shared, &mut state.view, next)? {
                applied.refused.push((seq, refused));
            }
            if shared.limits.is_full(&state.view.mutable) {
                state.view.freeze();
                froze = true;
            }
        }
        state.view.index_payloads();
        shared.publish(&state);
        if froze {
            shared.changed.notify_all();
        }
        drop(state);
        reached(FailPoint::LogApplied, &shared.dir);
        if froze || self.wal.file_len() >= shared.limits.wal_file_bytes {
            self.rotate();
        }
        Ok(applied)
    }

    /// Begins another file, after all of this one is synced.
    fn rotate(&mut self) {
        self.sync();
        match self.wal.rotate() {
            Ok(()) => {}
            // The old file stays in use; what is flushed is dropped later.
            Err(AppendError::Full(error)) => {
                tracing::warn!(shard = self.shared.identity.shard, %error, "the log could not begin a new file");
            }
            Err(AppendError::Broken(error)) => {
                env::fatal(&format!("the log could not begin a new file: {error}"))
            }
        }
    }

    /// Notes now and then up to where the log was applied, so that the next start shows as much at once. It may be lost.
    pub fn note_commit(&mut self) {
        let now = env::now();
        if self.noted.is_some_and(|noted| now.duration_since(noted) < COMMIT_NOTE) {
            return;
        }
        self.noted = Some(now);
        self.note_commit_now();
    }

    /// The same, whenever the last was.
    pub fn note_commit_now(&mut self) {
        let applied = self.applied();
        if let Err(error) = write_commit(&self.shared.dir, self.shared.disk_id, applied) {
            tracing::debug!(shard = self.shared.identity.shard, %error, "what is committed is not noted");
        }
    }

    /// Entries from a seq on, of at most so many bytes but at least one, as far as they are in the log's files.
    pub fn read(&mut self, from: u64, bytes: usize) -> std::io::Result<Vec<Entry>> {
        let (last, disk_id) = (self.last(), self.shared.disk_id);
        read::read(self.wal.dir(), disk_id, &mut self.cursor, from, last, bytes)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("last", &self.last()).finish_non_exhaustive()
    }
}

/// Applies one entry; `Some` is why it had no effect.
fn apply_one(
    shared: &Shared,
    view: &mut View,
    entry: Waiting,
) -> Result<Option<ShardError>, JournalError> {
    let Waiting { seq, epoch, origin, bytes, step, .. } = entry;
    let op = match step {
        Step::Op(op) => op,
        Step::Encoded(body) => decode_op(&body)
            .map_err(|error| JournalError::TooNew { seq, detail: error.to_string() })?,
        Step::NoOp => {
            view.pass(seq, bytes);
            view.log.epoch = epoch;
            return Ok(None);
        }
        Step::Config(body) => {
            view.pass(seq, bytes);
            view.log = LogState { epoch, config: Some((seq, body)), ..view.log.clone() };
            return Ok(None);
        }
    };
    let applied = view.apply(seq, &op, bytes);
    view.log.epoch = epoch;
    let (client_id, op_id) = (origin.client_id, origin.op_id);
    view.log.passed_op(RecentOp { client_id, op_id, seq }, epoch);
    match applied {
        Ok(None) => Ok(None),
        Ok(Some(refused)) => Ok(Some(ShardError::Invalid(refused.0))),
        Err(damage) => Err(JournalError::Damage(shared.report_damage(damage))),
    }
}
