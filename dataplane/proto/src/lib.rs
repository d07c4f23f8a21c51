//! What routers, shards and the operator say to each other, and which shard a point belongs to.
//!
//! [`pb`] is generated from `proto/shard.proto`; [`convert`] turns its bytes into the types of `shoal-vector`;
//! [`auth`] is the token every call carries; [`ring`] and [`routing`] place points. Nothing here does IO of its own.
//!
//! Invariant: every request carries a version, [`PROTOCOL_VERSION`] unless the server was found to be older, and a server
//! answers its own version and the one before.

pub mod auth;
pub mod convert;
pub mod ring;
pub mod routing;
pub mod version;

pub use version::{OLDEST_VERSION, PROTOCOL_VERSION};

/// Greatest gRPC message accepted, in bytes: the largest op a shard takes (64 MiB) and a mebibyte for what is around it.
pub const MAX_MESSAGE_BYTES: usize = 65 << 20;

/// Generated from `proto/shard.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod pb {
    tonic::include_proto!("shoal.v1");
}
