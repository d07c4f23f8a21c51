//! An API server alone: etcd and kube-apiserver on loopback, ready in about three seconds, for what needs no nodes —
//! schemas, CEL rules, server-side apply, and an operator's tests that need no pods.
//!
//! It is the real thing, but nothing behind it runs: no garbage collection, no pods, no endpoints, and a namespace that
//! is deleted stays `Terminating`. Tests keep apart by each using a namespace of its own.
//!
//! Invariant: what is started here ends with the process that started it, however that ends, and leaves no files.

mod access;
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::OnceCell;

use crate::skip;
use process::Servers;

/// How long a start may take: seconds on an idle machine, far longer on one that builds at the same time.
const START: Duration = Duration::from_secs(120);

/// A running API server. It ends when this is dropped.
pub struct ApiServer {
    servers: Servers,
    kubeconfig: PathBuf,
    namespaces: AtomicU32,
}

impl ApiServer {
    /// Starts one, and waits until it answers.
    pub async fn start() -> Result<Self> {
        let servers = Servers::start()?;
        let begun = Instant::now();
        while !servers.certificate().exists() {
            servers.check_alive()?;
            if begun.elapsed() > START {
                bail!(
                    "kube-apiserver made no certificate in {START:?}; its log ends:\n{}",
                    servers.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let kubeconfig = servers.folder().join("admin.kubeconfig");
        access::write_kubeconfig(&kubeconfig, &servers, process::ADMIN_TOKEN)?;
        let server = Self { servers, kubeconfig, namespaces: AtomicU32::new(0) };
        server.wait_ready(begun).await?;
        Ok(server)
    }

    /// The one that all tests of this process share; `None`, said loudly, where its programs are missing (with CI=true
    /// that fails the test instead).
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<ApiServer>> = OnceCell::const_new();
        SHARED.get_or_init(Self::start_unless_missing).await.as_ref()
    }

    /// One of its own for a test that counts or breaks things; `None` as for [`Self::shared`].
    #[expect(
        clippy::panic,
        reason = "for tests: a server that does not start fails the test that asked for it"
    )]
    pub async fn start_unless_missing() -> Option<Self> {
        if let Err(missing) = process::programs() {
            skip::skipped("tests against an API server", &format!("{missing:#}"));
            return None;
        }
        match Self::start().await {
            Ok(server) => Some(server),
            Err(error) => panic!("the API server does not start: {error:#}"),
        }
    }

    /// A client with all rights. Each runtime needs its own: a client lives on the runtime it was made in.
    pub async fn client(&self) -> Result<Client> {
        access::client(&self.kubeconfig).await
    }

    /// A kubeconfig with all rights.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig with the rights of a service account that exists, by a token as a pod would have it.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let token = access::token(self.client().await?, namespace, service_account).await?;
        let path = self.servers.folder().join(format!("{namespace}-{service_account}.kubeconfig"));
        access::write_kubeconfig(&path, &self.servers, &token)?;
        Ok(path)
    }

    /// A client with the rights of a service account that exists.
    pub async fn client_of(&self, namespace: &str, service_account: &str) -> Result<Client> {
        access::client(&self.kubeconfig_of(namespace, service_account).await?).await
    }

    /// `kubectl` with all rights.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(process::bin().join("kubectl"));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// A program of the cluster's folder, such as `helm`, with all rights here.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(process::bin().join(name));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// Makes a namespace no one else uses, named after the test.
    pub async fn namespace(&self, test: &str) -> Result<String> {
        let name = format!("{test}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let api = Api::<Namespace>::all(self.client().await?);
        api.create(&PostParams::default(), &namespace).await.context("cannot make a namespace")?;
        Ok(name)
    }

    /// Applies Shoal's definitions and waits until they are served.
    pub async fn install_definitions(&self) -> Result<()> {
        let api = Api::<CustomResourceDefinition>::all(self.client().await?);
        for definition in [shoal_crds::crd::vector_collection()?, shoal_crds::crd::shard()?] {
            let name = definition.pointer("/metadata/name").and_then(|name| name.as_str());
            let name = name.context("a definition has no name")?;
            let params = PatchParams::apply("shoal-e2e").force();
            api.patch(name, &params, &Patch::Apply(&definition))
                .await
                .with_context(|| name.to_owned())?;
            let established = kube::runtime::conditions::is_crd_established();
            let waiting = kube::runtime::wait::await_condition(api.clone(), name, established);
            tokio::time::timeout(START, waiting)
                .await
                .with_context(|| format!("{name} is not served"))??;
        }
        Ok(())
    }

    /// What the API server counts about itself, as Prometheus text.
    pub async fn metrics(&self) -> Result<String> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        Ok(self.client().await?.request_text(request).await?)
    }

    async fn wait_ready(&self, begun: Instant) -> Result<()> {
        loop {
            let error = match self.ask_ready().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.servers.check_alive()?;
            if begun.elapsed() > START {
                bail!(
                    "not ready in {START:?}: {error:#}; its log ends:\n{}",
                    self.servers.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ask_ready(&self) -> Result<()> {
        let client = self.client().await?;
        client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
        Api::<Namespace>::all(client).get("default").await?;
        Ok(())
    }
}
