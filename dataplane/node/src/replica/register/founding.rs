//! Whether a shard is to be founded: the register of one that never was. Pure.
//!
//! Invariant: it is founded only where every replica it is to have was heard and none of all that were heard holds anything
//! (R14). Blank disks have nothing to lose, so whatever else went wrong, no write is lost by it. The one exception is the disk
//! of a shard that was alone until now: if it is the only one that holds anything, it founds the shard on itself and on no
//! other disk, so that all that was acknowledged has a vote, and nothing else has. The others follow first and vote later.

use shoal_consensus::{DiskId, Members, Register};

use super::{Announced, Seen};

/// The replica that asks.
#[derive(Clone, Copy, Debug)]
pub struct Founder<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its disk.
    pub disk: DiskId,
    /// What that holds, as it says itself.
    pub holds: Holds,
}

/// What a disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// A shard that had no other replica, and nothing besides: it never was a member of anything.
    LoneShard,
    /// Entries or a promise of one of several replicas.
    Replica,
}

/// Why a shard is not founded here and now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFounded {
    /// It was, long ago or by another.
    #[error("there is a register")]
    Exists,
    /// These were not heard of yet.
    #[error("waiting for {}", .0.join(", "))]
    Waiting(Vec<String>),
    /// These hold something: the register was lost, and is made again from what the disks know.
    #[error("the disks of {} are not blank: the register was lost", .0.join(", "))]
    NotBlank(Vec<String>),
    /// Another is to do it, so that not all try.
    #[error("{0} founds it")]
    Another(String),
    /// Two replicas say that they are on one disk, or a replica is heard as somebody else than it is.
    #[error("{0} is not the only one on its disk, or has changed it")]
    Mistaken(String),
}

/// The first register, where it is this replica that creates it. `replicas` are the names of all that the shard is to
/// have; what was seen was read live.
pub fn found(seen: &Seen, replicas: &[String], own: Founder<'_>) -> Result<Register, NotFounded> {
    if seen.stored.is_some() {
        return Err(NotFounded::Exists);
    }
    let alone = own.holds == Holds::LoneShard;
    let is_lone = |a: &Announced| alone && a.name == own.name && a.disk == own.disk;
    // Of all, also of those that the shard is not to have: what they hold may be this shard.
    let holding = seen.announced.iter().filter(|a| !a.blank).filter(|a| !is_lone(a));
    let mut holding: Vec<String> = holding.map(|a| a.name.clone()).collect();
    if own.holds == Holds::Replica && !holding.iter().any(|name| name == own.name) {
        holding.push(own.name.to_owned());
    }
    if !holding.is_empty() {
        return Err(NotFounded::NotBlank(holding));
    }
    let mut expected: Vec<&String> = replicas.iter().collect();
    expected.sort_unstable();
    expected.dedup();
    let find = |name: &str| seen.announced.iter().find(|a| a.name == name);
    let missing: Vec<String> =
        expected.iter().filter(|name| find(name).is_none()).map(|name| (*name).clone()).collect();
    if !missing.is_empty() || expected.is_empty() {
        return Err(NotFounded::Waiting(missing));
    }
    let founders: Vec<_> = expected.iter().filter_map(|name| find(name)).collect();
    for (at, founder) in founders.iter().enumerate() {
        let is_own = founder.name == own.name;
        let twice = founders.iter().take(at).any(|other| other.disk == founder.disk);
        if twice || is_own != (founder.disk == own.disk) {
            return Err(NotFounded::Mistaken(founder.name.clone()));
        }
    }
    let members: Vec<DiskId> = match expected.first() {
        _ if alone && expected.iter().any(|name| *name == own.name) => vec![own.disk],
        Some(first) if *first == own.name => founders.iter().map(|founder| founder.disk).collect(),
        first => return Err(NotFounded::Another(first.map_or_else(String::new, |n| (*n).clone()))),
    };
    // There is at least one, so a majority.
    Members::majority(1, members).map(Register::first).map_err(|_| NotFounded::Waiting(Vec::new()))
}

