//! A replica on a disk: what the rules of `shoal-consensus` want written, carried out on the journal of a `shoal-shard`.
//!
//! The node's driver and the simulation of whole shards go through this, so that what is simulated is what runs. No thread,
//! no network, no clock. Invariant: nothing here decides anything; a ticket is told to be durable only when all writes up
//! to it are.

pub mod convert;
mod disk;
mod installed;

pub use convert::ConfigError;
pub use disk::{Disk, ReadBackError, sync_for_ever};
pub use installed::{Installed, installed};
