//! An API server with an operator on it, and what tests do there in place of kubelets and Kubernetes' controllers.

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shoal_crds::VectorCollection;
use shoal_e2e::apiserver::ApiServer;
use shoal_operator::run::run_until;
use shoal_operator::settings::Settings;
use tokio::sync::{OnceCell, watch};

use crate::rights;

/// How long anything may take before a test fails: far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the operator lives.
pub(crate) const HOME: &str = "shoal-system";
/// Image new collections are pinned to.
pub(crate) const IMAGE: &str = "shoal.test/shoal:1";

/// A namespace on an API server where an operator acts.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// An operator in a thread of its own, as the tests' runtimes come and go.
pub(crate) struct Operator {
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Operator {
    pub(crate) fn start(kubeconfig: PathBuf, change: impl FnOnce(&mut Settings)) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut settings = settings();
        change(&mut settings);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let config = Kubeconfig::read_from(&kubeconfig)?;
                let options = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig(config, &options).await?;
                run_until(settings, Client::try_from(config)?, stopped).await
            })
        });
        Self { stop, thread: Some(thread) }
    }

    /// Asks it to end as SIGTERM would, and waits; how it ended.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.thread.take().expect("running").join().expect("no panic")
    }
}

fn settings() -> Settings {
    Settings {
        data_plane_image: IMAGE.into(),
        image_pull_policy: None,
        router_namespaces: vec!["always-routed".into()],
        router_grace_seconds: 2,
        http_collections: true,
        sample_seconds: 1,
        admin_listen: "127.0.0.1:0".parse().expect("an address"),
        namespace: HOME.into(),
        identity: Some("operator".into()),
        lease_seconds: 15,
    }
}

/// Installs everything an operator needs; the kubeconfig with its rights.
pub(crate) async fn prepare(server: &ApiServer) -> PathBuf {
    let client = server.client().await.expect("a client");
    server.install_definitions().await.expect("definitions");
    make_namespace(&client, HOME).await;
    rights::grant(client, HOME).await.expect("rights");
    server.kubeconfig_of(HOME, "shoal-operator").await.expect("a kubeconfig")
}

