//! The write path: one thread takes groups of ops from a queue and carries each group through, in durability order.
//!
//! Invariant: nothing is answered with success before it is durable, nothing is visible before it is committed, and
//! nothing is applied in another order than it has in the log.

use std::sync::Arc;

use bytes::Bytes;
use shoal_vector::Op;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::api::{OpOrigin, ShardError, WriteAck};
use crate::env;
use crate::journal::{Epoch, Journal, JournalError, New, Step};
use crate::limits::{FLUSH_RETRY, GROUP_BYTES, MAX_FROZEN, QUEUE_OPS};
use crate::shared::Shared;
use crate::wal::Kind;

/// Answers one write.
pub(crate) type Reply = oneshot::Sender<Result<WriteAck, ShardError>>;

/// An op on its way into the log.
pub(crate) struct Pending {
    pub(crate) bytes: Bytes,
    /// What the bytes decode to, checked; gone once it is in the log.
    pub(crate) op: Option<Op>,
    pub(crate) origin: OpOrigin,
    /// Answer when visible, not when durable.
    pub(crate) wait: bool,
    pub(crate) reply: Reply,
    /// Room in the queue, given back when the op is done.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// The writer thread's own.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    journal: Journal,
    queue: mpsc::Receiver<Pending>,
}

impl Writer {
    pub(crate) fn new(journal: Journal, queue: mpsc::Receiver<Pending>) -> Self {
        Self { shared: journal.shared.clone(), journal, queue }
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let group = self.gather(first);
            match self.wait_for_room() {
                Ok(()) => self.write_group(group),
                Err(error) => refuse(group, &error),
            }
        }
    }

    /// Carries one group of ops through. In this order, because each step relies on the ones before it.
    fn write_group(&mut self, mut group: Vec<Pending>) {
        // 1. Each op takes its place in the log, which is in a file. A full disk leaves nothing behind, so it is an answer
        //    and not an end.
        let first_seq = self.journal.last() + 1;
        if let Err(error) = self.append(&mut group) {
            return refuse(group, &self.shared.disk_full(&error.to_string()));
        }
        // 2. Onto the disk.
        self.journal.sync();
        // 3. Committed: durable on a quorum of voters, and this is the only one.
        let commit = self.journal.last();
        // 4. Those who do not wait for visibility have their answer.
        acknowledge_durable(&mut group, first_seq);
        // 5. Applied, and visible to every read that begins from here on.
        let mut refused = match self.journal.apply_group(commit) {
            Ok(applied) => applied.refused.into_iter().peekable(),
            Err(error) => return refuse(group, &self.failed(error)),
        };
        // 6. The others have theirs.
        for (pending, seq) in group.into_iter().zip(first_seq..) {
            let outcome = match refused.next_if(|(refused, _)| *refused == seq) {
                Some((_, error)) => Err(error),
                None => Ok(WriteAck { seq, visible: true }),
            };
            // A caller that went away needs no answer.
            let _ = pending.reply.send(outcome);
        }
    }

    /// Appends a group's ops to the log. The error is that of a full disk.
    fn append(&mut self, group: &mut [Pending]) -> std::io::Result<()> {
        let mut new = Vec::with_capacity(group.len());
        for pending in group {
            // A single voter has one term for ever.
            let (epoch, origin, kind) = (Epoch::default(), pending.origin, Kind::Op);
            let step = pending.op.take().map_or(Step::NoOp, Step::Op);
            new.push(New { epoch, origin, kind, body: &pending.bytes, step });
        }
        self.journal.append_new(new)
    }

    fn failed(&self, error: JournalError) -> ShardError {
        match error {
            JournalError::Damage(error) => error,
            other => self.shared.unavailable(&other.to_string()),
        }
    }

    /// What is waiting behind `first`, up to the size of a group.
    fn gather(&mut self, first: Pending) -> Vec<Pending> {
        let mut bytes = first.bytes.len();
        let mut group = vec![first];
        while bytes < GROUP_BYTES
            && group.len() < QUEUE_OPS
            && let Ok(next) = self.queue.try_recv()
        {
            bytes += next.bytes.len();
            group.push(next);
        }
        group
    }

    /// Waits while too much is unflushed. If that is so because flushes fail, says why instead.
    fn wait_for_room(&self) -> Result<(), ShardError> {
        let shared = &*self.shared;
        let mut state = env::lock(&shared.state);
        shared.check_whole()?;
        while state.view.frozen.len() >= MAX_FROZEN {
            // Damage ends flushing, so there will be no room.
            shared.check_whole()?;
            if let Some(failure) = &state.flush_failure {
                return Err(match failure.disk_full {
                    true => shared.disk_full(&failure.detail),
                    false => shared.unavailable(&failure.detail),
                });
            }
            if shared.is_stopping() {
                return Err(shared.unavailable("it is stopping"));
            }
            state = env::wait_for(&shared.changed, state, FLUSH_RETRY);
        }
        Ok(())
    }
}

fn acknowledge_durable(group: &mut [Pending], first_seq: u64) {
    for (pending, seq) in group.iter_mut().zip(first_seq..) {
        if !pending.wait {
            // The op still has to be applied, so it stays in the group with a reply that leads nowhere.
            let answered = std::mem::replace(&mut pending.reply, oneshot::channel().0);
            let _ = answered.send(Ok(WriteAck { seq, visible: false }));
        }
    }
}

fn refuse(group: Vec<Pending>, error: &ShardError) {
    for pending in group {
        let _ = pending.reply.send(Err(error.clone()));
    }
}
