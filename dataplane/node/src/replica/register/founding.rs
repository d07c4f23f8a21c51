//! Whether a shard is to be founded: the register of one that never was. Pure.
//!
//! Invariant: it is founded only where every replica it is to have was heard and none of all that were heard holds anything
//! (R14). Blank disks have nothing to lose, so whatever else went wrong, no write is lost by it.

use shoal_consensus::{DiskId, Members, Register};

use super::Seen;

/// The replica that asks.
#[derive(Clone, Copy, Debug)]
pub struct Founder<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its disk.
    pub disk: DiskId,
    /// Whether that holds nothing.
    pub blank: bool,
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
    // Of all, also of those that the shard is not to have: what they hold may be this shard.
    let mut holding: Vec<String> =
        seen.announced.iter().filter(|a| !a.blank).map(|a| a.name.clone()).collect();
    if !own.blank && !holding.iter().any(|name| name == own.name) {
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
    match expected.first() {
        Some(first) if *first == own.name => {}
        first => return Err(NotFounded::Another(first.map_or_else(String::new, |n| (*n).clone()))),
    }
    // There is at least one, so a majority.
    Members::majority(1, founders.iter().map(|founder| founder.disk).collect())
        .map(Register::first)
        .map_err(|_| NotFounded::Waiting(Vec::new()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_consensus::Version;

    use super::super::{Announced, Stored};
    use super::*;

    fn announced(name: &str, disk: u128, blank: bool) -> Announced {
        Announced { name: name.to_owned(), disk: DiskId(disk), address: String::new(), blank }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn founder(announced: &Announced) -> Founder<'_> {
        Founder { name: &announced.name, disk: announced.disk, blank: announced.blank }
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
        let not_blank = Founder { blank: false, ..own };
        assert_eq!(why(&all[..2], not_blank), NotFounded::NotBlank(names(&["r0"])));
        let cloned = [r0.clone(), announced("r1", 1, true)];
        assert_eq!(why(&cloned, own), NotFounded::Mistaken("r1".to_owned()));
        let replaced = Founder { disk: DiskId(5), ..own };
        assert_eq!(why(&all[..2], replaced), NotFounded::Mistaken("r0".to_owned()));
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
        fn a_register_is_only_made_by_one_of_disks_that_are_all_there_and_all_blank(
            all in heard(),
            replicas in prop::collection::vec("r[0-4]", 0..5),
            exists in prop::bool::weighted(0.1),
        ) {
            let members = Members::majority(1, vec![DiskId(1)]).unwrap();
            let stored = Stored { version: Version("1".to_owned()), register: Register::first(members) };
            let seen = Seen { stored: exists.then_some(stored), announced: all.clone() };
            let made: Vec<_> =
                all.iter().filter_map(|own| found(&seen, &replicas, founder(own)).ok().map(|r| (own, r))).collect();
            prop_assert!(made.len() <= 1);
            let expected = |name: &String| all.iter().find(|a| a.name == *name);
            let blank = all.iter().all(|a| a.blank);
            let there = !replicas.is_empty() && replicas.iter().all(|name| expected(name).is_some());
            let mut disks: Vec<_> = replicas.iter().collect();
            disks.sort_unstable();
            disks.dedup();
            let count = disks.len();
            let mut disks: Vec<_> = disks.into_iter().filter_map(expected).map(|a| a.disk).collect();
            disks.sort_unstable();
            disks.dedup();
            let may = !exists && blank && there && disks.len() == count;
            prop_assert_eq!(!made.is_empty(), may, "{:?}", seen);
            for (own, register) in made {
                prop_assert_eq!(Some(&own.name), replicas.iter().min());
                prop_assert_eq!(register.members.voters(), &disks[..]);
            }
        }
    }
}
