//! How this replica came to lead: whom it succeeded, how long that took, and whether it was planned. Pure; for people alone.
//!
//! The winner is the one to ask: it knows when it last heard of who led before, and when its first entry was committed.
//!
//! Invariant: what is not known is left out. A first primary succeeds nobody and has nothing to tell.

use std::time::{Duration, Instant};

use shoal_consensus::{DiskId, Epoch};

/// How one came to lead, as it knows once its first entry is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// The epoch that it leads.
    pub epoch: Epoch,
    /// The disk of who led before.
    pub from: DiskId,
    /// When that one was missed, or asked to be succeeded: milliseconds of Unix time.
    pub detected_ms: u64,
    /// When the first entry of the epoch was committed: milliseconds of Unix time.
    pub promoted_ms: u64,
    /// From the last sign of life of who led before to there; `None` if this run of the process heard none.
    pub duration: Option<Duration>,
    /// Whether it was asked to succeed.
    pub planned: bool,
    /// The last epoch before this one of which there is an entry in the history, if it is `from` that led it; `None` if that is not
    /// known, so that nothing that `from` says tells what is gone.
    pub former: Option<Epoch>,
    /// Acknowledged ops that are gone; `None` if only who led before can tell, from what is cut off its log.
    pub lost_ops: Option<u64>,
}

/// A moment, on the clock that is measured by and on the one that people read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) unix_ms: u64,
}

/// What a replica is at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// Who leads, as far as it knows: itself too.
    pub(super) primary: Option<DiskId>,
    /// The epoch that it leads itself.
    pub(super) leads: Option<Epoch>,
    /// Whether an entry of that epoch is committed.
    pub(super) committed: bool,
    /// The epoch of the entry before the first of that epoch.
    pub(super) former: Option<Epoch>,
    /// Who led last and who before, and the numbers of their epochs, as the register said before.
    pub(super) registered: [Option<(u64, DiskId)>; 2],
}

/// Follows who leads.
#[derive(Debug)]
pub(super) struct Succession {
    /// Whether writes are acknowledged only once no failover loses them.
    quorum_acks: bool,
    former: Option<DiskId>,
    /// When that one was last heard of, in this run.
    heard: Option<Instant>,
    /// Since when nobody leads, as far as is known.
    missed: Option<Now>,
    asked: bool,
    /// The last epoch of its own of which an entry was committed.
    leading: Option<Epoch>,
    last: Option<Failover>,
}

impl Succession {
    pub(super) fn new(quorum_acks: bool) -> Self {
        Self {
            quorum_acks,
            former: None,
            heard: None,
            missed: None,
            asked: false,
            leading: None,
            last: None,
        }
    }

    /// Whoever leads gave a sign of life.
    pub(super) fn heard(&mut self, at: Instant) {
        self.heard = Some(at);
    }

    /// Whoever leads asked to be succeeded by this one.
    pub(super) fn asked(&mut self, now: Now) {
        self.asked = true;
        self.missed.get_or_insert(now);
    }

    /// How it came to lead, while it does.
    pub(super) fn last(&self) -> Option<&Failover> {
        self.last.as_ref()
    }

    /// Whether it is not known yet that an entry of an epoch is committed.
    pub(super) fn is_news(&self, epoch: Epoch) -> bool {
        self.leading != Some(epoch)
    }

    /// Takes in what the replica is now.
    pub(super) fn observe(&mut self, now: Now, seen: Observed) {
        match (seen.leads, seen.primary) {
            (Some(epoch), _) => self.leads(now, epoch, seen),
            (None, Some(other)) => {
                // One that asked to be succeeded is still there for a moment.
                if !(self.asked && self.former == Some(other)) {
                    (self.missed, self.asked) = (None, false);
                }
                (self.former, self.last) = (Some(other), None);
            }
            (None, None) => {
                self.missed.get_or_insert(now);
                self.last = None;
            }
        }
    }

