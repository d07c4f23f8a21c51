//! The objects users and the operator write: `VectorCollection` and `Shard`, group `shoal.dev/v1alpha1`.
//!
//! A leaf crate: the operator and the router read these types, `crdgen` turns them into `crds/*.yaml` and
//! `docs/api.md`, and a test fails when those are stale. [`watch`] is how both follow objects. No field has a schema default (server-side apply would then
//! own it for the user); defaults are resolved in [`defaults`] and told in the descriptions.

pub mod collection;
pub mod conditions;
pub mod crd;
pub mod defaults;
pub mod duration;
pub mod generated;
pub mod labels;
pub mod reads;
mod reference;
pub mod replication;
mod rules;
pub mod shard;
pub mod watch;

pub use collection::{VectorCollection, VectorCollectionSpec, VectorCollectionStatus};
pub use shard::{Shard, ShardSpec, ShardStatus};

/// API group of both kinds.
pub const GROUP: &str = "shoal.dev";
/// API version of both kinds.
pub const VERSION: &str = "v1alpha1";
