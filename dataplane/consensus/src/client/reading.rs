//! A read that any replica may answer.
//!
//! At first a replica has to show what the caller was acknowledged, and be no staler than allowed: one that does not leaves the
//! read to another. Where none does, each is asked for whatever it has: one that is behind may be all that is left.

use std::collections::VecDeque;

use super::Known;
use crate::Millis;

/// How long a read waits before a second replica is asked too, in ms: far above what a search takes, far below what people
/// notice.
const HEDGE: Millis = 50;

/// How long it waits for those that it asked before it asks another, in ms: at most, and as a part of its time.
const PATIENCE: (Millis, Millis) = (2_000, 10);

/// From this part of its time on it asks another all the same, one after the other: they may hang, and a read fails only once
/// nobody is left. There is time for each of five replicas then, and for what the last of them has.
const FREE: Millis = 2;

/// See the file's comment. One call, from its first attempt to its answer.
#[derive(Clone, Debug)]
pub struct Reading {
    round: Round,
    /// Those that are not asked in this round yet.
    order: VecDeque<usize>,
    /// Those that were asked and did not answer, in that order, and in which round.
    waiting: Vec<(usize, Round)>,
    /// A second one may be asked soon beside one that is slow.
    hedges: bool,
    patience: Millis,
    /// From then on nothing has to be saved up for another.
    free: Millis,
    /// When another is to be asked.
    next: Millis,
}

/// What a replica must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// What the caller was acknowledged, and what was so not too long ago.
    Newer,
    /// Whatever it has.
    Any,
}

/// What to do after a failure, or when nobody answered for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask this one too, in the round that [`Reading::round`] tells.
    Ask(usize),
    /// Wait for those that were asked.
    Wait,
    /// Nobody is left: the failure is the answer.
    GiveUp,
}

impl Reading {
    /// A read that begins now and ends by a deadline.
    pub fn new(known: &mut Known, now: Millis, deadline: Millis) -> Self {
        known.save_hedge();
        Self {
            round: Round::Newer,
            order: known.turn(now).into(),
            waiting: Vec::new(),
            hedges: true,
            patience: (deadline.saturating_sub(now) / PATIENCE.1).clamp(1, PATIENCE.0),
            free: now + deadline.saturating_sub(now) / FREE,
            next: now,
        }
    }

    /// What is asked of replicas now.
    pub fn round(&self) -> Round {
        self.round
    }

    /// Whom to ask first; `GiveUp` if there are no replicas.
    pub fn begin(&mut self, known: &mut Known, now: Millis) -> Next {
        self.another(known, now)
    }

    /// When [`Reading::slow`] is to be called, should nobody answer before; `None` once all were asked for all.
    pub fn slow_at(&self) -> Option<Millis> {
        let more = self.round == Round::Newer || !self.order.is_empty();
        more.then_some(self.next)
    }

    /// Nobody answered for a while.
    pub fn slow(&mut self, known: &mut Known, now: Millis) -> Next {
        self.hedges = false;
        // All may be slow: then one of few is asked twice.
        if now < self.free && !known.spend_hedge() {
            self.next = self.free;
            return Next::Wait;
        }
        match self.another(known, now) {
            Next::GiveUp => Next::Wait,
            next => next,
        }
    }

    /// A replica answered. What was asked before it is slow or hangs.
    pub fn answered(&self, known: &mut Known, now: Millis, at: usize) {
        let slow = self.waiting.iter().take_while(|&&(other, _)| other != at);
        slow.for_each(|&(slow, _)| known.shun(slow, now));
    }

    /// A replica failed it.
    pub fn failed(&mut self, known: &mut Known, now: Millis, at: usize) -> Next {
        known.shun(at, now);
        if let Some(found) = self.waiting.iter().position(|&(waiting, _)| waiting == at) {
            let (_, round) = self.waiting.remove(found);
            // It was not asked for whatever it has, since it might have answered.
            if round != self.round {
                self.order.push_back(at);
            }
        }
        if self.order.is_empty() && !self.waiting.is_empty() {
            return Next::Wait;
        }
        self.another(known, now)
    }

