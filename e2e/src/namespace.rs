//! A namespace that one test has for itself: applying, waiting for conditions, the way to its router, and what one wants
//! to see when the test failed.
//!
//! Invariant: deleting it leaves nothing behind; collections go first, while the operator can still let them go.

use std::fmt::Debug;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_crds::{VectorCollection, labels};
use tokio::process::{Child, Command};

use crate::cluster::{Cluster, output, until};
use crate::ports::free_port;
use crate::qdrant::Qdrant;

/// The field manager of what tests apply.
const FIELD_MANAGER: &str = "shoal-e2e";
/// A namespace that one test has for itself.
#[derive(Clone)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The cluster it is on.
    pub cluster: Cluster,
}

/// A client of a router, and the way to it.
pub struct RouterClient {
    /// Speaks Qdrant's dialect.
    pub client: Qdrant,
    /// Where the router is reached.
    pub url: String,
    /// The key it asks for.
    pub key: String,
    /// Ends with this.
    _forward: Option<Child>,
}

impl Namespace {
    /// An API over this namespace's objects.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.cluster.api_in(&self.name)
    }

    /// Applies an object as a user would (server-side).
    pub async fn apply<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
        K::DynamicType: Default,
    {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let name = object.name_any();
        self.api::<K>()
            .patch(&name, &params, &Patch::Apply(object))
            .await
            .with_context(|| format!("applying {name}"))
    }

    /// The collection in a YAML file of config/samples.
    pub fn sample(file: &str) -> Result<VectorCollection> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/samples").join(file);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Waits until the collection is Ready for its current generation, and says how long it took.
    pub async fn ready(&self, collection: &str, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        self.condition(collection, "Ready", "True", limit).await?;
        Ok(began.elapsed())
    }

    /// Waits until a condition of the collection, observed at its current generation, has the status; returns its
    /// reason and message.
    pub async fn condition(
        &self,
        collection: &str,
        condition: &str,
        status: &str,
        limit: Duration,
    ) -> Result<(String, String)> {
        let api: Api<VectorCollection> = self.api();
        until(&format!("{collection} to be {condition}={status}"), limit, || async {
            let object = api.get(collection).await?;
            let generation = object.metadata.generation;
            let seen = object.status.unwrap_or_default();
            let observed = seen.observed_generation == generation;
            match seen.conditions.iter().find(|c| c.type_ == condition && c.status == status) {
                Some(found) if observed => Ok(Some((found.reason.clone(), found.message.clone()))),
                _ => {
                    let told = |c: &Condition| {
                        format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message)
                    };
                    bail!("{}", seen.conditions.iter().map(told).collect::<Vec<_>>().join("; "))
                }
            }
        })
        .await
    }

    /// A client of the namespace's router, with the key of its Secret. Waits until the router answers.
    pub async fn router(&self) -> Result<RouterClient> {
        let limit = Duration::from_secs(90);
        let secrets: Api<Secret> = self.api();
        let key = until("the API key's Secret", limit, || async {
            let secret = secrets.get(labels::API_KEY_SECRET).await?;
            let value = secret.data.unwrap_or_default().remove(labels::API_KEY);
            Ok(value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()))
        })
        .await?;
        let services: Api<Service> = self.api();
        let address = until("the router's Service", limit, || async {
            let service = services.get(labels::ROUTER).await?;
            Ok(service.spec.and_then(|spec| spec.cluster_ip))
        })
        .await?;
        let (url, forward) = if self.cluster.faults.is_some() {
            (format!("http://{address}:{}", labels::HTTP_PORT), None)
        } else {
            let (url, child) = self.port_forward().await?;
            (url, Some(child))
        };
        let client = Qdrant::new(&url, &key)?;
        until("the router to answer", limit, || async { client.collections().await.map(Some) })
            .await?;
        Ok(RouterClient { client, url, key, _forward: forward })
    }

    /// Reaches the router from outside the cluster's network.
    async fn port_forward(&self) -> Result<(String, Child)> {
        let port = free_port();
        let child = Command::new("kubectl")
            .args(["--namespace", &self.name, "port-forward", "service/shoal"])
            .arg(format!("{port}:{}", labels::HTTP_PORT))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting kubectl port-forward")?;
        Ok((format!("http://127.0.0.1:{port}"), child))
    }

    /// The pods of a collection's shards.
    pub async fn shard_pods(&self, collection: &str) -> Result<Vec<Pod>> {
        let selector = format!("{}={collection},{}", labels::COLLECTION, labels::SHARD);
        Ok(self.api::<Pod>().list(&ListParams::default().labels(&selector)).await?.items)
    }

    /// Deletes an object and waits until it is gone.
    pub async fn remove<K>(&self, name: &str, limit: Duration) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        api.delete(name, &DeleteParams::default())
            .await
            .with_context(|| format!("deleting {name}"))?;
        until(&format!("{name} to be gone"), limit, || async {
            Ok(api.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Deletes the namespace with everything in it. Collections go first, while the operator can still let them go.
    pub(crate) async fn delete(&self) -> Result<()> {
        let collections: Api<VectorCollection> = self.api();
        let limit = Duration::from_secs(60);
        let removed = async {
            collections.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
            until("collections to be gone", limit, || async {
                Ok(collections.list(&ListParams::default()).await?.items.is_empty().then_some(()))
            })
            .await
        };
        let removed = removed.await;
        let api: Api<NamespaceObject> = Api::all(self.cluster.client.clone());
        api.delete(&self.name, &DeleteParams::default()).await.context("deleting the namespace")?;
        removed
    }

    /// Saves what one wants to see after a failure to `target/e2e-logs/NAMESPACE`, and prints the gist.
    pub(crate) async fn save_evidence(&self) {
        let folder =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/e2e-logs").join(&self.name);
        if let Err(error) = std::fs::create_dir_all(&folder) {
            eprintln!("cannot make {}: {error}", folder.display());
            return;
        }
        let everything = "vectorcollections,shards,statefulsets,pods,services,deployments,pvc,poddisruptionbudgets";
        let mut looks = vec![
            ("objects.txt".to_owned(), vec!["get", everything, "-o", "wide"]),
            ("objects.yaml".to_owned(), vec!["get", everything, "-o", "yaml"]),
            ("events.txt".to_owned(), vec!["get", "events", "--sort-by=.lastTimestamp"]),
        ];
        let pods = self
            .api::<Pod>()
            .list(&ListParams::default())
            .await
            .map(|l| l.items)
            .unwrap_or_default();
        let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
        for name in &names {
            looks.push((format!("{name}.log"), vec!["logs", name]));
            looks.push((format!("{name}.previous.log"), vec!["logs", "--previous", name]));
        }
        for (file, arguments) in looks {
            let arguments = [&["--namespace", self.name.as_str()][..], &arguments].concat();
            let text =
                output("kubectl", &arguments).await.unwrap_or_else(|error| format!("{error:#}"));
            if file == "objects.txt" || file == "events.txt" {
                eprintln!("--- {file} of {}\n{text}", self.name);
            }
            if let Err(error) = std::fs::write(folder.join(&file), text) {
                eprintln!("cannot write {file}: {error}");
            }
        }
        eprintln!("more in {}", folder.display());
    }
}
