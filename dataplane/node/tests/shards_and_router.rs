//! Three `shoal shard` processes and a router: placement, merging, and what happens when a shard dies, hangs, comes
//! back, or is not the one that was meant.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Shoal, TOKEN, free_port, until_ready};
use rustix::process::Signal;
use shoal_node::router::api::{CreateCollection, IndexChange, RouteError};
use shoal_node::router::shard_client::ShardClient;
use shoal_node::router::{Collection, Deadlines, RemoteShard, Router};
use shoal_node::telemetry::Telemetry;
use shoal_node::topology::{Snapshot, Topology};
use shoal_proto::PROTOCOL_VERSION;
use shoal_proto::auth::Token;
use shoal_proto::routing::RoutingTable;
use shoal_proto::version::Versions;
use shoal_shard::WantedIndexes;
use shoal_shard::api::{
    QuantizationParams, ScrollRequest, SearchRequest, Want, WantPayload, WantVectors,
};
use shoal_vector::op::Selector;
use shoal_vector::{Filter, Op, Point, PointId, VectorConfig};

/// Time that no request of these tests should need.
const LONG: Duration = Duration::from_secs(60);
const VECTORS: &str = r#"[{"name":"","size":4,"distance":"Euclid"}]"#;

/// A topology that never changes.
struct Fixed(Arc<Snapshot>);

#[async_trait]
impl Topology for Fixed {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.clone()
    }
    fn synced(&self) -> bool {
        true
    }
    async fn create(&self, _: CreateCollection) -> Result<(), RouteError> {
        Err(RouteError::Forbidden("this topology is fixed".to_owned()))
    }
    async fn change_indexes(&self, _: &str, _: IndexChange) -> Result<(), RouteError> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<bool, RouteError> {
        Err(RouteError::Forbidden("this topology is fixed".to_owned()))
    }
}

/// Where a shard process lives.
struct Place {
    name: String,
    dir: PathBuf,
    grpc: SocketAddr,
    admin: SocketAddr,
}

impl Place {
    fn new(root: &Path, index: usize) -> Self {
        let name = format!("c-{index}");
        Self { dir: root.join(&name), name, grpc: free_port(), admin: free_port() }
    }

    fn start(&self, root: &Path) -> Shoal {
        let (grpc, admin) = (self.grpc.to_string(), self.admin.to_string());
        let (data, token) = (self.dir.to_str().unwrap(), root.join("token"));
        let args = [
            "shard",
            "--data",
            data,
            "--listen",
            &grpc,
            "--admin-listen",
            &admin,
            "--collection",
            "c",
            "--shard",
            &self.name,
            "--vectors",
            VECTORS,
            "--token-file",
            token.to_str().unwrap(),
        ];
        Shoal::start(&args, &root.join(format!("{}.log", self.name)))
    }

    fn client(&self, collection: &str, token: &str) -> ShardClient {
        let token = Token::parse(token).unwrap();
        ShardClient::Remote(
            RemoteShard::new(collection, &self.name, 1, &self.grpc.to_string(), token).unwrap(),
        )
    }
}

struct Cluster {
    root: tempfile::TempDir,
    places: Vec<Place>,
    shards: Vec<Shoal>,
    router: Arc<Router>,
    collection: Arc<Collection>,
}

/// A folder with the token in it.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("token"), format!("{TOKEN}\n")).unwrap();
    root
}

async fn cluster(deadlines: Deadlines) -> Cluster {
    let root = root();
    let places: Vec<Place> = (0..3).map(|n| Place::new(root.path(), n)).collect();
    let mut shards: Vec<Shoal> = places.iter().map(|place| place.start(root.path())).collect();
    for (shard, place) in shards.iter_mut().zip(&places) {
        until_ready(shard, place.admin).await;
    }
    let collection = Arc::new(Collection {
        name: "c".to_owned(),
        vectors: serde_json::from_str::<Vec<VectorConfig>>(VECTORS).unwrap(),
        sparse: Vec::new(),
        ef_construct: 100,
        quantization: Default::default(),
        indexes: WantedIndexes::default(),
        reads: Default::default(),
        routing: RoutingTable::initial(places.iter().map(|p| p.name.clone())).unwrap(),
        shards: places.iter().map(|place| place.client("c", TOKEN)).collect(),
    });
    let snapshot: Snapshot = [("c".to_owned(), collection.clone())].into();
    let topology = Arc::new(Fixed(Arc::new(snapshot)));
    let router = Arc::new(Router::new(topology, deadlines, Arc::new(Telemetry::new())));
    Cluster { root, places, shards, router, collection }
}

