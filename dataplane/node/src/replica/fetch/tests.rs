use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use shoal_proto::auth::Token;
use shoal_shard::api::{OpOrigin, ScrollRequest, ShardError, Tuning, Want, WantVectors};
use shoal_shard::snapshot::Snapshot;
use shoal_shard::{Limits, Shard};
use shoal_vector::{Metric, Op, Point, PointId, Quantization, VectorConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::drain;
use crate::listen;
use crate::replica::ReplicaHandle;
use crate::replica::receive::{Incoming, Local, LocalSlot, ReplicaServer};
use crate::replica::snapshots::Snapshots;
use crate::telemetry::Telemetry;

const EPOCH: Epoch = Epoch { number: 4, nonce: 5 };
const DISK: DiskId = DiskId(77);
const DIM: usize = 64;

fn identity() -> Identity {
    let vectors = vec![VectorConfig::new("", DIM, Metric::Dot)];
    Identity { collection: "c".into(), shard: "c-0".into(), vectors, sparse: vec![] }
}

fn open(dir: &Path) -> Shard {
    let limits = Limits { mutable_entries: 300, ..Limits::default() };
    Shard::open(dir, identity(), tuning(), limits).unwrap()
}

fn tuning() -> Tuning {
    Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() }
}

/// A shard of several segments and some entries in the log.
async fn filled(dir: &Path) -> Shard {
    let shard = open(dir);
    for batch in 0..10u64 {
        let point = |n: u64| Point {
            id: PointId::Num(batch * 100 + n),
            vectors: vec![(String::new(), (0..DIM).map(|d| (n as usize * d) as f32).collect())],
            payload: format!("{{\"n\":{n}}}").into_bytes(),
        };
        let op = Op::Upsert((0..100).map(point).collect());
        let op = shoal_shard::encode_op(&op).into();
        shard.write(op, OpOrigin::default(), true).await.unwrap();
    }
    shard
}

/// All that a shard holds, to be compared.
fn points(shard: &Shard) -> Vec<String> {
    let want = Want { vectors: WantVectors::All, ..Want::default() };
    let all = ScrollRequest { filter: None, from: None, limit: 10_000, want };
    shard.scroll(&all).unwrap().iter().map(|record| format!("{record:?}")).collect()
}

struct Primary {
    shard: Shard,
    leads: Option<Epoch>,
    taken: AtomicUsize,
}

#[async_trait]
impl Local for Primary {
    fn disk(&self) -> DiskId {
        DISK
    }

    async fn deliver(&self, _: Incoming) -> Result<(), Status> {
        Err(Status::unimplemented("not in this test"))
    }

    fn leads(&self) -> Option<Epoch> {
        self.leads
    }

    fn snapshot(&self) -> Result<Snapshot, ShardError> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.shard.snapshot()
    }

    fn driver(&self) -> Option<&ReplicaHandle> {
        None
    }
}

async fn serve(primary: Arc<Primary>, bytes_per_second: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let telemetry = Arc::new(Telemetry::new());
    let slot: LocalSlot = Arc::new(OnceLock::new());
    assert!(slot.set(primary).is_ok());
    let (stopper, stop) = drain::manual();
    let snapshots = Snapshots::new(bytes_per_second, telemetry.clone());
    let service =
        ReplicaServer::new(source(address).addressee, slot, snapshots, telemetry, stop.clone());
    let server = tonic::transport::Server::builder()
        .add_service(service.guarded(token()))
        .serve_with_incoming_shutdown(listen::connections(listener, stop), std::future::pending());
    tokio::spawn(async move {
        let _stopper = stopper;
        server.await.unwrap();
    });
    address
}

fn token() -> Token {
    Token::parse("0123456789abcdef").unwrap()
}

fn source(address: SocketAddr) -> Source {
    let addressee = Addressee { collection: "c".to_owned(), shard: "c-0".to_owned() };
    Source { address: address.to_string(), addressee, token: token().into() }
}

/// A line to a server that is cut after so many bytes from it, more each time; or changes one of them.
struct Line {
    to: SocketAddr,
    /// Bytes that the first connection lets through, and how many more each next one does.
    cut: Option<(u64, u64)>,
    /// The place of a byte that is changed on the first connection.
    change: Option<u64>,
    connections: AtomicU64,
}

impl Line {
    fn new(to: SocketAddr) -> Self {
        Self { to, cut: None, change: None, connections: AtomicU64::new(0) }
    }

