//! What replicas are told to be, and that none is moved for a reboot or where too few are left.

use k8s_openapi::api::core::v1::PodSpec;
use proptest::prelude::*;
use shoal_crds::ShardStatus;
use shoal_crds::shard::{
    LogState, RegisterMembers, RegisterPhase, RegisterPrimary, ShardRegister, ShardReplica,
};

use super::*;
use crate::told::ReplicaTold;

const GRACE: Duration = Duration::from_secs(300);

fn disk(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// A shard of three in which these vote and one leads, or nobody.
fn shard(names: &[u32], voters: &[u32], primary: Option<u32>, heard_of: &[u32]) -> Shard {
    let spec = shoal_crds::ShardSpec {
        replicas: 3,
        replica_names: names.iter().copied().map(labels::replica).collect(),
        next_replica: Some(9),
        ..Default::default()
    };
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
    let said = |&number: &u32| ShardReplica {
        name: labels::replica(number),
        disk_id: disk(number),
        address: "a:1".into(),
        blank: false,
    };
    let status = ShardStatus {
        register: Some(register),
        replicas: heard_of.iter().map(said).collect(),
        ..ShardStatus::default()
    };
    Shard { status: Some(status), ..Shard::new("c-0", spec) }
}

fn three() -> Shard {
    shard(&[0, 1, 2], &[0, 1, 2], Some(0), &[0, 1, 2])
}

/// r<n> runs on node n<n>.
fn running(numbers: &[u32]) -> BTreeMap<String, Arc<Pod>> {
    let pod = |&number: &u32| {
        let node_name = Some(format!("n{number}"));
        let spec = PodSpec { node_name, ..PodSpec::default() };
        let pod = Pod { spec: Some(spec), ..Pod::default() };
        (format!("c-0-r{number}-0"), Arc::new(pod))
    };
    numbers.iter().map(pod).collect()
}

fn nodes(states: &[NodeIs]) -> Nodes {
    states.iter().enumerate().map(|(n, &is)| (format!("n{n}"), is)).collect()
}

fn seen_at(
    second: i64,
    shard: &Shard,
    pods: &BTreeMap<String, Arc<Pod>>,
    nodes: &Nodes,
) -> Vec<ReplicaState> {
    let told = ShardTold::default();
    states(&Look { shard, pods, nodes, told: &told, grace: GRACE, now: at(second) })
}

fn moving(states: &[ReplicaState]) -> Vec<&str> {
    states.iter().filter(|state| state.moving).map(|state| state.name.as_str()).collect()
}

fn with(states: &[ReplicaState], mut shard: Shard) -> Shard {
    shard.status.get_or_insert_default().replica_states = states.to_vec();
    shard
}

#[test]
fn each_replica_is_told_to_be_what_the_register_says() {
    let shard = shard(&[0, 2, 3, 4], &[0, 1, 2], Some(0), &[0, 1, 2, 3]);
    let told = ReplicaTold { ended: Some("broken".into()), ..ReplicaTold::default() };
    let told = ShardTold { replicas: [(2, told)].into(), ..ShardTold::default() };
    let (pods, nodes) = (BTreeMap::new(), Nodes::new());
    let look =
        Look { shard: &shard, pods: &pods, nodes: &nodes, told: &told, grace: GRACE, now: at(0) };
    let roles: Vec<_> = states(&look).into_iter().map(|s| (s.name, s.role)).collect();
    let expected = [
        ("r0", ReplicaRole::Primary),
        ("r1", ReplicaRole::Leaving),
        ("r2", ReplicaRole::Quarantined),
        ("r3", ReplicaRole::Learner),
        ("r4", ReplicaRole::Starting),
    ];
    assert_eq!(roles, expected.map(|(name, role)| (name.to_owned(), role)));
    let electing = self::shard(&[0, 1, 2], &[0, 1, 2], None, &[0, 1, 2]);
    let roles = seen_at(0, &electing, &pods, &nodes);
    assert!(roles.iter().all(|state| state.role == ReplicaRole::Electing));
    assert!(seen_at(0, &Shard::new("c-0", Default::default()), &pods, &nodes).is_empty());
}

#[test]
fn a_replica_is_moved_once_its_node_was_away_for_the_whole_grace_and_not_for_a_reboot() {
    let pods = running(&[0, 1, 2]);
    let lost = nodes(&[NodeIs::Ready, NodeIs::NotReady(at(1_000)), NodeIs::Ready]);
    let early = seen_at(1_299, &three(), &pods, &lost);
    assert_eq!(early[1].node_lost_since, Some(Time(at(1_000))));
    assert!(moving(&early).is_empty());
    assert_eq!(look_again(&early, GRACE, at(1_299)), Some(Duration::from_secs(2)));
    assert_eq!(moving(&seen_at(1_300, &three(), &pods, &lost)), ["r1"]);
    // It came back within the grace, or after it and before anything was moved.
    let back = nodes(&[NodeIs::Ready; 3]);
    let again = seen_at(1_400, &with(&early, three()), &pods, &back);
    assert!(moving(&again).is_empty() && again[1].node_lost_since.is_none());
    assert_eq!(look_again(&again, GRACE, at(1_400)), None);
}

#[test]
fn a_node_that_is_gone_is_remembered_by_the_pod_that_ran_there() {
    let all = nodes(&[NodeIs::Ready; 3]);
    let before = seen_at(0, &three(), &running(&[0, 1, 2]), &all);
    assert_eq!(before[2].node.as_deref(), Some("n2"));
    // Its object is gone and with it the pod; the new one has no node.
    let gone = nodes(&[NodeIs::Ready, NodeIs::Ready]);
    let first = seen_at(50, &with(&before, three()), &running(&[0, 1]), &gone);
    assert_eq!(first[2].node_lost_since, Some(Time(at(50))));
    let later = seen_at(350, &with(&first, three()), &running(&[0, 1]), &gone);
    assert_eq!(moving(&later), ["r2"]);
    // Elsewhere it is on no lost node.
    let mut elsewhere = running(&[0, 1]);
    let pod = Pod {
        spec: Some(PodSpec { node_name: Some("n0".into()), ..PodSpec::default() }),
        ..Pod::default()
    };
    elsewhere.insert("c-0-r2-0".into(), Arc::new(pod));
    assert!(moving(&seen_at(351, &with(&later, three()), &elsewhere, &gone)).is_empty());
}

#[test]
fn nothing_is_moved_where_a_majority_is_lost_or_nobody_leads() {
    let pods = running(&[0, 1, 2]);
    let away = NodeIs::NotReady(at(0));
    let majority = nodes(&[NodeIs::Ready, away, away]);
    let states = seen_at(9_000, &three(), &pods, &majority);
    assert!(moving(&states).is_empty());
    let told = lost_majority(&three(), &states).expect("told");
    assert!(told.starts_with("2 of 3 replicas are on nodes") && told.contains("n1, n2"), "{told}");
    let one = nodes(&[NodeIs::Ready, away, NodeIs::Ready]);
    let leaderless = shard(&[0, 1, 2], &[0, 1, 2], None, &[0, 1, 2]);
    assert!(moving(&seen_at(9_000, &leaderless, &pods, &one)).is_empty());
    assert_eq!(lost_majority(&three(), &seen_at(9_000, &three(), &pods, &one)), None);
    // The one that leads by the register is on the lost node: another is elected first.
    let led_there = shard(&[0, 1, 2], &[0, 1, 2], Some(1), &[0, 1, 2]);
    assert!(moving(&seen_at(9_000, &led_there, &pods, &one)).is_empty());
}

#[test]
fn what_replicas_say_of_their_logs_is_told() {
    let behind = ReplicaTold {
        log: Some(LogState::Behind),
        behind_ops: Some(5_200),
        ..ReplicaTold::default()
    };
    let told = ShardTold { replicas: [(1, behind)].into(), ..ShardTold::default() };
    let (pods, nodes, shard) = (running(&[1]), nodes(&[NodeIs::Ready; 3]), three());
    let look =
        Look { shard: &shard, pods: &pods, nodes: &nodes, told: &told, grace: GRACE, now: at(0) };
    let states = states(&look);
    assert_eq!((states[1].log, states[1].behind_ops), (Some(LogState::Behind), Some(5_200)));
    assert_eq!(states[0].log, None);
}

proptest! {
    /// Whatever is lost: what is moved is on lost nodes, the primary is not, and a majority of the voters stays.
    #[test]
    fn what_is_moved_leaves_a_majority_that_is_there(
        lost in proptest::collection::vec(any::<Option<bool>>(), 5),
        primary in proptest::option::of(0u32..5),
        second in 0i64..1_000,
    ) {
        let all: Vec<u32> = (0..5).collect();
        let is = |lost: &Option<bool>| match lost {
            None => NodeIs::Ready,
            Some(true) => NodeIs::NotReady(at(100)),
            Some(false) => NodeIs::Gone,
        };
        let states: Vec<NodeIs> = lost.iter().map(is).collect();
        let mut five = shard(&all, &all, primary, &all);
        five.spec.replicas = 5;
        let found = seen_at(second, &five, &running(&all), &nodes(&states));
        let gone = moving(&found);
        for (state, lost) in found.iter().zip(&lost) {
            prop_assert!(!state.moving || lost.is_some());
            prop_assert!(!state.moving || state.role != ReplicaRole::Primary);
        }
        if !gone.is_empty() {
            prop_assert!(primary.is_some());
            prop_assert!(lost.iter().filter(|lost| lost.is_none()).count() >= 3);
        }
    }
}
