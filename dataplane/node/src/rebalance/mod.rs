//! Moving replicas off lost nodes: for each replica that the operator marked, another name in its place, one after the other.
//!
//! What is done by whom: this names another replica ([`step`], pure); the operator makes its pod and disk; the primary has it
//! vote once it caught up, and the lost one not, adding before it removes (R11). All that is known stands in the Shard, so
//! whoever is ended anywhere, and whoever runs beside another, goes on from there.
//!
//! Invariant: one replica of a shard at a time, and none where nobody is known to lead or the one that leads is to go.

pub mod kube;
mod run;
mod step;

pub use run::{GaveUp, Pace, move_all};
pub use step::{Replacement, Step, step};

use async_trait::async_trait;
use shoal_crds::Shard;

/// Why a Shard was not read or changed; it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallFailed(pub String);

/// Where Shards are.
#[async_trait]
pub trait Shards: Send + Sync {
    /// A Shard as it is now; `None` if there is none.
    async fn read(&self, name: &str) -> Result<Option<Shard>, CallFailed>;

    /// Names other replicas, if the Shard is still what was read; whether it was.
    async fn replace(&self, read: &Shard, with: &Replacement) -> Result<bool, CallFailed>;
}