    async fn open(self) -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let this = Arc::new(self);
        let line = this.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(line.clone().carry(client));
            }
        });
        (address, this)
    }

    async fn carry(self: Arc<Self>, client: TcpStream) {
        let server = TcpStream::connect(self.to).await.unwrap();
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let left = self.cut.map_or(u64::MAX, |(first, more)| first + before * more);
        let (mut client_in, mut client_out) = client.into_split();
        let (server_in, mut server_out) = server.into_split();
        let there = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut client_in, &mut server_out).await;
        });
        let (mut server_in, mut at) = (server_in.take(left), 0u64);
        let mut bytes = vec![0; 16 << 10];
        while let Ok(n @ 1..) = server_in.read(&mut bytes).await {
            if let Some(change) =
                self.change.filter(|c| before == 0 && (at..at + n as u64).contains(c))
            {
                bytes[(change - at) as usize] ^= 1;
            }
            at += n as u64;
            if client_out.write_all(&bytes[..n]).await.is_err() {
                break;
            }
        }
        there.abort();
    }
}

fn destination(dir: &Path) -> Destination {
    Destination { dir: dir.to_owned(), identity: identity(), disk: uuid::Uuid::from_u128(7) }
}

async fn primary(dir: &Path, leads: Option<Epoch>) -> Arc<Primary> {
    Arc::new(Primary { shard: filled(dir).await, leads, taken: AtomicUsize::new(0) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_whole_though_the_line_is_cut_again_and_again() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let primary = primary(there.path(), Some(EPOCH)).await;
    let mut line = Line::new(serve(primary.clone(), u64::MAX).await);
    line.cut = Some((1000, 40_000));
    let (address, line) = line.open().await;

    let fetched = fetch(&source(address), &destination(here.path())).await.unwrap();
    assert!(line.connections.load(Ordering::Relaxed) > 3, "{:?}", line.connections);
    assert_eq!(primary.taken.load(Ordering::Relaxed), 1, "it went on with the same");
    assert_eq!((fetched.from, fetched.epoch, fetched.restored.seq), (DISK, EPOCH, 10));
    let copy = open(&shoal_shard::snapshot::incoming(here.path()));
    let expected = points(&primary.shard);
    assert_eq!(expected.len(), 1000);
    assert_eq!(points(&copy), expected);
    tokio::task::spawn_blocking(move || copy.close()).await.unwrap();

    // Where what came was not wanted after all, it makes room for the next.
    let again = fetch(&source(address), &destination(here.path())).await.unwrap();
    assert_eq!(again.restored.seq, fetched.restored.seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_bytes_are_an_error_and_what_is_whole_is_gone_on_with() {
    let there = tempfile::tempdir().unwrap();
    let primary = primary(there.path(), Some(EPOCH)).await;
    let expected = points(&primary.shard);
    let server = serve(primary, u64::MAX).await;
    let mut errors = 0;
    for change in [60_000, 100_001, 150_002] {
        let here = tempfile::tempdir().unwrap();
        let mut line = Line::new(server);
        line.change = Some(change);
        let (address, _) = line.open().await;
        let (source, destination) = (source(address), destination(here.path()));
        // What breaks a frame of HTTP breaks the connection, and the next one is whole.
        if let Err(error) = fetch(&source, &destination).await {
            assert!(matches!(error, FetchError::Restore(RestoreError::Damaged(_))), "{error}");
            errors += 1;
            assert!(
                Shard::open(
                    &shoal_shard::snapshot::incoming(here.path()),
                    identity(),
                    tuning(),
                    Limits::default()
                )
                .is_err()
            );
            fetch(&source, &destination).await.unwrap();
        }
        let copy = open(&shoal_shard::snapshot::incoming(here.path()));
        assert_eq!(points(&copy), expected);
        tokio::task::spawn_blocking(move || copy.close()).await.unwrap();
    }
    assert!(errors > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_lead_or_is_another_shard_sends_none() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let address = serve(primary(there.path(), None).await, u64::MAX).await;
    let refused = fetch(&source(address), &destination(here.path())).await.unwrap_err();
    assert!(matches!(refused, FetchError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("not the primary"), "{refused}");

    let mut source = source(address);
    source.addressee.shard = "c-1".to_owned();
    let refused = fetch(&source, &destination(here.path())).await.unwrap_err();
    assert!(matches!(refused, FetchError::Refused { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_few_snapshots_are_sent_at_once_and_those_that_end_make_room() {
    let there = tempfile::tempdir().unwrap();
    let address = serve(primary(there.path(), Some(EPOCH)).await, 1).await;
    let mut client = connect(&address.to_string(), token().into()).await.unwrap();
    let request = pb::SnapshotRequest {
        target: Some(source(address).addressee.target()),
        ..Default::default()
    };
    let mut streams = Vec::new();
    let refused = loop {
        match client.snapshot(request.clone()).await {
            Ok(stream) => streams.push(stream.into_inner()),
            Err(refused) => break refused,
        }
    };
    assert_eq!(streams.len(), 3);
    assert!(refused.message().contains("retry"), "{refused:?}");
    streams.pop();
    while client.snapshot(request.clone()).await.is_err() {
        clock::sleep(Duration::from_millis(5)).await;
    }
}
