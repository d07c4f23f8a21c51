//! The register in the status of the Shard object, through the Kubernetes API.
//!
//! A version is the resourceVersion of the object that was read. It also changes with what others write into the object, and
//! comes again where etcd was restored, so a swap does not name it: it has the API server test that the register is, part by
//! part, what it was in that version. Two that are equal are the same one, as epochs have nonces. Objects are the operator's:
//! none is made here, and where there is none there is no register.
//!
//! Invariant: a swap is told to be done only if the API server said so, and to be refused only if it said that; all else is
//! unknown (R1), a call that takes too long too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use futures::{Stream, StreamExt};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher;
use serde::Serialize;
use serde_json::json;
use shoal_consensus::{CasOutcome, Register, Version};
use shoal_crds::Shard;
use shoal_crds::watch::renewed;
use tokio::sync::watch;

use super::{Announced, RegisterError, RegisterStore, Seen, Stored, text};

/// How long a call may take. An election has to wait for one that does; a server that is well answers in milliseconds.
const CALL: Duration = Duration::from_secs(3);
/// Registers remembered by their versions: those that were read and seen since whoever swaps read his.
const REMEMBERED: usize = 64;
/// How often a swap is made again while others change the object, besides the five times that the API server does so: the
/// operator writes once a minute, replicas when they start.
const SWAPS: usize = 10;
/// Where it stands in the object.
const REGISTER: &str = "/status/register";
/// Field manager of the register.
const MANAGER: &str = "shoal-replica";

/// See the file's comment.
pub struct KubeRegister {
    object: Object,
    seen: Arc<watch::Sender<Seen>>,
    replicas: Arc<watch::Sender<Vec<String>>>,
    watching: tokio::task::JoinHandle<()>,
}

/// The Shard object.
#[derive(Clone)]
struct Object {
    api: Api<Shard>,
    namespace: String,
    name: String,
    known: Arc<Mutex<VecDeque<Stored>>>,
}

/// What the object was when it was read.
struct Found {
    version: Version,
    seen: Seen,
}

/// What became of a change that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// It was not done, as the object was of another version, or changed too often meanwhile.
    Conflict,
    /// It was not done, as there is no such object.
    Gone,
    /// It was not done, as the register was another, or what was to come in its place is none.
    Invalid,
    /// It was done or not.
    Unclear,
}

impl KubeRegister {
    /// The register of a shard, in a namespace or that of the pod or kubeconfig. Begins to watch it.
    pub async fn start(namespace: Option<String>, shard: &str) -> anyhow::Result<Self> {
        let config = kube::Config::infer()
            .await
            .context("no way to the Kubernetes API: run in a pod with a service account, or with a kubeconfig")?;
        Ok(Self::with_config(config, namespace, shard)?)
    }

    /// The same by a way to the API that is given. Needs a tokio runtime.
    pub fn with_config(
        mut config: kube::Config,
        namespace: Option<String>,
        shard: &str,
    ) -> kube::Result<Self> {
        // A change that was done, though the answer said otherwise, would be found done by somebody when it is sent again.
        config.default_retry = false;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let api = Api::namespaced(kube::Client::try_from(config)?, &namespace);
        let object = Object { api, namespace, name: shard.to_owned(), known: Arc::default() };
        let seen = Arc::new(watch::Sender::new(Seen::default()));
        let watched = object.clone();
        let objects = renewed(move || watcher::watch_object(watched.api.clone(), &watched.name));
        let replicas = Arc::new(watch::Sender::new(Vec::new()));
        let watching = follow(object.clone(), objects, seen.clone(), replicas.clone());
        Ok(Self { object, seen, replicas, watching: tokio::spawn(watching) })
    }

    /// Names of the replicas that the shard is to have, as the object says; none before it was read.
    pub fn replicas(&self) -> watch::Receiver<Vec<String>> {
        self.replicas.subscribe()
    }
}

