//! A replica whose copy differs from the others' is found and mended, while writes and reads go on; a primary whose copy does
//! is not believed.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::replica::{Replica, VECTORS};
use common::three::{LONG, NAMES, Three};
use common::until_ready;
use rustix::process::Signal;
use shoal_node::router::api::Consistency;
use shoal_shard::api::{Identity, Record, ScrollRequest, Tuning, Want, WantPayload, WantVectors};
use shoal_shard::digest::{BucketSet, DIGEST_BUCKETS, Digest};
use shoal_shard::journal::Journal;
use shoal_shard::mend::Comparison;
use shoal_shard::moment::Block;
use shoal_shard::{Cancel, Limits, Shard, decode_op, encode_op};
use shoal_vector::{Op, Point, PointId, PointWithSparse, Quantization};

/// Often, for tests.
const OFTEN: &[&str] = &["--compare-every", "1s"];

fn open(dir: &Path) -> (Shard, Journal) {
    let vectors = serde_json::from_str(VECTORS).unwrap();
    let identity =
        Identity { collection: "c".into(), shard: "c-0".into(), vectors, sparse: vec![] };
    let tuning = Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() };
    let opened = Shard::open_replica(dir, identity, tuning, Limits::default());
    let (shard, mut journal, _) = opened.unwrap();
    // All that was written here was acknowledged.
    let last = journal.last();
    journal.apply(last).unwrap();
    (shard, journal)
}

