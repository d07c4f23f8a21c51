//! Who leads: decided from Leases as they were seen and from this process's own clock. Pure.
//!
//! The times written in a Lease are other machines' and are never compared with ours: a Lease is expired once it has
//! not changed for its whole duration since we first saw it so. A leader stops after two thirds of that time without
//! a renewal, counted from before the request that renewed.
//!
//! Invariant: patience + deadline stay below the duration and no look of a leader outlasts its deadline, so two
//! instances never lead at once.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

/// Longest pause of an instance that stands by.
const STANDBY_PAUSE: Duration = Duration::from_secs(3);

/// What to do with the Lease as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another one holds it.
    Wait,
    /// There is none: make one.
    Create,
    /// It is ours, free, or expired: write it, on the condition that it is the one we saw.
    Replace,
}

/// A Lease as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    version: Option<String>,
    holder: Option<String>,
    since: Instant,
}

/// One instance's view of the election.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    duration: Duration,
    seen: Option<Seen>,
    renewed: Option<Instant>,
}

impl Election {
    /// A view that has seen nothing yet. No two instances may have one identity.
    pub fn new(identity: String, duration: Duration) -> Self {
        Self { identity, duration, seen: None, renewed: None }
    }

    /// This instance's name.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How long a request may take.
    pub fn patience(&self) -> Duration {
        self.duration / 5
    }

    /// How long a leader acts without a renewal.
    fn deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Whether this instance may act now.
    pub fn leads(&self, now: Instant) -> bool {
        self.renewed.is_some_and(|renewed| now.saturating_duration_since(renewed) < self.deadline())
    }

    /// How long one look at the Lease, and a write of it, may take: a leader's ends with its leadership, however many
    /// requests it is made of.
    pub fn limit(&self, now: Instant) -> Duration {
        self.left(now).unwrap_or_else(|| self.patience() * 2)
    }

