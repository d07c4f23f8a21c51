//! A lone shard's disk becomes a replica's while a crash may come anywhere: of each place a copy of the disk and of the register
//! is made, as the crash would leave them, and each copy goes on and has all that was acknowledged.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shoal_consensus::Settings;
use shoal_node::local_shard::LocalShard;
use shoal_node::reads::ReadPool;
use shoal_node::replica::register::file::FileRegister;
use shoal_node::replica::start::{ReplicaConfig, Started, start};
use shoal_node::telemetry::Telemetry;
use shoal_proto::auth::Token;
use shoal_shard::api::{Identity, OpOrigin, ShardError, Tuning};
use shoal_shard::{Limits, Shard, fail};
use shoal_vector::{Metric, Op, Point, PointId, Quantization, VectorConfig};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Time that nothing here should need.
const LONG: Duration = Duration::from_secs(60);
/// Points that the lone shard acknowledged: some in segments, some in the log alone.
const POINTS: u64 = 25;

fn identity() -> Identity {
    let vectors = vec![VectorConfig::new("", 2, Metric::Dot)];
    Identity { collection: "c".into(), shard: "c-0".into(), vectors, sparse: vec![] }
}

fn tuning() -> Tuning {
    Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() }
}

fn limits() -> Limits {
    Limits { mutable_entries: 10, ..Limits::default() }
}

fn op(id: u64) -> bytes::Bytes {
    let vectors = vec![(String::new(), vec![id as f32, 1.0])];
    let point = Point { id: PointId::Num(id), vectors, payload: vec![] };
    shoal_shard::encode_op(&Op::Upsert(vec![point])).into()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            // What is there under an unfinished name may be gone by now.
            false => drop(std::fs::copy(entry.path(), to)),
        }
    }
}

/// A lone shard that acknowledged some points and ended.
async fn lone(dir: &Path) {
    let shard = Shard::open(dir, identity(), tuning(), limits()).unwrap();
    let shard = LocalShard::new("c-0".into(), shard, ReadPool::new(1));
    for id in 1..=POINTS {
        let origin = OpOrigin { client_id: 7, op_id: id };
        assert!(shard.write(op(id), origin, true).await.unwrap().visible);
    }
    while shard.info().await.unwrap().segments == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    close(shard).await;
}

async fn close(shard: LocalShard) {
    let shard = shard.shard().unwrap();
    tokio::task::spawn_blocking(move || Shard::clone(&shard).close()).await.unwrap();
}

async fn replica(root: &Path) -> (Started, LocalShard) {
    let (_, replicas) = tokio::sync::watch::channel(vec!["r0".to_owned()]);
    let started = start(ReplicaConfig {
        name: "r0".into(),
        replicas,
        address: "127.0.0.1:1".into(),
        via: BTreeMap::new(),
        settings: Settings::default(),
        visibility_sla: Duration::from_secs(2),
        compare_every: Duration::ZERO,
        dir: root.join("disk"),
        identity: identity(),
        tunings: tuning().into(),
        limits: limits(),
        register: Arc::new(FileRegister::open(&root.join("register.json"))),
        token: Token::parse("0123456789abcdef0123456789abcdef").unwrap().into(),
        telemetry: Arc::new(Telemetry::new()),
    });
    let started = started.await.unwrap();
    let shard = LocalShard::replica(started.cell.clone(), ReadPool::new(1), started.handle.clone());
    (started, shard)
}

async fn until_it_leads(started: &Started) {
    let mut statuses = started.handle.statuses();
    let leads = statuses.wait_for(|status| status.leads.is_some() || status.ended.is_some());
    let status = tokio::time::timeout(LONG, leads).await.unwrap().unwrap().clone();
    assert_eq!(status.ended, None);
}

