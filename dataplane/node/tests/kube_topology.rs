//! The topology of a cluster against a real API server: what is made and deleted over HTTP, what is refused, and what
//! goes on while the API is gone. The operator's part, a status that says Ready, is written by the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use shoal_crds::collection::{DeletionPolicy, VectorSpec};
use shoal_crds::{VectorCollection, VectorCollectionSpec, labels};
use shoal_e2e::apiserver::ApiServer;
use shoal_node::router::api::{CreateCollection, IndexChange, RouteError};
use shoal_node::topology::Topology;
use shoal_node::topology::kube::KubeTopology;
use shoal_proto::auth::Token;
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{Metric, Quantization, VectorConfig};

struct World {
    namespace: String,
    client: Client,
    objects: Api<VectorCollection>,
    topology: Arc<KubeTopology>,
}

/// A namespace of its own and a topology that has read it.
async fn world(server: &ApiServer, test: &str) -> World {
    server.install_definitions().await.unwrap();
    let client = server.client().await.unwrap();
    let namespace = server.namespace(test).await.unwrap();
    let topology = topology(client.clone(), &namespace).await;
    World { objects: Api::namespaced(client.clone(), &namespace), namespace, client, topology }
}

async fn topology(client: Client, namespace: &str) -> Arc<KubeTopology> {
    let token = Token::parse("0123456789abcdef").unwrap();
    let topology = Arc::new(KubeTopology::with_client(client, namespace.to_owned(), 6335, token));
    eventually("the topology is read", || topology.synced()).await;
    topology
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}

fn request(name: &str, seconds: u64) -> CreateCollection {
    CreateCollection {
        name: name.to_owned(),
        vectors: vec![VectorConfig::new("", 8, Metric::Dot)],
        sparse: Vec::new(),
        ef_construct: Some(50),
        quantization: [(String::new(), Quantization::Int8)].into(),
        shards: Some(2),
        timeout: Duration::from_secs(seconds),
    }
}