    /// The next to ask: in the next round, if all were asked in this one.
    fn another(&mut self, known: &mut Known, now: Millis) -> Next {
        if self.order.is_empty() && self.round == Round::Newer {
            self.round = Round::Any;
            let waits = |at: &usize| self.waiting.iter().any(|(waiting, _)| waiting == at);
            self.order = known.turn(now).into_iter().filter(|at| !waits(at)).collect();
        }
        let Some(next) = self.order.pop_front() else { return Next::GiveUp };
        self.waiting.push((next, self.round));
        let soon = self.hedges && !self.order.is_empty();
        self.next = now + if soon { HEDGE.min(self.patience) } else { self.patience };
        Next::Ask(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(known: &mut Known) -> Reading {
        let mut read = Reading::new(known, 0, 10_000);
        assert_eq!(read.begin(known, 0), Next::Ask(0));
        read
    }

    #[test]
    fn each_is_asked_for_what_is_new_and_then_for_what_there_is() {
        let mut known = Known::new(2, 0);
        let mut read = begun(&mut known);
        assert_eq!(read.failed(&mut known, 1, 0), Next::Ask(1));
        assert_eq!(read.round(), Round::Newer);
        assert_eq!(read.failed(&mut known, 2, 1), Next::Ask(1));
        assert_eq!(read.round(), Round::Any);
        assert_eq!(read.failed(&mut known, 3, 1), Next::Ask(0));
        assert_eq!(read.failed(&mut known, 4, 0), Next::GiveUp);
    }

    #[test]
    fn one_that_is_slow_soon_has_another_beside_it_and_those_that_hang_have_all() {
        let mut known = Known::new(3, 0);
        let mut read = begun(&mut known);
        assert_eq!(read.slow_at(), Some(HEDGE));
        assert_eq!(read.slow(&mut known, 50), Next::Ask(1));
        assert_eq!(read.slow_at(), Some(1_050));
        assert_eq!(read.slow(&mut known, 1_050), Next::Ask(2));
        // The last one is behind, the others hang.
        assert_eq!(read.failed(&mut known, 1_100, 2), Next::Wait);
        assert_eq!(read.slow_at(), Some(2_050), "what is not new enough is not taken at once");
        assert_eq!(read.slow(&mut known, 2_050), Next::Ask(2));
        assert_eq!((read.round(), read.slow_at()), (Round::Any, None));
        read.answered(&mut known, 2_051, 2);
        assert_eq!(known.turn(2_052), [2, 0, 1], "those that hang are asked last");
    }

    #[test]
    fn where_no_read_may_be_asked_twice_others_are_asked_in_the_second_half_of_its_time() {
        let mut known = Known::new(3, 0);
        let mut read = Reading::new(&mut known, 0, 10_000);
        while known.spend_hedge() {}
        read.begin(&mut known, 0);
        assert_eq!(read.slow(&mut known, 50), Next::Wait);
        assert_eq!(read.slow_at(), Some(5_000));
        assert_eq!(read.slow(&mut known, 5_000), Next::Ask(1));
        assert_eq!(read.slow_at(), Some(6_000));
        assert_eq!(read.slow(&mut known, 6_000), Next::Ask(2));
    }

    #[test]
    fn one_that_is_slow_and_alone_is_not_asked_for_less() {
        let mut known = Known::new(1, 0);
        let mut read = begun(&mut known);
        assert_eq!(read.slow_at(), Some(1_000));
        assert_eq!(read.slow(&mut known, 1_000), Next::Wait);
        assert_eq!(read.slow_at(), None);
        assert_eq!(
            read.failed(&mut known, 1_060, 0),
            Next::Ask(0),
            "until it says that it is behind"
        );
        assert_eq!(read.failed(&mut known, 1_061, 0), Next::GiveUp);
    }
}
