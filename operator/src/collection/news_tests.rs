//! A change is told once, and what did not change is not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::*;

fn state(name: &str, role: ReplicaRole, log: Option<LogState>) -> ReplicaState {
    ReplicaState {
        name: name.into(),
        role,
        ready: true,
        log,
        behind_ops: None,
        node: None,
        node_lost_since: None,
        moving: false,
    }
}

fn status(states: &[ReplicaState]) -> ShardStatus {
    ShardStatus { replica_states: states.to_vec(), ..ShardStatus::default() }
}

fn reasons(before: &ShardStatus, after: &ShardStatus) -> Vec<(&'static str, bool)> {
    of_shard(before, after).into_iter().map(|news| (news.reason, news.warning)).collect()
}

#[test]
fn the_life_of_a_replica_is_told_step_by_step() {
    use LogState::{Behind, CaughtUp, Resyncing};
    use ReplicaRole::{Follower, Learner, Leaving, Primary, Quarantined, Starting};
    let r0 = state("r0", Primary, Some(CaughtUp));
    let r3 = |role, log| status(&[r0.clone(), state("r3", role, log)]);
    let steps = [
        (status(std::slice::from_ref(&r0)), vec![]),
        (r3(Starting, None), vec![("ReplicaAdded", false)]),
        (r3(Learner, Some(Resyncing)), vec![("ReplicaResyncing", false)]),
        (r3(Learner, Some(Behind)), vec![("ReplicaBehind", true)]),
        (r3(Follower, Some(CaughtUp)), vec![("ReplicaJoined", false)]),
        (r3(Follower, Some(Behind)), vec![("ReplicaBehind", true)]),
        (r3(Follower, Some(CaughtUp)), vec![("ReplicaCaughtUp", false)]),
        (r3(Quarantined, None), vec![("ReplicaQuarantined", true)]),
        (r3(Leaving, None), vec![("ReplicaLeaving", false)]),
        (status(std::slice::from_ref(&r0)), vec![("ReplicaRemoved", false)]),
    ];
    let mut before = ShardStatus::default();
    for (after, expected) in steps {
        assert_eq!(reasons(&before, &after), expected, "{after:?}");
        assert_eq!(reasons(&after, &after), vec![], "told once");
        before = after;
    }
}

#[test]
fn that_a_lone_shard_becomes_one_of_several_is_told_and_a_new_shard_is_not() {
    let lone = ShardStatus { observed_generation: Some(1), ..ShardStatus::default() };
    let starting = status(&[state("r0", ReplicaRole::Starting, None)]);
    assert_eq!(reasons(&lone, &starting), [("BecomesReplicated", false)]);
    assert_eq!(reasons(&ShardStatus::default(), &starting), []);
    let three = ["r0", "r1", "r2"].map(|name| state(name, ReplicaRole::Starting, None));
    assert_eq!(reasons(&lone, &status(&three)), [], "an older operator told of no replicas");
}

fn failed_over(reason: FailoverReason, duration_ms: Option<i64>) -> ShardStatus {
    let time = || Time(Timestamp::UNIX_EPOCH);
    let last = LastFailover {
        shard: None,
        epoch: "4".into(),
        from: "r0".into(),
        to: "r2".into(),
        reason,
        detected: time(),
        promoted: time(),
        duration_ms,
        lost_ops: Some(0),
    };
    ShardStatus { last_failover: Some(last), ..ShardStatus::default() }
}

#[test]
fn a_failover_says_from_whom_to_whom_in_which_epoch_and_how_long_it_took() {
    let lost = failed_over(FailoverReason::PrimaryLost, Some(1_700));
    let news = of_shard(&ShardStatus::default(), &lost);
    assert_eq!((news.len(), news[0].reason, news[0].warning), (1, "Failover", true));
    let note =
        "replica r2 leads epoch 4 in the place of r0, 1700 ms after the last sign of life of r0";
    assert_eq!(news[0].note, note);
    let planned = failed_over(FailoverReason::Switchover, None);
    let news = of_shard(&ShardStatus::default(), &planned);
    assert_eq!((news[0].reason, news[0].warning), ("Switchover", false));
    assert_eq!(news[0].note, "replica r0 handed over to r2, which leads epoch 4");
    assert!(of_shard(&planned, &planned).is_empty());
}

#[test]
fn lost_ops_are_told_once_they_are_known_and_the_failover_is_not_told_again() {
    let with = |lost_ops| {
        let mut status = failed_over(FailoverReason::PrimaryLost, None);
        status.last_failover.as_mut().expect("there").lost_ops = lost_ops;
        status
    };
    assert_eq!(reasons(&with(None), &with(Some(12))), [("AcknowledgedOpsLost", true)]);
    let note = &of_shard(&with(None), &with(Some(12)))[0].note;
    assert!(note.contains("12 ops") && note.contains("disk of r0"), "{note}");
    assert_eq!(reasons(&with(None), &with(Some(0))), []);
    assert_eq!(reasons(&with(Some(12)), &with(Some(12))), []);
    let at_once = [("Failover", true), ("AcknowledgedOpsLost", true)];
    assert_eq!(reasons(&ShardStatus::default(), &with(Some(12))), at_once);
}

fn reconciling(reason: &str, message: &str) -> Condition {
    Condition {
        type_: conditions::RECONCILING.into(),
        status: "True".into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

#[test]
fn what_a_rolling_step_waits_for_is_told_when_it_is_something_else() {
    let waits = |what: &str| vec![reconciling(reason::ROLLING, &format!("replacing pods{what}"))];
    let told = |before: &[Condition], after: &[Condition]| of_rolling(before, after).is_some();
    let (goes_on, first) = (waits(""), waits("; waiting: replica c-0-r1 lacks about 5200 ops"));
    assert!(told(&goes_on, &first) && told(&[], &first));
    assert!(!told(&first, &waits("; waiting: replica c-0-r1 lacks about 910 ops")));
    assert!(told(&first, &waits("; waiting: replica c-0-r2 lacks about 910 ops")));
    assert!(!told(&first, &goes_on) && !told(&first, &[]));
}

#[test]
fn that_too_few_are_left_is_told_and_that_they_are_enough_again() {
    let condition = reconciling(reason::NO_QUORUM, "2 of 3 are away");
    let short = ShardStatus { conditions: vec![condition], ..ShardStatus::default() };
    let well = ShardStatus::default();
    assert_eq!(reasons(&well, &short), [("NoQuorum", true)]);
    assert_eq!(reasons(&short, &well), [("QuorumRestored", false)]);
}

#[test]
fn moves_are_told_when_they_begin_and_one_by_one() {
    let moves =
        |moved| Rebalance { job: "c-rebalance".into(), nodes: vec!["n1".into()], moved, total: 3 };
    let note = |before: Option<&Rebalance>, after: Option<&Rebalance>| {
        of_rebalance(before, after).map(|news| news.note)
    };
    assert!(note(None, Some(&moves(0))).expect("told").contains("moving 3 replicas off node n1"));
    let moved = "moved 1 of 3 replicas off node n1".to_owned();
    assert_eq!(note(Some(&moves(0)), Some(&moves(1))), Some(moved));
    assert_eq!(note(Some(&moves(1)), Some(&moves(1))), None);
    assert_eq!(note(Some(&moves(3)), None), None);
}
