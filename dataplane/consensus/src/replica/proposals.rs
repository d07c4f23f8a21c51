//! Ops that clients propose: appended once, however often they come (R12), and answered when they may be (R7).

use bytes::Bytes;

use super::{Acks, Replica, State};
use crate::{Answer, Effect, Mistake, ProposalId, Refusal, Seq, What};

/// Proposals that may wait for an answer. At 100,000 ops a second this is a second of them.
const MAX_WAITING: usize = 100_000;

impl Replica {
    pub(super) fn propose(&mut self, id: ProposalId, client_id: u64, op_id: u64, body: Bytes) {
        let known = self.log.find(client_id, op_id);
        let refusal = match (&self.state, known) {
            (State::Primary(_), Some(seq)) if seq <= self.answerable() => {
                return self.answer(id, seq);
            }
            (State::Primary(primary), _) if primary.waiting.len() >= MAX_WAITING => {
                Some(Refusal::Busy)
            }
            (State::Primary(_), Some(_)) => None,
            (State::Primary(primary), None) if primary.aside.is_some() => Some(Refusal::NotYet),
            (State::Primary(_), None) if !self.is_past_barrier() => Some(Refusal::NotYet),
            (State::Primary(_), None) if self.lags() => Some(Refusal::Busy),
            (State::Primary(_), None) => None,
            _ => Some(Refusal::NotPrimary { primary: self.primary() }),
        };
        if let Some(refusal) = refusal {
            return self.outbox.push(Effect::Answer(id, Answer::Refused(refusal)));
        }
        let seq = match known {
            Some(seq) => seq,
            None => self.append_own(What::Op { client_id, op_id, body }),
        };
        if let Some(primary) = self.leading() {
            let at = primary.waiting.partition_point(|&(before, _)| before <= seq);
            primary.waiting.insert(at, (seq, id));
        }
    }

    /// R5: whether an entry of the own epoch is committed.
    fn is_past_barrier(&self) -> bool {
        match &self.state {
            State::Primary(primary) => {
                self.commit >= primary.no_op || self.mistakes(Mistake::NoBarrier)
            }
            _ => false,
        }
    }

    /// Whether more might be lost than `acks: Primary` accepts.
    fn lags(&self) -> bool {
        match self.settings.acks {
            Acks::Quorum => false,
            Acks::Primary { max_lag } => self.log.last().seq - self.commit >= max_lag.max(1),
        }
    }

    /// Ops up to here may be answered.
    fn answerable(&self) -> Seq {
        match self.settings.acks {
            Acks::Primary { .. } if self.is_past_barrier() => self.durable.max(self.told),
            Acks::Primary { .. } | Acks::Quorum => self.told,
        }
    }

    fn answer(&mut self, id: ProposalId, seq: Seq) {
        let answer = match seq <= self.told {
            true => Answer::Committed(seq),
            false => Answer::Durable(seq),
        };
        self.outbox.push(Effect::Answer(id, answer));
    }

    pub(super) fn answer_proposals(&mut self) {
        let up_to = self.answerable();
        let Some(primary) = self.leading() else { return };
        let count = primary.waiting.partition_point(|&(seq, _)| seq <= up_to);
        let answered: Vec<(Seq, ProposalId)> = primary.waiting.drain(..count).collect();
        for (seq, id) in answered {
            self.answer(id, seq);
        }
    }
}
