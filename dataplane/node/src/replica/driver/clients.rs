//! What clients wait for: writes that are not answered, and reads that must see all that was acknowledged.

use std::collections::{BTreeMap, HashMap};

use shoal_consensus::{Answer, ProposalId, ReadId, Refusal, Seq};
use shoal_shard::api::{ShardError, WriteAck};
use tokio::sync::oneshot;

use crate::replica::handle::Write;

/// See the file's comment.
#[derive(Default)]
pub(super) struct Clients {
    next: u64,
    /// Ops that were proposed.
    writes: HashMap<ProposalId, Write>,
    /// Ops that are committed and not applied, by seq.
    committed: BTreeMap<Seq, Vec<Write>>,
    reads: HashMap<ReadId, oneshot::Sender<Result<Seq, ShardError>>>,
    /// Reads that were confirmed, and wait for a seq to be applied.
    confirmed: BTreeMap<Seq, Vec<oneshot::Sender<Result<Seq, ShardError>>>>,
}

/// What a client is told.
pub(super) struct Wording<'a> {
    pub(super) shard: &'a str,
    /// Where whoever leads is reached, if that is known.
    pub(super) primary: Option<String>,
}

impl Wording<'_> {
    fn refused(&self, refusal: Refusal) -> ShardError {
        let shard = self.shard.to_owned();
        match refusal {
            Refusal::NotPrimary { .. } => {
                ShardError::NotPrimary { shard, primary: self.primary.clone() }
            }
            Refusal::NotYet => ShardError::NotReady {
                shard,
                detail: "its primary is changing; nothing was done, retry".into(),
            },
            Refusal::Busy => ShardError::NotReady {
                shard,
                detail: "too much waits to be committed; nothing was done, retry".into(),
            },
        }
    }

    fn uncertain(&self) -> ShardError {
        ShardError::Uncertain {
            shard: self.shard.to_owned(),
            detail: "its primary changed before the write was known to be on enough replicas"
                .into(),
        }
    }
}

impl Clients {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn proposed(&mut self, write: Write) -> ProposalId {
        let id = self.id();
        self.writes.insert(id, write);
        id
    }

    pub(super) fn reading(&mut self, reply: oneshot::Sender<Result<Seq, ShardError>>) -> ReadId {
        let id = self.id();
        self.reads.insert(id, reply);
        id
    }

    /// A proposal has its answer.
    pub(super) fn answered(&mut self, id: ProposalId, answer: Answer, wording: &Wording<'_>) {
        let Some(write) = self.writes.remove(&id) else { return };
        let outcome = match answer {
            Answer::Committed(seq) if write.wait => {
                return self.committed.entry(seq).or_default().push(write);
            }
            Answer::Committed(seq) | Answer::Durable(seq) => Ok(WriteAck { seq, visible: false }),
            Answer::Refused(refusal) => Err(wording.refused(refusal)),
            Answer::Unknown => Err(wording.uncertain()),
        };
        // A caller that went away needs no answer.
        let _ = write.reply.send(outcome);
    }

    /// A read was confirmed, or was not.
    pub(super) fn confirmed(
        &mut self,
        id: ReadId,
        outcome: Result<Seq, Refusal>,
        wording: &Wording<'_>,
    ) {
        let Some(reply) = self.reads.remove(&id) else { return };
        match outcome {
            Ok(seq) => self.confirmed.entry(seq).or_default().push(reply),
            Err(refusal) => drop(reply.send(Err(wording.refused(refusal)))),
        }
    }

    /// All up to a seq is applied; these ops had no effect.
    pub(super) fn applied(&mut self, applied: Seq, refused: Vec<(Seq, ShardError)>) {
        let mut refused: HashMap<Seq, ShardError> = refused.into_iter().collect();
        while let Some(first) = self.committed.first_entry().filter(|first| *first.key() <= applied)
        {
            let (seq, writes) = first.remove_entry();
            let outcome = match refused.remove(&seq) {
                Some(error) => Err(error),
                None => Ok(WriteAck { seq, visible: true }),
            };
            for write in writes {
                let _ = write.reply.send(outcome.clone());
            }
        }
        while let Some(first) = self.confirmed.first_entry().filter(|first| *first.key() <= applied)
        {
            let (seq, replies) = first.remove_entry();
            for reply in replies {
                let _ = reply.send(Ok(seq));
            }
        }
    }
}
