//! A client of one shard's replicas: finds the primary, repeats what may be repeated, and tells the history.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shoal_proto::auth::Token;
use shoal_proto::convert::encode_id;
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::{PROTOCOL_VERSION, pb};
use shoal_vector::op::Selector;
use shoal_vector::{Op, Point, PointId};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Response, Status};

use crate::common::TOKEN;
use crate::processes::{COLLECTION, SHARD};
use shoal_e2e::history::workers::Points;
use shoal_e2e::history::{Action, History, Outcome, Record, State, Value, value, vector};

/// How long one attempt may take. What it means when it takes longer is "unknown", never "failed".
const ATTEMPT: Duration = Duration::from_secs(1);
/// How long an op is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(25);

type Grpc = ShardServiceClient<InterceptedService<Channel, Token>>;

/// What all clients share.
pub(crate) struct Clients {
    lines: Vec<Grpc>,
    /// Where each replica says that it is.
    advertised: Vec<String>,
    /// Who acked last.
    primary: AtomicUsize,
    pub(crate) history: History,
}

/// What an attempt that was not answered with success says.
enum Failure {
    /// Nothing was done; who is said to be the primary.
    NotDone(Option<usize>),
    Unknown,
}

impl Clients {
    /// Clients that reach each replica over a line, at the first address of each pair.
    pub(crate) fn new(replicas: &[(SocketAddr, SocketAddr)], history: History) -> Arc<Self> {
        let token = Token::parse(TOKEN).unwrap();
        let line = |(line, _): &(SocketAddr, SocketAddr)| {
            let endpoint = Endpoint::from_shared(format!("http://{line}")).unwrap();
            let channel = endpoint.connect_timeout(ATTEMPT).tcp_nodelay(true).connect_lazy();
            ShardServiceClient::with_interceptor(channel, token.clone())
        };
        Arc::new(Self {
            lines: replicas.iter().map(line).collect(),
            advertised: replicas.iter().map(|(_, own)| own.to_string()).collect(),
            primary: AtomicUsize::new(0),
            history,
        })
    }

    /// The replica that last acked a write.
    pub(crate) fn primary(&self) -> usize {
        self.primary.load(Ordering::SeqCst)
    }

    fn replicas(&self) -> usize {
        self.lines.len()
    }

    /// Whether a write may be repeated: a lone shard does not know it again.
    fn repeats(&self) -> bool {
        self.replicas() > 1
    }

    /// What a replica has of these points; `None` without an answer.
    pub(crate) async fn holds(
        &self,
        replica: usize,
        keys: &[u64],
        strong: bool,
    ) -> Option<BTreeMap<u64, State>> {
        let found = self.retrieve(replica, keys, strong).await.ok()?;
        Some(found.into_iter().map(|(key, value)| (key, Some(value))).collect())
    }

    async fn retrieve(
        &self,
        replica: usize,
        keys: &[u64],
        strong: bool,
    ) -> Result<BTreeMap<u64, Value>, Failure> {
        let request = pb::RetrieveRequest {
            target: Some(reading(strong)),
            ids: keys.iter().map(|key| encode_id(PointId::Num(*key))).collect(),
            want: Some(pb::Want {
                payload: Some(pb::WantPayload {
                    kind: pb::want_payload::Kind::All as i32,
                    keys: Vec::new(),
                }),
                vectors: true,
                vector_names: Vec::new(),
            }),
        };
        let mut line = self.lines[replica].clone();
        let reply = self.attempt(line.retrieve(request)).await?;
        Ok(reply.records.into_iter().map(point).collect())
    }

