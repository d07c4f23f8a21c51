//! What a primary knows of another replica: how far its log goes, what is on its way to it, what it answered.

use crate::{Millis, Seq};

/// Messages with entries that may be on their way to one replica.
pub(super) const IN_FLIGHT: usize = 8;

/// See the file's comment. Invariant: `matched < next`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    /// Its log is the primary's up to here, and durable.
    pub(super) matched: Seq,
    /// What to send next.
    pub(super) next: Seq,
    /// Number of the last message.
    pub(super) round: u64,
    /// Number of the newest message that was answered.
    pub(super) answered: u64,
    /// When that was.
    pub(super) heard: Millis,
    /// When the last message was sent.
    pub(super) sent: Millis,
    /// Up to where it was told that all is committed.
    pub(super) told: Seq,
    /// Rounds of messages with entries that were not answered.
    pub(super) in_flight: Vec<u64>,
    /// It needs what is not at hand, and that was asked for then.
    pub(super) fetching: Option<Millis>,
    /// Round of the last message behind the last entry that is not in the log any more.
    pub(super) at_base: u64,
    /// It does not have that entry, so that it needs a snapshot.
    pub(super) lacks_base: bool,
}

impl Peer {
    /// One that was sent nothing yet. `round` is that of the last message to anybody, so that no late answer of an earlier stay
    /// counts.
    pub(super) fn new(next: Seq, round: u64, now: Millis) -> Self {
        Self { next, round, answered: round, heard: now, ..Self::default() }
    }

    /// An answer came to the message of a round. False if there was no such message.
    pub(super) fn answered(&mut self, round: u64, now: Millis) -> bool {
        if round > self.round {
            return false;
        }
        self.in_flight.retain(|&sent| sent > round);
        if round > self.answered {
            self.answered = round;
            self.heard = now;
        }
        true
    }

    /// Whether it has all of a log that ends at `last`, but was not told that it may show it.
    pub(super) fn waits_for(&self, commit: Seq, last: Seq) -> bool {
        self.told < commit && self.matched == last && self.in_flight.is_empty()
    }

    pub(super) fn matches(&mut self, seq: Seq) {
        self.matched = self.matched.max(seq);
        self.next = self.next.max(self.matched + 1);
    }

    /// It was not heard of for a while: what is on its way is taken for lost. Where nothing is known to match, the next message tells.
    pub(super) fn lost(&mut self, last: Seq) {
        match self.matched {
            0 => self.in_flight.clear(),
            matched => self.rewind(matched, last),
        }
    }

    /// All behind `hint` is to be sent again; what is known to match is not. The log ends at `last`.
    pub(super) fn rewind(&mut self, hint: Seq, last: Seq) {
        self.next = hint.min(last).max(self.matched) + 1;
        self.in_flight.clear();
    }
}
