//! A lone shard as a process, with points in it and a client that writes on: it becomes the first of three replicas, is killed,
//! and one is left in the end. Nothing that was acknowledged is missing at any step.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::replica::{Replica, set_of};
use common::three::{LONG, NAMES};
use common::{TOKEN, until_ready};
use rustix::process::Signal;
use shoal_node::router::api::{Consistency, ReadOptions};
use shoal_node::router::shard_client::ShardClient;
use shoal_shard::api::OpOrigin;
use shoal_vector::{Op, Point, PointId};

/// Has a replica stop in order, and starts it anew as one of these.
async fn restart(mut replica: Replica, root: &Path, names: &str) -> Replica {
    replica.process.signal(Signal::TERM);
    replica.process.wait(LONG);
    let mut again = replica.restart_as(root, names);
    until_ready(&mut again.process, again.admin).await;
    again
}

/// Which disks vote, as the register says.
fn voters(root: &Path) -> usize {
    let Ok(text) = std::fs::read_to_string(root.join("register.json")) else { return 0 };
    let content: serde_json::Value = serde_json::from_str(&text).unwrap();
    content["register"]["members"]["voters"].as_array().map_or(0, Vec::len)
}

async fn until_voters(root: &Path, count: usize) {
    let wait = async {
        while voters(root) != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{} vote", voters(root)));
}

async fn put(set: &ShardClient, id: u64) {
    let vectors = vec![(String::new(), vec![id as f32, 1.0])];
    let point = Point { id: PointId::Num(id), vectors, payload: Vec::new() };
    let op = shoal_shard::encode_op(&Op::Upsert(vec![point]));
    let origin = OpOrigin { client_id: 7, op_id: id };
    set.write(op.into(), origin, true, LONG).await.unwrap();
}

/// One point after the other, until it is told to stop: how many were acknowledged.
struct Writer {
    acked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(set: ShardClient, from: u64) -> Self {
        let (acked, stop) = (Arc::new(AtomicU64::new(from)), Arc::<AtomicBool>::default());
        let (told, stopped) = (acked.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                let id = told.load(Ordering::SeqCst) + 1;
                put(&set, id).await;
                told.store(id, Ordering::SeqCst);
            }
        });
        Self { acked, stop, task }
    }

    /// Waits until so many more are acknowledged.
    async fn goes_on(&self, more: u64) {
        let enough = self.acked.load(Ordering::SeqCst) + more;
        let wait = async {
            while self.acked.load(Ordering::SeqCst) < enough {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap();
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        self.acked.load(Ordering::SeqCst)
    }
}

async fn count(set: &ShardClient, consistency: Consistency) -> u64 {
    let options = ReadOptions { consistency, ..LONG.into() };
    set.count(None, options).await.unwrap().value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_shard_becomes_the_first_of_three_and_of_those_one_is_left_without_losing_a_write() {
    let keep = tempfile::tempdir().unwrap();
    let root = keep.path();
    std::fs::write(root.join("token"), format!("{TOKEN}\n")).unwrap();
    let mut lone = Replica::start(root, "r0", "", &[]);
    until_ready(&mut lone.process, lone.admin).await;
    let alone = ShardClient::Remote(lone.remote());
    let writer = Writer::start(alone, 0);
    writer.goes_on(200).await;
    let before = writer.end().await;

    // It is the only one that is named, as on a cluster, and leads.
    let first = restart(lone, root, "r0").await;
    let only = set_of([&first]);
    assert_eq!(count(&only, Consistency::Any).await, before, "before anybody leads");
    let writer = Writer::start(only, before);
    writer.goes_on(50).await;
    let before = writer.end().await;
    assert_eq!(voters(root), 1);

    // Two join while a client writes.
    let names = NAMES.join(",");
    let mut replicas = vec![restart(first, root, &names).await];
    for name in ["r1", "r2"] {
        replicas.push(Replica::start(root, name, &names, &[]));
    }
    let set = set_of(&replicas);
    let writer = Writer::start(set.clone(), before);
    until_voters(root, 3).await;
    writer.goes_on(50).await;

    // The one that was alone ends as by a crash, and the others have it all.
    let killed = replicas.remove(0);
    killed.process.signal(Signal::KILL);
    writer.goes_on(50).await;
    let acked = writer.end().await;
    assert_eq!(count(&set, Consistency::Strong).await, acked);
    for _ in NAMES {
        assert_eq!(count(&set, Consistency::Any).await, acked);
    }

    // Back to one: to the one that was alone at first, whoever leads until then.
    let mut back = killed.restart_as(root, "r0");
    until_ready(&mut back.process, back.admin).await;
    let writer = Writer::start(set.clone(), acked);
    while !back.leads().await {
        for at in 0..replicas.len() {
            if replicas[at].leads().await {
                let other = replicas.remove(at);
                replicas.push(restart(other, root, &names).await);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until_voters(root, 1).await;
    writer.goes_on(50).await;
    let acked = writer.end().await;
    drop(replicas);
    let only = set_of([&back]);
    assert_eq!(count(&only, Consistency::Strong).await, acked);

    // It goes on as one of several, of which there is one.
    let again = restart(back, root, "r0").await;
    assert_eq!(count(&set_of([&again]), Consistency::Strong).await, acked);
    let refused = Replica::start(root, "r0", "", &[]);
    drop(again);
    let mut refused = refused.process;
    assert!(!refused.wait(LONG).success(), "as one of several it knows what a lone shard does not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_shard_that_is_named_beside_blank_ones_is_founded_on_its_disk_and_not_on_theirs() {
    let keep = tempfile::tempdir().unwrap();
    let root = keep.path();
    std::fs::write(root.join("token"), format!("{TOKEN}\n")).unwrap();
    let mut lone = Replica::start(root, "r2", "", &[]);
    until_ready(&mut lone.process, lone.admin).await;
    for id in 1..=20 {
        put(&ShardClient::Remote(lone.remote()), id).await;
    }
    // The blank ones are there first.
    let names = NAMES.join(",");
    let mut replicas = Vec::new();
    for name in ["r0", "r1"] {
        replicas.push(Replica::start(root, name, &names, &[]));
    }
    for replica in &mut replicas {
        until_ready(&mut replica.process, replica.admin).await;
    }
    replicas.push(restart(lone, root, &names).await);
    until_voters(root, 3).await;
    let set = set_of(&replicas);
    put(&set, 21).await;
    assert_eq!(count(&set, Consistency::Strong).await, 21);
    for _ in NAMES {
        assert_eq!(count(&set, Consistency::Any).await, 21);
    }
}