pub(crate) async fn make_namespace(client: &Client, name: &str) {
    let namespace = json!({"metadata": {"name": name,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespace = serde_json::from_value(namespace).expect("a namespace");
    let api = Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone());
    api.create(&PostParams::default(), &namespace).await.expect("made");
}

impl World {
    /// A namespace for a test, on the API server and with the operator that all tests share.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        static OPERATOR: OnceCell<Operator> = OnceCell::const_new();
        let server = ApiServer::shared().await?;
        OPERATOR.get_or_init(|| async { Operator::start(prepare(server).await, |_| {}) }).await;
        Some(Self::on(server, test).await)
    }

    /// A namespace on some API server.
    pub(crate) async fn on(server: &ApiServer, test: &str) -> Self {
        let client = server.client().await.expect("a client");
        make_namespace(&client, test).await;
        Self { client, namespace: test.to_owned() }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes a collection of one 4-dimensional vector, with more of a spec.
    pub(crate) async fn collection(&self, name: &str, more: Value) -> VectorCollection {
        let mut object = json!({
            "apiVersion": "shoal.dev/v1alpha1", "kind": "VectorCollection",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"vectors": [{"size": 4, "distance": "Cosine"}]},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        let object = serde_json::from_value(object).expect("a collection");
        self.api().create(&PostParams::default(), &object).await.expect("made")
    }

    pub(crate) async fn change<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        self.api()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("changed")
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        self.api::<K>().delete(name, &DeleteParams::background()).await.expect("deleted");
    }

    /// Waits until an object is as described.
    pub(crate) async fn until<K>(&self, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api = self.api::<K>();
        eventually(&format!("{} {name}: {what}", K::kind(&())), || async {
            let seen = api.get_opt(name).await.map_err(|error| error.to_string())?;
            match seen {
                Some(object) if holds(&object) => Ok(object),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    pub(crate) async fn exists<K>(&self, name: &str) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        self.until(name, "exists", |_| true).await
    }

    pub(crate) async fn gone<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api = self.api::<K>();
        eventually(&format!("{} {name} is gone", K::kind(&())), || async {
            match api.get_opt(name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Waits until a collection's condition is as described.
    pub(crate) async fn condition(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> Condition {
        let what = format!("{type_}={status} {reason}");
        let matches = |c: &&Condition| c.type_ == type_ && c.status == status && c.reason == reason;
        let collection: VectorCollection =
            self.until(name, &what, |object| conditions(object).iter().any(|c| matches(&c))).await;
        conditions(&collection).iter().find(matches).cloned().expect("as waited for")
    }

    /// Plays the kubelet and the StatefulSet controller: a ready pod and a claim, made as the set says.
    pub(crate) async fn start_pod(&self, set: &str) -> Pod {
        let set: StatefulSet = self.exists(set).await;
        let (name, spec) = (set.name_any(), set.spec.clone().expect("spec"));
        let revision = revision_of(&set);
        let status = json!({"status": {"observedGeneration": set.metadata.generation, "replicas": 1,
            "updateRevision": revision}});
        let patch = Patch::Merge(&status);
        self.api::<StatefulSet>()
            .patch_status(&name, &PatchParams::default(), &patch)
            .await
            .expect("status");

        let claim_name = format!("data-{name}-0");
        let mut claim: PersistentVolumeClaim =
            spec.volume_claim_templates.expect("claims").remove(0);
        claim.metadata.name = Some(claim_name.clone());
        claim.status = None;
        // A claim that is there already is used, as Kubernetes does.
        let _ = self.api::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await;
        let bound = json!({"status": {"phase": "Bound"}});
        let params = PatchParams::default();
        let claims = self.api::<PersistentVolumeClaim>();
        claims.patch_status(&claim_name, &params, &Patch::Merge(&bound)).await.expect("bound");

        let mut pod = Pod {
            metadata: spec.template.metadata.unwrap_or_default(),
            spec: spec.template.spec,
            status: None,
        };
        pod.metadata.name = Some(format!("{name}-0"));
        pod.labels_mut().insert("controller-revision-hash".into(), revision);
        let source = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
        let data = Volume {
            name: "data".into(),
            persistent_volume_claim: Some(source),
            ..Volume::default()
        };
        pod.spec.as_mut().expect("spec").volumes.get_or_insert_default().push(data);
        self.api()
            .create(&PostParams::default(), &pod)
            .await
            .expect("the namespace's restricted profile allows it");
        self.pod_ready(&format!("{name}-0"), true).await
    }

    pub(crate) async fn pod_ready(&self, name: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        let patch = json!({"status": {"phase": "Running", "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": status}]}});
        let params = PatchParams::default();
        self.api::<Pod>()
            .patch_status(name, &params, &Patch::Merge(&patch))
            .await
            .expect("a status")
    }

    /// Plays the Deployment controller: the router serves, all of it as it was last asked.
    pub(crate) async fn start_router(&self) {
        let router: Deployment = self.exists("shoal").await;
        let replicas = router.spec.and_then(|spec| spec.replicas);
        let status = json!({"status": {"observedGeneration": router.metadata.generation, "replicas": replicas,
            "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas}});
        let params = PatchParams::default();
        let patch = Patch::Merge(&status);
        self.api::<Deployment>().patch_status("shoal", &params, &patch).await.expect("a status");
    }

    /// A collection that serves.
    pub(crate) async fn serving(&self, name: &str, shards: u32, more: Value) -> VectorCollection {
        let mut more = more;
        more["sharding"] = json!({"initialShards": shards});
        let replicas = more["replication"]["replicas"].as_u64().unwrap_or(1);
        self.collection(name, more).await;
        for shard in 0..shards {
            for replica in 0..replicas {
                self.start_pod(&format!("{name}-{shard}-r{replica}")).await;
            }
        }
        self.start_router().await;
        self.condition(name, "Ready", "True", "Available").await;
        self.exists(name).await
    }

    /// Plays the garbage collector after a collection's end: removes what it owned, and its pods.
    pub(crate) async fn collect(&self, name: &str, shards: u32) {
        for shard in 0..shards {
            let shard = format!("{name}-{shard}");
            let all = DeleteParams::background();
            let _ = self.api::<Pod>().delete(&format!("{shard}-r0-0"), &all).await;
            let _ = self.api::<StatefulSet>().delete(&format!("{shard}-r0"), &all).await;
            let _ = self.api::<shoal_crds::Shard>().delete(&shard, &all).await;
            self.gone::<shoal_crds::Shard>(&shard).await;
            self.gone::<StatefulSet>(&format!("{shard}-r0")).await;
        }
    }
}

/// What the StatefulSet controller would name a template's revision: one name for one content.
fn revision_of(set: &StatefulSet) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&template).expect("encodes").hash(&mut hasher);
    format!("{}-{:x}", set.name_any(), hasher.finish())
}

pub(crate) fn conditions(collection: &VectorCollection) -> &[Condition] {
    collection.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

pub(crate) fn has(collection: &VectorCollection, type_: &str) -> bool {
    conditions(collection).iter().any(|condition| condition.type_ == type_)
}

/// Tries until it works, and fails with the last reason it did not.
pub(crate) async fn eventually<T, Fut>(what: &str, attempt: impl Fn() -> Fut) -> T
where
    Fut: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(last) if begun.elapsed() > PATIENCE => {
                panic!("not after {PATIENCE:?}: {what}\nlast: {last}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
