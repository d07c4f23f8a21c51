//! The one place that writes to the API server.
//!
//! Objects are applied server-side by one field manager, and only where the object is not in sync already. An object
//! that does not exist is created without force and after a live look, so that nothing of anyone else's is taken over;
//! one that is ours is applied with force, so that hand edits come back, and with its uid, so that a namesake is not
//! mistaken for it.
//!
//! Invariant: an object that is in sync causes no request; one the API server refused is not sent again unchanged for
//! [`REFUSAL_MEMORY`].

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shoal_crds::labels;

use super::{in_sync, meta};
use crate::env;
use crate::error::Error;
use crate::telemetry::Telemetry;

/// How long a refusal is remembered: a steady problem costs at most a write a minute.
const REFUSAL_MEMORY: Duration = Duration::from_secs(60);
/// Refusals remembered at most; past it the oldest knowledge is dropped, which costs a write each and nothing else.
const MAX_REFUSALS: usize = 4096;

/// A kind of object the writer can handle: in a namespace, known when compiled.
pub trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
{
}

impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
{
}

/// What became of an object we want.
#[derive(Clone, Debug)]
pub enum Ensured<K> {
    /// It was in sync, or a person asked us to leave it alone.
    Unchanged(Arc<K>),
    /// It was written.
    Written(Arc<K>),
    /// It is being deleted; the watch tells when it is gone.
    Going,
}

impl<K> Ensured<K> {
    /// The object, unless it is on its way out.
    pub fn object(self) -> Option<Arc<K>> {
        match self {
            Ensured::Unchanged(object) | Ensured::Written(object) => Some(object),
            Ensured::Going => None,
        }
    }
}

struct Refusal {
    hash: String,
    until: Instant,
    error: Error,
}

/// Writes to the API server.
pub struct Writer {
    client: Client,
    telemetry: Telemetry,
    refusals: Mutex<HashMap<String, Refusal>>,
}

impl Writer {
    /// A writer.
    pub fn new(client: Client, telemetry: Telemetry) -> Self {
        Self { client, telemetry, refusals: Mutex::new(HashMap::new()) }
    }

    /// Makes an object be as wanted. `seen` is the object as the watch last told; `None` where there was none.
    pub async fn ensure<K: Object>(
        &self,
        wanted: &K,
        seen: Option<Arc<K>>,
    ) -> Result<Ensured<K>, Error> {
        self.ensure_of(wanted, seen, false).await
    }

    /// The same for an object whose content follows from what was seen of it: it is not written if it changed since.
    pub async fn ensure_as_seen<K: Object>(
        &self,
        wanted: &K,
        seen: Option<Arc<K>>,
    ) -> Result<Ensured<K>, Error> {
        self.ensure_of(wanted, seen, true).await
    }

    async fn ensure_of<K: Object>(
        &self,
        wanted: &K,
        seen: Option<Arc<K>>,
        as_seen: bool,
    ) -> Result<Ensured<K>, Error> {
        let kind = K::kind(&()).into_owned();
        let name = wanted.name_any();
        let hash =
            in_sync::hash(wanted).map_err(|error| Error::Encode("object", error.to_string()))?;
        let mut body = to_value(wanted)?;
        set_annotation(&mut body, labels::APPLIED_HASH, &hash);

        let seen = match seen {
            Some(seen) => Some(seen),
            None => self.read_live(wanted).await?.map(Arc::new),
        };
        let Some(seen) = seen else {
            let created = self.apply(&kind, wanted, body, hash, false).await?;
            return Ok(Ensured::Written(Arc::new(created)));
        };
        if !meta::is_ours(seen.meta()) || !same_collection(wanted, seen.as_ref()) {
            return Err(Error::Foreign { kind, name });
        }
        if seen.meta().deletion_timestamp.is_some() {
            return Ok(Ensured::Going);
        }
        if meta::is_paused(seen.meta()) || is_in_sync(&body, &hash, seen.as_ref())? {
            return Ok(Ensured::Unchanged(seen));
        }
        if let Some(uid) = seen.uid() {
            set_metadata(&mut body, "uid", Value::String(uid));
        }
        if let Some(version) = seen.resource_version().filter(|_| as_seen) {
            set_metadata(&mut body, "resourceVersion", Value::String(version));
        }
        tracing::info!(kind, name, namespace = seen.namespace(), "applying");
        Ok(Ensured::Written(Arc::new(self.apply(&kind, wanted, body, hash, true).await?)))
    }

