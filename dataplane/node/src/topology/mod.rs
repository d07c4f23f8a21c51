//! Which collections there are and where their shards are: a data folder on a laptop, objects on a cluster.
//!
//! Invariant: a snapshot never changes; what changes is which one is current. Each of its collections has a routing
//! table that covers the ring and a shard for each entry of it.

pub mod kube;
pub mod local;
mod names;
mod objects;
mod shards;
mod spec;
mod tell;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::router::Collection;
use crate::router::api::{CreateCollection, IndexChange, RouteError};

/// All collections, by client-facing name, at one moment.
pub type Snapshot = BTreeMap<String, Arc<Collection>>;

/// Where collections are found, made and removed.
#[async_trait]
pub trait Topology: Send + Sync {
    /// The collections as they are now. Costs nothing worth saving.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Whether the list of collections has been read, so that a collection it lacks is not there.
    fn synced(&self) -> bool;

    /// Creates a collection and waits until it serves.
    async fn create(&self, request: CreateCollection) -> Result<(), RouteError>;

    /// Deletes a collection and its data and waits until it is gone; `false` if there was none.
    async fn delete(&self, name: &str) -> Result<bool, RouteError>;

    /// Changes which payload fields a collection indexes, and sees to it that its shards learn of it.
    async fn change_indexes(&self, name: &str, change: IndexChange) -> Result<(), RouteError>;
}
