//! Three replicas of a shard as processes, and a router's way to them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use shoal_node::router::api::{Consistency, ReadOptions};
use shoal_node::router::shard_client::ShardClient;
use shoal_node::router::{RemoteShard, ReplicaSet};
use shoal_proto::auth::Token;
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::{PROTOCOL_VERSION, pb};
use shoal_shard::api::{OpOrigin, WriteAck};
use shoal_vector::{Op, Point, PointId};
use tonic::transport::Endpoint;

use super::{Shoal, TOKEN, free_port, until_ready};

/// Time that no request of these tests should need.
pub const LONG: Duration = Duration::from_secs(60);
pub const VECTORS: &str = r#"[{"name":"","size":2,"distance":"Dot"}]"#;
pub const NAMES: [&str; 3] = ["r0", "r1", "r2"];

pub struct Replica {
    pub name: &'static str,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    pub process: Shoal,
    /// Further arguments.
    pub more: &'static [&'static str],
}

impl Replica {
    pub fn start(
        root: &Path,
        name: &'static str,
        grpc: SocketAddr,
        admin: SocketAddr,
        more: &'static [&'static str],
    ) -> Self {
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
        let args = std::iter::once("shard").chain(args.into_iter().flatten());
        let args: Vec<&str> = args.chain(more.iter().copied()).collect();
        let process = Shoal::start(&args, &root.join(format!("{name}.log")));
        Self { name, grpc, admin, process, more }
    }

    pub fn restart(self, root: &Path) -> Self {
        let Self { name, grpc, admin, more, .. } = self;
        Self::start(root, name, grpc, admin, more)
    }

    pub async fn metrics(&self) -> String {
        let answer = reqwest::get(format!("http://{}/metrics", self.admin)).await.unwrap();
        answer.text().await.unwrap()
    }

    /// What it is to its shard, as the operator hears it.
    pub async fn told(&self) -> pb::ReplicaReply {
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

    pub async fn leads(&self) -> bool {
        let text = self.metrics().await;
        let role = r#"shoal_replica_role{collection="c",shard="c-0",role="primary"} 1"#;
        text.contains(role)
    }
}

pub struct Three {
    pub root: tempfile::TempDir,
    pub replicas: Vec<Replica>,
    pub set: ShardClient,
    next_op: u64,
}

impl Three {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further arguments.
    pub async fn start_with(more: &'static [&'static str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let start = |name| Replica::start(root.path(), name, free_port(), free_port(), more);
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
    pub async fn put(&mut self, id: u64) -> WriteAck {
        self.write(id, true).await
    }

    /// The same; with `wait` it returns once it is visible.
    pub async fn write(&mut self, id: u64, wait: bool) -> WriteAck {
        let vectors = vec![(String::new(), vec![id as f32, 1.0])];
        let point = Point { id: PointId::Num(id), vectors, payload: Vec::new() };
        let op = shoal_shard::encode_op(&Op::Upsert(vec![point]));
        let origin = OpOrigin { client_id: 7, op_id: self.next_op };
        self.next_op += 1;
        self.set.write(op.into(), origin, wait, LONG).await.unwrap()
    }

    pub async fn count(&self, consistency: Consistency) -> u64 {
        let options = ReadOptions { consistency, ..LONG.into() };
        self.set.count(None, options).await.unwrap().value
    }

    /// Position of whoever leads, once there is one.
    pub async fn primary(&self) -> usize {
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
