//! Times. They decide how soon something is done, never whether it is right (R8).

use crate::Millis;

/// What a message there and back, or a request to the register, is taken to need at most.
const ROUND_TRIP: Millis = 50;

/// Round trips of a failover, one after the other: asking whether the primary is missed; reading the register, claiming an epoch;
/// promises; seating the winner, who reads the register; the no-op.
const ROUND_TRIPS: Millis = 7;

/// Syncs of a failover, one after the other: what a replica was about to sync, its promise, the no-op.
const SYNCS: Millis = 3;

/// Elections that fit into a budget: up to two until a primary is missed, one for a first attempt that fails, one to spare.
const ELECTIONS: Millis = 4;

/// Shortest time after which a primary is missed: below that, a machine that is merely busy loses its primary.
const LEAST_ELECTION: Millis = 200;

/// Longest budget: beyond that, nobody waits for a failover.
const MOST_BUDGET: Millis = 600_000;

/// How long replicas wait. Invariant of [`Timing::for_budget`]: `heartbeat <= election / 7`,
/// `resend <= election / 2`, `2 * election < step_down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Between two signs of life of a primary.
    pub heartbeat: Millis,
    /// A primary that was not heard of for so long is missed. Up to as much again is added at random.
    pub election: Millis,
    /// A primary that had no write quorum for so long steps down.
    pub step_down: Millis,
    /// After this, what had no answer is sent again.
    pub resend: Millis,
}

/// A budget for failover that no times fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Too little for these disks.
    #[error(
        "a failover within {budget} ms is too soon for disks that take {fsync} ms to sync: \
         set spec.failover.budget to {least}ms or more, or use a faster storage class"
    )]
    TooShort {
        /// What was asked for, in ms.
        budget: Millis,
        /// The 99th percentile of a sync, in ms.
        fsync: Millis,
        /// The least that fits, in ms.
        least: Millis,
    },
    /// More than anybody waits for.
    #[error(
        "a failover within {budget} ms is no failover: set spec.failover.budget to {MOST_BUDGET}ms or less"
    )]
    TooLong {
        /// What was asked for, in ms.
        budget: Millis,
    },
}

impl Default for Timing {
    /// For a failover within 5 s on disks that sync within 100 ms.
    fn default() -> Self {
        Self { heartbeat: 150, election: 1_000, step_down: 3_000, resend: 500 }
    }
}

impl Timing {
    /// Times with which writes go on within `budget` ms of a primary's end, where 99 of 100 syncs of a disk take at most
    /// `fsync` ms and a round trip 50 ms.
    pub fn for_budget(budget: Millis, fsync: Millis) -> Result<Self, TimingError> {
        // Acks wait for a sync that is under way and their own; what takes no longer is not sent again.
        let resend = fsync.saturating_mul(2).saturating_add(ROUND_TRIP);
        let election = resend.saturating_mul(2).max(LEAST_ELECTION);
        let fixed = fsync.saturating_mul(SYNCS).saturating_add(ROUND_TRIPS * ROUND_TRIP);
        let least = election.saturating_mul(ELECTIONS).saturating_add(fixed);
        if budget < least {
            return Err(TimingError::TooShort { budget, fsync, least });
        }
        if budget > MOST_BUDGET {
            return Err(TimingError::TooLong { budget });
        }
        let election = (budget - fixed) / ELECTIONS;
        Ok(Self {
            heartbeat: election / 7,
            election,
            step_down: election * 3,
            resend: election / 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_fits_its_budget() {
        let derived = Timing::for_budget(5_000, 100).unwrap();
        let default = Timing::default();
        assert!(default.election <= derived.election && default.heartbeat <= derived.heartbeat);
        assert_eq!(
            derived,
            Timing { heartbeat: 155, election: 1_087, step_down: 3_261, resend: 543 }
        );
    }

    #[test]
    fn a_budget_that_cannot_be_met_says_which_could() {
        let refused = Timing::for_budget(1_000, 100).unwrap_err();
        let says = "a failover within 1000 ms is too soon for disks that take 100 ms to sync: \
                    set spec.failover.budget to 2650ms or more, or use a faster storage class";
        assert_eq!(refused.to_string(), says);
        assert!(Timing::for_budget(2_650, 100).is_ok());
        assert!(Timing::for_budget(2_649, 100).is_err());
        assert!(Timing::for_budget(u64::MAX, u64::MAX).is_err());
        assert_eq!(Timing::for_budget(600_001, 1), Err(TimingError::TooLong { budget: 600_001 }));
    }

    proptest! {
        #[test]
        fn what_a_failover_takes_fits_the_budget(budget in 0u64..700_000, fsync in 0u64..30_000) {
            match Timing::for_budget(budget, fsync) {
                Ok(Timing { heartbeat, election, step_down, resend }) => {
                    // The primary is missed at the latest possible moment, the first attempt is lost, the second goes through.
                    let detection = 2 * election;
                    let attempts = election + ROUND_TRIPS * ROUND_TRIP + SYNCS * fsync;
                    prop_assert!(detection + attempts <= budget);
                    prop_assert!(heartbeat > 0 && heartbeat * 7 <= election);
                    prop_assert!(resend >= 2 * fsync + ROUND_TRIP, "a slow sync is no lost message");
                    prop_assert!(resend + heartbeat < election, "a lost message is sent again before it is missed");
                    prop_assert!(step_down >= 2 * election, "who is cut off is replaced at about the time it steps down");
                }
                Err(TimingError::TooShort { least, .. }) => {
                    prop_assert!(budget < least);
                    prop_assert!(least > MOST_BUDGET || Timing::for_budget(least, fsync).is_ok());
                }
                Err(TimingError::TooLong { .. }) => prop_assert!(budget > MOST_BUDGET),
            }
        }
    }
}
