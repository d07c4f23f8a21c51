//! The process `shoal`: a laptop server, a shard, or a router, from the same parts.
//!
//! [`http`] speaks the dialect to clients and asks [`router`]; the router asks shards, in this process or over gRPC
//! ([`shard_server`] is the other end), and finds them through a [`topology`]. [`cmd`] puts the parts together.
//!
//! Invariant: a laptop and a cluster differ only in the topology and in how shards are reached.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure and wait"))]

pub mod admin;
pub mod clock;
pub mod cmd;
pub mod convert;
pub mod drain;
pub mod http;
pub mod listen;
pub mod local_shard;
pub mod logs;
pub mod reads;
pub mod rebalance;
pub mod replica;
pub mod router;
pub mod shard_cell;
pub mod shard_server;
pub mod status;
pub mod target;
pub mod telemetry;
pub mod token;
pub mod topology;
