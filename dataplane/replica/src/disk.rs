//! Carrying out a replica's writes to its disk, in their order, with as few syncs as can be.
//!
//! Writes wait in a queue until there is room on the disk. A sync runs on a thread of its own; what is appended meanwhile is
//! of the next. Invariant: a ticket is told to be durable only when all writes up to it are.

use std::collections::VecDeque;

use shoal_consensus::{Entry, Log, Position, Seq, Ticket, Write};
use shoal_shard::fail::{Mistake, makes};
use shoal_shard::journal::{Journal, JournalError, Sync, Synced};

use crate::convert::{self, ConfigError};

/// See the file's comment. Invariant: `durable <= appended`.
#[derive(Debug)]
pub struct Disk {
    /// Gone only while a snapshot takes its place, which nothing else happens beside.
    journal: Option<Journal>,
    queue: VecDeque<(Ticket, Write)>,
    /// Writes up to this one are in files.
    appended: Ticket,
    /// Writes up to this one are durable.
    durable: Ticket,
    syncing: bool,
    /// The sync that is under way is of a journal that was replaced.
    stale: bool,
    syncer: std::sync::mpsc::Sender<(Ticket, Sync)>,
    /// Why the first of the queue cannot be carried out yet.
    full: Option<String>,
    /// The rules know that the log begins behind this.
    trimmed: Seq,
}

/// Why the log could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// The disk refused, or holds what is no entry.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Members that are not understood.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Disk {
    /// On an open journal. Syncs go out through `syncer`; what came of each is told to [`synced`](Self::synced).
    pub fn new(journal: Journal, syncer: std::sync::mpsc::Sender<(Ticket, Sync)>) -> Self {
        let (queue, full, trimmed) = (VecDeque::new(), None, journal.trimmed());
        Self {
            journal: Some(journal),
            queue,
            appended: 0,
            durable: 0,
            syncing: false,
            stale: false,
            syncer,
            full,
            trimmed,
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "where a snapshot does not take its place, the process ends"
    )]
    /// The log itself. Between [`close`](Self::close) and [`open`](Self::open) there is none, and the process ends.
    pub fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().expect("the journal is there")
    }

    /// Lets go of the journal, and with it of its folder.
    pub fn close(&mut self) {
        self.journal = None;
        // The sync that is under way says nothing about the next.
        self.stale = self.syncing;
    }

    /// Goes on with another journal, which holds all that the one before was told.
    pub fn open(&mut self, journal: Journal) {
        self.trimmed = journal.last();
        self.journal = Some(journal);
    }

    /// The position up to which the log is newly gone, if some of it is.
    pub fn newly_trimmed(&mut self, log: &Log) -> Option<Position> {
        let seq = self.journal().trimmed();
        let epoch = log.epoch_at(seq).filter(|_| seq > self.trimmed)?;
        self.trimmed = seq;
        Some(Position { epoch, seq })
    }

    /// Entries from a seq on, of at most so many bytes but at least one; none if they are in no file.
    pub fn read_back(&mut self, from: Seq, bytes: usize) -> Result<Vec<Entry>, ReadBackError> {
        let entries = self.journal().read(from, bytes)?;
        let entries = entries.into_iter().map(convert::entry_from_disk);
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// Takes a write that is to be carried out after those before it.
    pub fn push(&mut self, ticket: Ticket, write: Write) {
        self.queue.push_back((ticket, write));
    }

    /// Whether nothing waits to be written.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Why nothing more can be written at the moment.
    pub fn full(&self) -> Option<&str> {
        self.full.as_deref()
    }

    /// Carries out what waits, as far as there is room, and begins a sync. What became durable on the way, if anything did.
    pub fn work(&mut self) -> Result<Option<Ticket>, JournalError> {
        let before = self.durable;
        self.full = None;
        match self.carry_out() {
            Ok(()) => {}
            Err(JournalError::Full(detail)) => self.full = Some(detail),
            Err(error) => return Err(error),
        }
        self.begin_sync();
        Ok((self.durable > before).then_some(self.durable))
    }

    fn carry_out(&mut self) -> Result<(), JournalError> {
        while let Some((ticket, next)) = self.queue.front() {
            let ticket = *ticket;
            match *next {
                Write::Append(_) => {
                    self.append()?;
                    continue;
                }
                Write::Cut(after) => self.journal().cut(after)?,
                Write::Promise(epoch) => {
                    self.journal().promise(convert::epoch_to_disk(epoch))?;
                    self.durable = ticket;
                }
            }
            self.queue.pop_front();
            self.appended = ticket;
        }
        Ok(())
    }

    /// Appends all entries that are next, in one write.
    fn append(&mut self) -> Result<(), JournalError> {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut count, mut last) = (0, self.appended);
        for (ticket, write) in &self.queue {
            let Write::Append(more) = write else { break };
            entries.extend(more.iter().cloned());
            (count, last) = (count + 1, *ticket);
        }
        let entries: Vec<_> = entries.into_iter().map(convert::entry_to_disk).collect();
        self.journal().append(&entries)?;
        self.queue.drain(..count);
        self.appended = last;
        Ok(())
    }

    fn begin_sync(&mut self) {
        if self.syncing || self.durable == self.appended {
            return;
        }
        match self.journal().begin_sync() {
            // Its end is told as an event. Nobody takes it only where the process ends.
            Some(sync) => {
                self.syncing = self.syncer.send((self.appended, sync)).is_ok();
                if makes(Mistake::DurableTooSoon) {
                    self.durable = self.appended;
                }
            }
            None => self.durable = self.appended,
        }
    }

    /// A sync ended.
    pub fn synced(&mut self, ticket: Ticket, synced: Synced) -> Ticket {
        self.syncing = false;
        if !std::mem::take(&mut self.stale) {
            self.journal().synced(synced);
            self.durable = self.durable.max(ticket);
        }
        self.durable
    }

    /// Carries out all that waits and makes it durable; `None` if there is no room for it. Blocks.
    pub fn drain(&mut self) -> Result<Option<Ticket>, JournalError> {
        match self.carry_out() {
            Ok(()) => {}
            Err(JournalError::Full(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        self.journal().sync();
        self.durable = self.appended;
        Ok(Some(self.durable))
    }
}

/// Syncs, one after the other, until nobody wants one any more.
pub fn sync_for_ever(
    syncs: &std::sync::mpsc::Receiver<(Ticket, Sync)>,
    done: impl Fn(Ticket, Synced) -> bool,
) {
    while let Ok((ticket, sync)) = syncs.recv() {
        if !done(ticket, sync.run()) {
            return;
        }
    }
}
