//! The topology of a laptop: collections in a data folder, all shards in this process.
//!
//! Invariant: what a client was told exists is on disk, and what it was told is deleted stays deleted, whenever the
//! process dies. Changes run to their end even when the client that asked for them goes away.

mod file;
mod folder;
mod open;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use shoal_proto::routing::RoutingTable;
use shoal_shard::Limits;

use super::{Snapshot, Topology, names};
use crate::clock;
use crate::local_shard::LocalShard;
use crate::reads::ReadPool;
use crate::router::Collection;
use crate::router::api::{CreateCollection, IndexChange, RouteError};
use crate::router::shard_client::ShardClient;
use crate::telemetry::Telemetry;
use file::CollectionFile;
use folder::DataFolder;
pub use folder::FolderError;

/// Most shards of a collection on a laptop: each has a thread, a log and a store.
const MAX_SHARDS: u32 = 64;

/// Collections of a data folder. Clones are the same folder.
#[derive(Clone)]
pub struct LocalTopology(Arc<Inner>);

struct Inner {
    folder: DataFolder,
    default_shards: u32,
    limits: Limits,
    reads: ReadPool,
    telemetry: Arc<Telemetry>,
    snapshot: ArcSwap<Snapshot>,
    /// Folders of collections, by client-facing name.
    paths: Mutex<HashMap<String, PathBuf>>,
    /// One change at a time; readers of the snapshot never wait for it.
    changing: tokio::sync::Mutex<()>,
}