    /// Reads an object live: for what a watch cannot tell, such as that a name is taken by someone else.
    pub async fn read_live<K: Object>(&self, like: &K) -> Result<Option<K>, Error> {
        let (kind, name) = (K::kind(&()), like.name_any());
        self.api::<K>(like)
            .get_opt(&name)
            .await
            .map_err(|error| Error::from_kube(&error, "get", &kind, &name))
    }

    /// Lists a namespace's objects live: for what must not be missed because a watch lags.
    pub async fn list_live<K: Object>(
        &self,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<K>, Error> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let answer = api.list(&ListParams::default().labels(selector)).await;
        answer
            .map(|list| list.items)
            .map_err(|error| Error::from_kube(&error, "list", &K::kind(&()), selector))
    }

    async fn apply<K: Object>(
        &self,
        kind: &str,
        wanted: &K,
        body: Value,
        hash: String,
        force: bool,
    ) -> Result<K, Error> {
        let name = wanted.name_any();
        let key = format!("{kind}/{}/{name}", wanted.namespace().unwrap_or_default());
        if let Some(error) = self.remembered_refusal(&key, &hash) {
            return Err(error);
        }
        let params = PatchParams { force, ..PatchParams::apply(labels::MANAGER) };
        let answer = self.api::<K>(wanted).patch(&name, &params, &Patch::Apply(&body)).await;
        let answer = self.count("apply", kind, &name, answer);
        if let Err(error @ Error::Refused { .. }) = &answer {
            self.remember_refusal(key, hash, error.clone());
        }
        answer
    }

    /// Writes a status, on the condition that the object is still the one that was read.
    pub async fn write_status<K: Object>(
        &self,
        object: &K,
        status: &impl Serialize,
    ) -> Result<K, Error> {
        let kind = K::kind(&()).into_owned();
        let name = object.name_any();
        let body = serde_json::json!({
            "apiVersion": K::api_version(&()),
            "kind": kind,
            "metadata": {"name": name, "resourceVersion": object.resource_version(), "uid": object.uid()},
            "status": serde_json::to_value(status).map_err(|error| Error::Encode("status", error.to_string()))?,
        });
        let params = PatchParams::apply(labels::MANAGER).force();
        let answer = self.api::<K>(object).patch_status(&name, &params, &Patch::Apply(&body)).await;
        self.count("apply_status", &kind, &name, answer)
    }

    /// Replaces an object's finalizers, on the condition that the object is still the one that was read.
    pub async fn write_finalizers<K: Object>(
        &self,
        object: &K,
        finalizers: &[String],
    ) -> Result<K, Error> {
        let (kind, name) = (K::kind(&()), object.name_any());
        let body = serde_json::json!({
            "metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()},
        });
        let answer = self.api::<K>(object).patch(&name, &merging(), &Patch::Merge(&body)).await;
        self.count("patch", &kind, &name, answer)
    }

    /// Merges a patch into an object, on the condition that the object is still the one that was read.
    pub async fn merge<K: Object>(&self, object: &K, mut body: Value) -> Result<K, Error> {
        let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
        let key = format!("{kind}/{}/{name}", object.namespace().unwrap_or_default());
        let hash =
            in_sync::hash(&body).map_err(|error| Error::Encode("patch", error.to_string()))?;
        if let Some(error) = self.remembered_refusal(&key, &hash) {
            return Err(error);
        }
        if let Some(version) = object.resource_version() {
            set_metadata(&mut body, "resourceVersion", Value::String(version));
        }
        let answer = self.api::<K>(object).patch(&name, &merging(), &Patch::Merge(&body)).await;
        let answer = self.count("patch", &kind, &name, answer);
        if let Err(error @ Error::Refused { .. }) = &answer {
            self.remember_refusal(key, hash, error.clone());
        }
        answer
    }

    /// Takes an item out of a list of an object's status, if the item at that place still has that name.
    pub async fn forget_item<K: Object>(
        &self,
        object: &K,
        list: &str,
        at: usize,
        item: &str,
    ) -> Result<(), Error> {
        let (kind, name) = (K::kind(&()), object.name_any());
        let path = format!("/status/{list}/{at}");
        let patch = serde_json::json!([
            {"op": "test", "path": format!("{path}/name"), "value": item},
            {"op": "remove", "path": path},
        ]);
        let patch = serde_json::from_value(patch)
            .map_err(|error| Error::Encode("patch", error.to_string()))?;
        let patch = Patch::Json::<()>(patch);
        let answer = self.api::<K>(object).patch_status(&name, &merging(), &patch).await;
        self.count("patch_status", &kind, &name, answer).map(|_| ())
    }

