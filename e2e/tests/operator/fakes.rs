//! Replicas that say what a test has them say, each on an address of its own on this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use futures::stream::unfold;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use shoal_proto::pb::shard_service_server::{ShardService, ShardServiceServer};
use shoal_proto::pb::{self, ReplicaReply, ReplicaRole};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::world::World;

/// Port on which shards answer.
const PORT: u16 = 6335;

/// What a replica says, to be changed while it runs.
pub(crate) type Says = Arc<Mutex<ReplicaReply>>;

/// Replicas of c-0 that say what they are. They end with the test's runtime.
pub(crate) struct Fakes(pub(crate) Vec<Says>);

/// The bytes of the disk that a replica of a number has in these tests.
pub(crate) fn disk(number: u32) -> Vec<u8> {
    // As the text 00000000-0000-0000-0000-NNNNNNNNNNNN has them, of numbers below ten.
    let mut bytes = vec![0; 16];
    bytes[15] = u8::try_from(number).expect("below ten");
    bytes
}

impl Fakes {
    /// Starts so many behind the pods of c-0: the first leads, and all have all.
    pub(crate) async fn start(world: &World, count: u32) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let (process, test) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let own = u8::try_from(100 + process % 100).expect("below 200");
        let mut all = Vec::new();
        for number in 0..count {
            let last = u8::try_from(number + 1).expect("few");
            let address = Ipv4Addr::new(127, own, test, last);
            let role = if number == 0 { ReplicaRole::Primary } else { ReplicaRole::Follower };
            let behind = (1..count).map(|n| pb::Behind { disk: disk(n).into(), ops: 0 });
            let says = Arc::new(Mutex::new(ReplicaReply {
                disk: disk(number).into(),
                role: role.into(),
                behind: if number == 0 { behind.collect() } else { Vec::new() },
                ..ReplicaReply::default()
            }));
            serve(SocketAddr::from((address, PORT)), Arc::clone(&says)).await;
            reach(world, &format!("c-0-r{number}-0"), address).await;
            all.push(says);
        }
        Self(all)
    }

    /// Changes what one says.
    pub(crate) fn change(&self, number: usize, change: impl FnOnce(&mut ReplicaReply)) {
        change(&mut self.0[number].lock().expect("no panic"));
    }

    /// The primary says how many ops another lacks.
    pub(crate) fn lacks(&self, number: u32, ops: u64) {
        self.change(0, |said| {
            for behind in said.behind.iter_mut().filter(|b| b.disk == disk(number)) {
                behind.ops = ops;
            }
        });
    }
}

/// Gives a pod an address; where it is made anew too.
pub(crate) async fn reach(world: &World, pod: &str, address: Ipv4Addr) {
    let address = address.to_string();
    let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
    let patch = Patch::Merge(&status);
    let pods = world.api::<Pod>();
    pods.patch_status(pod, &PatchParams::default(), &patch).await.expect("an address");
}

async fn serve(address: SocketAddr, says: Says) {
    let listener = TcpListener::bind(address).await.expect("an address of its own");
    let incoming = unfold(listener, |listener| async {
        let connection = listener.accept().await.map(|(stream, _)| stream);
        Some((connection, listener))
    });
    let service = ShardServiceServer::new(Fake(says));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(Box::pin(incoming)));
}

struct Fake(Says);

fn unasked<T>() -> Result<Response<T>, Status> {
    Err(Status::unavailable("not asked here"))
}

#[tonic::async_trait]
impl ShardService for Fake {
    async fn replica(
        &self,
        _: Request<pb::ReplicaRequest>,
    ) -> Result<Response<ReplicaReply>, Status> {
        Ok(Response::new(self.0.lock().expect("no panic").clone()))
    }
    async fn write(
        &self,
        _: Request<pb::WriteRequest>,
    ) -> Result<Response<pb::WriteReply>, Status> {
        unasked()
    }
    async fn search(
        &self,
        _: Request<pb::SearchRequest>,
    ) -> Result<Response<pb::SearchReply>, Status> {
        unasked()
    }
    async fn retrieve(
        &self,
        _: Request<pb::RetrieveRequest>,
    ) -> Result<Response<pb::RecordsReply>, Status> {
        unasked()
    }
    async fn scroll(
        &self,
        _: Request<pb::ScrollRequest>,
    ) -> Result<Response<pb::RecordsReply>, Status> {
        unasked()
    }
    async fn count(
        &self,
        _: Request<pb::CountRequest>,
    ) -> Result<Response<pb::CountReply>, Status> {
        unasked()
    }
    async fn info(&self, _: Request<pb::InfoRequest>) -> Result<Response<pb::InfoReply>, Status> {
        unasked()
    }
    async fn set_indexes(
        &self,
        _: Request<pb::SetIndexesRequest>,
    ) -> Result<Response<pb::SetIndexesReply>, Status> {
        unasked()
    }
}
