//! What is made of what replicas say.

use super::*;

const IN_TURN: Taking = Taking { hurried: false, sla_ms: 2_000 };
const HURRIED: Taking = Taking { hurried: true, ..IN_TURN };

fn bytes(disk: u8) -> Vec<u8> {
    [[0; 15].as_slice(), &[disk]].concat()
}

fn disks() -> BTreeMap<u32, String> {
    (0..3).map(|n| (n, disk_name(&bytes(n as u8)).expect("a disk"))).collect()
}

fn follower(number: u8) -> Answer {
    Answer::Said(Box::new(pb::ReplicaReply {
        disk: bytes(number).into(),
        role: pb::ReplicaRole::Follower.into(),
        ..Default::default()
    }))
}

/// r0 leads, and the others lack so many ops.
fn primary(behind: [u64; 2]) -> Answer {
    let behind = (1..).zip(behind).map(|(n, ops)| pb::Behind { disk: bytes(n).into(), ops });
    Answer::Said(Box::new(pb::ReplicaReply {
        disk: bytes(0).into(),
        role: pb::ReplicaRole::Primary.into(),
        commit_seq: 50_000,
        behind: behind.collect(),
        ..Default::default()
    }))
}

fn answers(behind: [u64; 2]) -> BTreeMap<u32, Answer> {
    [(0, primary(behind)), (1, follower(1)), (2, follower(2))].into()
}

fn logs(told: &ShardTold) -> Vec<Option<LogState>> {
    told.replicas.values().map(|replica| replica.log).collect()
}

const CAUGHT_UP: Option<LogState> = Some(LogState::CaughtUp);
const BEHIND: Option<LogState> = Some(LogState::Behind);

#[test]
fn a_replica_counts_as_caught_up_when_it_is_close_and_as_behind_when_it_is_far() {
    let first = digest(&answers([0, 5_234]), &disks(), &ShardTold::default(), IN_TURN);
    assert_eq!(logs(&first), [CAUGHT_UP, CAUGHT_UP, BEHIND]);
    assert_eq!(first.replicas[&2].behind_ops, Some(5_200));
    assert!(first.is_unsettled());
    let close = digest(&answers([0, 999]), &disks(), &first, IN_TURN);
    assert_eq!(logs(&close), [CAUGHT_UP; 3]);
    assert_eq!(close.replicas[&2].behind_ops, Some(0), "what is always on its way is nothing");
    assert!(!close.is_unsettled());
    // It does not go to and fro.
    let busy = digest(&answers([0, 5_234]), &disks(), &close, IN_TURN);
    assert_eq!(logs(&busy), [CAUGHT_UP; 3]);
    assert_eq!(logs(&digest(&answers([0, 10_000]), &disks(), &busy, IN_TURN))[2], BEHIND);
}

#[test]
fn figures_of_a_look_out_of_turn_are_no_news_and_changes_of_meaning_are() {
    let before = digest(&answers([0, 50_000]), &disks(), &ShardTold::default(), IN_TURN);
    let heard = Heard::default();
    let key = || ("ns".to_owned(), "c-0".to_owned());
    assert!(heard.set(key(), before.clone()));
    assert!(!heard.set(key(), digest(&answers([0, 30_000]), &disks(), &before, HURRIED)));
    assert!(heard.set(key(), digest(&answers([0, 30_000]), &disks(), &before, IN_TURN)));
    assert!(heard.set(key(), digest(&answers([0, 10]), &disks(), &before, HURRIED)));
}

#[test]
fn one_that_is_stale_is_behind_and_one_that_fetches_resyncs() {
    let mut said = answers([0, 0]);
    for (number, change) in [
        (1, (|said| said.stale_ms = 60_000) as fn(&mut pb::ReplicaReply)),
        (2, |said| said.fetching = true),
    ] {
        let Some(Answer::Said(said)) = said.get_mut(&number) else { panic!("said") };
        change(said);
    }
    let told = digest(&said, &disks(), &ShardTold::default(), IN_TURN);
    assert_eq!(logs(&told), [CAUGHT_UP, BEHIND, Some(LogState::Resyncing)]);
    let late: Vec<_> = told.replicas.values().map(|replica| replica.late).collect();
    assert_eq!(late, [Some(false), Some(true), Some(false)]);
    let patient = Taking { sla_ms: 60_000, ..IN_TURN };
    let told = digest(&said, &disks(), &ShardTold::default(), patient);
    assert_eq!(told.replicas[&1].late, Some(false));
}

#[test]
fn without_a_primary_nobody_knows_who_has_caught_up() {
    let mut said = answers([0, 0]);
    let Some(Answer::Said(first)) = said.get_mut(&0) else { panic!("said") };
    first.role = pb::ReplicaRole::Electing.into();
    first.short = true;
    let told = digest(&said, &disks(), &ShardTold::default(), IN_TURN);
    assert_eq!(logs(&told), [None; 3]);
    assert!(told.short);
    // One that does not answer is told of by the primary.
    let mut said = answers([0, 0]);
    said.remove(&1);
    said.insert(2, Answer::Mute);
    let told = digest(&said, &disks(), &ShardTold::default(), IN_TURN);
    assert_eq!(told.replicas[&1].log, CAUGHT_UP);
    assert!(told.replicas[&2].mute);
}

