//! Names are never used again, the primary stays, and what may vote is not taken down.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use proptest::prelude::*;
use shoal_crds::ShardStatus;
use shoal_crds::shard::{RegisterMembers, RegisterPrimary, ReplicaRole, ReplicaState};

use super::*;

fn disk(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

/// A status in which these voted last, one of them leads, and these were heard of, each on the disk of its number.
fn status(voters: &[u32], primary: Option<u32>, heard_of: &[u32]) -> ShardStatus {
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
    let replicas = heard_of.iter().map(|&number| said(number, false)).collect();
    ShardStatus { register: Some(register), replicas, ..ShardStatus::default() }
}

fn said(number: u32, blank: bool) -> ShardReplica {
    let address = format!("r{number}:1");
    ShardReplica { name: labels::replica(number), disk_id: disk(number), address, blank }
}

fn shard(numbers: &[u32], count: u32, status: Option<ShardStatus>) -> Shard {
    let names = numbers.iter().copied().map(labels::replica).collect();
    let next = numbers.iter().max().map(|last| last + 1);
    let spec = shoal_crds::ShardSpec {
        replicas: count,
        replica_names: names,
        next_replica: next,
        ..Default::default()
    };
    Shard { status, ..Shard::new("c-0", spec) }
}

fn seen(shard: Shard) -> Seen {
    Seen { shards: [("c-0".to_owned(), Arc::new(shard))].into(), ..Seen::default() }
}

fn claim(number: u32, annotations: &[(&str, &str)]) -> (String, Arc<PersistentVolumeClaim>) {
    let mut claim = PersistentVolumeClaim::default();
    let number_text = number.to_string();
    claim.metadata.labels =
        Some(meta::labels_of([(labels::SHARD, "c-0"), (labels::REPLICA, &number_text)]));
    let annotations = annotations.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
    claim.metadata.annotations = Some(annotations.collect());
    (format!("data-c-0-r{number}-0"), Arc::new(claim))
}

const OF_SEVERAL: (&str, &str) = (labels::REPLICATED, "true");
const OUT: (&str, &str) = (labels::LEFT, "true");

#[test]
fn a_new_shard_gets_as_many_as_are_asked_for() {
    let one = Replicas::alone();
    assert_eq!(plan(&Seen::default(), "c-0", 1), one);
    let three = Replicas { count: 3, replicated: true, numbers: vec![0, 1, 2], next: 3 };
    assert_eq!(plan(&Seen::default(), "c-0", 3), three);
}

#[test]
fn a_shard_that_was_made_before_there_were_names_has_one_replica() {
    assert_eq!(Replicas::of(&shard(&[], 1, None)).names(), ["r0"]);
    assert_eq!(plan(&seen(shard(&[], 1, None)), "c-0", 1).numbers, [0]);
}

#[test]
fn more_are_added_and_the_highest_but_the_primary_are_taken_out() {
    let three = seen(shard(&[0, 1, 2], 3, Some(status(&[0, 1, 2], Some(0), &[0, 1, 2]))));
    let five = plan(&three, "c-0", 5);
    assert_eq!((five.numbers.as_slice(), five.next), (&[0, 1, 2, 3, 4][..], 5));

    let all = [0, 1, 2, 3, 4];
    let led_by = |primary| seen(shard(&all, 5, Some(status(&all, primary, &all))));
    assert_eq!(plan(&led_by(Some(1)), "c-0", 3).numbers, [0, 1, 2]);
    assert_eq!(plan(&led_by(Some(4)), "c-0", 3).numbers, [0, 1, 4]);
    assert_eq!(plan(&led_by(None), "c-0", 3).numbers, all, "nobody knows who is going to lead");
}

#[test]
fn those_on_lost_nodes_are_taken_out_first() {
    let all = [0, 1, 2, 3, 4];
    let mut five = status(&all, Some(0), &all);
    five.replica_states = vec![ReplicaState {
        name: "r1".into(),
        role: ReplicaRole::Follower,
        ready: false,
        log: None,
        behind_ops: None,
        node: None,
        node_lost_since: None,
        moving: true,
    }];
    let five = seen(shard(&all, 5, Some(five)));
    assert_eq!(plan(&five, "c-0", 3).numbers, [0, 2, 3]);
}

#[test]
fn before_there_is_a_register_only_blank_ones_are_taken_out() {
    let all = [0, 1, 2, 3, 4];
    let with = |replicas| {
        let status = ShardStatus { replicas, ..ShardStatus::default() };
        plan(&seen(shard(&all, 5, Some(status))), "c-0", 3).numbers
    };
    assert_eq!(with(vec![]), all);
    assert_eq!(with(vec![said(0, true), said(1, false)]), all);
    assert_eq!(with(vec![said(0, true), said(1, true)]), [0, 1, 2]);
}

#[test]
fn a_number_is_never_used_again() {
    // r3 and r4 left; whatever still tells of them counts, and so does what the Shard says.
    let mut three = shard(&[0, 1, 2], 3, Some(status(&[0, 1, 2], Some(0), &[0, 1, 2])));
    three.spec.next_replica = Some(5);
    assert_eq!(plan(&seen(three.clone()), "c-0", 5).numbers, [0, 1, 2, 5, 6]);
    three.spec.next_replica = None;
    let mut with_disk = seen(three.clone());
    with_disk.claims = [claim(4, &[OF_SEVERAL, OUT])].into();
    assert_eq!(plan(&with_disk, "c-0", 5).numbers, [0, 1, 2, 5, 6]);
    if let Some(status) = &mut three.status {
        status.replicas.push(said(8, false));
    }
    assert_eq!(plan(&seen(three), "c-0", 5).numbers, [0, 1, 2, 9, 10]);
}

#[test]
fn a_name_that_a_person_took_out_is_replaced_by_a_new_one() {
    let two = seen(shard(&[0, 2], 3, Some(status(&[0, 1, 2], Some(0), &[0, 1, 2]))));
    assert_eq!(plan(&two, "c-0", 3).numbers, [0, 2, 3]);
}

#[test]
fn disks_tell_which_replicas_there_were_and_those_on_which_nothing_rests_do_not() {
    let claims = [0, 1, 3].map(|number| claim(number, &[OF_SEVERAL]));
    let mut seen = Seen { claims: claims.into(), ..Seen::default() };
    seen.claims.extend([claim(4, &[OF_SEVERAL, OUT])]);
    let told = known(&seen, "c-0").expect("known");
    assert_eq!((told.count, told.numbers.as_slice()), (3, &[0, 1, 3][..]));
    assert_eq!(known(&seen, "c-1"), None);
    assert_eq!(plan(&seen, "c-0", 5).numbers, [0, 1, 3, 5, 6]);
    let lone = Seen { claims: [claim(0, &[])].into(), ..Seen::default() };
    assert_eq!(known(&lone, "c-0").map(|known| known.count), Some(1));
    assert_eq!(known(&lone, "c-0").map(|known| known.is_replicated()), Some(false));
    let left = Seen { claims: [claim(0, &[OF_SEVERAL])].into(), ..Seen::default() };
    assert_eq!(known(&left, "c-0").map(|known| known.is_replicated()), Some(true), "the last");
}

#[test]
fn a_lone_shard_leads_before_others_are_named_whatever_happens_meanwhile() {
    let lone = seen(shard(&[0], 1, None));
    let first = plan(&lone, "c-0", 3);
    assert_eq!(first, Replicas { count: 3, replicated: true, numbers: vec![0], next: 1 });
    // Its pod is restarted; it announces its disk; it founds; nobody leads yet.
    let heard = ShardStatus { replicas: vec![said(0, false)], ..ShardStatus::default() };
    for status in [None, Some(heard), Some(status(&[0], None, &[0]))] {
        assert_eq!(plan(&seen(shard(&[0], 3, status)), "c-0", 3), first);
    }
    // The Shard is lost, and the disk says what it said before it was marked, or after.
    for annotations in [&[][..], &[OF_SEVERAL]] {
        let disks = Seen { claims: [claim(0, annotations)].into(), ..Seen::default() };
        assert_eq!(plan(&disks, "c-0", 3), first);
    }
    let leads = seen(shard(&[0], 3, Some(status(&[0], Some(0), &[0]))));
    assert_eq!(plan(&leads, "c-0", 3).numbers, [0, 1, 2]);
    assert_eq!(plan(&leads, "c-0", 5).numbers, [0, 1, 2, 3, 4]);
}

#[test]
fn of_several_the_primary_is_left_and_is_not_alone_again() {
    let three = |primary| seen(shard(&[0, 1, 2], 3, Some(status(&[0, 1, 2], primary, &[0, 1, 2]))));
    assert_eq!(
        plan(&three(None), "c-0", 1).numbers,
        [0, 1, 2],
        "nobody knows who is going to lead"
    );
    let one = plan(&three(Some(2)), "c-0", 1);
    assert_eq!(one, Replicas { count: 1, replicated: true, numbers: vec![2], next: 3 });
    // Also where it was asked back before it ever led.
    assert!(plan(&seen(shard(&[0], 3, None)), "c-0", 1).is_replicated());

    let mut left = shard(&[2], 1, Some(status(&[2], Some(2), &[2])));
    left.spec.replicated = true;
    assert_eq!(plan(&seen(left.clone()), "c-0", 1), one);
    assert_eq!(plan(&seen(left), "c-0", 3).numbers, [2, 3, 4]);
}

#[test]
fn a_replica_is_out_only_where_that_is_known() {
    let out = |status: Option<ShardStatus>, number| {
        Register::of(Some(&shard(&[0, 1, 2], 3, status))).is_out(number)
    };
    let four = [0, 1, 2, 3];
    assert!(!out(None, 3), "nothing is known");
    assert!(!out(Some(status(&four, Some(0), &four)), 3), "it votes");
    assert!(out(Some(status(&[0, 1, 2], Some(0), &four)), 3));
    assert!(!out(Some(status(&[0, 1, 2], None, &four)), 3), "an election is under way");
    assert!(out(Some(status(&[0, 1, 2], Some(0), &[0, 1, 2])), 3), "all who vote are others");
    assert!(!out(Some(status(&four, Some(0), &[0, 1, 2])), 3), "some voter may be it");
}

#[test]
fn the_primary_comes_last() {
    let order = |status: Option<ShardStatus>| {
        let shard = shard(&[0, 1, 2], 3, status);
        Register::of(Some(&shard)).rolling_order(&[0, 1, 2])
    };
    assert_eq!(order(None), [0, 1, 2]);
    assert_eq!(order(Some(status(&[0, 1, 2], Some(0), &[0, 1, 2]))), [1, 2, 0]);
    let unheard = status(&[0, 1, 2], Some(0), &[1, 2]);
    assert!(Register::of(Some(&shard(&[0, 1, 2], 3, Some(unheard)))).in_election());
}

proptest! {
    /// However often the number asked for changes: as many as asked, no name twice, and the primary among them.
    #[test]
    fn scaling_ends_with_as_many_as_asked_and_new_names(
        steps in proptest::collection::vec((prop_oneof![Just(1_u32), Just(3), Just(5)], any::<prop::sample::Index>()), 1..12),
    ) {
        let mut now = shard(&[0, 1, 2], 3, Some(status(&[0, 1, 2], Some(0), &[0, 1, 2])));
        let mut ever: Vec<u32> = vec![0, 1, 2];
        for (count, primary) in steps {
            prop_assert!(Replicas::of(&now).is_replicated());
            let before = Replicas::of(&now).numbers;
            let leads = before[primary.index(before.len())];
            now.status = Some(status(&before, Some(leads), &before));
            let planned = plan(&seen(now.clone()), "c-0", count);
            prop_assert_eq!(planned.numbers.len(), count as usize);
            prop_assert!(planned.numbers.contains(&leads));
            for added in planned.numbers.iter().filter(|number| !before.contains(number)) {
                prop_assert!(!ever.contains(added), "r{} again", added);
                ever.push(*added);
            }
            now.spec.replicas = count;
            now.spec.replicated = planned.is_replicated() && count == 1;
            now.spec.replica_names = planned.names();
            now.spec.next_replica = Some(planned.next);
        }
    }
}
