//! What a person reads first is the gravest.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::collection::view::ReplicaView;
use crate::told::{ReplicaTold, ShardTold};

fn state(name: &str, role: ReplicaRole) -> ReplicaState {
    ReplicaState {
        name: name.into(),
        role,
        ready: true,
        log: Some(LogState::CaughtUp),
        behind_ops: Some(0),
        node: Some(format!("node-of-{name}")),
        node_lost_since: None,
        moving: false,
    }
}

fn view(states: Vec<ReplicaState>) -> ShardView {
    let replicas = (0..).zip(&states).map(|(number, _)| ReplicaView { number, pod: None });
    ShardView { name: "c-0".into(), replicas: replicas.collect(), states, ..ShardView::default() }
}

/// A shard whose pods are all there.
fn whole(states: Vec<ReplicaState>) -> ShardView {
    ShardView { replicas: Vec::new(), ..view(states) }
}

fn told(view: &ShardView) -> (&'static str, String) {
    of(view).expect("a story")
}

#[test]
fn a_shard_that_is_as_it_is_to_be_has_no_story() {
    let states = vec![state("r0", ReplicaRole::Primary), state("r1", ReplicaRole::Follower)];
    assert_eq!(of(&whole(states)), None);
    assert_eq!(of(&ShardView::default()), None);
}

#[test]
fn the_gravest_is_told_first() {
    let mut moving = state("r1", ReplicaRole::Follower);
    (moving.moving, moving.ready) = (true, false);
    moving.node_lost_since = Some(Time(Timestamp::UNIX_EPOCH));
    let mut behind = state("r2", ReplicaRole::Follower);
    (behind.log, behind.behind_ops) = (Some(LogState::Behind), Some(5_200));
    let broken = state("r3", ReplicaRole::Quarantined);
    let mut shard = whole(vec![moving, behind, broken]);
    let ended = ReplicaTold { ended: Some("its log is odd".into()), ..ReplicaTold::default() };
    shard.told = ShardTold { replicas: [(3, ended)].into(), ..ShardTold::default() };
    shard.in_election = true;
    shard.lost_majority = Some("2 of 3 are lost".into());
    shard.outdated = true;

    assert_eq!(told(&shard), (reason::NO_QUORUM, "2 of 3 are lost".to_owned()));
    shard.lost_majority = None;
    assert_eq!(told(&shard).0, reason::ELECTING);
    shard.in_election = false;
    let (reason, words) = told(&shard);
    assert_eq!(reason, reason::REPLICA_QUARANTINED);
    assert!(words.ends_with("its log is odd"), "{words}");
    shard.states.pop();
    let (reason, words) = told(&shard);
    assert_eq!(reason, reason::MOVING_REPLICAS);
    assert!(words.contains("replica r1, whose node node-of-r1"), "{words}");
    shard.states.remove(0);
    let (reason, words) = told(&shard);
    assert_eq!(reason, reason::REPLICA_BEHIND);
    assert!(words.contains("lacks about 5200 ops"), "{words}");
    shard.states.clear();
    assert_eq!(told(&shard).0, reason::ROLLING);
}

#[test]
fn one_that_waits_for_its_node_says_since_when_and_what_comes_then() {
    let mut away = state("r1", ReplicaRole::Follower);
    (away.ready, away.node_lost_since) = (false, Some(Time(Timestamp::UNIX_EPOCH)));
    let (reason, words) = told(&view(vec![state("r0", ReplicaRole::Primary), away]));
    assert_eq!(reason, reason::REPLICAS_UNAVAILABLE);
    assert!(words.contains("since 1970-01-01T00:00:00Z, and another replica"), "{words}");
}

#[test]
fn one_that_joins_says_what_it_lacks() {
    let mut learner = state("r3", ReplicaRole::Learner);
    learner.log = Some(LogState::Resyncing);
    let (reason, words) = told(&whole(vec![state("r0", ReplicaRole::Primary), learner]));
    assert_eq!(reason, reason::REPLICA_JOINING);
    assert!(words.ends_with("once it has it: it fetches a snapshot"), "{words}");
}