/// Rewrites the copy of a replica that does not run: four points are lost, one is of an older seq, one is too many.
fn damage(dir: &Path) {
    let (shard, mut journal) = open(dir);
    let (moment, every) = (journal.moment(), BucketSet::of(0..DIGEST_BUCKETS));
    let ids = moment.ids_in(&every, &Cancel::default()).unwrap();
    assert!(ids.len() > 10, "{ids:?}");
    let (mut block, _) = moment.block(&ids[4..]).unwrap();
    let Op::UpsertWithSparse(mut points) = decode_op(&block.points).unwrap() else { panic!() };
    block.seqs[0] -= 1;
    let vectors = vec![(String::new(), vec![9.0, 9.0])];
    let point = Point { id: PointId::Num(5_000), vectors, payload: Vec::new() };
    points.push(PointWithSparse { point, sparse: Vec::new() });
    block.seqs.push(1);
    let points = encode_op(&Op::UpsertWithSparse(points));
    let mut comparison = Comparison::new(moment, every).unwrap();
    comparison.take(&Block { points, ..block }).unwrap();
    let damaged = journal.mend(comparison.finish(&Cancel::default()).unwrap()).unwrap();
    assert_eq!((damaged.put, damaged.removed), (2, 4));
    let begun = Instant::now();
    while !damaged.is_durable() {
        assert!(begun.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(journal);
    shard.close();
}

/// What a replica that does not run holds.
fn contents(dir: &Path) -> (Digest, Vec<Record>) {
    let (shard, journal) = open(dir);
    let want = Want { payload: WantPayload::All, vectors: WantVectors::All };
    let all = ScrollRequest { filter: None, from: None, limit: 100_000, want };
    let found = (shard.digest().unwrap(), shard.scroll(&all).unwrap());
    drop(journal);
    shard.close();
    found
}

/// The value of a metric, 0 where there is none.
async fn metric(replica: &Replica, name: &str) -> u64 {
    let text = replica.metrics().await;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

/// Kills a replica, damages its copy, and starts it again.
async fn come_back_damaged(three: &mut Three, at: usize) {
    let mut replica = three.replicas.remove(at);
    replica.process.signal(Signal::KILL);
    replica.process.wait(LONG);
    let root = three.root.path();
    damage(&root.join(replica.name));
    let mut back = replica.restart(root);
    until_ready(&mut back.process, back.admin).await;
    three.replicas.insert(at, back);
}

/// Stops all, and compares what is on their disks.
async fn assert_alike(mut three: Three, points: u64) {
    for _ in NAMES {
        assert_eq!(three.count(Consistency::Any).await, points);
    }
    for replica in &mut three.replicas {
        replica.process.signal(Signal::TERM);
    }
    for replica in &mut three.replicas {
        assert!(replica.process.wait(LONG).success());
    }
    let of = |replica: &Replica| contents(&three.root.path().join(replica.name));
    let held: Vec<_> = three.replicas.iter().map(of).collect();
    assert_eq!(held[0].1.len() as u64, points);
    for other in &held[1..] {
        // The last entries of a log need not be on all.
        assert_eq!(other.0.buckets, held[0].0.buckets);
        assert_eq!(other.1, held[0].1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_differs_is_found_and_mended_while_writes_go_on() {
    let mut three = Three::start_with(OFTEN).await;
    for id in 1..=40 {
        three.put(id).await;
    }
    let primary = three.primary().await;
    let follower = (0..3).find(|at| *at != primary).unwrap();
    come_back_damaged(&mut three, follower).await;
    let (mut id, begun) = (40, Instant::now());
    let put = r#"shoal_replica_repaired_points_total{change="put"}"#;
    let removed = r#"shoal_replica_repaired_points_total{change="removed"}"#;
    while metric(&three.replicas[follower], put).await < 5 {
        assert!(begun.elapsed() < LONG, "{}", three.replicas[primary].process.log());
        id += 1;
        three.put(id).await;
    }
    assert_eq!(metric(&three.replicas[follower], removed).await, 1);
    assert_eq!(metric(&three.replicas[follower], put).await, 5, "these and no others");
    let primary = three.primary().await;
    let equal = r#"shoal_replica_digest_checks_total{result="equal"}"#;
    let before = metric(&three.replicas[primary], equal).await;
    while metric(&three.replicas[primary], equal).await == before {
        assert!(begun.elapsed() < LONG, "{}", three.replicas[primary].process.log());
        id += 1;
        three.put(id).await;
    }
    assert_eq!(metric(&three.replicas[primary], "shoal_replica_digest_differing_buckets").await, 0);
    assert_alike(three, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_differs_has_another_lead_that_mends_it() {
    let mut three = Three::start_with(OFTEN).await;
    for id in 1..=40 {
        three.put(id).await;
    }
    // Of two that answer none is believed, whoever leads.
    let root = three.root.path().to_owned();
    let third = three.replicas.pop().unwrap();
    third.process.signal(Signal::KILL);
    come_back_damaged(&mut three, 0).await;
    three.put(41).await;
    let begun = Instant::now();
    if !three.replicas[0].leads().await {
        // The only other that there is leads then.
        let mut other = three.replicas.pop().unwrap();
        other.process.signal(Signal::TERM);
        assert!(other.process.wait(LONG).success());
        let mut back = other.restart(&root);
        until_ready(&mut back.process, back.admin).await;
        three.replicas.push(back);
    }
    three.put(42).await;
    let undecided = r#"shoal_replica_digest_checks_total{result="undecided"}"#;
    while metric(&three.replicas[0], undecided).await == 0 {
        assert!(begun.elapsed() < LONG, "{}", three.replicas[0].process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let repaired = "shoal_replica_repaired_points_total";
    for replica in &three.replicas {
        assert!(!replica.metrics().await.contains(repaired));
    }
    let mut third = third.restart(&root);
    until_ready(&mut third.process, third.admin).await;
    three.replicas.push(third);
    let differs = r#"shoal_replica_digest_checks_total{result="primary_differs"}"#;
    let put = r#"shoal_replica_repaired_points_total{change="put"}"#;
    let mut id = 42;
    while metric(&three.replicas[0], put).await < 5 {
        assert!(begun.elapsed() < LONG, "{}", three.replicas[0].process.log());
        id += 1;
        three.put(id).await;
    }
    assert!(metric(&three.replicas[0], differs).await > 0);
    for whole in &three.replicas[1..] {
        assert!(!whole.metrics().await.contains(put), "what is whole is not changed");
    }
    assert_alike(three, id).await;
}
