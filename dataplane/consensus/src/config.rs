//! Who belongs to a shard, and how many of them it takes.

use serde::{Deserialize, Serialize};

use crate::DiskId;

/// The voters of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Members {
    generation: u64,
    /// In order, each once.
    voters: Vec<DiskId>,
    write_quorum: usize,
}

/// Members as they come from outside.
#[derive(Deserialize)]
struct Unchecked {
    generation: u64,
    voters: Vec<DiskId>,
    write_quorum: usize,
}

impl TryFrom<Unchecked> for Members {
    type Error = MembersError;

    fn try_from(members: Unchecked) -> Result<Self, MembersError> {
        Members::new(members.generation, members.voters, members.write_quorum)
    }
}

/// Members that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Nobody votes.
    #[error("a shard needs at least one voter")]
    Empty,
    /// Two write quorums could miss each other, or no write could ever be committed.
    #[error("a write quorum of {write_quorum} does not fit {voters} voters: take {} to {voters}", voters / 2 + 1)]
    WriteQuorum {
        /// Disks that it is to be durable on.
        write_quorum: usize,
        /// Disks that there are.
        voters: usize,
    },
}

impl Members {
    /// Voters with a write quorum: more than half of them.
    pub fn new(
        generation: u64,
        mut voters: Vec<DiskId>,
        write_quorum: usize,
    ) -> Result<Self, MembersError> {
        voters.sort_unstable();
        voters.dedup();
        let count = voters.len();
        if count == 0 {
            return Err(MembersError::Empty);
        }
        if !(count / 2 + 1..=count).contains(&write_quorum) {
            return Err(MembersError::WriteQuorum { write_quorum, voters: count });
        }
        Ok(Self { generation, voters, write_quorum })
    }

    /// Voters with the smallest write quorum: a majority.
    pub fn majority(generation: u64, voters: Vec<DiskId>) -> Result<Self, MembersError> {
        let mut each_once = voters.clone();
        each_once.sort_unstable();
        each_once.dedup();
        Self::new(generation, voters, each_once.len() / 2 + 1)
    }

    /// The same voters, of another generation.
    #[must_use]
    pub fn of_generation(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// Counts up with every change of the members.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The voters, in order.
    pub fn voters(&self) -> &[DiskId] {
        &self.voters
    }

    /// Whether a disk votes.
    pub fn contains(&self, disk: DiskId) -> bool {
        self.voters.binary_search(&disk).is_ok()
    }

    /// W: disks that an entry must be durable on.
    pub fn write_quorum(&self) -> usize {
        self.write_quorum
    }

    /// Q = N - W + 1: promises that meet every write quorum.
    pub fn promise_quorum(&self) -> usize {
        self.voters.len() + 1 - self.write_quorum
    }

    /// Answers that show a strong read to be current: min(W, Q) (R9).
    pub fn read_quorum(&self) -> usize {
        self.write_quorum.min(self.promise_quorum())
    }

    /// Voters for which something holds.
    pub(crate) fn count(&self, holds: impl Fn(DiskId) -> bool) -> usize {
        self.voters.iter().filter(|&&disk| holds(disk)).count()
    }
}

/// The members, or those before and after a change that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Config {
    /// These and no others.
    New(Members),
    /// Both count until the change is done (R11).
    Joint {
        /// Before.
        old: Members,
        /// After.
        new: Members,
    },
}

impl Config {
    /// The sets that each must agree.
    pub fn sets(&self) -> impl Iterator<Item = &Members> {
        let (first, second) = match self {
            Config::New(members) => (members, None),
            Config::Joint { old, new } => (old, Some(new)),
        };
        std::iter::once(first).chain(second)
    }

    /// Every disk that votes, each once.
    pub fn members(&self) -> impl Iterator<Item = DiskId> {
        let (first, second) = match self {
            Config::New(members) => (members, None),
            Config::Joint { old, new } => (old, Some(new)),
        };
        let more = second.into_iter().flat_map(Members::voters).copied();
        first.voters().iter().copied().chain(more.filter(|&disk| !first.contains(disk)))
    }

    /// Whether a disk votes.
    pub fn contains(&self, disk: DiskId) -> bool {
        self.sets().any(|members| members.contains(disk))
    }

    /// The greatest generation in it.
    pub fn generation(&self) -> u64 {
        self.sets().map(Members::generation).max().unwrap_or(0)
    }

    /// The greatest number that in each set enough disks reach: `needed` says how many, `reached` how far one got.
    pub(crate) fn reached(
        &self,
        needed: impl Fn(&Members) -> usize,
        reached: impl Fn(DiskId) -> u64,
    ) -> u64 {
        let of_set = |members: &Members| {
            let mut all: Vec<u64> = members.voters().iter().map(|&disk| reached(disk)).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.get(needed(members).saturating_sub(1)).copied().unwrap_or(0)
        };
        self.sets().map(of_set).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disks(ids: &[u128]) -> Vec<DiskId> {
        ids.iter().copied().map(DiskId).collect()
    }

    #[test]
    fn members_that_could_lose_a_write_are_refused() {
        assert_eq!(Members::majority(1, vec![]), Err(MembersError::Empty));
        let refused = Members::new(1, disks(&[1, 2, 3, 3]), 1).unwrap_err();
        assert_eq!(refused.to_string(), "a write quorum of 1 does not fit 3 voters: take 2 to 3");
        assert!(Members::new(1, disks(&[1, 2, 3]), 4).is_err());
        let json = r#"{"generation":1,"voters":[3,1,2],"write_quorum":2}"#;
        let read: Members = serde_json::from_str(json).unwrap();
        assert!(read.contains(DiskId(3)), "they are put in order");
        assert!(serde_json::from_str::<Members>(&json.replace(":2}", ":0}")).is_err());
    }

    #[test]
    fn a_joint_configuration_is_reached_by_the_slower_half() {
        let old = Members::majority(1, disks(&[1, 2, 3])).unwrap();
        let new = Members::majority(2, disks(&[2, 3, 4])).unwrap();
        let config = Config::Joint { old, new };
        let durable = |disk: DiskId| [0, 9, 7, 5, 1][disk.0 as usize];
        assert_eq!(config.reached(Members::write_quorum, durable), 5);
        assert_eq!(config.members().collect::<Vec<_>>(), disks(&[1, 2, 3, 4]));
        assert_eq!(config.generation(), 2);
    }

    proptest! {
        #[test]
        fn a_write_quorum_and_a_promise_quorum_always_meet(
            voters in prop::collection::btree_set(0u128..20, 1..8), extra in 0usize..8
        ) {
            let voters: Vec<u128> = voters.into_iter().collect();
            let write_quorum = (voters.len() / 2 + 1 + extra).min(voters.len());
            let members = Members::new(1, disks(&voters), write_quorum).unwrap();
            prop_assert!(members.write_quorum() + members.promise_quorum() > voters.len());
            prop_assert!(2 * members.write_quorum() > voters.len());
            prop_assert!(members.read_quorum() >= 1);
        }
    }
}