impl World {
    /// Waits until an object of this client-facing name is there.
    async fn object_of(&self, client_name: &str) -> VectorCollection {
        for _ in 0..600 {
            let all = self.objects.list(&Default::default()).await.unwrap();
            if let Some(object) = all.items.into_iter().find(|o| o.client_name() == client_name) {
                return object;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no object of name {client_name}");
    }

    /// Says about an object what the operator would.
    async fn say(&self, object: &VectorCollection, kind: &str, reason: &str, message: &str) {
        let name = object.name_any();
        let condition = json!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": object.metadata.generation,
        });
        let routing = json!({"gen": 1, "table": [
            {"shard": labels::shard_name(&name, 0), "slots": "0-8191"},
            {"shard": labels::shard_name(&name, 1), "slots": "8192-16383"},
        ]});
        let status = json!({
            "observedGeneration": object.metadata.generation, "conditions": [condition], "routing": routing,
        });
        let patch = Patch::Merge(json!({ "status": status }));
        self.objects.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A collection that someone applied with kubectl.
    async fn apply(&self, name: &str, client_name: &str) -> VectorCollection {
        let vectors = vec![VectorSpec { size: 8, ..VectorSpec::default() }];
        let spec = VectorCollectionSpec {
            name: Some(client_name.to_owned()),
            vectors,
            ..Default::default()
        };
        let object = VectorCollection::new(name, spec);
        self.objects.create(&PostParams::default(), &object).await.unwrap()
    }

    fn creating(
        &self,
        request: CreateCollection,
    ) -> tokio::task::JoinHandle<Result<(), RouteError>> {
        let topology = self.topology.clone();
        tokio::spawn(async move { topology.create(request).await })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_made_over_http_serves_once_ready_and_is_gone_after_delete() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "made").await;
    let creating = world.creating(request("my_collection", 60));
    let object = world.object_of("my_collection").await;
    assert!(object.name_any().starts_with("my-collection-"));
    assert!(object.labels().contains_key(labels::MADE_BY_HTTP));
    assert_eq!((object.deletion_policy(), object.initial_shards()), (DeletionPolicy::Delete, 2));
    assert_eq!(object.spec.vectors[0].ef_construct(), 50);
    assert_eq!(
        object.spec.vectors[0].quantization,
        Some(shoal_crds::collection::Quantization::Int8)
    );
    assert!(!creating.is_finished());
    world.say(&object, "Ready", "Available", "").await;
    creating.await.unwrap().unwrap();
    let put = |field: &str, kind| IndexChange::Put(PayloadIndex::new(field, kind).unwrap());
    let change = |change| world.topology.change_indexes("my_collection", change);
    change(put("a", IndexKind::Keyword)).await.unwrap();
    change(put("b[].c", IndexKind::Geo)).await.unwrap();
    change(put("a", IndexKind::Text)).await.unwrap();
    let fields = || world.topology.snapshot()["my_collection"].indexes.fields.clone();
    let expected = [
        PayloadIndex::new("b[].c", IndexKind::Geo).unwrap(),
        PayloadIndex::new("a", IndexKind::Text).unwrap(),
    ];
    assert_eq!(fields(), expected);
    change(IndexChange::Remove("a".to_owned())).await.unwrap();
    assert_eq!(fields(), expected[..1]);

    let snapshot = world.topology.snapshot();
    let shards: Vec<&str> =
        snapshot["my_collection"].shards.iter().map(|shard| shard.name()).collect();
    assert_eq!(shards, [0, 1].map(|n| labels::shard_name(&object.name_any(), n)));
    let again = world.topology.create(request("my_collection", 5)).await;
    assert!(matches!(again, Err(RouteError::Exists(_))), "{again:?}");

    assert!(world.topology.delete("my_collection").await.unwrap());
    assert!(world.topology.snapshot().is_empty());
    assert!(world.objects.get_opt(&object.name_any()).await.unwrap().is_none());
    assert!(!world.topology.delete("my_collection").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_made_is_served_but_not_deleted_over_http() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "applied").await;
    let object = world.apply("glosses", "glosses").await;
    world.say(&object, "Ready", "Available", "").await;
    eventually("it is served", || world.topology.snapshot().contains_key("glosses")).await;
    let index = IndexChange::Put(PayloadIndex::new("a", IndexKind::Keyword).unwrap());
    let refused = world.topology.change_indexes("glosses", index).await.unwrap_err();
    let advice = format!("kubectl -n {} edit vc glosses", world.namespace);
    assert!(matches!(&refused, RouteError::Conflict(text) if text.contains(&advice)), "{refused}");
    let refused = world.topology.delete("glosses").await.unwrap_err();
    let advice = format!("kubectl -n {} delete vc glosses", world.namespace);
    assert!(matches!(&refused, RouteError::Conflict(text) if text.contains(&advice)), "{refused}");
    // Nor is its name taken by another.
    assert!(matches!(
        world.topology.create(request("glosses", 5)).await,
        Err(RouteError::Exists(_))
    ));
    world.objects.delete("glosses", &DeleteParams::default()).await.unwrap();
    eventually("it is served no more", || world.topology.snapshot().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_cannot_serve_says_why() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "stalled").await;
    let creating = world.creating(request("a", 60));
    let object = world.object_of("a").await;
    world.say(&object, "Stalled", "DiskConflict", "remove the claim x").await;
    let error = creating.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, RouteError::Conflict(text) if text.contains("remove the claim x")),
        "{error}"
    );

    let late = world.topology.create(request("b", 1)).await.unwrap_err();
    assert!(matches!(&late, RouteError::Timeout(text) if text.contains("kubectl -n")), "{late}");
    let mut wrong = request("c", 5);
    wrong.vectors[0].size = 1_000_000;
    let wrong = world.topology.create(wrong).await.unwrap_err();
    assert!(matches!(&wrong, RouteError::Invalid(text) if text.contains("size")), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_may_only_watch_says_so() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "rights").await;
    let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let (client, namespace) = (&world.client, world.namespace.as_str());
    let account = ServiceAccount { metadata: named("watcher"), ..Default::default() };
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let rule = PolicyRule {
        api_groups: Some(vec!["shoal.dev".to_owned()]),
        resources: Some(vec!["vectorcollections".to_owned()]),
        verbs: ["get", "list", "watch"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let role = Role { metadata: named("watcher"), rules: Some(vec![rule]) };
    Api::<Role>::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &role)
        .await
        .unwrap();
    let subject = Subject {
        kind: "ServiceAccount".to_owned(),
        name: "watcher".to_owned(),
        ..Default::default()
    };
    let role_ref = RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: "Role".to_owned(),
        name: "watcher".to_owned(),
    };
    let binding =
        RoleBinding { metadata: named("watcher"), role_ref, subjects: Some(vec![subject]) };
    Api::<RoleBinding>::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();

    let watcher = topology(server.client_of(namespace, "watcher").await.unwrap(), namespace).await;
    let refused = watcher.create(request("a", 5)).await.unwrap_err();
    assert!(
        matches!(&refused, RouteError::Forbidden(text) if text.contains("kubectl")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_is_gone_what_was_known_is_served() {
    let Some(server) = ApiServer::start_unless_missing().await else { return };
    let world = world(&server, "gone").await;
    let object = world.apply("glosses", "glosses").await;
    world.say(&object, "Ready", "Available", "").await;
    eventually("it is served", || world.topology.snapshot().contains_key("glosses")).await;
    drop(server);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.topology.synced());
    assert!(world.topology.snapshot().contains_key("glosses"));
    let refused = world.topology.create(request("new", 5)).await.unwrap_err();
    assert!(
        matches!(&refused, RouteError::Unavailable(text) if text.contains("retry")),
        "{refused}"
    );
}
