//! Three replicas as processes, and a router's way to them: writes and reads while the primary ends, hangs, or stops in order.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::{Shoal, TOKEN, free_port, until_ready};
use rustix::process::Signal;
use shoal_node::router::api::{Consistency, ReadOptions};
use shoal_node::router::shard_client::ShardClient;
use shoal_node::router::{RemoteShard, ReplicaSet};
use shoal_proto::auth::Token;
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::{PROTOCOL_VERSION, pb};
use shoal_shard::api::{OpOrigin, WriteAck};
use shoal_vector::{Op, Point, PointId};
use tonic::transport::Endpoint;

/// Time that no request of these tests should need.
const LONG: Duration = Duration::from_secs(60);
const VECTORS: &str = r#"[{"name":"","size":2,"distance":"Dot"}]"#;
const NAMES: [&str; 3] = ["r0", "r1", "r2"];

struct Replica {
    name: &'static str,
    grpc: SocketAddr,
    admin: SocketAddr,
    process: Shoal,
}

impl Replica {
    fn start(root: &Path, name: &'static str, grpc: SocketAddr, admin: SocketAddr) -> Self {
        let path = |part: &str| root.join(part).to_str().unwrap().to_owned();
        let (data, token, register) = (path(name), path("token"), path("register.json"));
        let (listen, admin_listen, names) = (grpc.to_string(), admin.to_string(), NAMES.join(","));
        let args = [
            ["--data", &data],
            ["--listen", &listen],
            ["--admin-listen", &admin_listen],
            ["--collection", "c"],
            ["--shard", "c-0"],
            ["--vectors", VECTORS],
            ["--token-file", &token],
            ["--replica", name],
            ["--replicas", &names],
            ["--register", &register],
            ["--advertise", &listen],
        ];
        let args: Vec<&str> = std::iter::once("shard").chain(args.into_iter().flatten()).collect();
        let process = Shoal::start(&args, &root.join(format!("{name}.log")));
        Self { name, grpc, admin, process }
    }

    fn restart(self, root: &Path) -> Self {
        Self::start(root, self.name, self.grpc, self.admin)
    }

    async fn metrics(&self) -> String {
        let answer = reqwest::get(format!("http://{}/metrics", self.admin)).await.unwrap();
        answer.text().await.unwrap()
    }

    /// What it is to its shard, as the operator hears it.
    async fn told(&self) -> pb::ReplicaReply {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let token = Token::parse(TOKEN).unwrap();
        let mut client = ShardServiceClient::with_interceptor(channel, token);
        let target = pb::Target {
            version: PROTOCOL_VERSION,
            collection: "c".into(),
            shard: "c-0".into(),
            r#gen: 1,
            ..pb::Target::default()
        };
        client.replica(pb::ReplicaRequest { target: Some(target) }).await.unwrap().into_inner()
    }

    async fn leads(&self) -> bool {
        let text = self.metrics().await;
        let role = r#"shoal_replica_role{collection="c",shard="c-0",role="primary"} 1"#;
        text.contains(role)
    }
}

struct Three {
    root: tempfile::TempDir,
    replicas: Vec<Replica>,
    set: ShardClient,
    next_op: u64,
}

