//! A replica of a shard as a process.

use std::net::SocketAddr;
use std::path::Path;

use shoal_node::router::shard_client::ShardClient;
use shoal_node::router::{RemoteShard, ReplicaSet};
use shoal_proto::auth::Token;
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::{PROTOCOL_VERSION, pb};
use tonic::transport::Endpoint;

use super::{Shoal, TOKEN, free_port};

pub const VECTORS: &str = r#"[{"name":"","size":2,"distance":"Dot"}]"#;

pub struct Replica {
    pub name: &'static str,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    pub process: Shoal,
    /// Names of all replicas that the shard is to have, with commas; none for one that is alone.
    names: String,
    /// Further arguments.
    pub more: &'static [&'static str],
}

impl Replica {
    /// One of the replicas of these names, separated by commas; without any it is alone.
    pub fn start(
        root: &Path,
        name: &'static str,
        names: &str,
        more: &'static [&'static str],
    ) -> Self {
        Self::start_at(root, name, (free_port(), free_port()), names, more)
    }

    fn start_at(
        root: &Path,
        name: &'static str,
        (grpc, admin): (SocketAddr, SocketAddr),
        names: &str,
        more: &'static [&'static str],
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
            ["--vectors", VECTORS],
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
        let args = std::iter::once("shard").chain(args.into_iter().flatten());
        let args: Vec<&str> = args.chain(more.iter().copied()).collect();
        let process = Shoal::start(&args, &root.join(format!("{name}.log")));
        Self { name, grpc, admin, process, names: names.to_owned(), more }
    }

    /// Starts it anew where it was. Whoever calls ended the process, or it is killed here.
    pub fn restart(self, root: &Path) -> Self {
        let names = self.names.clone();
        self.restart_as(root, &names)
    }

    /// The same, as one of these.
    pub fn restart_as(self, root: &Path, names: &str) -> Self {
        let Self { name, grpc, admin, more, process, .. } = self;
        drop(process);
        Self::start_at(root, name, (grpc, admin), names, more)
    }

    /// The way to it alone.
    pub fn remote(&self) -> RemoteShard {
        let token = Token::parse(TOKEN).unwrap();
        RemoteShard::new("c", "c-0", 1, &self.grpc.to_string(), token).unwrap()
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

/// A router's way to these.
pub fn set_of<'a>(replicas: impl IntoIterator<Item = &'a Replica>) -> ShardClient {
    let remotes = replicas.into_iter().map(Replica::remote).collect();
    ShardClient::Replicas(ReplicaSet::new("c-0".to_owned(), remotes, None))
}
