//! The Kubernetes API as the operator uses it: watches that fill stores, and one writer.

pub mod in_sync;
pub mod meta;
pub mod stores;
pub mod triggers;
pub mod writer;
