//! Opens and closes the shards of a collection on this disk.

use std::path::Path;

use shoal_proto::routing::RoutingTable;
use shoal_shard::api::{Identity, ShardError, Tuning, Tunings};
use shoal_shard::{Limits, OpenError, Shard, WantedIndexes};
use shoal_vector::Quantization;

use super::file::CollectionFile;
use super::folder::shard_dir;
use crate::local_shard::LocalShard;
use crate::reads::ReadPool;
use crate::router::Collection;
use crate::router::api::ReadPolicy;
use crate::router::shard_client::ShardClient;
use crate::telemetry::Telemetry;

/// Sets up the shards of a new collection in its folder.
pub(super) fn set_up(
    path: &Path,
    file: &CollectionFile,
    routing: &RoutingTable,
) -> Result<(), ShardError> {
    routing.shards().iter().enumerate().try_for_each(|(index, (name, _))| {
        let made = Shard::set_up(&shard_dir(path, index), &identity(file, name));
        made.map_err(|error| shard_error(name, &error))
    })
}

fn identity(file: &CollectionFile, shard: &str) -> Identity {
    Identity {
        collection: file.name.clone(),
        shard: shard.to_owned(),
        vectors: file.vectors.clone(),
        sparse: file.sparse_vectors.clone(),
    }
}

/// Opens all shards of a collection; one that cannot be opened stands in the list with its error.
pub(super) fn collection(
    path: &Path,
    file: CollectionFile,
    routing: RoutingTable,
    limits: &Limits,
    reads: &ReadPool,
    telemetry: &Telemetry,
) -> Collection {
    let fields = file.payload_indexes.clone();
    let indexes = WantedIndexes { fields, ..WantedIndexes::default() };
    let open = |(index, (name, _)): (usize, &(String, _))| {
        let tuning = |quantization| Tuning {
            ef_construct: file.ef_construct as usize,
            ef: shoal_crds::defaults::EF as usize,
            quantization,
        };
        let named = file.quantization.iter().map(|(name, own)| (name.clone(), tuning(*own)));
        let tuning = Tunings { default: tuning(Quantization::default()), named: named.collect() };
        let dir = shard_dir(path, index);
        match Shard::open_existing(&dir, identity(&file, name), tuning, limits.clone()) {
            Ok(shard) => {
                if let Err(error) = shard.set_payload_indexes(indexes.clone()) {
                    tracing::warn!(collection = %file.name, shard = %name, %error, "not indexed as it should be");
                }
                let shard = LocalShard::new(name.clone(), shard, reads.clone());
                telemetry.watch_shard(&file.name, &shard);
                ShardClient::Local(shard)
            }
            Err(error) => {
                tracing::error!(collection = %file.name, shard = %name, %error, "a shard cannot be opened");
                ShardClient::Down { name: name.clone(), error: shard_error(name, &error) }
            }
        }
    };
    let shards = routing.shards().iter().enumerate().map(open).collect();
    Collection {
        name: file.name,
        vectors: file.vectors,
        sparse: file.sparse_vectors,
        ef_construct: file.ef_construct,
        quantization: file.quantization,
        indexes,
        reads: ReadPolicy::default(),
        routing,
        shards,
    }
}

/// Why a shard could not be opened, if it could not.
pub(super) fn failure(shard: &ShardClient) -> Option<ShardError> {
    match shard {
        ShardClient::Down { error, .. } => Some(error.clone()),
        ShardClient::Local(_) | ShardClient::Remote(_) | ShardClient::Replicas(_) => None,
    }
}

/// Finishes what a shard is doing and closes it.
pub(super) fn close(shard: &LocalShard) {
    if let Ok(shard) = shard.shard() {
        shoal_shard::Shard::clone(&shard).close();
    }
}

/// What requests to a shard that could not be opened are answered.
fn shard_error(shard: &str, error: &OpenError) -> ShardError {
    let (shard, detail) = (shard.to_owned(), error.to_string());
    match error {
        OpenError::Corrupt { .. } | OpenError::Missing(_) | OpenError::HalfRestored(_) => {
            ShardError::Corrupt { shard, detail }
        }
        OpenError::Invalid(text) => ShardError::Invalid(text.clone()),
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            ShardError::DiskFull { shard, detail }
        }
        _ => ShardError::Unavailable { shard, detail },
    }
}
