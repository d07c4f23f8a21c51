//! Strong reads (R9): they see all that was acknowledged before they came, wherever that was.
//!
//! The answer is where the log was committed when the read came, once enough voters have confirmed, to a message that was
//! sent afterwards, that they have promised nothing later.

use std::collections::BTreeMap;

use super::{Replica, State};
use crate::{DiskId, Effect, Members, Mistake, ReadId, Refusal, Seq};

/// A read that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) id: ReadId,
    seq: Seq,
    /// For each of the others, the last message that was sent before.
    sent: BTreeMap<DiskId, u64>,
}

impl Replica {
    pub(super) fn read(&mut self, id: ReadId) {
        let (commit, primary) = (self.commit, self.primary());
        let barrier = !self.mistakes(Mistake::NoBarrier);
        let refusal = match &mut self.state {
            State::Primary(primary) if commit >= primary.no_op || !barrier => {
                let sent = primary.peers.iter().map(|(&disk, peer)| (disk, peer.round)).collect();
                primary.reads.push(Pending { id, seq: commit, sent });
                return self.beat(true);
            }
            State::Primary(_) => Refusal::NotYet,
            _ => Refusal::NotPrimary { primary },
        };
        self.outbox.push(Effect::ReadAt(id, Err(refusal)));
    }

    pub(super) fn answer_reads(&mut self) {
        let (Some(config), me) = (self.config(), self.me.disk) else { return };
        let Some(primary) = self.leading() else { return };
        let mut confirmed = Vec::new();
        primary.reads.retain(|read| {
            let answers = |disk: DiskId| {
                let sent = read.sent.get(&disk).copied().unwrap_or(u64::MAX);
                disk == me || primary.peers.get(&disk).is_some_and(|peer| peer.answered > sent)
            };
            let enough = |members: &Members| members.count(answers) >= members.read_quorum();
            let done = config.sets().all(enough);
            if done {
                confirmed.push((read.id, read.seq));
            }
            !done
        });
        for (id, seq) in confirmed {
            self.outbox.push(Effect::ReadAt(id, Ok(seq)));
        }
    }
}
