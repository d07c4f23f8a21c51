//! The client against replicas that answer as they are told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use shoal_proto::pb;
use shoal_proto::pb::shard_service_server::{ShardService, ShardServiceServer};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::client::Clients;
use shoal_e2e::history::workers::Points;
use shoal_e2e::history::{Action, History, Outcome};

/// What a replica makes of a write.
#[derive(Clone)]
enum Says {
    Done,
    NotPrimary(Option<SocketAddr>),
    Uncertain,
    NotReady,
}

/// A replica that says one thing after another, then always the last, and remembers what it was asked.
#[derive(Clone)]
struct Fake {
    says: Arc<Mutex<Vec<Says>>>,
    asked: Arc<Mutex<Vec<pb::WriteRequest>>>,
}

fn error(kind: &'static str, primary: Option<SocketAddr>) -> Status {
    let mut status = Status::unavailable(kind);
    status.metadata_mut().insert("x-shoal-error", kind.parse().unwrap());
    if let Some(primary) = primary {
        status.metadata_mut().insert("x-shoal-primary", primary.to_string().parse().unwrap());
    }
    status
}

fn unasked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not asked here"))
}

#[tonic::async_trait]
impl ShardService for Fake {
    async fn write(
        &self,
        request: Request<pb::WriteRequest>,
    ) -> Result<Response<pb::WriteReply>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        let mut says = self.says.lock().unwrap();
        let now = if says.len() > 1 { says.remove(0) } else { says[0].clone() };
        match now {
            Says::Done => Ok(Response::new(pb::WriteReply { seq: 1, visible: true })),
            Says::NotPrimary(primary) => Err(error("not-primary", primary)),
            Says::Uncertain => Err(error("uncertain", None)),
            Says::NotReady => Err(error("not-ready", None)),
        }
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
    async fn replica(
        &self,
        _: Request<pb::ReplicaRequest>,
    ) -> Result<Response<pb::ReplicaReply>, Status> {
        unasked()
    }
}

/// What one write to replicas that say this comes to, and what each of them was asked.
async fn write(
    says: impl Fn(&[SocketAddr]) -> Vec<Vec<Says>>,
    replicas: usize,
) -> (Outcome, usize, Vec<Vec<pb::WriteRequest>>) {
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..replicas {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        listeners.push(listener);
    }
    let mut asked = Vec::new();
    for (listener, says) in listeners.into_iter().zip(says(&addresses)) {
        let fake = Fake { says: Arc::new(Mutex::new(says)), asked: Default::default() };
        asked.push(fake.asked.clone());
        let server = tonic::transport::Server::builder().add_service(ShardServiceServer::new(fake));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    }
    let folder = tempfile::tempdir().unwrap();
    let both: Vec<(SocketAddr, SocketAddr)> = addresses.iter().map(|own| (*own, *own)).collect();
    let clients = Clients::new(&both, History::new(&folder.path().join("history")));
    clients.write(3, 7, 42, Action::Upsert(9), false).await;
    let (records, _) = clients.history.finish();
    assert_eq!(records.len(), 1);
    let asked = asked.iter().map(|asked| asked.lock().unwrap().clone()).collect();
    (records[0].outcome, records[0].by, asked)
}

#[tokio::test]
async fn a_write_follows_who_is_named_as_the_primary() {
    let says = |at: &[SocketAddr]| {
        vec![vec![Says::NotPrimary(Some(at[2]))], vec![Says::Uncertain], vec![Says::Done]]
    };
    let (outcome, by, asked) = write(says, 3).await;
    assert_eq!((outcome, by), (Outcome::Done, 2));
    assert!(asked[1].is_empty());
}

#[tokio::test]
async fn a_write_that_nobody_knows_the_end_of_is_repeated_as_the_same_op() {
    let says = |_: &[SocketAddr]| {
        vec![vec![Says::Uncertain], vec![Says::NotPrimary(None), Says::Done], vec![Says::NotReady]]
    };
    let (outcome, by, asked) = write(says, 3).await;
    assert_eq!((outcome, by), (Outcome::Done, 1));
    let all: Vec<&pb::WriteRequest> = asked.iter().flatten().collect();
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|request| (request.client_id, request.op_id) == (7, 42)));
    assert!(all.iter().all(|request| request.op == all[0].op));
}

#[tokio::test]
async fn a_lone_shard_is_not_asked_twice_for_what_it_would_do_twice() {
    let (outcome, _, asked) = write(|_| vec![vec![Says::NotReady, Says::Uncertain]], 1).await;
    assert_eq!((outcome, asked[0].len()), (Outcome::Open, 2));
}
