//! A shard that hangs beside one that answers, and clients with little time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use shoal_node::local_shard::LocalShard;
use shoal_node::reads::ReadPool;
use shoal_node::router::api::{CreateCollection, IndexChange, RouteError};
use shoal_node::router::shard_client::ShardClient;
use shoal_node::router::{Collection, Deadlines, RemoteShard};
use shoal_node::topology::{Snapshot, Topology};
use shoal_proto::auth::Token;
use shoal_proto::routing::RoutingTable;
use shoal_shard::api::{Identity, Tuning};
use shoal_shard::{Limits, Shard, WantedIndexes};
use shoal_vector::{Metric, PointId, Quantization, VectorConfig};

use crate::support::Server;

/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(3600);

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

struct HalfDown {
    server: Server,
    /// An id on the shard that serves, and one on the shard that hangs.
    ids: [u64; 2],
    _dir: tempfile::TempDir,
    _silent: tokio::net::TcpListener,
}

/// A collection with a shard that serves and one that takes connections and says nothing.
async fn half_down(search: Duration) -> HalfDown {
    let dir = tempfile::tempdir().unwrap();
    let vectors = vec![VectorConfig::new("", 2, Metric::Dot)];
    let identity = Identity {
        collection: "c".into(),
        shard: "c-0".into(),
        vectors: vectors.clone(),
        sparse: vec![],
    };
    let tuning = Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() };
    let shard = Shard::open(dir.path(), identity, tuning, Limits::default()).unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let token = Token::parse("0123456789abcdef0123456789abcdef").unwrap();
    let routing = RoutingTable::initial(["c-0".to_owned(), "c-1".to_owned()].into_iter()).unwrap();
    let ids =
        [0, 1].map(|shard| (1..).find(|id| routing.shard_of(PointId::Num(*id)) == shard).unwrap());
    let shards = vec![
        ShardClient::Local(LocalShard::new("c-0".to_owned(), shard, ReadPool::new(2))),
        ShardClient::Remote(RemoteShard::new("c", "c-1", 1, &address, token).unwrap()),
    ];
    let collection = Collection {
        name: "c".to_owned(),
        vectors,
        sparse: vec![],
        ef_construct: 10,
        quantization: Default::default(),
        indexes: WantedIndexes::default(),
        reads: Default::default(),
        routing,
        shards,
    };
    let snapshot: Snapshot = [("c".to_owned(), Arc::new(collection))].into();
    let deadlines = Deadlines { search, read: NEVER, write: NEVER };
    let server = Server::over(Fixed(Arc::new(snapshot)), deadlines);
    let point = json!({"points": [{"id": ids[0], "vector": [1, 2]}]});
    server.ok("PUT", "/collections/c/points?wait=true", point).await;
    HalfDown { server, ids, _dir: dir, _silent: silent }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_little_time_gets_what_the_other_shards_answered() {
    let HalfDown { server, ids, _dir, _silent } = half_down(NEVER).await;
    for query in [json!([1, 2]), json!(ids[0])] {
        let body = json!({"query": query}).to_string();
        let answer = server.send("POST", "/collections/c/points/query?timeout=1", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.body["shoal"]["missing"], json!(["c-1"]), "{}", answer.text);
    }
    let one = json!({"searches": [{"query": [1, 2]}]}).to_string();
    let answer = server.send("POST", "/collections/c/points/query/batch?timeout=1", &one).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // What needs every shard names the one that is late.
    server.refused("POST", "/collections/c/points/count?timeout=1", "{}", 408, "c-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_by_id_waits_for_its_point_no_longer_than_a_search_takes() {
    let HalfDown { server, ids, _dir, _silent } = half_down(Duration::from_secs(1)).await;
    let body = json!({"query": ids[1]}).to_string();
    // Reads of their own wait for an hour here, so an answer at all is what is shown.
    server.refused("POST", "/collections/c/points/query", &body, 408, "c-1").await;
}