impl Drop for KubeRegister {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[async_trait]
impl RegisterStore for KubeRegister {
    async fn read(&self) -> Result<Seen, RegisterError> {
        Ok(self.object.read().await?.map(|found| found.seen).unwrap_or_default())
    }

    async fn swap(&self, from: Option<&Version>, to: &Register) -> CasOutcome {
        match self.object.swap(from, to).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(%error, "the register may or may not have been changed");
                CasOutcome::Unknown
            }
        }
    }

    async fn announce(&self, own: &Announced) -> Result<(), RegisterError> {
        let object = &self.object;
        let mut announced = object.announce(own).await?;
        if own.blank && announced.as_ref().is_err_and(|error| failure(error) == Failure::Invalid) {
            // A rule of the object has it that a disk is not blank again.
            announced = object.announce(&own.not_blank()).await?;
        }
        announced.map(|_| ()).map_err(|error| object.unreachable(&error.to_string()))
    }

    fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }
}

impl Object {
    /// What the object is, live: read from where writes are decided, as any GET is that names no version.
    async fn read(&self) -> Result<Option<Found>, RegisterError> {
        let object = self.call(self.api.get_opt(&self.name)).await?;
        let object = object.map_err(|error| self.unreachable(&error.to_string()))?;
        object.as_ref().map(|object| self.found(object)).transpose()
    }

    /// Changes the register. An error says that the outcome is unknown.
    async fn swap(
        &self,
        from: Option<&Version>,
        to: &Register,
    ) -> Result<CasOutcome, RegisterError> {
        let before = match from {
            // What is not remembered was changed often since.
            Some(version) => match self.recall(version) {
                Some(before) => Some(before),
                None => return Ok(CasOutcome::Conflict),
            },
            None => None,
        };
        for _ in 0..SWAPS {
            let put = match &before {
                Some(before) => self.replace(before, to).await?,
                None => match self.read().await? {
                    Some(found) if found.seen.stored.is_none() => {
                        self.fill(&found.version, to).await?
                    }
                    Some(_) | None => return Ok(CasOutcome::Conflict),
                },
            };
            let error = match put {
                Ok(object) => return Ok(CasOutcome::Done(self.found(&object)?.version)),
                Err(error) => error,
            };
            match failure(&error) {
                Failure::Unclear => return Err(self.unreachable(&error.to_string())),
                Failure::Gone => return Ok(CasOutcome::Conflict),
                Failure::Conflict => {}
                // For what was there, or for what was to be put there; or a proxy on the way sent it twice.
                Failure::Invalid => {
                    let now = self.read().await?.and_then(|found| found.seen.stored);
                    let now = now.map(|stored| stored.register);
                    if now == before || now.as_ref() == Some(to) {
                        return Err(self.unreachable(&error.to_string()));
                    }
                    return Ok(CasOutcome::Conflict);
                }
            }
        }
        Ok(CasOutcome::Conflict)
    }

    /// Puts a register in the place of another.
    async fn replace(
        &self,
        before: &Register,
        to: &Register,
    ) -> Result<kube::Result<Shard>, RegisterError> {
        let patch = json!([
            {"op": "test", "path": REGISTER, "value": text::from_register(before)},
            {"op": "replace", "path": REGISTER, "value": text::from_register(to)},
        ]);
        let patch = serde_json::from_value(patch);
        let patch = patch.map_err(|error| self.unreachable(&error.to_string()))?;
        self.patch(&Patch::Json::<()>(patch)).await
    }

