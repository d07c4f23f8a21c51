//! How far a Job is, from the Shards alone.

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use shoal_crds::shard::ReplicaState;

use super::*;
use crate::collection::testing::collection;
use crate::collection::validate::validate;
use crate::collection::view::ReplicaView;
use shoal_crds::collection::Routing;

fn state(name: &str, role: ReplicaRole, moving: bool) -> ReplicaState {
    ReplicaState {
        name: name.into(),
        role,
        ready: !moving,
        log: None,
        behind_ops: None,
        node: Some("n1".into()),
        node_lost_since: None,
        moving,
    }
}

fn view(name: &str, states: Vec<ReplicaState>) -> ShardView {
    let number = |state: &ReplicaState| labels::replica_number(&state.name).expect("a number");
    let replicas =
        states.iter().map(|state| ReplicaView { number: number(state), pod: None }).collect();
    ShardView { name: name.into(), replicas, states, ..ShardView::default() }
}

fn job(replicas: &[&str]) -> Job {
    let made = collection("c");
    let valid = validate(&made).expect("valid");
    let replicas: Vec<String> = replicas.iter().map(|&replica| replica.to_owned()).collect();
    let moves = Moves { replicas: &replicas, nodes: &["n1".into()] };
    job::build(&made, &valid, &Routing::default(), "i", &moves)
}

use ReplicaRole::{Follower, Learner, Leaving, Primary, Starting};

#[test]
fn a_replica_is_moved_once_another_votes_in_its_place_and_it_does_not() {
    let job = job(&["c-0/r1", "c-1/r2"]);
    let waiting = view("c-1", vec![state("r0", Primary, false), state("r2", Follower, true)]);
    let steps = [
        (vec![state("r1", Follower, true)], 0, "another replica is to be named"),
        (vec![state("r1", Leaving, false), state("r3", Starting, false)], 0, "gets what"),
        (vec![state("r1", Leaving, false), state("r3", Learner, false)], 0, "gets what"),
        (vec![state("r1", Leaving, false), state("r3", Follower, false)], 0, "does not vote"),
        (vec![state("r3", Follower, false)], 1, "c-1: another replica is to be named"),
    ];
    for (mut states, moved, words) in steps {
        states.insert(0, state("r0", Primary, false));
        let shards = [view("c-0", states), waiting.clone()];
        let (rebalance, told) = progress(&job, &marked(&shards), &shards);
        assert_eq!((rebalance.moved, rebalance.total), (moved, 2), "{told}");
        assert!(told.contains(words), "{told}");
        assert!(told.starts_with(&format!("moved {moved} of 2 replicas off node n1")), "{told}");
    }
}

#[test]
fn what_is_lost_while_a_job_runs_is_counted_too() {
    let shards = [view("c-0", vec![state("r0", Primary, false), state("r2", Follower, true)])];
    let (rebalance, _) = progress(&job(&["c-0/r1"]), &marked(&shards), &shards);
    assert_eq!((rebalance.moved, rebalance.total), (1, 2));
}

#[test]
fn a_pod_that_no_node_takes_is_told() {
    let mut new = state("r3", Starting, false);
    new.ready = false;
    let shards = [view("c-0", vec![state("r0", Primary, false), new])];
    let (_, told) = progress(&job(&["c-0/r1"]), &[], &shards);
    assert!(told.contains("kubectl describe statefulset c-0-r3"), "{told}");
}

#[test]
fn a_job_has_ended_when_it_says_so() {
    let mut job = job(&[]);
    assert_eq!(end(&job), None);
    let mut ended = |type_: &str, status: &str| {
        let condition = JobCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some("BackoffLimitExceeded".into()),
            ..JobCondition::default()
        };
        job.status = Some(JobStatus { conditions: Some(vec![condition]), ..JobStatus::default() });
        end(&job)
    };
    assert_eq!(ended("Complete", "True"), Some(End::Complete));
    assert_eq!(ended("Failed", "True"), Some(End::Failed("BackoffLimitExceeded".into())));
    assert_eq!(ended("Failed", "False"), None);
    assert_eq!(ended("Suspended", "True"), None);
}
