//! What a caller knows of the replicas of a shard.

use crate::{Millis, Seq};

/// Of so many reads one may be asked twice, so that replicas which are all slow are not made slower.
const HEDGED: u64 = 10;

/// Second askings that may be saved up.
const SAVED: u64 = 20;

/// How long a replica that did not answer is asked last, in ms.
const SHUNNED: Millis = 1_000;

/// See the file's comment.
#[derive(Clone, Debug)]
pub struct Known {
    /// Whoever leads, as far as is known.
    primary: usize,
    /// The greatest number of an epoch that the register was heard of in, and whom it seated.
    seated: (u64, usize),
    /// The replica that the next read begins with.
    next: usize,
    acked: Seq,
    /// Second askings that may be made, times [`HEDGED`].
    hedges: u64,
    /// When each did not answer last.
    shunned: Vec<Option<Millis>>,
}

impl Known {
    /// Of so many replicas nothing is known yet, but that this was acknowledged.
    pub fn new(replicas: usize, acked: Seq) -> Self {
        Self {
            primary: 0,
            seated: (0, 0),
            next: 0,
            acked,
            hedges: SAVED * HEDGED,
            shunned: vec![None; replicas],
        }
    }

    /// The greatest seq that was acknowledged as visible: what a read by this caller sees.
    pub fn acked(&self) -> Seq {
        self.acked
    }

    /// An op was acknowledged as visible.
    pub fn is_acked(&mut self, seq: Seq) {
        self.acked = self.acked.max(seq);
    }

    /// The register says who leads an epoch, by its number. What it said of an earlier one changes nothing;
    /// whether this did.
    pub fn is_seated(&mut self, at: usize, epoch: u64) -> bool {
        let news = epoch > self.seated.0 && at < self.count();
        if news {
            self.seated = (epoch, at);
            self.primary = at;
        }
        news
    }

    /// The newest epoch that the register was heard of in.
    pub(super) fn seated(&self) -> (u64, usize) {
        self.seated
    }

    pub(super) fn count(&self) -> usize {
        self.shunned.len()
    }

    /// Whoever leads, as far as is known; `None` if there are no replicas.
    pub(super) fn primary(&self) -> Option<usize> {
        (self.primary < self.count()).then_some(self.primary)
    }

    /// A replica does not lead, or not that one can tell; another may be said to. Unless another call found that out before.
    pub(super) fn leads_not(&mut self, at: usize, named: Option<usize>) {
        if self.primary == at {
            let next = (at + 1) % self.count().max(1);
            self.primary = named.filter(|&named| named < self.count()).unwrap_or(next);
        }
    }

    /// All replicas in the order in which a read asks them: in turns, and those that did not answer last.
    pub(super) fn turn(&mut self, now: Millis) -> Vec<usize> {
        let count = self.count();
        let first = self.next;
        self.next = (first + 1) % count.max(1);
        let mut order: Vec<usize> = (0..count).map(|n| (first + n) % count).collect();
        order.sort_by_key(|&at| self.is_shunned(at, now));
        order
    }

    fn is_shunned(&self, at: usize, now: Millis) -> bool {
        let since = self.shunned.get(at).copied().flatten();
        since.is_some_and(|since| now < since + SHUNNED)
    }

    /// A replica did not answer, or another did sooner.
    pub(super) fn shun(&mut self, at: usize, now: Millis) {
        if let Some(since) = self.shunned.get_mut(at) {
            *since = Some(now);
        }
    }

    /// A read begins.
    pub(super) fn save_hedge(&mut self) {
        self.hedges = (self.hedges + 1).min(SAVED * HEDGED);
    }

    /// Whether a read may be asked twice.
    pub(super) fn spend_hedge(&mut self) -> bool {
        let left = self.hedges.checked_sub(HEDGED);
        self.hedges = left.unwrap_or(self.hedges);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_take_turns_and_those_that_did_not_answer_come_last_for_a_while() {
        let mut known = Known::new(3, 0);
        assert_eq!(known.turn(0), [0, 1, 2]);
        assert_eq!(known.turn(0), [1, 2, 0]);
        known.shun(2, 0);
        assert_eq!(known.turn(SHUNNED - 1), [0, 1, 2]);
        known.next = 2;
        assert_eq!(known.turn(SHUNNED - 1), [0, 1, 2]);
        known.next = 2;
        assert_eq!(known.turn(SHUNNED), [2, 0, 1]);
    }

    #[test]
    fn the_register_is_believed_unless_it_speaks_of_an_earlier_epoch() {
        let mut known = Known::new(3, 0);
        assert!(known.is_seated(2, 5));
        assert_eq!(known.primary(), Some(2));
        assert!(!known.is_seated(1, 4));
        assert!(!known.is_seated(9, 6));
        assert_eq!(known.primary(), Some(2));
        known.leads_not(2, None);
        known.leads_not(2, Some(1));
        assert_eq!(known.primary(), Some(0), "what one call found out stays");
        known.is_seated(2, 5);
        assert_eq!(known.primary(), Some(0), "it was heard of already");
    }

    #[test]
    fn one_read_of_ten_may_be_asked_twice() {
        let mut known = Known::new(3, 0);
        let saved = (0..100).filter(|_| known.spend_hedge()).count();
        assert_eq!(saved as u64, SAVED);
        let asked_twice = (0..100).filter(|_| {
            known.save_hedge();
            known.spend_hedge()
        });
        assert_eq!(asked_twice.count(), 10);
    }
}