#[test]
fn a_failover_is_remembered_while_nobody_leads_and_odd_ids_are_not_believed() {
    let mut said = answers([0, 0]);
    let Some(Answer::Said(first)) = said.get_mut(&0) else { panic!("said") };
    first.failover = Some(pb::Failover {
        epoch: Some(pb::Epoch { number: 4, nonce: 1 }),
        from: bytes(1).into(),
        planned: true,
        ..Default::default()
    });
    let told = digest(&said, &disks(), &ShardTold::default(), IN_TURN);
    let failover = told.failover.clone().expect("told");
    assert_eq!((failover.epoch, failover.from), (4, disks()[&1].clone()));
    let nobody = digest(&BTreeMap::new(), &disks(), &told, IN_TURN);
    assert_eq!(nobody.failover, told.failover);
    let Some(Answer::Said(first)) = said.get_mut(&0) else { panic!("said") };
    first.failover.as_mut().expect("told").from = vec![1, 2, 3].into();
    assert_eq!(digest(&said, &disks(), &ShardTold::default(), IN_TURN).failover, None);
}

/// r0 leads epoch 7 in the place of r1, which led epoch 5, and r1 says that its last entry is of an epoch and what was cut.
fn failed_over(last_epoch: u64, cut: &[(u64, u64)]) -> BTreeMap<u32, Answer> {
    let mut said = answers([0, 0]);
    let Some(Answer::Said(first)) = said.get_mut(&0) else { panic!("said") };
    first.failover = Some(pb::Failover {
        epoch: Some(pb::Epoch { number: 7, nonce: 70 }),
        from: bytes(1).into(),
        former: Some(pb::Epoch { number: 5, nonce: 50 }),
        ..Default::default()
    });
    let Some(Answer::Said(second)) = said.get_mut(&1) else { panic!("said") };
    second.last_epoch = last_epoch;
    let cut = cut.iter().map(|&(number, ops)| pb::CutOps {
        epoch: Some(pb::Epoch { number, nonce: number * 10 }),
        ops,
        by: 7,
    });
    second.cut = cut.collect();
    said
}

fn lost(said: &BTreeMap<u32, Answer>, before: &ShardTold) -> (Option<u64>, ShardTold) {
    let told = digest(said, &disks(), before, IN_TURN);
    (told.failover.as_ref().expect("told").lost_ops, told)
}

#[test]
fn what_a_failover_lost_is_known_once_the_former_primary_follows_and_stays_known() {
    let unknown = ShardTold::default();
    assert_eq!(lost(&failed_over(5, &[(5, 9)]), &unknown).0, None, "more may be cut");
    assert_eq!(lost(&failed_over(0, &[]), &unknown).0, None, "it is of an older version");
    assert_eq!(lost(&failed_over(7, &[]), &unknown).0, Some(0));
    let change = |how: fn(&mut pb::ReplicaReply), number: u32| {
        let mut said = failed_over(7, &[]);
        let Some(Answer::Said(second)) = said.get_mut(&number) else { panic!("said") };
        how(second);
        lost(&said, &unknown).0
    };
    assert_eq!(change(|from| from.cut_is_partial = true, 1), None, "its disk was full");
    // One that succeeded itself, with nothing of what the one before it answered.
    let itself = |to: &mut pb::ReplicaReply| {
        to.last_epoch = 7;
        let disk = to.disk.clone();
        to.failover.as_mut().expect("told").from = disk;
    };
    assert_eq!(change(itself, 0), None);
    let (ops, told) = lost(&failed_over(8, &[(5, 9)]), &unknown);
    assert_eq!(ops, Some(9));
    let mut away = failed_over(0, &[]);
    away.remove(&1);
    assert_eq!(lost(&away, &unknown).0, None);
    assert_eq!(lost(&away, &told).0, Some(9));
    let mut next = away.clone();
    let Some(Answer::Said(first)) = next.get_mut(&0) else { panic!("said") };
    first.failover.as_mut().and_then(|told| told.epoch.as_mut()).expect("told").number = 8;
    assert_eq!(lost(&next, &told).0, None, "that is another failover");
}

#[test]
fn what_was_cut_of_another_epoch_or_on_another_replica_is_not_counted_for_a_failover() {
    let unknown = ShardTold::default();
    assert_eq!(lost(&failed_over(7, &[(3, 4), (5, 9), (6, 2)]), &unknown).0, Some(9));
    assert_eq!(lost(&failed_over(7, &[(3, 4)]), &unknown).0, Some(0));
    let mut said = failed_over(7, &[]);
    said.remove(&1);
    let Some(Answer::Said(third)) = said.get_mut(&2) else { panic!("said") };
    third.last_epoch = 7;
    third.cut = vec![pb::CutOps { epoch: Some(pb::Epoch { number: 5, nonce: 50 }), ops: 9, by: 7 }];
    assert_eq!(lost(&said, &unknown).0, None, "a follower had only some of it");
}
