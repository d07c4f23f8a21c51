//! A namespace on the shared API server, with the definitions installed, and short ways to ask it.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use shoal_crds::{Shard, VectorCollection};
use shoal_e2e::apiserver::ApiServer;
use tokio::sync::OnceCell;

/// A namespace of one test.
pub(crate) struct Place {
    pub(crate) server: &'static ApiServer,
    pub(crate) namespace: String,
    pub(crate) client: Client,
}

impl Place {
    /// A namespace named after the test; `None`, said loudly, where there is no API server.
    pub(crate) async fn of(test: &str) -> Option<Self> {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let server = ApiServer::shared().await?;
        INSTALLED
            .get_or_init(|| async { server.install_definitions().await.expect("definitions") })
            .await;
        let namespace = server.namespace(test).await.expect("a namespace");
        Some(Self { server, namespace, client: server.client().await.expect("a client") })
    }

    /// Collections as the API server sees them: any JSON, not only what the types can hold.
    pub(crate) fn collections(&self) -> Api<DynamicObject> {
        Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &ApiResource::erase::<VectorCollection>(&()),
        )
    }

    pub(crate) fn shards(&self) -> Api<DynamicObject> {
        Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &ApiResource::erase::<Shard>(&()),
        )
    }

    /// Creates a collection; the error is the API server's message.
    pub(crate) async fn create(&self, name: &str, spec: Value) -> Result<DynamicObject, String> {
        let object = object("VectorCollection", name, spec);
        self.collections().create(&PostParams::default(), &object).await.map_err(message)
    }

    pub(crate) async fn create_shard(
        &self,
        name: &str,
        spec: Value,
    ) -> Result<DynamicObject, String> {
        self.shards()
            .create(&PostParams::default(), &object("Shard", name, spec))
            .await
            .map_err(message)
    }

    /// Applies a spec, as a user's tool does.
    pub(crate) async fn apply(&self, name: &str, spec: Value) -> Result<DynamicObject, String> {
        let object = object("VectorCollection", name, spec);
        let params = PatchParams::apply("user").force();
        self.collections().patch(name, &params, &Patch::Apply(&object)).await.map_err(message)
    }
}

fn object(kind: &str, name: &str, spec: Value) -> DynamicObject {
    let object = json!({"apiVersion": "shoal.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(object).expect("an object")
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("not an answer of the API server: {other}"),
    }
}

/// The least spec that is accepted.
pub(crate) fn least() -> Value {
    json!({"vectors": [{"size": 4, "distance": "Cosine"}]})
}

/// The least spec with fields added or replaced.
pub(crate) fn least_and(fields: Value) -> Value {
    let (mut spec, Value::Object(fields)) = (least(), fields) else {
        panic!("fields are an object")
    };
    for (name, field) in fields {
        spec[name] = field;
    }
    spec
}
