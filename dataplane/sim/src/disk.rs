//! A disk: what is durable on it, and what a crash may lose.

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;
use shoal_consensus::{
    Config, DiskId, Entry, Epoch, Position, RECENT_OPS, Recent, Restored, Seq, Ticket, What, Write,
};

/// See the file's comment.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) id: DiskId,
    pub(crate) promised: Epoch,
    /// All entries from seq 1 on, also those that a replica does not know any more because they are flushed.
    pub(crate) log: Vec<Entry>,
    /// Flushed up to here.
    pub(crate) flushed: Seq,
    /// Ops at or below that are still recognised: kept beside what is flushed.
    pub(crate) recent: Vec<Recent>,
    pending: VecDeque<(Ticket, Write)>,
}

impl Disk {
    pub(crate) fn blank(id: DiskId) -> Self {
        Self {
            id,
            promised: Epoch::NONE,
            log: Vec::new(),
            flushed: 0,
            recent: Vec::new(),
            pending: VecDeque::new(),
        }
    }

    pub(crate) fn write(&mut self, ticket: Ticket, write: Write) {
        self.pending.push_back((ticket, write));
    }

    /// Makes all that was written durable; the last ticket of it.
    pub(crate) fn sync(&mut self) -> Option<Ticket> {
        let last = self.pending.back().map(|&(ticket, _)| ticket);
        while let Some((_, write)) = self.pending.pop_front() {
            self.carry_out(write);
        }
        last
    }

    /// A crash: of what was not synced, some first part is there anyway.
    pub(crate) fn crash(&mut self, random: &mut StdRng) {
        let kept = random.random_range(0..=self.pending.len());
        for (_, write) in self.pending.drain(..).take(kept).collect::<Vec<_>>() {
            self.carry_out(write);
        }
    }

    fn carry_out(&mut self, write: Write) {
        match write {
            Write::Promise(epoch) => self.promised = epoch,
            Write::Append(entries) => {
                assert!(entries.first().is_none_or(|e| e.at.seq == self.log.len() as u64 + 1));
                self.log.extend(entries);
            }
            Write::Cut(after) => self.log.truncate(after as usize),
        }
    }

    /// A snapshot takes the place of all there is.
    pub(crate) fn install(&mut self, entries: &[Entry], recent: &[Recent]) {
        assert!(self.pending.is_empty(), "what was written before is durable");
        self.log = entries.to_vec();
        self.flushed = entries.len() as u64;
        self.recent = recent.to_vec();
    }

    /// Puts all up to a seq, which is applied, where it outlives the log, with the ops in it that are to be recognised.
    pub(crate) fn flush(&mut self, to: Seq) {
        let flushed = self.log.get(self.flushed as usize..to as usize).unwrap_or_default();
        self.recent.extend(flushed.iter().filter_map(Recent::of));
        self.recent.retain(|op| op.seq + RECENT_OPS > to);
        self.flushed = to;
    }

    /// What a replica finds when it starts.
    pub(crate) fn restored(&self) -> Restored {
        let flushed = self.flushed as usize;
        Restored {
            base: self.position(self.flushed),
            config: self.config(flushed),
            entries: self.log.get(flushed..).unwrap_or_default().to_vec(),
            recent: self.recent.clone(),
        }
    }

    pub(crate) fn position(&self, seq: Seq) -> Position {
        let entry = seq.checked_sub(1).and_then(|at| self.log.get(at as usize));
        entry.map_or(Position::default(), |entry| entry.at)
    }

    /// The newest configuration among the first entries.
    pub(crate) fn config(&self, of: usize) -> Option<(Seq, Config)> {
        let entries = self.log.get(..of).unwrap_or_default();
        entries.iter().rev().find_map(|entry| match &entry.what {
            What::Config(config) => Some((entry.at.seq, config.clone())),
            _ => None,
        })
    }
}
