use std::net::SocketAddr;
use std::sync::OnceLock;

use async_trait::async_trait;
use shoal_consensus::{Body, Entry, Identity, Incarnation, Position, What};
use shoal_proto::auth::Token;
use shoal_shard::api::ShardError;
use shoal_shard::snapshot::Snapshot;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::drain::{self, Stopper};
use crate::listen;
use crate::replica::receive::{Incoming, Local, LocalSlot, ReplicaServer};
use crate::replica::snapshots::{BYTES_PER_SECOND, Snapshots};

const HERE: DiskId = DiskId(1);
const THERE: DiskId = DiskId(2);

fn addressee() -> Addressee {
    Addressee { collection: "c".to_owned(), shard: "c-0".to_owned() }
}

fn token() -> Token {
    Token::parse("0123456789abcdef").unwrap()
}

fn message(round: u64, body: usize) -> Message {
    let (epoch, position) = (Epoch { number: 1, nonce: 2 }, Position::default());
    let what = What::Op { client_id: 1, op_id: round, body: Bytes::from(vec![round as u8; body]) };
    let entries = vec![Entry { at: Position { epoch, seq: 1 }, what }];
    Message {
        from: Identity { disk: HERE, incarnation: Incarnation(3) },
        body: Body::Append { epoch, prev: position, entries, commit: 0, round },
    }
}

fn round(incoming: &Incoming) -> u64 {
    match incoming {
        Incoming::Message(Message { body: Body::Append { round, .. }, .. }) => *round,
        other => panic!("{other:?}"),
    }
}

/// A replica that only takes what comes.
struct Taker(DiskId, mpsc::Sender<Incoming>);

#[async_trait]
impl Local for Taker {
    fn disk(&self) -> DiskId {
        self.0
    }

    async fn deliver(&self, incoming: Incoming) -> Result<(), Status> {
        self.1.send(incoming).await.map_err(|_| Status::unavailable("gone"))
    }

    fn leads(&self) -> Option<Epoch> {
        None
    }

    fn snapshot(&self) -> Result<Snapshot, ShardError> {
        unreachable!("it leads nothing")
    }

    fn driver(&self) -> Option<&crate::replica::ReplicaHandle> {
        None
    }
}

struct Receiver {
    address: SocketAddr,
    taken: mpsc::Receiver<Incoming>,
    telemetry: Arc<Telemetry>,
    stopper: Stopper,
    serving: tokio::task::JoinHandle<()>,
}

impl Receiver {
    async fn start(disk: DiskId, address: Option<SocketAddr>) -> Self {
        let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, taken) = mpsc::channel(1);
        let (stopper, stop) = drain::manual();
        let telemetry = Arc::new(Telemetry::new());
        let slot: LocalSlot = Arc::new(OnceLock::new());
        assert!(slot.set(Arc::new(Taker(disk, sender))).is_ok());
        let snapshots = Snapshots::new(BYTES_PER_SECOND, telemetry.clone());
        let service =
            ReplicaServer::new(addressee(), slot, snapshots, telemetry.clone(), stop.clone());
        let server = tonic::transport::Server::builder()
            .add_service(service.guarded(token()))
            .serve_with_incoming_shutdown(
                listen::connections(listener, stop),
                std::future::pending(),
            );
        let serving = tokio::spawn(async move { server.await.unwrap() });
        Self { address, taken, telemetry, stopper, serving }
    }

    async fn next(&mut self) -> Incoming {
        self.taken.recv().await.unwrap()
    }

    /// Stops; all its connections have ended then.
    async fn stop(self) {
        self.stopper.stop();
        self.serving.await.unwrap();
    }
}

fn transport() -> Transport {
    Transport::new(addressee(), token(), Arc::new(Telemetry::new()))
}

fn reached(peers: &[(DiskId, SocketAddr)]) -> BTreeMap<DiskId, String> {
    peers.iter().map(|(disk, address)| (*disk, address.to_string())).collect()
}

fn lost(transport: &Transport, why: Dropped) -> u64 {
    transport.line.telemetry.replica.dropped_for(why)
}