fn vector(n: u64) -> Vec<f32> {
    // Far from regular, so that no two distances are equal.
    (0..4).map(|d| ((n * 37 + d * 101) % 997) as f32 + n as f32 / 1000.0).collect()
}

fn point(n: u64) -> Point {
    Point {
        id: PointId::Num(n),
        vectors: vec![(String::new(), vector(n))],
        payload: format!(r#"{{"n":{n}}}"#).into_bytes(),
    }
}

fn nearest(k: usize) -> SearchRequest {
    let want = Want { payload: WantPayload::All, ..Want::default() };
    SearchRequest {
        using: String::new(),
        sparse: None,
        vector: vector(7),
        filter: None,
        k,
        ef: None,
        exact: true,
        quantization: QuantizationParams::default(),
        score_threshold: None,
        want,
    }
}

fn by_hand(k: usize, points: u64) -> Vec<PointId> {
    let distance =
        |n: u64| -> f32 { vector(n).iter().zip(vector(7)).map(|(a, b)| (a - b) * (a - b)).sum() };
    let mut all: Vec<u64> = (0..points).collect();
    all.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)).then(a.cmp(b)));
    all.into_iter().take(k).map(PointId::Num).collect()
}

impl Cluster {
    async fn fill(&self, points: u64) {
        let op = Op::Upsert((0..points).map(point).collect());
        assert!(self.router.write(&self.collection, op, true, LONG).await.unwrap().visible);
    }

