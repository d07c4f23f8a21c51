//! Bad days of a shard with replicas: clients write and read throughout, and their history is checked.

mod members;
mod nodes;
mod pods;
mod register;
mod story;

use std::time::Duration;

/// Writes go on within this after a primary was killed.
const AFTER_A_KILL: Duration = Duration::from_secs(5);
/// Writes go on within this after the only copy's pod is replaced: it has to end, to start, and to be elected.
const AFTER_A_RESTART: Duration = Duration::from_secs(60);
/// Writes go on within this after a node was lost or cut off.
const AFTER_A_NODE: Duration = Duration::from_secs(10);
