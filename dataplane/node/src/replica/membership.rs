//! Who is to follow and who is to vote, given which replicas the shard is to have and on which disks they are. Pure; the
//! primary asks it again and again, and does what it says by R11.
//!
//! Invariants: one disk is added or removed at a time; a disk votes only after it caught up; one is removed only when those
//! that stay are enough and caught up, so that a replacement adds before it removes. Two voters bear the loss of neither, so from
//! one on nobody votes before a second one caught up as well.

use std::collections::BTreeMap;

use shoal_consensus::{DiskId, Members, Seq};

/// Entries that a replica may lack and count as caught up: what is on its way to it under load.
const CLOSE: u64 = 1_000;

/// What the primary knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// Its own disk.
    pub(crate) own: DiskId,
    /// Who votes; no change is under way.
    pub(crate) members: &'a Members,
    /// Where each of the others has its log.
    pub(crate) matched: &'a BTreeMap<DiskId, Seq>,
    /// Committed up to here.
    pub(crate) commit: Seq,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Disks that get the log and do not vote.
    pub(crate) learners: Vec<DiskId>,
    /// Who is to vote, if that is to change now.
    pub(crate) change: Option<Members>,
}

/// The plan for a shard that is to have the replicas of these names. `disks` says which disk each was last heard to be on.
pub(crate) fn plan(wanted: &[String], disks: &BTreeMap<String, DiskId>, known: Known<'_>) -> Plan {
    let members = known.members;
    let target: Vec<DiskId> = wanted.iter().filter_map(|name| disks.get(name)).copied().collect();
    // Of a replica that was never heard of it is not known which disk it has, so no member can be told to be in its place.
    if target.len() < wanted.len() || target.is_empty() {
        return Plan::default();
    }
    let close = |disk: DiskId| {
        disk == known.own
            || known.matched.get(&disk).is_some_and(|seq| seq.saturating_add(CLOSE) >= known.commit)
    };
    let new: Vec<DiskId> = target.iter().copied().filter(|&d| !members.contains(d)).collect();
    let change = |voters: Vec<DiskId>| Members::majority(members.generation(), voters).ok();
    let caught_up: Vec<DiskId> = new.iter().copied().filter(|&disk| close(disk)).collect();
    let to_two = members.voters().len() == 1 && new.len() > 1;
    if let Some(&caught_up) = caught_up.get(usize::from(to_two)) {
        let voters = members.voters().iter().copied().chain([caught_up]).collect();
        let learners = new.iter().copied().filter(|&disk| disk != caught_up).collect();
        return Plan { learners, change: change(voters) };
    }
    if !new.is_empty() {
        return Plan { learners: new, change: None };
    }
    let gone = |disk: &&DiskId| !target.contains(disk);
    // Itself last: it is the one that can remove others.
    let removed = members.voters().iter().filter(gone).min_by_key(|&&disk| disk == known.own);
    let Some(&removed) = removed else { return Plan::default() };
    let staying: Vec<DiskId> =
        members.voters().iter().copied().filter(|&disk| disk != removed).collect();
    let enough = staying.iter().filter(|&&disk| close(disk)).count() > staying.len() / 2;
    Plan { learners: Vec::new(), change: enough.then(|| change(staying)).flatten() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("r{n}")).collect()
    }

    fn members(disks: &[u128]) -> Members {
        Members::majority(1, disks.iter().copied().map(DiskId).collect()).unwrap()
    }

    /// Carries plans out until nothing is to be done; each voter set on the way. New disks catch up at once, others are close.
    fn carry_out(
        wanted: &[String],
        disks: &[u128],
        mut voters: Vec<u128>,
        dead: &[u128],
    ) -> Vec<Vec<u128>> {
        let disks: BTreeMap<String, DiskId> =
            wanted.iter().cloned().zip(disks.iter().copied().map(DiskId)).collect();
        let own = DiskId(*voters.iter().find(|disk| !dead.contains(disk)).unwrap());
        let mut matched: BTreeMap<DiskId, Seq> = voters
            .iter()
            .filter(|disk| !dead.contains(disk))
            .map(|&disk| (DiskId(disk), 5_000))
            .collect();
        let mut sets = vec![voters.clone()];
        for _ in 0..20 {
            let members = members(&voters);
            let known = Known { own, members: &members, matched: &matched, commit: 5_000 };
            let Plan { learners, change } = plan(wanted, &disks, known);
            matched.extend(learners.iter().map(|&disk| (disk, 4_500)));
            match change {
                Some(members) => voters = members.voters().iter().map(|disk| disk.0).collect(),
                None if learners.is_empty() => break,
                None => continue,
            }
            sets.push(voters.clone());
        }
        sets
    }

    #[test]
    fn a_lost_disk_is_replaced_by_adding_before_removing() {
        let sets = carry_out(&names(3), &[1, 2, 9], vec![1, 2, 3], &[3]);
        assert_eq!(sets, [vec![1, 2, 3], vec![1, 2, 3, 9], vec![1, 2, 9]]);
    }

    #[test]
    fn replicas_are_added_and_removed_one_at_a_time() {
        let sets = carry_out(&names(5), &[1, 2, 3, 4, 5], vec![1, 2, 3], &[]);
        assert_eq!(sets, [vec![1, 2, 3], vec![1, 2, 3, 4], vec![1, 2, 3, 4, 5]]);
        let sets = carry_out(&names(3), &[3, 4, 5], vec![1, 2, 3, 4, 5], &[]);
        assert_eq!(sets.last(), Some(&vec![3, 4, 5]));
        assert_eq!(sets[1], [1, 3, 4, 5], "the primary leaves last");
    }

    #[test]
    fn from_one_voter_on_two_votes_come_right_after_each_other_and_nearly_the_same_back() {
        let sets = carry_out(&names(3), &[1, 2, 3], vec![1], &[]);
        assert_eq!(sets.last(), Some(&vec![1, 2, 3]));
        assert_eq!(sets.len(), 3, "{sets:?}");
        assert_eq!(carry_out(&names(1), &[2], vec![1, 2, 3], &[]).last(), Some(&vec![2]));

        let disks: BTreeMap<_, _> = names(3).into_iter().zip([1, 2, 3].map(DiskId)).collect();
        let members = members(&[1]);
        let plan_with = |matched: &[(u128, Seq)]| {
            let matched = matched.iter().map(|&(disk, seq)| (DiskId(disk), seq)).collect();
            let known =
                Known { own: DiskId(1), members: &members, matched: &matched, commit: 5_000 };
            plan(&names(3), &disks, known)
        };
        let one = plan_with(&[(2, 5_000), (3, 10)]);
        assert_eq!((one.learners, one.change), (vec![DiskId(2), DiskId(3)], None));
        assert!(
            plan_with(&[(2, 5_000), (3, 4_900)]).change.is_some_and(|new| new.voters().len() == 2)
        );
    }

    #[test]
    fn nobody_is_removed_while_it_is_not_known_who_takes_its_place() {
        let disks = BTreeMap::from([("r0".to_owned(), DiskId(1)), ("r1".to_owned(), DiskId(2))]);
        let matched = BTreeMap::from([(DiskId(2), 10)]);
        let members = members(&[1, 2, 3]);
        let known = Known { own: DiskId(1), members: &members, matched: &matched, commit: 10 };
        assert_eq!(plan(&names(3), &disks, known), Plan::default());
        assert_eq!(plan(&[], &disks, known), Plan::default());
    }

    proptest! {
        #[test]
        fn a_change_is_of_one_disk_and_leaves_enough_that_caught_up(
            wanted in 1usize..6,
            disks in prop::collection::vec(1u128..9, 6),
            voters in prop::collection::btree_set(1u128..9, 1..6),
            matched in prop::collection::btree_map(1u128..9, 0u64..9_000, 0..9),
        ) {
            let disks: BTreeMap<String, DiskId> = names(wanted).into_iter().zip(disks.into_iter().map(DiskId)).collect();
            let voters: Vec<u128> = voters.into_iter().collect();
            let matched: BTreeMap<DiskId, Seq> = matched.into_iter().map(|(d, seq)| (DiskId(d), seq)).collect();
            let (members, commit) = (members(&voters), 8_000);
            let known = Known { own: DiskId(voters[0]), members: &members, matched: &matched, commit };
            let plan = plan(&names(wanted), &disks, known);
            prop_assert!(plan.learners.iter().all(|&disk| !members.contains(disk)));
            if let Some(new) = plan.change {
                let added = new.voters().iter().filter(|&&d| !members.contains(d)).collect::<Vec<_>>();
                let removed = members.voters().iter().filter(|&&d| !new.contains(d)).count();
                prop_assert_eq!(added.len() + removed, 1);
                let close = |disk: DiskId| disk == known.own || matched.get(&disk).is_some_and(|seq| seq + CLOSE >= commit);
                prop_assert!(added.iter().all(|&&disk| close(disk)));
                if removed == 1 {
                    let caught_up = new.voters().iter().filter(|&&disk| close(disk)).count();
                    prop_assert!(caught_up > new.voters().len() / 2);
                }
            }
        }
    }
}
