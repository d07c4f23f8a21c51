//! A call that has to reach the primary.

use super::Known;
use crate::Millis;

/// How long one attempt may take at first, in ms; twice as long each further time that one was silent. A primary that hangs
/// answers nothing, and another one leads within seconds.
const ATTEMPT: Millis = 2_000;

/// Pauses between attempts in ms, at first and at most.
const PAUSES: (Millis, Millis) = (10, 200);

/// How often one that is said to lead, and is not ready to, is asked again before others are.
const STAYS: u32 = 4;

/// For how many ms a primary is asked again whose disk is full: it steps aside at once if another replica can lead, and that one
/// has room, or says the same.
const ROOM: Millis = 2_000;

/// See the file's comment. One call, from its first attempt to its answer.
#[derive(Clone, Debug)]
pub struct Leading {
    deadline: Millis,
    attempt: Millis,
    pause: Millis,
    stays: u32,
    full: Option<Millis>,
}

/// Whom to ask, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whom.
    pub replica: usize,
    /// In ms.
    pub within: Millis,
    /// The newest epoch that the register was heard of in.
    epoch: u64,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It does not lead.
    NotPrimary {
        /// Who does, as far as it knows.
        primary: Option<usize>,
    },
    /// It is there, and cannot yet.
    NotReady,
    /// It did not answer in time.
    Silent,
    /// It could not be reached, or the connection broke, or it cannot tell what became of it.
    Away,
    /// Its disk is full.
    Full,
    /// What it says of the call, or of its own disk, another one says too or makes worse.
    Final,
}

/// What to do after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Ask again after so many ms, maybe 0: whom, tells [`Leading::ask`].
    AskIn(Millis),
    /// The failure is the answer.
    GiveUp,
}

impl Leading {
    /// A call that ends by a deadline.
    pub fn new(deadline: Millis) -> Self {
        Self { deadline, attempt: ATTEMPT, pause: PAUSES.0, stays: 0, full: None }
    }

    /// Whom to ask now; `None` once the deadline passed, or if there are no replicas.
    pub fn ask(&self, known: &Known, now: Millis) -> Option<Ask> {
        let left = self.deadline.saturating_sub(now);
        let replica = known.primary().filter(|_| left > 0)?;
        Some(Ask { replica, within: left.min(self.attempt), epoch: known.seated().0 })
    }

    /// Whether the register seated another one since that was asked, so that its answer need not be waited for.
    pub fn is_succeeded(known: &Known, asked: Ask) -> bool {
        let (epoch, seated) = known.seated();
        epoch > asked.epoch && seated != asked.replica
    }

    /// An attempt failed.
    pub fn failed(&mut self, known: &mut Known, now: Millis, asked: Ask, failure: Failure) -> Then {
        match failure {
            Failure::NotPrimary { primary } => {
                known.leads_not(asked.replica, primary.filter(|&named| named != asked.replica));
                self.stays = 0;
                if primary.is_some() && self.pause == PAUSES.0 {
                    self.pause *= 2;
                    return Then::AskIn(0);
                }
            }
            Failure::NotReady if self.stays < STAYS => self.stays += 1,
            Failure::Silent => {
                self.attempt *= 2;
                self.move_on(known, asked);
            }
            Failure::NotReady | Failure::Away => self.move_on(known, asked),
            Failure::Full if now < *self.full.get_or_insert(now) + ROOM => {}
            Failure::Full | Failure::Final => return Then::GiveUp,
        }
        let pause = self.pause.min(self.deadline.saturating_sub(now));
        self.pause = (2 * self.pause).min(PAUSES.1);
        Then::AskIn(pause)
    }

    fn move_on(&mut self, known: &mut Known, asked: Ask) {
        self.stays = 0;
        known.leads_not(asked.replica, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(call: &Leading, known: &Known, now: Millis) -> Ask {
        call.ask(known, now).unwrap()
    }

    #[test]
    fn who_is_named_is_asked_at_once_and_after_that_with_pauses() {
        let (mut known, mut call) = (Known::new(3, 0), Leading::new(10_000));
        let first = asked(&call, &known, 0);
        assert_eq!((first.replica, first.within), (0, ATTEMPT));
        let named = |primary| Failure::NotPrimary { primary };
        assert_eq!(call.failed(&mut known, 1, first, named(Some(2))), Then::AskIn(0));
        let second = asked(&call, &known, 1);
        assert_eq!(second.replica, 2);
        assert_eq!(call.failed(&mut known, 2, second, named(Some(1))), Then::AskIn(20));
        let third = asked(&call, &known, 22);
        assert_eq!(third.replica, 1);
        assert_eq!(call.failed(&mut known, 23, third, named(None)), Then::AskIn(40));
        assert_eq!(asked(&call, &known, 63).replica, 2);
    }

    #[test]
    fn one_that_is_silent_has_longer_the_next_time_and_none_beyond_the_deadline() {
        let (mut known, mut call) = (Known::new(2, 0), Leading::new(5_000));
        let first = asked(&call, &known, 0);
        call.failed(&mut known, 2_000, first, Failure::Silent);
        let second = asked(&call, &known, 2_010);
        assert_eq!((second.replica, second.within), (1, 2_990));
        assert_eq!(call.failed(&mut known, 4_995, second, Failure::Silent), Then::AskIn(5));
        assert_eq!(call.ask(&known, 5_000), None);
    }

    #[test]
    fn one_that_is_not_ready_is_asked_again_before_others_are() {
        let (mut known, mut call) = (Known::new(3, 0), Leading::new(10_000));
        let order = (0..7).map(|now| {
            let ask = asked(&call, &known, now);
            call.failed(&mut known, now, ask, Failure::NotReady);
            ask.replica
        });
        assert_eq!(order.collect::<Vec<_>>(), [0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn a_full_disk_is_the_answer_after_a_while_and_what_is_final_at_once() {
        let (mut known, mut call) = (Known::new(3, 0), Leading::new(10_000));
        let ask = asked(&call, &known, 100);
        assert_eq!(call.failed(&mut known, 100, ask, Failure::Full), Then::AskIn(10));
        assert_eq!(call.failed(&mut known, 100 + ROOM, ask, Failure::Full), Then::GiveUp);
        assert_eq!(call.failed(&mut known, 101, ask, Failure::Final), Then::GiveUp);
    }

    #[test]
    fn the_answer_of_one_that_was_succeeded_is_not_waited_for() {
        let (mut known, call) = (Known::new(3, 0), Leading::new(10_000));
        known.is_seated(1, 7);
        let ask = asked(&call, &known, 0);
        assert!(!Leading::is_succeeded(&known, ask));
        known.is_seated(1, 8);
        assert!(!Leading::is_succeeded(&known, ask), "it leads again");
        known.is_seated(2, 9);
        assert!(Leading::is_succeeded(&known, ask));
        assert_eq!(asked(&call, &known, 1).replica, 2);
    }
}