    async fn attempt<R>(
        &self,
        call: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<R, Failure> {
        match tokio::time::timeout(ATTEMPT, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(self.failure(&status)),
            Err(_) => Err(Failure::Unknown),
        }
    }

    fn failure(&self, status: &Status) -> Failure {
        let said = |key| status.metadata().get(key).and_then(|value| value.to_str().ok());
        match said("x-shoal-error") {
            Some("not-primary") => {
                let primary = said("x-shoal-primary");
                Failure::NotDone(
                    self.advertised.iter().position(|own| Some(own.as_str()) == primary),
                )
            }
            Some("not-ready") => Failure::NotDone(None),
            Some("invalid") => panic!("the test asks for what cannot be: {status:?}"),
            None if matches!(status.code(), Code::FailedPrecondition | Code::Unauthenticated) => {
                panic!("the test asks wrongly: {status:?}")
            }
            _ if never_connected(status) => Failure::NotDone(None),
            _ => Failure::Unknown,
        }
    }
}

impl Points for Clients {
    async fn write(&self, key: u64, client: u64, op: u64, action: Action, wait: bool) {
        let bytes: Bytes = shoal_shard::encode_op(&op_of(key, action)).into();
        let (began, invoked) = (Instant::now(), self.history.now());
        let (mut by, mut unknown) = (self.primary(), false);
        let (sent, outcome) = loop {
            let request = pb::WriteRequest {
                target: Some(target()),
                op: bytes.clone(),
                client_id: client,
                op_id: op,
                // A lone shard shows a write to readers only then for certain.
                wait: wait || !self.repeats(),
            };
            let sent = self.history.now();
            let mut line = self.lines[by].clone();
            match self.attempt(line.write(request)).await {
                Ok(_) => {
                    self.primary.store(by, Ordering::SeqCst);
                    break (sent, Outcome::Done);
                }
                Err(Failure::NotDone(primary)) => {
                    by = primary.unwrap_or((by + 1) % self.replicas())
                }
                Err(Failure::Unknown) => {
                    unknown = true;
                    by = (by + 1) % self.replicas();
                }
            }
            match (unknown, began.elapsed() >= PATIENCE) {
                (true, over) if over || !self.repeats() => break (sent, Outcome::Open),
                (false, true) => break (sent, Outcome::NotDone),
                _ => tokio::time::sleep(PAUSE).await,
            }
        };
        let returned = self.history.now();
        self.history.record(Record {
            key,
            client,
            op,
            action,
            invoked,
            sent,
            returned,
            by,
            outcome,
        });
        if outcome == Outcome::Open {
            tokio::time::sleep(4 * PAUSE).await;
        }
    }

    async fn read(
        &self,
        key: u64,
        client: u64,
        op: u64,
        strong: bool,
        first: usize,
    ) -> Option<State> {
        let action = if strong { Action::Strong } else { Action::Any };
        let (began, invoked) = (Instant::now(), self.history.now());
        let mut by = if strong { self.primary() } else { first % self.replicas() };
        let (sent, outcome) = loop {
            let sent = self.history.now();
            match self.retrieve(by, &[key], strong).await {
                Ok(found) => break (sent, Outcome::Saw(found.get(&key).copied())),
                Err(Failure::NotDone(Some(primary))) if strong => by = primary,
                Err(_) => by = (by + 1) % self.replicas(),
            }
            if began.elapsed() >= PATIENCE {
                break (invoked, Outcome::NotDone);
            }
            tokio::time::sleep(PAUSE).await;
        };
        let returned = self.history.now();
        self.history.record(Record {
            key,
            client,
            op,
            action,
            invoked: sent,
            sent,
            returned,
            by,
            outcome,
        });
        match outcome {
            Outcome::Saw(state) => Some(state),
            _ => None,
        }
    }
}

fn never_connected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn target() -> pb::Target {
    pb::Target {
        version: PROTOCOL_VERSION,
        collection: COLLECTION.to_owned(),
        shard: SHARD.to_owned(),
        r#gen: 1,
        consistency: pb::Consistency::Any as i32,
        ..pb::Target::default()
    }
}

fn reading(strong: bool) -> pb::Target {
    let consistency = if strong { pb::Consistency::Strong } else { pb::Consistency::Any };
    pb::Target { consistency: consistency as i32, ..target() }
}

fn op_of(key: u64, action: Action) -> Op {
    let id = PointId::Num(key);
    match action {
        Action::Upsert(number) => Op::Upsert(vec![Point {
            id,
            vectors: vec![(String::new(), vector(number))],
            payload: format!(r#"{{"number":{number}}}"#).into_bytes(),
        }]),
        Action::Merge(number) => Op::SetPayload {
            payload: format!(r#"{{"merged":{number}}}"#).into_bytes(),
            key: None,
            points: Selector::Ids(vec![id]),
        },
        Action::Delete => Op::Delete(Selector::Ids(vec![id])),
        Action::Strong | Action::Any => unreachable!("reads are no ops"),
    }
}

/// A point as a shard returned it. Panics on one that no op of this test makes.
fn point(record: pb::Record) -> (u64, Value) {
    let PointId::Num(key) = shoal_proto::convert::decode_id(&record.id).unwrap() else {
        panic!("an id that nobody wrote: {record:?}")
    };
    let parts = record.parts.unwrap_or_default();
    let payload: serde_json::Value =
        serde_json::from_slice(parts.payload.as_deref().unwrap_or_default()).unwrap();
    let vectors = parts.vectors.unwrap_or_default().vectors;
    assert_eq!(vectors.len(), 1, "point {key} without its vector");
    (key, value(key, &payload, &vectors[0].values))
}
