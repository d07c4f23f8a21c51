//! Strong reads (R9): they see all that was acknowledged before they came, wherever that was.
//!
//! The answer is where the log was committed when the read came, once enough voters have confirmed, to a message that was
//! sent afterwards, that they have promised nothing later. Reads that come while several such messages are on their way share
//! the next one.

use std::collections::BTreeMap;

use super::primary::Primary;
use super::{Replica, State};
use crate::{DiskId, Effect, Members, Mistake, ReadId, Refusal, Seq};

/// Rounds of confirmation that may be under way at once: with one alone, a read that just missed it would wait for two.
const ROUNDS: usize = 4;

/// Strong reads that may wait for a round. One takes a round trip: at 50 ms of it this is 800,000 reads a second.
const MAX_READS: usize = 10_000;

/// Strong reads on a primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reads {
    rounds: Vec<Round>,
    /// They wait for a round to end.
    next: Vec<(ReadId, Seq)>,
}

/// Reads that wait to be confirmed by the same answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    reads: Vec<(ReadId, Seq)>,
    /// For each of the others, the last message that was sent before.
    sent: BTreeMap<DiskId, u64>,
}

impl Reads {
    /// All that wait.
    pub(super) fn stop(&mut self) -> Vec<ReadId> {
        let rounds = self.rounds.drain(..).flat_map(|round| round.reads);
        rounds.chain(self.next.drain(..)).map(|(id, _)| id).collect()
    }
}

impl Replica {
    pub(super) fn read(&mut self, id: ReadId) {
        let (commit, primary) = (self.commit, self.primary());
        let barrier = !self.mistakes(Mistake::NoBarrier);
        let refusal = match &mut self.state {
            State::Primary(primary) if primary.reads.next.len() >= MAX_READS => Refusal::Busy,
            State::Primary(primary) if commit >= primary.no_op || !barrier => {
                return primary.reads.next.push((id, commit));
            }
            State::Primary(_) => Refusal::NotYet,
            _ => Refusal::NotPrimary { primary },
        };
        self.outbox.push(Effect::ReadAt(id, Err(refusal)));
    }

    pub(super) fn answer_reads(&mut self) {
        let (Some(config), me) = (self.config(), self.me.disk) else { return };
        let Some(primary) = self.leading() else { return };
        let Primary { reads, peers, .. } = primary;
        let confirmed = |round: &Round| {
            let answers = |disk: DiskId| {
                let sent = round.sent.get(&disk).copied().unwrap_or(u64::MAX);
                disk == me || peers.get(&disk).is_some_and(|peer| peer.answered > sent)
            };
            let enough = |members: &Members| members.count(answers) >= members.read_quorum();
            config.sets().all(enough)
        };
        let mut answered = Vec::new();
        for round in reads.rounds.extract_if(.., |round| confirmed(round)) {
            answered.extend(round.reads);
        }
        // A replica that is a quorum alone confirms what it is asked.
        let next = Round {
            reads: std::mem::take(&mut reads.next),
            sent: peers.iter().map(|(&disk, peer)| (disk, peer.round)).collect(),
        };
        let mut ask = false;
        if confirmed(&next) {
            answered.extend(next.reads);
        } else if reads.rounds.len() >= ROUNDS {
            reads.next = next.reads;
        } else if !next.reads.is_empty() {
            reads.rounds.push(next);
            ask = true;
        }
        for (id, seq) in answered {
            self.outbox.push(Effect::ReadAt(id, Ok(seq)));
        }
        if ask {
            self.beat(true);
        }
    }
}