/// Sends messages until one arrives, as those that rule do; its round.
async fn until_one_arrives(transport: &Transport, to: DiskId, receiver: &mut Receiver) -> u64 {
    for sent in 1000.. {
        transport.send(to, message(sent, 10));
        tokio::select! {
            incoming = receiver.next() => return round(&incoming),
            () = clock::sleep(Duration::from_millis(50)) => {}
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_whole_and_in_order_also_those_larger_than_the_queue() {
    let mut receiver = Receiver::start(THERE, None).await;
    let transport = transport();
    transport.send(THERE, message(0, 10));
    assert_eq!(lost(&transport, Dropped::NoAddress), 1);
    transport.addresses(reached(&[(THERE, receiver.address)]));
    for sent in 0..1000 {
        transport.send(THERE, message(sent, 1000));
    }
    for sent in 0..1000 {
        assert_eq!(receiver.next().await, Incoming::Message(message(sent, 1000)));
    }
    let offer = Offer { from: HERE, epoch: Epoch { number: 7, nonce: 8 } };
    transport.offer(THERE, offer);
    assert_eq!(receiver.next().await, Incoming::Offer(offer));
    let large = message(5, QUEUE_BYTES + 1);
    transport.send(THERE, large.clone());
    assert_eq!(receiver.next().await, Incoming::Message(large));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_nothing_delays_no_other_and_its_queue_stays_bounded() {
    let (stuck, mut other) =
        (Receiver::start(THERE, None).await, Receiver::start(DiskId(3), None).await);
    let transport = transport();
    transport.addresses(reached(&[(THERE, stuck.address), (DiskId(3), other.address)]));
    for sent in 0..100 {
        transport.send(THERE, message(sent, 1 << 20));
        transport.send(DiskId(3), message(sent, 100));
        assert_eq!(round(&other.next().await), sent);
    }
    let waiting = transport.peers()[&THERE].waiting.load(Ordering::Relaxed);
    assert!(waiting <= QUEUE_BYTES, "{waiting}");
    // What is neither counted nor lost is in buffers of the connection.
    assert!(lost(&transport, Dropped::Full) >= 50, "{}", lost(&transport, Dropped::Full));
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_comes_back_is_reached_again_there_and_elsewhere() {
    let mut receiver = Receiver::start(THERE, None).await;
    let transport = transport();
    transport.addresses(reached(&[(THERE, receiver.address)]));
    until_one_arrives(&transport, THERE, &mut receiver).await;
    let address = receiver.address;
    receiver.stop().await;

    let mut again = Receiver::start(THERE, Some(address)).await;
    until_one_arrives(&transport, THERE, &mut again).await;
    let mut elsewhere = Receiver::start(THERE, None).await;
    transport.addresses(reached(&[(THERE, elsewhere.address)]));
    until_one_arrives(&transport, THERE, &mut elsewhere).await;
    transport.addresses(BTreeMap::new());
    transport.send(THERE, message(1, 1));
    assert_eq!(lost(&transport, Dropped::NoAddress), 1);
}

/// A line to a server whose first connection carries nothing any more once it is told to, and stays open: as if all packets
/// were lost.
async fn line(to: SocketAddr, lose: tokio::sync::watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(to).await.unwrap();
            let mut lose = std::mem::replace(&mut first, false).then(|| lose.clone());
            tokio::spawn(async move {
                let lost = async {
                    match &mut lose {
                        Some(lose) => drop(lose.wait_for(|lose| *lose).await.unwrap()),
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = lost => std::future::pending().await,
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_carries_nothing_any_more_is_given_up_for_another() {
    let mut receiver = Receiver::start(THERE, None).await;
    let (lose, losing) = tokio::sync::watch::channel(false);
    let transport = transport();
    transport.addresses(reached(&[(THERE, line(receiver.address, losing).await)]));
    until_one_arrives(&transport, THERE, &mut receiver).await;
    lose.send_replace(true);
    // What was on its way may still come.
    clock::sleep(Duration::from_millis(200)).await;
    while receiver.taken.try_recv().is_ok() {}
    until_one_arrives(&transport, THERE, &mut receiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_for_another_disk_are_ignored_and_the_stream_goes_on() {
    let mut receiver = Receiver::start(THERE, None).await;
    let transport = transport();
    // A disk that was replaced had the same address.
    transport.addresses(reached(&[(DiskId(9), receiver.address), (THERE, receiver.address)]));
    for sent in 0..10 {
        transport.send(DiskId(9), message(sent, 10));
    }
    while receiver.telemetry.replica.dropped_for(Dropped::Misaddressed) < 10 {
        clock::sleep(Duration::from_millis(5)).await;
    }
    transport.send(THERE, message(77, 10));
    assert_eq!(round(&receiver.next().await), 77);
}

/// Ends of streams by what is wrong with a message.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_what_cannot_be_read_are_refused() {
    let receiver = Receiver::start(THERE, None).await;
    let send = |token: Token, change: fn(&mut pb::ReplicaMessage)| {
        let body = wire::encode(&message(1, 1)).unwrap();
        let target = Some(addressee().target());
        let mut message =
            pb::ReplicaMessage { target, to: wire::encode_disk(THERE), body, offer: None };
        change(&mut message);
        let address = receiver.address.to_string();
        async move {
            let mut client = connect(&address, token.into()).await.unwrap();
            client.deliver(stream::iter([message])).await.map(|_| ()).map_err(|s| s.code())
        }
    };
    let other = Token::parse("fedcba9876543210").unwrap();
    assert_eq!(send(other, |_| ()).await, Err(tonic::Code::Unauthenticated));
    let refused = |change| send(token(), change);
    use tonic::Code::{FailedPrecondition, InvalidArgument};
    assert_eq!(refused(|m| m.target = None).await, Err(InvalidArgument));
    let newer = refused(|m| m.target.as_mut().unwrap().version = 99);
    assert_eq!(newer.await, Err(FailedPrecondition));
    let shard = refused(|m| m.target.as_mut().unwrap().shard = "c-1".to_owned());
    assert_eq!(shard.await, Err(FailedPrecondition));
    assert_eq!(refused(|m| m.to = Bytes::from_static(b"2")).await, Err(InvalidArgument));
    assert_eq!(refused(|m| m.body = Bytes::from_static(b"\x01\xff")).await, Err(InvalidArgument));
    assert_eq!(refused(|m| m.body.clear()).await, Err(InvalidArgument));
    assert_eq!(receiver.telemetry.replica.dropped_for(Dropped::Unreadable), 3);
    assert_eq!(refused(|_| ()).await, Ok(()));
}

/// A server that is alive, answers what asks whether it is, and takes no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_nothing_is_given_up_for_another() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, mut connections) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            accepted.send(()).unwrap();
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                let mut connection =
                    builder.initial_window_size(0).handshake::<_, Bytes>(stream).await?;
                let mut held = Vec::new();
                while let Some(request) = connection.accept().await {
                    held.push(request?);
                }
                Ok::<_, h2::Error>(())
            });
        }
    });
    let transport = transport();
    transport.addresses(reached(&[(THERE, address)]));
    for _ in 0..2 {
        let connected = async {
            for sent in 0.. {
                transport.send(THERE, message(sent, 10));
                tokio::select! {
                    accepted = connections.recv() => return accepted.unwrap(),
                    () = clock::sleep(Duration::from_millis(50)) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), connected).await.unwrap();
    }
}