    /// An id that lives on the shard at this position.
    fn id_on(&self, shard: usize) -> PointId {
        (0..).map(PointId::Num).find(|id| self.collection.routing.shard_of(*id) == shard).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_shards_answer_as_one_would() {
    let c = cluster(Deadlines::default()).await;
    c.fill(500).await;
    let (router, collection) = (&c.router, &c.collection);

    let answer = router.search(collection, nearest(20), LONG).await.unwrap();
    assert_eq!(answer.value.iter().map(|f| f.hit.id).collect::<Vec<_>>(), by_hand(20, 500));
    assert!(answer.lacks.missing.is_empty());
    assert_eq!(answer.value[0].parts.payload.as_ref().unwrap()["n"], 7);

    let asked: Vec<PointId> = [3, 499, 777, 0, 3].map(PointId::Num).into();
    let want = Want { vectors: WantVectors::All, ..Want::default() };
    let records = router.retrieve(collection, &asked, &want, LONG).await.unwrap().value;
    assert_eq!(records.iter().map(|r| r.id).collect::<Vec<_>>(), [3, 499, 0].map(PointId::Num));
    assert_eq!(records[0].parts.vectors, Some(vec![(String::new(), vector(3))]));

    let (mut seen, mut from) = (Vec::new(), None);
    loop {
        let request = ScrollRequest { filter: None, from, limit: 33, want: Want::default() };
        let page = router.scroll(collection, request, LONG).await.unwrap().value;
        assert!(page.records.len() == 33 || page.next.is_none());
        seen.extend(page.records.iter().map(|r| r.id));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..500).map(PointId::Num).collect::<Vec<_>>());

    let below =
        Filter::parse(&serde_json::json!({"must": [{"key": "n", "range": {"lt": 100}}]})).unwrap();
    router
        .write(collection, Op::Delete(Selector::Filter(below.clone())), true, LONG)
        .await
        .unwrap();
    assert_eq!(router.count(collection, None, LONG).await.unwrap().value, 400);
    assert_eq!(router.count(collection, Some(below), LONG).await.unwrap().value, 0);
    let info = router.info(collection).await.unwrap();
    assert_eq!((info.points, info.missing.len()), (400, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_point_of_a_batch_leaves_nothing_behind_on_any_shard() {
    let c = cluster(Deadlines::default()).await;
    let mut points: Vec<Point> = (0..30).map(point).collect();
    points[29].vectors[0].1.pop();
    let error = c.router.write(&c.collection, Op::Upsert(points), true, LONG).await.unwrap_err();
    assert!(
        matches!(&error, RouteError::Invalid(t) if t.contains("expected dim: 4, got 3")),
        "{error}"
    );
    assert_eq!(c.router.count(&c.collection, None, LONG).await.unwrap().value, 0);
    let wrong = SearchRequest { vector: vec![1.0], ..nearest(1) };
    assert!(matches!(
        c.router.search(&c.collection, wrong, LONG).await,
        Err(RouteError::Invalid(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shard_is_named_and_a_write_waits_for_its_return() {
    let mut c = cluster(Deadlines::default()).await;
    c.fill(300).await;
    c.shards.remove(1).kill();

    let answer = c.router.search(&c.collection, nearest(300), LONG).await.unwrap();
    assert_eq!(answer.lacks.missing, ["c-1"]);
    assert!(!answer.value.is_empty());
    assert!(answer.value.iter().all(|f| c.collection.routing.shard_of(f.hit.id) != 1));
    for error in [
        c.router.count(&c.collection, None, LONG).await.unwrap_err(),
        c.router.retrieve(&c.collection, &[c.id_on(1)], &Want::default(), LONG).await.unwrap_err(),
    ] {
        assert!(matches!(&error, RouteError::Unavailable(text) if text.contains("c-1")), "{error}");
    }
    // Who does not need it does not miss it.
    let alive = c.id_on(0);
    assert_eq!(
        c.router
            .retrieve(&c.collection, &[alive], &Want::default(), LONG)
            .await
            .unwrap()
            .value
            .len(),
        1
    );
    assert_eq!(c.router.info(&c.collection).await.unwrap().missing, ["c-1"]);

    let writing = {
        let (router, collection, id) = (c.router.clone(), c.collection.clone(), c.id_on(1));
        let PointId::Num(n) = id else { panic!("ids of this test are numbers") };
        tokio::spawn(async move {
            router.write(&collection, Op::Upsert(vec![point(n)]), true, LONG).await
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!writing.is_finished());
    let mut back = c.places[1].start(c.root.path());
    until_ready(&mut back, c.places[1].admin).await;
    assert!(writing.await.unwrap().unwrap().visible);
    // Everything acked before the kill is there again.
    assert_eq!(c.router.count(&c.collection, None, LONG).await.unwrap().value, 300);
}

/// The shard never answers, so that a call which waited for it would not end, whatever the machine's speed. A living shard
/// may need longer than a deadline too, on a busy machine: then there is a longer one.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_hangs_costs_a_search_no_more_than_its_deadline() {
    let c = cluster(Deadlines::default()).await;
    c.fill(100).await;
    c.shards[2].signal(Signal::STOP);
    let mut deadline = Duration::from_secs(1);
    loop {
        match c.router.search(&c.collection, nearest(10), deadline).await {
            Ok(answer) if answer.lacks.missing == ["c-2"] => break,
            others => assert!(deadline < LONG, "c-0 and c-1 do not answer either: {others:?}"),
        }
        deadline *= 2;
    }
    let deadline = Duration::from_secs(1);
    // A keep-alive may find out first that nobody is there.
    let late = |error: RouteError, what: &str| match error {
        RouteError::Timeout(text) | RouteError::Unavailable(text) => {
            assert!(text.contains("c-2") && text.contains(what), "{text}");
        }
        other => panic!("{other}"),
    };
    late(c.router.count(&c.collection, None, deadline).await.unwrap_err(), "");
    let delete = Op::Delete(Selector::Ids(vec![c.id_on(2)]));
    let error = c.router.write(&c.collection, delete, true, deadline).await.unwrap_err();
    late(error, "may or may not");
    c.shards[2].signal(Signal::CONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_the_token_or_at_the_wrong_address_get_nothing() {
    let c = cluster(Deadlines::default()).await;
    c.fill(10).await;
    let deadline = Duration::from_secs(10);
    let stranger = c.places[0].client("c", "fedcba9876543210fedcba9876543210");
    let error = stranger.count(None, deadline.into()).await.unwrap_err().to_string();
    assert!(error.contains("x-shoal-token") && !error.contains(TOKEN), "{error}");
    let lost = c.places[0].client("another", TOKEN);
    let error = lost.count(None, deadline.into()).await.unwrap_err().to_string();
    assert!(error.contains("this is shard c-0 of collection c"), "{error}");
    let moved = RemoteShard::new(
        "c",
        "c-1",
        1,
        &c.places[0].grpc.to_string(),
        Token::parse(TOKEN).unwrap(),
    )
    .unwrap();
    assert!(
        ShardClient::Remote(moved).search(nearest(1), deadline.into(), deadline).await.is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_one_version_older_than_their_router_answer_and_those_two_older_say_why_not() {
    let c = cluster(Deadlines::default()).await;
    // The builds that come after this one, each of which speaks two versions.
    let asked_by = |newest: u32| {
        let speaking = |place: &Place| match place.client("c", TOKEN) {
            ShardClient::Remote(shard) => {
                ShardClient::Remote(shard.speaking(Versions { oldest: newest - 1, newest }))
            }
            other => other,
        };
        let shards = c.places.iter().map(speaking).collect();
        Arc::new(Collection {
            name: "c".to_owned(),
            vectors: c.collection.vectors.clone(),
            sparse: Vec::new(),
            ef_construct: 100,
            quantization: Default::default(),
            indexes: WantedIndexes::default(),
            reads: Default::default(),
            routing: RoutingTable::initial(c.places.iter().map(|p| p.name.clone())).unwrap(),
            shards,
        })
    };
    let next = asked_by(PROTOCOL_VERSION + 1);
    let op = Op::Upsert((0..30).map(point).collect());
    assert!(c.router.write(&next, op, true, LONG).await.unwrap().visible);
    assert_eq!(c.router.search(&next, nearest(5), LONG).await.unwrap().value.len(), 5);
    // And where the first thing that is asked is a read.
    assert_eq!(
        c.router.count(&asked_by(PROTOCOL_VERSION + 1), None, LONG).await.unwrap().value,
        30
    );
    let over = c.router.count(&asked_by(PROTOCOL_VERSION + 2), None, LONG).await.unwrap_err();
    assert!(over.to_string().contains("upgrade this shard"), "{over}");
}

/// Those in flight at the stop are finished, those not sent by then go to the shard that comes back. A connection can
/// still close under a write that is being sent; that write must be told as in doubt, and repeating it must settle it.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_refused_while_a_shard_is_stopped_and_started_again() {
    let mut c = cluster(Deadlines::default()).await;
    let writes: Vec<_> = (0..200)
        .map(|n| {
            let (router, collection) = (c.router.clone(), c.collection.clone());
            let write = Op::Upsert(vec![point(n)]);
            tokio::spawn(async move {
                let first = router.write(&collection, write.clone(), true, LONG).await;
                let Err(doubt) = first else { return n };
                let told = matches!(doubt, RouteError::Unavailable(_))
                    && doubt.to_string().contains("may or may not be done");
                assert!(told, "point {n}: {doubt}");
                let again = router.write(&collection, write, true, LONG).await;
                again.unwrap_or_else(|error| panic!("point {n}, repeated: {error}"));
                n
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    c.shards[0].signal(Signal::TERM);
    assert!(c.shards[0].wait(Duration::from_secs(30)).success(), "{}", c.shards[0].log());
    let mut back = c.places[0].start(c.root.path());
    until_ready(&mut back, c.places[0].admin).await;
    let mut acked = Vec::new();
    for write in writes {
        acked.push(PointId::Num(write.await.unwrap()));
    }
    let found =
        c.router.retrieve(&c.collection, &acked, &Want::default(), LONG).await.unwrap().value;
    assert_eq!(found.len(), acked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_another_shard_is_refused_in_words() {
    let root = root();
    let first = Place::new(root.path(), 0);
    let mut shard = first.start(root.path());
    until_ready(&mut shard, first.admin).await;
    shard.kill();
    let other = Place { name: "c-9".to_owned(), ..Place::new(root.path(), 0) };
    let mut refused = other.start(root.path());
    assert!(!refused.wait(Duration::from_secs(30)).success());
    assert!(
        refused.log().contains("c-9") && refused.log().contains("attach the disk"),
        "{}",
        refused.log()
    );
}
