//! What is to be done next with a shard of which replicas are to be moved. Pure.

use shoal_crds::shard::{RegisterPhase, ShardRegister, ShardStatus};
use shoal_crds::{Shard, labels};

/// Largest number that a replica may have.
const MAX_NUMBER: u32 = 999_999;

/// Names of the replicas that a shard is to have from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The replica that is no longer one of them.
    pub lost: String,
    /// All names.
    pub names: Vec<String>,
    /// Number of the next replica after those.
    pub next: u32,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: none is marked, and those that are named are those that vote.
    Done,
    /// Name others.
    Replace(Replacement),
    /// Wait for this.
    Wait(String),
}

/// The next step with a shard.
pub fn step(shard: &Shard) -> Step {
    let Some(status) = &shard.status else { return Step::Done };
    let names = &shard.spec.replica_names;
    let moving = |name: &String| {
        status.replica_states.iter().any(|state| state.name == *name && state.moving)
    };
    let lost = names.iter().find(|name| moving(name));
    let Some(register) = &status.register else {
        return match lost {
            Some(_) => wait("waiting until the shard has a register"),
            None => Step::Done,
        };
    };
    let primary = primary(register, status);
    // Those that are to go too need not vote: they may never have come to it.
    let staying = names.iter().filter(|name| !moving(name));
    let joining = staying.clone().find(|name| !votes(register, status, name));
    match (lost, joining) {
        (_, Some(joining)) => Step::Wait(format!(
            "waiting until replica {joining} has what the others have, and votes"
        )),
        (Some(lost), None) => match primary {
            None => wait("waiting until one of the replicas leads"),
            Some(primary) if moving(&primary) => {
                Step::Wait(format!("waiting until another replica leads than {primary}"))
            }
            Some(_) => replace(shard, lost),
        },
        (None, None) if register.members.voters.len() > names.len() => {
            wait("waiting until the disk of the replica that was replaced does not vote any more")
        }
        (None, None) => Step::Done,
    }
}

fn wait(what: &str) -> Step {
    Step::Wait(what.to_owned())
}

fn primary(register: &ShardRegister, status: &ShardStatus) -> Option<String> {
    if register.phase != RegisterPhase::Stable {
        return None;
    }
    let disk = &register.primary.as_ref()?.disk_id;
    let replica = status.replicas.iter().find(|replica| replica.disk_id == *disk)?;
    Some(replica.name.clone())
}

/// One that votes had caught up: the primary has none vote before.
fn votes(register: &ShardRegister, status: &ShardStatus, name: &str) -> bool {
    let replica = status.replicas.iter().find(|replica| replica.name == name);
    replica.is_some_and(|replica| register.members.voters.contains(&replica.disk_id))
}