    /// How long a leader still leads without a renewal.
    fn left(&self, now: Instant) -> Option<Duration> {
        let deadline = self.renewed? + self.deadline();
        Some(deadline.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// When to look again: a leader renews at a third of the duration, tries again soon where that failed, and notices in
    /// time that it lost; one that stands by looks often, so that a Lease given back is soon taken.
    pub fn pause(&self, now: Instant) -> Duration {
        match self.left(now) {
            Some(left) => {
                let renewed_for = self.deadline().saturating_sub(left);
                let until_due = (self.duration / 3).saturating_sub(renewed_for);
                left.min(until_due.max(self.duration / 15))
            }
            None => (self.duration / 5).min(STANDBY_PAUSE),
        }
    }

    /// Takes note of the Lease as the API server has it.
    pub fn observe(&mut self, lease: Option<&Lease>, now: Instant) {
        let Some(lease) = lease else {
            self.seen = None;
            return;
        };
        let version = lease.metadata.resource_version.clone();
        if self.seen.as_ref().is_some_and(|seen| seen.version == version) {
            return;
        }
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        self.seen =
            Some(Seen { version, holder: holder.filter(|holder| !holder.is_empty()), since: now });
    }

    /// What to do now.
    pub fn step(&self, now: Instant) -> Step {
        let Some(seen) = &self.seen else { return Step::Create };
        match &seen.holder {
            None => Step::Replace,
            Some(holder) if *holder == self.identity => Step::Replace,
            Some(_) if now.saturating_duration_since(seen.since) > self.duration => Step::Replace,
            Some(_) => Step::Wait,
        }
    }

    /// Fills in a Lease that makes this instance the holder.
    pub fn claim(&self, lease: &mut Lease, now: Timestamp) {
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions =
                Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        }
        spec.lease_duration_seconds =
            Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX));
        spec.renew_time = Some(MicroTime(now));
    }

    /// The API server took our Lease. `asked` is the time before the request.
    pub fn won(&mut self, lease: &Lease, asked: Instant, now: Instant) {
        self.renewed = Some(asked);
        self.observe(Some(lease), now);
    }

    /// Takes this instance's name out of a Lease; whether it was in it.
    pub fn give_back(&self, lease: &mut Lease) -> bool {
        let Some(spec) = lease.spec.as_mut() else { return false };
        let ours = spec.holder_identity.as_deref() == Some(self.identity.as_str());
        if ours {
            spec.holder_identity = None;
        }
        ours
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    /// The Lease on an API server that compares versions.
    #[derive(Default)]
    struct Server {
        lease: Option<Lease>,
        version: u64,
    }

    impl Server {
        fn write(&mut self, mut lease: Lease) -> Option<Lease> {
            let current =
                self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            if current != lease.metadata.resource_version {
                return None;
            }
            self.version += 1;
            lease.metadata.resource_version = Some(self.version.to_string());
            self.lease = Some(lease.clone());
            Some(lease)
        }
    }

    fn round(
        election: &mut Election,
        server: &mut Server,
        asked: Instant,
        answered: Instant,
        answer_arrives: bool,
    ) {
        election.observe(server.lease.as_ref(), asked);
        let mut lease = server.lease.clone().unwrap_or_default();
        if election.step(asked) == Step::Wait {
            return;
        }
        election.claim(&mut lease, Timestamp::UNIX_EPOCH);
        if let Some(written) = server.write(lease)
            && answer_arrives
        {
            election.won(&written, asked, answered);
        }
    }

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn the_first_leads_the_second_waits_and_takes_over_once_the_first_is_silent() {
        let start = Instant::now();
        let mut server = Server::default();
        let mut first = Election::new("first".into(), DURATION);
        let mut second = Election::new("second".into(), DURATION);
        round(&mut first, &mut server, start, start, true);
        assert!(first.leads(start));
        round(&mut second, &mut server, start, start, true);
        assert!(!second.leads(start));

        let silent = after(start, 10_000);
        assert!(!first.leads(silent), "it stops before another may start");
        round(&mut second, &mut server, after(start, 15_000), after(start, 15_000), true);
        assert!(!second.leads(after(start, 15_000)));
        round(&mut second, &mut server, after(start, 15_001), after(start, 15_001), true);
        assert!(second.leads(after(start, 15_001)));
        let transitions =
            server.lease.and_then(|lease| lease.spec).and_then(|spec| spec.lease_transitions);
        assert_eq!(transitions, Some(2));
    }

    #[test]
    fn a_lease_given_back_is_taken_at_once() {
        let start = Instant::now();
        let mut server = Server::default();
        let mut first = Election::new("first".into(), DURATION);
        round(&mut first, &mut server, start, start, true);
        let mut lease = server.lease.clone().expect("a lease");
        assert!(first.give_back(&mut lease));
        assert!(!first.give_back(&mut lease));
        server.write(lease).expect("written");
        let mut second = Election::new("second".into(), DURATION);
        round(&mut second, &mut server, start, start, true);
        assert!(second.leads(start));
    }

    #[test]
    fn a_leader_renews_well_before_it_must_stop() {
        let start = Instant::now();
        let mut server = Server::default();
        let mut leader = Election::new("leader".into(), DURATION);
        round(&mut leader, &mut server, start, start, true);
        assert!(
            leader.pause(start) + leader.patience() * 2
                <= leader.deadline() + Duration::from_secs(1)
        );
        for failed in [5_000, 6_000, 9_000] {
            assert!(
                leader.pause(after(start, failed)) <= Duration::from_secs(1),
                "tries again soon"
            );
        }
        assert!(
            leader.pause(after(start, 9_999)) <= Duration::from_millis(1),
            "and notices the end"
        );
    }

    #[test]
    fn a_leaders_look_at_the_lease_ends_with_its_leadership_however_late_it_begins() {
        let start = Instant::now();
        let mut server = Server::default();
        let mut leader = Election::new("leader".into(), DURATION);
        assert!(leader.limit(start) >= leader.patience(), "a candidate has time for its requests");
        round(&mut leader, &mut server, start, start, true);
        for millis in [0, 4_000, 9_000, 9_999] {
            let begun = after(start, millis);
            assert!(leader.leads(begun) && !leader.leads(begun + leader.limit(begun)), "{millis}");
        }
    }

    proptest! {
        /// Requests that take long, answers that are lost, instances that pause: never do two lead at once.
        #[test]
        fn two_never_lead_at_once(
            rounds in proptest::collection::vec((0_usize..3, 0_u64..6_000, 0_u64..3_000, any::<bool>()), 1..120),
        ) {
            let start = Instant::now();
            let mut server = Server::default();
            let mut all: Vec<_> = (0..3).map(|i| Election::new(format!("i{i}"), DURATION)).collect();
            let mut clock = 0;
            for (who, pause, delay, arrives) in rounds {
                clock += pause;
                let asked = after(start, clock);
                clock += delay;
                let answered = after(start, clock);
                round(&mut all[who], &mut server, asked, answered, arrives);
                for at in [asked, answered] {
                    prop_assert!(all.iter().filter(|election| election.leads(at)).count() <= 1);
                }
            }
        }
    }
}