impl LocalTopology {
    /// Opens all collections of a folder. Blocks: call it where that is fine.
    ///
    /// A shard that cannot be opened does not keep others from serving: it answers with its error.
    pub fn open(
        dir: &Path,
        default_shards: u32,
        reads: ReadPool,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, FolderError> {
        Self::open_with(dir, default_shards, Limits::default(), reads, telemetry)
    }

    /// As [`open`](Self::open), with other bounds for shards than the usual ones.
    pub fn open_with(
        dir: &Path,
        default_shards: u32,
        limits: Limits,
        reads: ReadPool,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, FolderError> {
        let folder = DataFolder::open(dir)?;
        let (mut snapshot, mut paths) = (Snapshot::new(), HashMap::new());
        for (path, content) in folder.load()? {
            let (file, routing) = CollectionFile::decode(&content).map_err(|error| {
                FolderError::Unreadable { path: path.clone(), detail: error.to_string() }
            })?;
            let name = file.name.clone();
            let collection = open::collection(&path, file, routing, &limits, &reads, &telemetry);
            tracing::info!(collection = %name, shards = collection.shards.len(), "opened");
            snapshot.insert(name.clone(), Arc::new(collection));
            paths.insert(name, path);
        }
        Ok(Self(Arc::new(Inner {
            folder,
            default_shards,
            limits,
            reads,
            telemetry,
            snapshot: ArcSwap::from_pointee(snapshot),
            paths: Mutex::new(paths),
            changing: tokio::sync::Mutex::new(()),
        })))
    }

    /// Closes all shards, in order of shutdown: what was acked is on disk already, this spares the next start a replay.
    pub async fn close(&self) {
        let _changing = self.0.changing.lock().await;
        for collection in self.0.snapshot.swap(Arc::default()).values() {
            close_shards(collection).await;
        }
    }
}

impl Inner {
    async fn create(self: Arc<Self>, request: CreateCollection) -> Result<(), RouteError> {
        let _changing = self.changing.lock().await;
        // Not the snapshot: one whose deletion failed half way is not served but still there.
        if self.paths().contains_key(&request.name) {
            return Err(RouteError::Exists(request.name));
        }
        let inner = self.clone();
        let (path, collection) = blocking(move || inner.make(request)).await?;
        let name = collection.name.clone();
        self.paths().insert(name.clone(), path);
        self.swap(|snapshot| snapshot.insert(name, Arc::new(collection)));
        Ok(())
    }

    fn make(&self, request: CreateCollection) -> Result<(PathBuf, Collection), RouteError> {
        let shards = request.shards.unwrap_or(self.default_shards);
        if !(1..=MAX_SHARDS).contains(&shards) {
            return Err(RouteError::Invalid(format!(
                "shard_number: {shards} is not from 1 to {MAX_SHARDS}"
            )));
        }
        let object = names::object_name(&request.name);
        let shards: Vec<String> =
            (0..shards).map(|n| shoal_crds::labels::shard_name(&object, n)).collect();
        let internal = |error: &dyn std::fmt::Display| RouteError::Internal(error.to_string());
        let routing =
            RoutingTable::initial(shards.into_iter()).map_err(|error| internal(&error))?;
        let ef_construct = request.ef_construct.unwrap_or(shoal_crds::defaults::EF_CONSTRUCT);
        let file = CollectionFile::new(
            request.name,
            request.vectors,
            request.sparse,
            ef_construct,
            request.quantization,
            &routing,
        );
        let content = file.encode().map_err(|error| internal(&error))?;
        let making = self.folder.make(clock::random_uuid(), &content).map_err(folder_error)?;
        open::set_up(making.path(), &file, &routing)?;
        let path = making.finish().map_err(folder_error)?;
        let collection =
            open::collection(&path, file, routing, &self.limits, &self.reads, &self.telemetry);
        match collection.shards.iter().find_map(open::failure) {
            None => Ok((path, collection)),
            Some(error) => {
                // Nothing was promised yet, so nothing is kept.
                for shard in collection.shards.iter().filter_map(local) {
                    self.telemetry.forget_shard(shard.name());
                    open::close(shard);
                }
                self.folder.remove(&path).map_err(folder_error)?;
                Err(error.into())
            }
        }
    }

    async fn delete(self: Arc<Self>, name: String) -> Result<bool, RouteError> {
        let _changing = self.changing.lock().await;
        let Some(path) = self.paths().get(&name).cloned() else { return Ok(false) };
        // From here on no request finds it; those that have it see its shards close.
        if let Some(collection) = self.snapshot.load_full().get(&name) {
            self.swap(|snapshot| snapshot.remove(&name));
            collection.shards.iter().for_each(|shard| self.telemetry.forget_shard(shard.name()));
            close_shards(collection).await;
        }
        let inner = self.clone();
        blocking(move || inner.folder.remove(&path).map_err(folder_error)).await?;
        self.paths().remove(&name);
        Ok(true)
    }

    /// Kept first, then told: a crash in between is made up for when the shards are opened again.
    async fn change_indexes(
        self: Arc<Self>,
        name: String,
        change: IndexChange,
    ) -> Result<(), RouteError> {
        let _changing = self.changing.lock().await;
        let path = self.paths().get(&name).cloned();
        let (Some(path), Some(old)) = (path, self.snapshot.load().get(&name).cloned()) else {
            return Err(RouteError::NoCollection(name));
        };
        let mut collection = Collection::clone(&old);
        collection.indexes.fields = change.apply(&old.indexes.fields)?;
        let (inner, fields) = (self.clone(), collection.indexes.fields.clone());
        blocking(move || {
            let change = |content: &[u8]| {
                let (file, _) = CollectionFile::decode(content)?;
                file.with_indexes(fields).encode()
            };
            inner.folder.rewrite(&path, change).map_err(folder_error)
        })
        .await?;
        for shard in collection.shards.iter().filter_map(local) {
            shard.set_indexes(collection.indexes.clone()).await?;
        }
        self.swap(|snapshot| snapshot.insert(name, Arc::new(collection)));
        Ok(())
    }

    fn swap<T>(&self, change: impl FnOnce(&mut Snapshot) -> T) {
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        change(&mut snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }

    fn paths(&self) -> std::sync::MutexGuard<'_, HashMap<String, PathBuf>> {
        // A map of paths is whole at any time, so a panic elsewhere does not spoil it.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Topology for LocalTopology {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    fn synced(&self) -> bool {
        true
    }

    async fn create(&self, request: CreateCollection) -> Result<(), RouteError> {
        to_the_end(self.0.clone().create(request)).await
    }

    async fn delete(&self, name: &str) -> Result<bool, RouteError> {
        to_the_end(self.0.clone().delete(name.to_owned())).await
    }

    async fn change_indexes(&self, name: &str, change: IndexChange) -> Result<(), RouteError> {
        to_the_end(self.0.clone().change_indexes(name.to_owned(), change)).await
    }
}

/// Runs a change as a task of its own, so that a client that goes away does not leave it half done.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, RouteError>> + Send + 'static,
) -> Result<T, RouteError> {
    let ended = tokio::spawn(change).await;
    ended.unwrap_or_else(|error| {
        Err(RouteError::Internal(format!("the change was cut off: {error}")))
    })
}

async fn blocking<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, RouteError> + Send + 'static,
) -> Result<T, RouteError> {
    let ended = tokio::task::spawn_blocking(change).await;
    ended.unwrap_or_else(|error| {
        Err(RouteError::Internal(format!("the change was cut off: {error}")))
    })
}

async fn close_shards(collection: &Collection) {
    let shards: Vec<LocalShard> = collection.shards.iter().filter_map(local).cloned().collect();
    for shard in shards {
        let closed = tokio::task::spawn_blocking(move || open::close(&shard)).await;
        if let Err(error) = closed {
            tracing::error!(%error, "a shard did not close");
        }
    }
}

fn local(shard: &ShardClient) -> Option<&LocalShard> {
    match shard {
        ShardClient::Local(shard) => Some(shard),
        ShardClient::Remote(_) | ShardClient::Replicas(_) | ShardClient::Down { .. } => None,
    }
}

fn folder_error(error: FolderError) -> RouteError {
    let text = error.to_string();
    match error {
        FolderError::Io { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => {
            RouteError::DiskFull(format!("{text}; free space, then retry"))
        }
        FolderError::Io { .. } | FolderError::Locked(_) | FolderError::Unreadable { .. } => {
            RouteError::Internal(text)
        }
    }
}

#[cfg(test)]
mod tests;