impl Three {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let start = |name| Replica::start(root.path(), name, free_port(), free_port());
        let mut replicas = NAMES.map(start).into_iter().collect::<Vec<_>>();
        for replica in &mut replicas {
            until_ready(&mut replica.process, replica.admin).await;
        }
        let remote = |replica: &Replica| {
            let token = Token::parse(TOKEN).unwrap();
            RemoteShard::new("c", "c-0", 1, &replica.grpc.to_string(), token).unwrap()
        };
        let remotes = replicas.iter().map(remote).collect();
        let set = ShardClient::Replicas(ReplicaSet::new("c-0".to_owned(), remotes, None));
        Self { root, replicas, set, next_op: 1 }
    }

    /// Writes a point of an id, and returns once it is visible.
    async fn put(&mut self, id: u64) -> WriteAck {
        let vectors = vec![(String::new(), vec![id as f32, 1.0])];
        let point = Point { id: PointId::Num(id), vectors, payload: Vec::new() };
        let op = shoal_shard::encode_op(&Op::Upsert(vec![point]));
        let origin = OpOrigin { client_id: 7, op_id: self.next_op };
        self.next_op += 1;
        self.set.write(op.into(), origin, true, LONG).await.unwrap()
    }

    async fn count(&self, consistency: Consistency) -> u64 {
        let options = ReadOptions { consistency, ..LONG.into() };
        self.set.count(None, options).await.unwrap().value
    }

    /// Position of whoever leads, once there is one.
    async fn primary(&self) -> usize {
        loop {
            for (at, replica) in self.replicas.iter().enumerate() {
                if replica.leads().await {
                    return at;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Each read goes to another replica, so three of them ask all.
async fn assert_all_show(three: &Three, points: u64) {
    for _ in NAMES {
        assert_eq!(three.count(Consistency::Any).await, points);
    }
    assert_eq!(three.count(Consistency::Strong).await, points);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_from_every_replica_also_after_the_primary_was_killed() {
    let mut three = Three::start().await;
    for id in 1..=20 {
        assert!(three.put(id).await.visible);
        assert_eq!(three.count(Consistency::Any).await, id, "what this router was told");
    }
    assert_all_show(&three, 20).await;
    let primary = three.primary().await;
    let killed = three.replicas.remove(primary);
    let root = three.root.path().to_owned();
    let (name, grpc, admin) = (killed.name, killed.grpc, killed.admin);
    let first = killed.told().await;
    assert_eq!((first.role(), &first.failover), (pb::ReplicaRole::Primary, &None));
    assert_eq!(first.behind.len(), 2);
    killed.process.kill();
    // No error in between: the write is repeated under its ids until another leads.
    three.put(21).await;
    assert_all_show(&three, 21).await;
    let told = three.replicas[three.primary().await].told().await;
    let failover = told.failover.expect("it tells how it came to lead");
    assert_eq!(failover.from, first.disk);
    assert!(!failover.planned && failover.lost_ops == Some(0));
    assert!(failover.epoch.is_some_and(|epoch| epoch.number > 1));
    // Nobody is missed before it was silent for a while, and that is part of how long it took.
    let missed = failover.promoted_ms - failover.detected_ms;
    assert!(failover.duration_ms.is_some_and(|whole| whole > missed), "{failover:?}");
    let mut back = Replica::start(&root, name, grpc, admin);
    until_ready(&mut back.process, back.admin).await;
    three.replicas.push(back);
    three.put(22).await;
    assert_all_show(&three, 22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_is_succeeded_and_does_not_lead_when_it_goes_on() {
    let mut three = Three::start().await;
    three.put(1).await;
    let hung = three.primary().await;
    three.replicas[hung].process.signal(Signal::STOP);
    three.put(2).await;
    assert_all_show(&three, 2).await;
    three.replicas[hung].process.signal(Signal::CONT);
    three.put(3).await;
    assert_all_show(&three, 3).await;
    assert_ne!(three.primary().await, hung);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_asked_to_stop_has_another_lead_first() {
    let mut three = Three::start().await;
    three.put(1).await;
    let stopping = three.primary().await;
    let stopped = three.replicas[stopping].told().await.disk;
    three.replicas[stopping].process.signal(Signal::TERM);
    three.put(2).await;
    let status = three.replicas[stopping].process.wait(LONG);
    for at in (0..NAMES.len()).filter(|&at| at != stopping) {
        let told = three.replicas[at].told().await;
        let leads = told.role() == pb::ReplicaRole::Primary;
        assert_eq!(told.failover.is_some(), leads, "{told:?}");
        assert!(told.failover.is_none_or(|told| told.planned && told.from == stopped));
    }
    assert!(status.success(), "{status}");
    let log = three.replicas[stopping].process.log();
    let stepped_down = log.find(r#""role":"Fenced""#).or_else(|| log.find(r#""role":"Follower""#));
    assert!(stepped_down.is_some() && log.contains("closed"), "{log}");
    assert_all_show(&three, 2).await;
    let root = three.root.path().to_owned();
    let back = three.replicas.remove(stopping).restart(&root);
    three.replicas.push(back);
    let back = three.replicas.last_mut().unwrap();
    until_ready(&mut back.process, back.admin).await;
    three.put(3).await;
    assert_all_show(&three, 3).await;
    let metrics = three.replicas[0].metrics().await;
    for name in ["lag_seconds", "visibility_late_seconds_total"] {
        assert!(metrics.contains(&format!("shoal_replica_{name}{{")), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_replica_is_read_and_says_how_stale_it_is() {
    let mut three = Three::start().await;
    three.put(1).await;
    assert_all_show(&three, 1).await;
    let primary = three.primary().await;
    three.replicas.remove(primary).process.kill();
    three.replicas.remove(0).process.kill();
    let allowed = Duration::from_millis(300);
    let options = ReadOptions { max_staleness: Some(allowed), ..LONG.into() };
    let mut before = Duration::ZERO;
    loop {
        let read = three.set.count(None, options).await.unwrap();
        assert_eq!(read.value, 1);
        if before > allowed {
            assert!(read.staleness > before, "{read:?} after {before:?}");
            break;
        }
        before = read.staleness;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
