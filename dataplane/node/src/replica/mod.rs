//! One replica of a shard among others: how it reaches them, and the register that all of them agree through.
//!
//! Messages go out through [`transport`] and come in through [`receive`]; a replica that fell too far behind takes a
//! snapshot ([`fetch`]) that the primary sends ([`snapshots`]). [`register`] is where epochs and members stand. Now and then
//! the copies are compared ([`digests`]).
//!
//! Invariant: nothing here decides anything. What is agreed, and when, is `shoal-consensus`'s; this carries it.

mod channel;
mod digests;
mod driver;
pub mod fetch;
mod handle;
mod lateness;
mod membership;
pub mod receive;
pub mod register;
pub mod snapshots;
pub mod start;
mod succession;
pub mod tell;
pub mod transport;
pub mod wire;

pub use handle::{ReplicaHandle, ReplicaStatus};
pub use succession::Failover;