/// Writes a point, whatever comes of it before whoever leads may take it; its seq.
async fn put(shard: &LocalShard, id: u64) -> u64 {
    let origin = OpOrigin { client_id: 7, op_id: id };
    let writing = async {
        loop {
            match shard.write(op(id), origin, true).await {
                Ok(ack) => return ack.seq,
                Err(ShardError::NotReady { .. } | ShardError::NotPrimary { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(LONG, writing).await.unwrap()
}

/// All of the lone shard's points are there at once, and once it leads, another is written behind them.
async fn goes_on(root: &Path, what: &str) {
    let (started, shard) = replica(root).await;
    assert_eq!(shard.count(None).await.unwrap(), POINTS, "read before anybody leads: {what}");
    until_it_leads(&started).await;
    let seq = put(&shard, POINTS + 1).await;
    assert_eq!(put(&shard, POINTS + 1).await, seq, "an op that is repeated is recognised");
    tokio::time::timeout(LONG, shard.catch_up()).await.unwrap().unwrap();
    assert_eq!(shard.count(None).await.unwrap(), POINTS + 1, "{what}");
    started.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_crash_comes_the_disk_of_a_lone_shard_is_founded_once_and_has_all_that_was_acked()
 {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    lone(&whole.join("disk")).await;
    let crashes: Arc<Mutex<Vec<(String, PathBuf)>>> = Arc::default();
    let (seen, from, to) = (crashes.clone(), whole.clone(), root.path().join("crashes"));
    fail::observe(move |point, path| {
        if !path.starts_with(&from) {
            return;
        }
        let mut seen = seen.lock().unwrap();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let what = format!("{point:?} {file}");
        // Of each place once: the rest of a run is as that of any replica.
        if seen.iter().all(|(known, _)| *known != what) {
            let dir = to.join(seen.len().to_string());
            copy(&from, &dir);
            seen.push((what, dir));
        }
    });
    // And whenever the register says something new.
    let (registers, from, to) = (crashes.clone(), whole.clone(), root.path().join("registers"));
    let (stopper, mut stop) = oneshot::channel::<()>();
    let watching = tokio::task::spawn_blocking(move || {
        let mut before = Vec::new();
        while stop.try_recv() == Err(TryRecvError::Empty) {
            let now = std::fs::read(from.join("register.json")).unwrap_or_default();
            if now != before {
                let what = format!("register {}", String::from_utf8_lossy(&now));
                let mut crashes = registers.lock().unwrap();
                let dir = to.join(crashes.len().to_string());
                copy(&from, &dir);
                crashes.push((what, dir));
                before = now;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    goes_on(&whole, "no crash").await;
    stopper.send(()).unwrap();
    watching.await.unwrap();

    let crashes = std::mem::take(&mut *crashes.lock().unwrap());
    let came_to = |what: &str| crashes.iter().any(|(known, _)| known.starts_with(what));
    for what in
        ["FileWritten promise", "FileRenamed promise", "LogAppended", "LogSynced", "register"]
    {
        assert!(came_to(what), "{what} is not among {crashes:?}");
    }
    let mut going_on = tokio::task::JoinSet::new();
    for (what, dir) in crashes {
        going_on.spawn(async move {
            // Those after the last write hold its point too, and it is the same one.
            let (started, shard) = replica(&dir).await;
            until_it_leads(&started).await;
            put(&shard, POINTS + 1).await;
            tokio::time::timeout(LONG, shard.catch_up()).await.unwrap().unwrap();
            assert_eq!(shard.count(None).await.unwrap(), POINTS + 1, "{what}");
            started.close().await.unwrap();
        });
    }
    while let Some(ended) = going_on.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_one_of_several_is_not_opened_alone_and_one_that_was_set_back_does_not_vote()
 {
    let root = tempfile::tempdir().unwrap();
    let (disk, old) = (root.path().join("disk"), root.path().join("old"));
    lone(&disk).await;
    copy(&disk, &old);
    goes_on(root.path(), "founded").await;
    let alone = Shard::open(&disk, identity(), tuning(), limits()).map(drop).unwrap_err();
    assert!(alone.to_string().contains("start it as one"), "{alone}");

    std::fs::remove_dir_all(&disk).unwrap();
    copy(&old, &disk);
    let (started, shard) = replica(root.path()).await;
    let mut statuses = started.handle.statuses();
    let ended = statuses.wait_for(|status| status.ended.is_some());
    let why = tokio::time::timeout(LONG, ended).await.unwrap().unwrap().ended.clone().unwrap();
    assert!(why.contains("set back"), "{why}");
    assert!(shard.count(None).await.is_err(), "what it has is not what was acknowledged");
    started.close().await.unwrap();
    // It is still what it was: nothing was written to it.
    let alone = Shard::open(&disk, identity(), tuning(), limits()).unwrap();
    assert_eq!(alone.count(None).unwrap(), POINTS);
    tokio::task::spawn_blocking(move || alone.close()).await.unwrap();
}