    fn leads(&mut self, now: Now, epoch: Epoch, seen: Observed) {
        let own = seen.primary;
        if seen.committed && self.is_news(epoch) {
            let led = self.leading.replace(epoch);
            let registered = || seen.registered.iter().flatten();
            let led_by = |former: Epoch| match led == Some(former) {
                true => own,
                false => registered().find(|at| at.0 == former.number).map(|&(_, disk)| disk),
            };
            let led_former = seen.former.and_then(led_by);
            // What it answered itself it has.
            let own_before = led_former.is_some() && led_former == own;
            let former = self.former.or(registered().next().map(|&(_, disk)| disk));
            let missed = self.missed.unwrap_or(now);
            self.last = former.map(|from| Failover {
                epoch,
                from,
                detected_ms: missed.unix_ms,
                promoted_ms: now.unix_ms,
                duration: self.heard.map(|heard| now.instant.saturating_duration_since(heard)),
                planned: self.asked,
                former: seen.former.filter(|_| led_former == Some(from)),
                lost_ops: (self.quorum_acks || own_before).then_some(0),
            });
        }
        if seen.committed {
            // From here on it is who led before, should another be elected, or itself anew.
            (self.missed, self.asked) = (None, false);
            self.former = own;
            self.heard = Some(now.instant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: DiskId = DiskId(1);
    const OWN: DiskId = DiskId(2);

    struct Clock(Instant);

    impl Clock {
        fn at(&self, ms: u64) -> Now {
            Now { instant: self.0 + Duration::from_millis(ms), unix_ms: 1_000_000 + ms }
        }
    }

    fn epoch(number: u64) -> Epoch {
        Epoch { number, nonce: 7 }
    }

    fn nobody() -> Observed {
        Observed {
            primary: None,
            leads: None,
            committed: false,
            former: None,
            registered: [None; 2],
        }
    }

    fn follows(primary: DiskId) -> Observed {
        Observed { primary: Some(primary), ..nobody() }
    }

    fn leads(number: u64, committed: bool) -> Observed {
        let (leads, former) = (Some(epoch(number)), Some(epoch(number - 1)));
        Observed { primary: Some(OWN), leads, committed, former, registered: [None; 2] }
    }

    #[test]
    fn a_failover_is_counted_from_the_last_sign_of_life_to_the_first_committed_entry() {
        let clock = Clock(Instant::now());
        let mut succession = Succession::new(true);
        succession.heard(clock.at(100).instant);
        succession.observe(clock.at(100), follows(OTHER));
        succession.observe(clock.at(1_500), nobody());
        succession.observe(clock.at(1_600), nobody());
        succession.observe(clock.at(1_700), leads(3, false));
        assert_eq!(succession.last(), None, "its first entry is not committed");
        let registered = [Some((2, OTHER)), None];
        succession.observe(clock.at(1_800), Observed { registered, ..leads(3, true) });
        let expected = Failover {
            epoch: epoch(3),
            from: OTHER,
            detected_ms: 1_001_500,
            promoted_ms: 1_001_800,
            duration: Some(Duration::from_millis(1_700)),
            planned: false,
            former: Some(epoch(2)),
            lost_ops: Some(0),
        };
        assert_eq!(succession.last(), Some(&expected));
        succession.observe(clock.at(9_000), leads(3, true));
        assert_eq!(succession.last(), Some(&expected), "it stays as it was");
        succession.observe(clock.at(9_500), follows(OTHER));
        assert_eq!(succession.last(), None, "it is whoever leads that tells");
    }

    #[test]
    fn one_that_was_asked_to_succeed_says_so_also_where_the_other_is_heard_of_once_more() {
        let clock = Clock(Instant::now());
        let mut succession = Succession::new(true);
        succession.heard(clock.at(0).instant);
        succession.observe(clock.at(0), follows(OTHER));
        succession.asked(clock.at(50));
        succession.heard(clock.at(60).instant);
        succession.observe(clock.at(60), follows(OTHER));
        succession.observe(clock.at(70), nobody());
        succession.observe(clock.at(90), leads(4, true));
        let told = succession.last().expect("told");
        assert!(told.planned);
        assert_eq!((told.detected_ms, told.promoted_ms), (1_000_050, 1_000_090));
        assert_eq!(told.duration, Some(Duration::from_millis(30)));
    }

    #[test]
    fn another_that_was_elected_instead_ends_what_was_asked() {
        let clock = Clock(Instant::now());
        let mut succession = Succession::new(true);
        succession.observe(clock.at(0), follows(OTHER));
        succession.asked(clock.at(1));
        succession.observe(clock.at(2), follows(DiskId(3)));
        succession.observe(clock.at(900), nobody());
        succession.observe(clock.at(950), leads(9, true));
        let told = succession.last().expect("told");
        assert_eq!((told.planned, told.from), (false, DiskId(3)));
    }

    #[test]
    fn the_first_primary_has_nothing_to_tell_and_what_is_not_known_is_left_out() {
        let clock = Clock(Instant::now());
        let mut first = Succession::new(false);
        first.observe(clock.at(0), nobody());
        first.observe(clock.at(5), leads(1, true));
        assert_eq!(first.last(), None);

        // It just started, so it heard nobody; who led stands in the register.
        let mut started = Succession::new(false);
        started.observe(clock.at(0), nobody());
        let seen = Observed { registered: [Some((1, OTHER)), None], ..leads(2, true) };
        started.observe(clock.at(5), seen);
        let told = started.last().expect("told");
        assert_eq!((told.from, told.duration, told.lost_ops), (OTHER, None, None));
        assert_eq!(told.former, Some(epoch(1)));
    }

    #[test]
    fn one_that_succeeds_itself_lost_nothing_however_it_acknowledged() {
        let clock = Clock(Instant::now());
        let mut went_on = Succession::new(false);
        went_on.observe(clock.at(0), leads(1, true));
        went_on.observe(clock.at(1), nobody());
        went_on.observe(clock.at(2), leads(2, true));
        assert_eq!(went_on.last().and_then(|told| told.lost_ops), Some(0));

        let told = |registered: [Option<(u64, DiskId)>; 2], former| {
            let mut restarted = Succession::new(false);
            restarted.observe(clock.at(0), nobody());
            let seen = Observed { registered, former, ..leads(3, true) };
            restarted.observe(clock.at(5), seen);
            let told = restarted.last().expect("told");
            (told.from, told.former.map(|former| former.number), told.lost_ops)
        };
        let second = Some(epoch(2));
        assert_eq!(told([Some((2, OWN)), None], second), (OWN, Some(2), Some(0)));
        assert_eq!(told([Some((2, OTHER)), None], second), (OTHER, Some(2), None));
        // It was elected, and ended before it had an entry; what the one before answered only that one knows.
        let first = Some(epoch(1));
        assert_eq!(told([Some((2, OWN)), None], first), (OWN, None, None));
        assert_eq!(told([Some((2, OWN)), Some((1, OTHER))], first), (OWN, None, None));
        assert_eq!(told([Some((2, OWN)), None], None), (OWN, None, None));
    }

    #[test]
    fn one_that_is_elected_anew_succeeds_itself() {
        let clock = Clock(Instant::now());
        let mut succession = Succession::new(true);
        succession.observe(clock.at(0), leads(1, true));
        succession.observe(clock.at(1_000), nobody());
        succession.observe(clock.at(1_200), leads(2, true));
        let told = succession.last().expect("told");
        assert_eq!((told.from, told.epoch), (OWN, epoch(2)));
        assert_eq!(told.duration, Some(Duration::from_millis(1_200)));
    }
}