    /// Creates an object unless one of its name exists, whatever that holds. Never overwrites.
    pub async fn create_if_absent<K: Object>(&self, wanted: &K) -> Result<(), Error> {
        let (kind, name) = (K::kind(&()), wanted.name_any());
        let params =
            PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
        match self.api::<K>(wanted).create(&params, wanted).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            answer => self.count("create", &kind, &name, answer).map(|_| ()),
        }
    }

    /// Makes an object that never changes, and that may not be changed under every name. One that is there and is another is
    /// told, as only a person can have made it so. `seen` is the object as the watch last told; `None` where there was none.
    pub async fn make<K: Object>(&self, wanted: &K, seen: Option<Arc<K>>) -> Result<(), Error> {
        let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
        let seen = match seen {
            Some(seen) => Some(seen),
            None => {
                let namespace = wanted.namespace().unwrap_or_default();
                let labels = wanted.labels().iter().map(|(key, value)| format!("{key}={value}"));
                let selector = labels.collect::<Vec<_>>().join(",");
                let all = self.list_live::<K>(&namespace, &selector).await?;
                all.into_iter().find(|one| one.name_any() == name).map(Arc::new)
            }
        };
        let Some(seen) = seen else {
            let params = PostParams {
                field_manager: Some(labels::MANAGER.to_owned()),
                ..PostParams::default()
            };
            return match self.api::<K>(wanted).create(&params, wanted).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    Err(Error::Foreign { kind, name })
                }
                answer => self.count("create", &kind, &name, answer).map(|_| ()),
            };
        };
        // One of a former owner goes with it, and then it is made anew.
        let mut body = to_value(wanted)?;
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            metadata.remove("ownerReferences");
        }
        let left_alone = meta::is_paused(seen.meta()) || seen.meta().deletion_timestamp.is_some();
        match left_alone || in_sync::contains(&to_value(seen.as_ref())?, &body) {
            true => Ok(()),
            false => Err(Error::Changed { kind, name }),
        }
    }

    /// Deletes exactly this object; that it is gone already is fine.
    pub async fn delete<K: Object>(
        &self,
        object: &K,
        propagation: PropagationPolicy,
    ) -> Result<(), Error> {
        if object.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let (kind, name) = (K::kind(&()), object.name_any());
        let params = DeleteParams {
            propagation_policy: Some(propagation),
            preconditions: Some(Preconditions { uid: object.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.api::<K>(object).delete(&name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => self.count("delete", &kind, &name, answer).map(|_| ()),
        }
    }

    fn api<K: Object>(&self, object: &K) -> Api<K> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    fn count<T>(
        &self,
        verb: &'static str,
        kind: &str,
        name: &str,
        answer: Result<T, kube::Error>,
    ) -> Result<T, Error> {
        let answer = answer.map_err(|error| Error::from_kube(&error, verb, kind, name));
        self.telemetry.wrote(verb, kind, answer.as_ref().map_or_else(Error::label, |_| "ok"));
        answer
    }

    fn remembered_refusal(&self, key: &str, hash: &str) -> Option<Error> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = refusals.get(key)?;
        (refusal.hash == hash && refusal.until > env::instant()).then(|| refusal.error.clone())
    }

    fn remember_refusal(&self, key: String, hash: String, error: Error) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let now = env::instant();
        if refusals.len() >= MAX_REFUSALS {
            refusals.retain(|_, refusal| refusal.until > now);
        }
        if refusals.len() < MAX_REFUSALS {
            refusals.insert(key, Refusal { hash, until: now + REFUSAL_MEMORY, error });
        }
    }
}

fn merging() -> PatchParams {
    PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() }
}

fn to_value(object: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|error| Error::Encode("object", error.to_string()))
}

fn is_in_sync<K: Object>(body: &Value, hash: &str, seen: &K) -> Result<bool, Error> {
    Ok(meta::annotation(seen, labels::APPLIED_HASH) == Some(hash)
        && in_sync::contains(&to_value(seen)?, body))
}

/// An object of ours may still belong to another collection.
fn same_collection<K: Object>(wanted: &K, seen: &K) -> bool {
    match (meta::label(wanted, labels::COLLECTION), meta::label(seen, labels::COLLECTION)) {
        (Some(wanted), Some(seen)) => wanted == seen,
        _ => true,
    }
}

fn set_annotation(body: &mut Value, key: &str, value: &str) {
    if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
        let annotations =
            metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Value::Object(annotations) = annotations {
            annotations.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    }
}

fn set_metadata(body: &mut Value, key: &str, value: Value) {
    if body.get("metadata").is_none() {
        body["metadata"] = Value::Object(serde_json::Map::new());
    }
    if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
        metadata.insert(key.to_owned(), value);
    }
}