fn replace(shard: &Shard, lost: &str) -> Step {
    let spec = &shard.spec;
    let named = spec.replica_names.iter().filter_map(|name| labels::replica_number(name));
    let heard_of = shard.status.iter().flat_map(|status| &status.replicas);
    let heard_of = heard_of.filter_map(|replica| labels::replica_number(&replica.name));
    let above = named.chain(heard_of).max().map_or(0, |last| last.saturating_add(1));
    // A name is never used for another disk.
    let new = spec.next_replica.unwrap_or_default().max(above);
    if new >= MAX_NUMBER {
        return Step::Wait(format!(
            "there is no number left for another replica after {MAX_NUMBER}"
        ));
    }
    let mut names: Vec<String> =
        spec.replica_names.iter().filter(|name| *name != lost).cloned().collect();
    names.push(labels::replica(new));
    Step::Replace(Replacement { lost: lost.to_owned(), names, next: new + 1 })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use shoal_crds::ShardSpec;
    use shoal_crds::shard::{
        RegisterMembers, RegisterPrimary, ReplicaRole, ReplicaState, ShardReplica,
    };

    use super::*;

    pub(in crate::rebalance) fn disk(number: u32) -> String {
        format!("00000000-0000-0000-0000-{number:012}")
    }

    fn state(number: u32) -> ReplicaState {
        ReplicaState {
            name: labels::replica(number),
            role: ReplicaRole::Follower,
            ready: false,
            log: None,
            behind_ops: None,
            node: None,
            node_lost_since: None,
            moving: true,
        }
    }

    /// A shard with these names, of which these vote, one leads, and these are marked. Of each up to the highest was heard.
    pub(in crate::rebalance) fn shard(
        names: &[u32],
        voters: &[u32],
        primary: Option<u32>,
        moving: &[u32],
    ) -> Shard {
        let register = ShardRegister {
            epoch: "1".into(),
            nonce: "00000000000000aa".into(),
            phase: primary.map_or(RegisterPhase::Electing, |_| RegisterPhase::Stable),
            primary: primary.map(|number| RegisterPrimary {
                disk_id: disk(number),
                incarnation: "00000000000000bb".into(),
            }),
            members: RegisterMembers {
                generation: "1".into(),
                voters: voters.iter().copied().map(disk).collect(),
                write_quorum: 2,
            },
        };
        let said = |number: u32| ShardReplica {
            name: labels::replica(number),
            disk_id: disk(number),
            address: "a:1".into(),
            blank: false,
        };
        let status = ShardStatus {
            register: Some(register),
            replicas: voters.iter().copied().map(said).collect(),
            replica_states: moving.iter().copied().map(state).collect(),
            ..ShardStatus::default()
        };
        let spec = ShardSpec {
            replicas: 3,
            replica_names: names.iter().copied().map(labels::replica).collect(),
            next_replica: Some(3),
            ..ShardSpec::default()
        };
        Shard { status: Some(status), ..Shard::new("c-0", spec) }
    }

    fn named(step: Step) -> (Vec<String>, u32) {
        let Step::Replace(with) = step else { panic!("{step:?}") };
        (with.names, with.next)
    }

    fn waits(shard: &Shard) -> String {
        let Step::Wait(what) = step(shard) else { panic!("{:?}", step(shard)) };
        what
    }

    #[test]
    fn a_lost_replica_is_replaced_and_then_its_place_is_waited_for() {
        let three = shard(&[0, 1, 2], &[0, 1, 2], Some(0), &[1]);
        assert_eq!(named(step(&three)), (vec!["r0".into(), "r2".into(), "r3".into()], 4));
        let joining = shard(&[0, 2, 3], &[0, 1, 2], Some(0), &[]);
        assert!(waits(&joining).contains("replica r3 has what the others have"));
        let both = shard(&[0, 2, 3], &[0, 1, 2, 3], Some(0), &[]);
        assert!(waits(&both).contains("does not vote any more"));
        assert_eq!(step(&shard(&[0, 2, 3], &[0, 2, 3], Some(0), &[])), Step::Done);
    }

    #[test]
    fn two_of_a_shard_go_one_after_the_other() {
        let five = shard(&[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4], Some(0), &[1, 2]);
        let (names, _) = named(step(&five));
        assert_eq!(names, ["r0", "r2", "r3", "r4", "r5"]);
        let joining = shard(&[0, 2, 3, 4, 5], &[0, 1, 2, 3, 4], Some(0), &[2]);
        assert!(waits(&joining).contains("r5"));
    }

    #[test]
    fn one_that_was_lost_before_it_ever_voted_is_replaced_too() {
        let never = shard(&[0, 2, 3], &[0, 1, 2], Some(0), &[3]);
        assert_eq!(named(step(&never)).0, ["r0", "r2", "r4"]);
    }

    #[test]
    fn nothing_is_named_while_nobody_leads_or_the_one_that_leads_is_to_go() {
        assert!(waits(&shard(&[0, 1, 2], &[0, 1, 2], None, &[1])).contains("leads"));
        assert!(waits(&shard(&[0, 1, 2], &[0, 1, 2], Some(1), &[1])).contains("than r1"));
        let mut unfounded = shard(&[0, 1, 2], &[], None, &[1]);
        unfounded.status.as_mut().unwrap().register = None;
        assert!(waits(&unfounded).contains("register"));
        assert_eq!(step(&Shard::new("c-0", ShardSpec::default())), Step::Done);
    }

    #[test]
    fn a_name_is_never_used_again() {
        let mut three = shard(&[0, 1, 2], &[0, 1, 2], Some(0), &[1]);
        three.spec.next_replica = None;
        let status = three.status.as_mut().unwrap();
        let mut left = status.replicas[0].clone();
        (left.name, left.disk_id) = ("r7".into(), disk(7));
        status.replicas.push(left);
        assert_eq!(named(step(&three)), (vec!["r0".into(), "r2".into(), "r8".into()], 9));
    }

    proptest! {
        /// Whatever the shard: as many are named as before, one of them new, and the one that leads stays.
        #[test]
        fn a_replacement_changes_one_name_and_never_the_primarys(
            names in prop::collection::btree_set(0u32..6, 1..6),
            voters in prop::collection::btree_set(0u32..6, 1..6),
            primary in prop::option::of(0u32..6),
            moving in prop::collection::btree_set(0u32..6, 0..6),
        ) {
            let [names, voters, moving] = [names, voters, moving].map(|set| set.into_iter().collect::<Vec<_>>());
            let made = shard(&names, &voters, primary, &moving);
            if let Step::Replace(with) = step(&made) {
                let before = &made.spec.replica_names;
                prop_assert_eq!(with.names.len(), before.len());
                prop_assert_eq!(with.names.iter().filter(|name| !before.contains(name)).count(), 1);
                prop_assert!(!with.names.contains(&with.lost));
                let lost = labels::replica_number(&with.lost).unwrap();
                prop_assert!(moving.contains(&lost) && Some(lost) != primary);
                prop_assert!(with.next > names.iter().chain(&voters).copied().max().unwrap());
            }
        }
    }
}