    /// Puts a register where there is none in an object of a version.
    async fn fill(
        &self,
        version: &Version,
        to: &Register,
    ) -> Result<kube::Result<Shard>, RegisterError> {
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": version.0},
            "status": {"register": text::from_register(to)},
        }));
        self.patch(&patch).await
    }

    /// Applies an announcement by a manager of its own, which has that entry of the list and no other: a conflict with
    /// nobody.
    async fn announce(&self, own: &Announced) -> Result<kube::Result<Shard>, RegisterError> {
        let patch = Patch::Apply(json!({
            "apiVersion": format!("{}/{}", shoal_crds::GROUP, shoal_crds::VERSION),
            "kind": "Shard",
            "metadata": {"name": self.name},
            "status": {"replicas": [text::from_announced(own)]},
        }));
        let params = PatchParams::apply(&format!("{MANAGER}-{}", own.name)).force();
        self.call(self.api.patch_status(&self.name, &params, &patch)).await
    }

    async fn patch(
        &self,
        patch: &Patch<impl Serialize + std::fmt::Debug + Sync>,
    ) -> Result<kube::Result<Shard>, RegisterError> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        self.call(self.api.patch_status(&self.name, &params, patch)).await
    }

    /// Makes a call that takes no longer than it may.
    async fn call<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>, RegisterError> {
        let late = |_| self.unreachable(&format!("no answer after {CALL:?}"));
        tokio::time::timeout(CALL, call).await.map_err(late)
    }

    fn found(&self, object: &Shard) -> Result<Found, RegisterError> {
        let version = Version(object.metadata.resource_version.clone().unwrap_or_default());
        let status = object.status.as_ref();
        let damaged = |error: text::TextError| RegisterError::Damaged {
            place: self.place(),
            detail: error.to_string(),
        };
        let register = status.and_then(|status| status.register.as_ref());
        let register = register.map(text::to_register).transpose().map_err(damaged)?;
        let stored = register.map(|register| Stored { version: version.clone(), register });
        let replicas = status.into_iter().flat_map(|status| &status.replicas);
        let announced: Result<Vec<_>, _> = replicas.map(text::to_announced).collect();
        let seen = Seen { stored, announced: announced.map_err(damaged)? };
        self.remember(&seen);
        Ok(Found { version, seen })
    }

    fn remember(&self, seen: &Seen) {
        let Some(stored) = &seen.stored else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.version != stored.version);
        if known.len() >= REMEMBERED {
            known.pop_front();
        }
        known.push_back(stored.clone());
    }

    /// What the register was in a version, if that is remembered.
    fn recall(&self, version: &Version) -> Option<Register> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|known| known.version == *version).map(|known| known.register.clone())
    }

    fn place(&self) -> String {
        format!("in Shard {}/{}", self.namespace, self.name)
    }

    fn unreachable(&self, detail: &str) -> RegisterError {
        RegisterError::Unreachable { place: self.place(), detail: detail.to_owned() }
    }
}

/// What a failed call says about whether it was done.
fn failure(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.is_conflict() => Failure::Conflict,
        kube::Error::Api(status) if status.is_not_found() => Failure::Gone,
        kube::Error::Api(status) if status.code == 422 => Failure::Invalid,
        _ => Failure::Unclear,
    }
}

/// Keeps the watch at what the object says. Never ends: while the API is gone, what was seen last stays.
async fn follow(
    object: Object,
    objects: impl Stream<Item = watcher::Result<Option<Shard>>>,
    seen: Arc<watch::Sender<Seen>>,
    replicas: Arc<watch::Sender<Vec<String>>>,
) {
    let mut objects = std::pin::pin!(objects);
    while let Some(event) = objects.next().await {
        if let Ok(Some(shard)) = &event {
            replicas.send_if_modified(|replicas| {
                let changed = *replicas != shard.spec.replica_names;
                replicas.clone_from(&shard.spec.replica_names);
                changed
            });
        }
        let now = match event {
            Ok(None) => Seen::default(),
            Ok(Some(shard)) => match object.found(&shard) {
                Ok(found) => found.seen,
                Err(error) => {
                    tracing::error!(%error, "going on with what was seen before");
                    continue;
                }
            },
            Err(error) => {
                tracing::warn!(%error, "the Kubernetes API is not answering; going on with what was seen before");
                continue;
            }
        };
        seen.send_if_modified(|seen| {
            let changed = *seen != now;
            *seen = now;
            changed
        });
    }
}

#[cfg(test)]
mod tests;
