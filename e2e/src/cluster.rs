//! A cluster to test on: the one `KUBECONFIG` names, namespaces for tests, and waiting with a deadline.
//!
//! Invariant: what a test made is gone when it ends, also when it failed.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod};
use kube::api::{Api, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use tokio::process::Command;

use crate::faults::Faults;
use crate::namespace::Namespace;

/// Where the operator runs, as `e2e/deploy.sh` installs it.
pub const OPERATOR_NAMESPACE: &str = "shoal-system";

/// A connection to the cluster.
#[derive(Clone)]
pub struct Cluster {
    /// Talks to its API server.
    pub client: Client,
    /// Faults one can make; `None` on clusters that are not ours.
    pub faults: Option<Faults>,
}

/// Waits until `look` sees something, asking about four times a second. Errors while looking are not the end (an API
/// server may be restarting); the last one is told when time is up.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    let mut last = String::from("not there");
    loop {
        match tokio::time::timeout(Duration::from_secs(10), look()).await {
            Ok(Ok(Some(seen))) => return Ok(seen),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => last = "no answer within 10 s".into(),
        }
        ensure!(Instant::now() < deadline, "waited {} s for {what}; last: {last}", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

impl Cluster {
    /// Connects to the cluster of `KUBECONFIG`.
    pub async fn connect() -> Result<Self> {
        ensure!(
            std::env::var_os("KUBECONFIG").is_some(),
            "KUBECONFIG is not set: run `make e2e`, which also starts a cluster"
        );
        let client = Client::try_default().await.context("reading KUBECONFIG")?;
        let version =
            client.apiserver_version().await.context("asking the API server its version")?;
        ensure!(!version.git_version.is_empty(), "the API server tells no version");
        Ok(Self { client, faults: Faults::of_own_cluster() })
    }

    /// Runs `test` in a new namespace that enforces the restricted pod security standard, and deletes it afterwards.
    /// When the test fails or panics, saves logs and objects first.
    pub async fn with_namespace<F, Fut>(&self, purpose: &str, test: F) -> Result<()>
    where
        F: FnOnce(Namespace) -> Fut,
        Fut: Future<Output = Result<()>>,
    {
        let began = Instant::now();
        let namespace = self.new_namespace(purpose).await?;
        let outcome = AssertUnwindSafe(test(namespace.clone())).catch_unwind().await;
        if !matches!(outcome, Ok(Ok(()))) {
            namespace.save_evidence().await;
        }
        let tested = began.elapsed();
        let cleaned = namespace.delete().await;
        let cleaning = began.elapsed() - tested;
        eprintln!(
            "{purpose}: {:.0} s, and {:.0} s to clean up",
            tested.as_secs_f64(),
            cleaning.as_secs_f64()
        );
        match outcome {
            Ok(result) => result.and(cleaned),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    async fn new_namespace(&self, purpose: &str) -> Result<Namespace> {
        let name = format!("e2e-{purpose}-{:06x}", rand::random::<u32>() & 0xff_ffff);
        let mut object = NamespaceObject::default();
        object.metadata.name = Some(name.clone());
        let enforce = ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned());
        object.metadata.labels = Some([enforce].into());
        let api: Api<NamespaceObject> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &object).await.context("creating a namespace")?;
        Ok(Namespace { name, cluster: self.clone() })
    }

    /// An API over the objects of one namespace.
    pub fn api_in<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The operator's pods that run and are not being deleted.
    pub async fn operator_pods(&self) -> Result<Vec<Pod>> {
        let params = ListParams::default().labels("app.kubernetes.io/name=shoal-operator");
        let pods = self.api_in::<Pod>(OPERATOR_NAMESPACE).list(&params).await?;
        Ok(pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }
}

/// Whether a pod's Ready condition is true.
pub fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// A program's output, or what it said when it failed.
pub async fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
