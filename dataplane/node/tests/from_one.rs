//! A lone shard as a process, with points in it and a client that writes on: it becomes the first of three replicas, is killed,
//! and one is left in the end. Nothing that was acknowledged is missing at any step.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Shoal, TOKEN, free_port, until_ready};
use rustix::process::Signal;
use shoal_node::router::api::{Consistency, ReadOptions};
use shoal_node::router::shard_client::ShardClient;
use shoal_node::router::{RemoteShard, ReplicaSet};
use shoal_proto::auth::Token;
use shoal_shard::api::OpOrigin;
use shoal_vector::{Op, Point, PointId};

/// Time that no request of these tests should need.
const LONG: Duration = Duration::from_secs(60);
const NAMES: [&str; 3] = ["r0", "r1", "r2"];

struct Replica {
    name: &'static str,
    grpc: SocketAddr,
    admin: SocketAddr,
    process: Shoal,
}

impl Replica {
    /// As one of the replicas of these names; alone, without any.
    fn start(
        root: &Path,
        name: &'static str,
        grpc: SocketAddr,
        admin: SocketAddr,
        names: &str,
    ) -> Self {
        let path = |part: &str| root.join(part).to_str().unwrap().to_owned();
        let (data, token, register) = (path(name), path("token"), path("register.json"));
        let (listen, admin_listen) = (grpc.to_string(), admin.to_string());
        let mut args = vec![
            ["--data", &data],
            ["--listen", &listen],
            ["--admin-listen", &admin_listen],
            ["--collection", "c"],
            ["--shard", "c-0"],
            ["--vectors", r#"[{"name":"","size":2,"distance":"Dot"}]"#],
            ["--token-file", &token],
        ];
        if !names.is_empty() {
            args.extend([
                ["--replica", name],
                ["--replicas", names],
                ["--register", &register],
                ["--advertise", &listen],
            ]);
        }
        let args: Vec<&str> = std::iter::once("shard").chain(args.into_iter().flatten()).collect();
        let process = Shoal::start(&args, &root.join(format!("{name}.log")));
        Self { name, grpc, admin, process }
    }

    /// Has it stop in order, and starts it anew as one of these.
    async fn restart(mut self, root: &Path, names: &str) -> Self {
        self.process.signal(Signal::TERM);
        self.process.wait(LONG);
        let mut again = Self::start(root, self.name, self.grpc, self.admin, names);
        until_ready(&mut again.process, again.admin).await;
        again
    }

    fn remote(&self) -> RemoteShard {
        let token = Token::parse(TOKEN).unwrap();
        RemoteShard::new("c", "c-0", 1, &self.grpc.to_string(), token).unwrap()
    }

    async fn leads(&self) -> bool {
        let answer = reqwest::get(format!("http://{}/metrics", self.admin)).await.unwrap();
        let role = r#"shoal_replica_role{collection="c",shard="c-0",role="primary"} 1"#;
        answer.text().await.unwrap().contains(role)
    }
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

fn set_of<'a>(replicas: impl IntoIterator<Item = &'a Replica>) -> ShardClient {
    let remotes = replicas.into_iter().map(Replica::remote).collect();
    ShardClient::Replicas(ReplicaSet::new("c-0".to_owned(), remotes, None))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_shard_becomes_the_first_of_three_and_of_those_one_is_left_without_losing_a_write() {
    let keep = tempfile::tempdir().unwrap();
    let root = keep.path();
    std::fs::write(root.join("token"), format!("{TOKEN}\n")).unwrap();
    let mut lone = Replica::start(root, "r0", free_port(), free_port(), "");
    until_ready(&mut lone.process, lone.admin).await;
    let alone = ShardClient::Remote(lone.remote());
    let writer = Writer::start(alone, 0);
    writer.goes_on(200).await;
    let before = writer.end().await;

    // It is the only one that is named, as on a cluster, and leads.
    let first = lone.restart(root, "r0").await;
    let only = set_of([&first]);
    assert_eq!(count(&only, Consistency::Any).await, before, "before anybody leads");
    let writer = Writer::start(only, before);
    writer.goes_on(50).await;
    let before = writer.end().await;
    assert_eq!(voters(root), 1);

    // Two join while a client writes.
    let names = NAMES.join(",");
    let mut replicas = vec![first.restart(root, &names).await];
    for name in ["r1", "r2"] {
        replicas.push(Replica::start(root, name, free_port(), free_port(), &names));
    }
    let set = set_of(&replicas);
    let writer = Writer::start(set.clone(), before);
    until_voters(root, 3).await;
    writer.goes_on(50).await;

    // The one that was alone ends as by a crash, and the others have it all.
    let killed = replicas.remove(0);
    let (grpc, admin) = (killed.grpc, killed.admin);
    killed.process.kill();
    writer.goes_on(50).await;
    let acked = writer.end().await;
    assert_eq!(count(&set, Consistency::Strong).await, acked);
    for _ in NAMES {
        assert_eq!(count(&set, Consistency::Any).await, acked);
    }

    // Back to one: to the one that was alone at first, whoever leads until then.
    let mut back = Replica::start(root, "r0", grpc, admin, "r0");
    until_ready(&mut back.process, back.admin).await;
    let writer = Writer::start(set.clone(), acked);
    while !back.leads().await {
        for at in 0..replicas.len() {
            if replicas[at].leads().await {
                let other = replicas.remove(at);
                replicas.push(other.restart(root, &names).await);
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
    let again = back.restart(root, "r0").await;
    assert_eq!(count(&set_of([&again]), Consistency::Strong).await, acked);
    let refused = Replica::start(root, "r0", free_port(), free_port(), "");
    drop(again);
    let mut refused = refused.process;
    assert!(!refused.wait(LONG).success(), "as one of several it knows what a lone shard does not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_shard_that_is_named_beside_blank_ones_is_founded_on_its_disk_and_not_on_theirs() {
    let keep = tempfile::tempdir().unwrap();
    let root = keep.path();
    std::fs::write(root.join("token"), format!("{TOKEN}\n")).unwrap();
    let mut lone = Replica::start(root, "r2", free_port(), free_port(), "");
    until_ready(&mut lone.process, lone.admin).await;
    for id in 1..=20 {
        put(&ShardClient::Remote(lone.remote()), id).await;
    }
    // The blank ones are there first.
    let names = NAMES.join(",");
    let mut replicas = Vec::new();
    for name in ["r0", "r1"] {
        replicas.push(Replica::start(root, name, free_port(), free_port(), &names));
    }
    for replica in &mut replicas {
        until_ready(&mut replica.process, replica.admin).await;
    }
    replicas.push(lone.restart(root, &names).await);
    until_voters(root, 3).await;
    let set = set_of(&replicas);
    put(&set, 21).await;
    assert_eq!(count(&set, Consistency::Strong).await, 21);
    for _ in NAMES {
        assert_eq!(count(&set, Consistency::Any).await, 21);
    }
}