/// Whether a register may be the one that was founded on a disk which still is as its lone shard left it. Before any other step
/// the disk promises an epoch, so in a register that got further it was set back to what it was before, or never belonged.
pub fn may_be_founded_on(register: &Register, lone: DiskId) -> Result<(), String> {
    match register.primary().is_none() && register.members.voters() == [lone] {
        true => Ok(()),
        false => Err("its disk holds a shard that was alone, and the register is not one that was founded on it: either the \
                      disk was set back to an old copy, or it is another shard's; give this replica an empty disk, or take its \
                      name out of the Shard's spec.replicaNames"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_consensus::{Epoch, Identity, Incarnation, Phase, Version};

    use super::super::Stored;
    use super::*;

    fn announced(name: &str, disk: u128, blank: bool) -> Announced {
        Announced { name: name.to_owned(), disk: DiskId(disk), address: String::new(), blank }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn founder(announced: &Announced) -> Founder<'_> {
        let holds = if announced.blank { Holds::Nothing } else { Holds::Replica };
        Founder { name: &announced.name, disk: announced.disk, holds }
    }

    fn lone(announced: &Announced) -> Founder<'_> {
        Founder { holds: Holds::LoneShard, ..founder(announced) }
    }

    #[test]
    fn the_first_by_name_founds_a_shard_of_all_its_blank_disks() {
        let all =
            vec![announced("r1", 7, true), announced("r0", 9, true), announced("r2", 8, true)];
        let seen = Seen { stored: None, announced: all.clone() };
        let replicas = names(&["r2", "r0", "r1", "r0"]);
        let register = found(&seen, &replicas, founder(&all[1])).unwrap();
        assert_eq!(register.members.voters(), [DiskId(7), DiskId(8), DiskId(9)]);
        assert_eq!((register.members.write_quorum(), register.primary()), (2, None));
        let other = found(&seen, &replicas, founder(&all[0]));
        assert_eq!(other, Err(NotFounded::Another("r0".to_owned())));
    }

    #[test]
    fn why_a_shard_is_not_founded_is_told() {
        let r0 = announced("r0", 1, true);
        let replicas = names(&["r0", "r1"]);
        let why = |announced: &[Announced], own: Founder<'_>| {
            let seen = Seen { stored: None, announced: announced.to_vec() };
            found(&seen, &replicas, own).unwrap_err()
        };
        let own = founder(&r0);
        assert_eq!(why(std::slice::from_ref(&r0), own), NotFounded::Waiting(names(&["r1"])));
        let removed = announced("r7", 3, false);
        let all = [r0.clone(), announced("r1", 2, true), removed];
        assert_eq!(why(&all, own), NotFounded::NotBlank(names(&["r7"])));
        let not_blank = Founder { holds: Holds::Replica, ..own };
        assert_eq!(why(&all[..2], not_blank), NotFounded::NotBlank(names(&["r0"])));
        let cloned = [r0.clone(), announced("r1", 1, true)];
        assert_eq!(why(&cloned, own), NotFounded::Mistaken("r1".to_owned()));
        let replaced = Founder { disk: DiskId(5), ..own };
        assert_eq!(why(&all[..2], replaced), NotFounded::Mistaken("r0".to_owned()));
    }

    #[test]
    fn the_disk_of_a_lone_shard_founds_it_alone_and_only_where_nobody_else_holds_anything() {
        let r1 = announced("r1", 7, false);
        let seen = |announced: &[Announced], exists: bool| {
            let members = Members::majority(1, vec![DiskId(1)]).unwrap();
            let register = Register::first(members);
            let stored = Stored { version: Version("1".to_owned()), register };
            Seen { stored: exists.then_some(stored), announced: announced.to_vec() }
        };
        let all = [announced("r0", 9, true), r1.clone(), announced("r2", 8, true)];
        for (announced, replicas) in [
            (&all[..], names(&["r0", "r1", "r2"])),
            // The others were named before they ever ran, or are not named yet.
            (&all[1..2], names(&["r1"])),
        ] {
            let register = found(&seen(announced, false), &replicas, lone(&r1)).unwrap();
            assert_eq!(register.members.voters(), [DiskId(7)]);
            assert_eq!((register.members.write_quorum(), register.primary()), (1, None));
        }
        let three = names(&["r0", "r1", "r2"]);
        let why = |seen: &Seen, own| found(seen, &three, own).unwrap_err();
        // Those that are blank do nothing without it.
        assert_eq!(why(&seen(&all, false), founder(&all[0])), NotFounded::NotBlank(names(&["r1"])));
        assert_eq!(why(&seen(&all, true), lone(&r1)), NotFounded::Exists, "it was, before a crash");
        assert_eq!(why(&seen(&all[..2], false), lone(&r1)), NotFounded::Waiting(names(&["r2"])));
        let mut other = all.clone();
        other[2].blank = false;
        assert_eq!(why(&seen(&other, false), lone(&r1)), NotFounded::NotBlank(names(&["r2"])));
        // An older disk under its own name held something too.
        let mut older = all.clone();
        older[1].disk = DiskId(3);
        assert_eq!(why(&seen(&older, false), lone(&r1)), NotFounded::NotBlank(names(&["r1"])));
        let apart = found(&seen(&all, false), &names(&["r0", "r2"]), lone(&r1));
        assert_eq!(apart, Err(NotFounded::Another("r0".to_owned())), "it is not asked for");
    }

    #[test]
    fn a_disk_that_was_set_back_to_what_a_lone_shard_left_is_told_from_one_that_is_being_founded() {
        let register = |disks: &[u128], number, leads: Option<u128>| {
            let members =
                Members::majority(1, disks.iter().copied().map(DiskId).collect()).unwrap();
            let primary = |disk| Identity { disk: DiskId(disk), incarnation: Incarnation(1) };
            let phase =
                leads.map_or(Phase::Electing, |disk| Phase::Stable { primary: primary(disk) });
            Register { epoch: Epoch { number, nonce: 0 }, phase, members }
        };
        let may = |register| may_be_founded_on(&register, DiskId(7)).is_ok();
        assert!(may(register(&[7], 0, None)));
        assert!(may(register(&[7], 1, None)), "it ended before it promised");
        assert!(!may(register(&[7], 1, Some(7))), "it had promised");
        assert!(!may(register(&[7, 8], 2, None)));
        assert!(!may(register(&[8], 0, None)));
    }

    prop_compose! {
        fn heard()(
            all in prop::collection::btree_map("r[0-4]", (0u128..12, prop::bool::weighted(0.9)), 0..6)
        ) -> Vec<Announced> {
            all.iter().map(|(name, (disk, blank))| announced(name, *disk, *blank)).collect()
        }
    }

    proptest! {
        #[test]
        fn a_register_is_made_by_one_of_disks_that_are_all_there_and_blank_but_for_one_that_was_alone(
            all in heard(),
            replicas in prop::collection::vec("r[0-4]", 0..5),
            exists in prop::bool::weighted(0.1),
            // One of those that hold something may be a lone shard's.
            lone_name in "r[0-4]",
        ) {
            let members = Members::majority(1, vec![DiskId(1)]).unwrap();
            let stored = Stored { version: Version("1".to_owned()), register: Register::first(members) };
            let seen = Seen { stored: exists.then_some(stored), announced: all.clone() };
            let is_lone = |a: &Announced| !a.blank && a.name == lone_name;
            let own = |a| if is_lone(a) { lone(a) } else { founder(a) };
            let made: Vec<_> =
                all.iter().filter_map(|a| found(&seen, &replicas, own(a)).ok().map(|r| (a, r))).collect();
            prop_assert!(made.len() <= 1);
            let expected = |name: &String| all.iter().find(|a| a.name == *name);
            let holding: Vec<_> = all.iter().filter(|a| !a.blank).collect();
            let there = !replicas.is_empty() && replicas.iter().all(|name| expected(name).is_some());
            let mut disks: Vec<_> = replicas.iter().collect();
            disks.sort_unstable();
            disks.dedup();
            let count = disks.len();
            let mut disks: Vec<_> = disks.into_iter().filter_map(expected).map(|a| a.disk).collect();
            disks.sort_unstable();
            disks.dedup();
            let founder = match holding[..] {
                [] => replicas.iter().min(),
                [one] if is_lone(one) => Some(&one.name).filter(|name| replicas.contains(name)),
                _ => None,
            };
            // A disk that two say to have is nobody's.
            let clash = founder.and_then(expected).is_some_and(|f| {
                all.iter().any(|a| a.name != f.name && a.disk == f.disk && replicas.contains(&a.name))
            });
            let may = !exists && founder.is_some() && there && disks.len() == count && !clash;
            prop_assert_eq!(!made.is_empty(), may, "{:?}", seen);
            for (own, register) in made {
                prop_assert_eq!(Some(&own.name), founder);
                let voters = if is_lone(own) { vec![own.disk] } else { disks.clone() };
                prop_assert_eq!(register.members.voters(), &voters[..]);
            }
        }
    }
}
