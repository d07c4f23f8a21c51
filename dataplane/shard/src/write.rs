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
use crate::fail::{FailPoint, reached};
use crate::limits::{FLUSH_RETRY, GROUP_BYTES, MAX_FROZEN, QUEUE_OPS};
use crate::shared::Shared;
use crate::wal::{AppendError, Kind, Record, Wal};

/// Answers one write.
pub(crate) type Reply = oneshot::Sender<Result<WriteAck, ShardError>>;

/// An op on its way into the log.
pub(crate) struct Pending {
    pub(crate) bytes: Bytes,
    /// What the bytes decode to, checked.
    pub(crate) op: Op,
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
    wal: Wal,
    queue: mpsc::Receiver<Pending>,
    /// Encoded records of a group; kept for its room.
    buffer: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, wal: Wal, queue: mpsc::Receiver<Pending>) -> Self {
        Self { shared, wal, queue, buffer: Vec::new() }
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
        // 1. Each op takes its place in the log.
        let first_seq = self.encode(&group);
        let last_seq = first_seq + group.len() as u64 - 1;
        // 2. Into the file. A full disk leaves nothing behind, so it is an answer and not an end.
        match self.wal.append(&self.buffer, last_seq) {
            Ok(()) => self.shared.progress.appended(last_seq),
            Err(AppendError::Full(error)) => {
                return refuse(group, &self.shared.disk_full(&error.to_string()));
            }
            Err(AppendError::Broken(error)) => {
                env::fatal(&format!("the log could not be written: {error}"))
            }
        }
        reached(FailPoint::LogAppended, &self.shared.dir);
        // 3. Onto the disk. After a failed sync nobody knows what is there; only a restart can find out.
        let begun = env::now();
        if let Err(error) = self.wal.sync() {
            env::fatal(&format!("the log could not be synced: {error}"));
        }
        self.shared.sync_clock.record(begun.elapsed());
        self.shared.progress.synced(last_seq);
        reached(FailPoint::LogSynced, &self.shared.dir);
        // 4. Committed: durable on a quorum of voters, and this is the only one.
        let commit_seq = self.commit(last_seq);
        debug_assert_eq!(commit_seq, last_seq);
        // 5. Those who do not wait for visibility have their answer.
        acknowledge_durable(&mut group, first_seq);
        // 6. Applied, and visible to every read that begins from here on.
        let outcomes = self.apply(&group, first_seq);
        // 7. The others have theirs.
        for ((pending, seq), outcome) in group.into_iter().zip(first_seq..).zip(outcomes) {
            // A caller that went away needs no answer.
            let _ = pending.reply.send(outcome.map(|()| WriteAck { seq, visible: true }));
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

    /// Encodes a group's records into the buffer; returns the first seq.
    fn encode(&mut self, group: &[Pending]) -> u64 {
        let first_seq = self.wal.last_seq() + 1;
        self.buffer.clear();
        // One huge group must not hold its room for ever.
        self.buffer.shrink_to(2 * GROUP_BYTES);
        for ((pending, seq), place_in_group) in group.iter().zip(first_seq..).zip(0..) {
            let record = Record {
                kind_number: Kind::Op as u8,
                place_in_group,
                // A single voter has one term for ever.
                epoch: 0,
                nonce: 0,
                seq,
                client_id: pending.origin.client_id,
                op_id: pending.origin.op_id,
                body: &pending.bytes,
            };
            record.encode(self.shared.disk_id, &mut self.buffer);
        }
        first_seq
    }

    /// The seq up to which the log is committed, given how far it is durable here.
    fn commit(&self, durable_seq: u64) -> u64 {
        durable_seq
    }

    /// Applies a group and publishes the view.
    fn apply(&mut self, group: &[Pending], first_seq: u64) -> Vec<Result<(), ShardError>> {
        let shared = &*self.shared;
        let mut state = env::lock(&shared.state);
        let mut froze = false;
        let mut outcomes = Vec::with_capacity(group.len());
        for (pending, seq) in group.iter().zip(first_seq..) {
            let applied = state.view.apply(seq, &pending.op, pending.bytes.len() as u64);
            outcomes.push(match applied {
                Ok(None) => Ok(()),
                Ok(Some(refused)) => Err(ShardError::Invalid(refused.0)),
                Err(damage) => Err(shared.report_damage(damage)),
            });
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
            match self.wal.rotate() {
                Ok(()) => {}
                // The old file stays in use; what is flushed is dropped later.
                Err(AppendError::Full(error)) => {
                    tracing::warn!(shard = shared.identity.shard, %error, "the log could not begin a new file");
                }
                Err(AppendError::Broken(error)) => {
                    env::fatal(&format!("the log could not begin a new file: {error}"))
                }
            }
        }
        outcomes
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
