//! `shoal shard`: one shard on one disk, answering routers over gRPC.
//!
//! It listens first and opens the disk then: until it is open, callers and probes hear "not ready".

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use clap::Args;
use shoal_shard::api::{Identity, Tuning};
use shoal_shard::{Limits, Shard};
use shoal_vector::VectorConfig;

use super::secrets;
use crate::admin;
use crate::drain::{self, Stop};
use crate::listen::{self, Listeners};
use crate::local_shard::LocalShard;
use crate::reads::ReadPool;
use crate::shard_server::{ShardServer, ShardSlot};
use crate::telemetry::Telemetry;

/// What a shard must be told.
#[derive(Args, Clone, Debug)]
pub struct ShardArgs {
    /// The shard's folder: its disk.
    #[arg(long, env = "SHOAL_DATA")]
    pub data: PathBuf,
    /// Where routers reach it (gRPC).
    #[arg(long, env = "SHOAL_LISTEN", default_value = "[::]:6335")]
    pub listen: SocketAddr,
    /// Where health and metrics are.
    #[arg(long, env = "SHOAL_ADMIN_LISTEN", default_value = "[::]:9090")]
    pub admin_listen: SocketAddr,
    /// The collection's client-facing name. The disk of another is refused.
    #[arg(long, env = "SHOAL_COLLECTION")]
    pub collection: String,
    /// The shard's name. The disk of another is refused.
    #[arg(long, env = "SHOAL_SHARD")]
    pub shard: String,
    /// The collection's vectors as JSON, such as [{"name":"","size":384,"distance":"Cosine"}].
    #[arg(long, env = "SHOAL_VECTORS", value_parser = parse_vectors)]
    pub vectors: Vectors,
    /// Candidates considered for each point while a segment is built.
    #[arg(long, env = "SHOAL_EF_CONSTRUCT", default_value_t = shoal_crds::defaults::EF_CONSTRUCT)]
    pub ef_construct: u32,
    /// Candidates kept by a search that names no hnsw_ef.
    #[arg(long, env = "SHOAL_EF", default_value_t = shoal_crds::defaults::EF)]
    pub ef: u32,
    /// Points at which a graph is built over what was written since the last; until then searches scan it.
    #[arg(long, env = "SHOAL_FLUSH_POINTS", default_value_t = Limits::default().mutable_entries, value_parser = super::parse_flush_points)]
    pub flush_points: usize,
    /// File with the token that routers and the operator show.
    #[arg(long, env = "SHOAL_TOKEN_FILE")]
    pub token_file: PathBuf,
}

/// The vectors of a collection.
#[derive(Clone, Debug)]
pub struct Vectors(pub Vec<VectorConfig>);

fn parse_vectors(text: &str) -> Result<Vectors, String> {
    let vectors: Vec<VectorConfig> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    match vectors.is_empty() {
        true => Err("at least one vector is needed".to_owned()),
        false => Ok(Vectors(vectors)),
    }
}

/// Serves the shard until told to stop.
pub async fn run(args: ShardArgs) -> anyhow::Result<()> {
    let token = secrets::token(&args.token_file)?;
    let stop = drain::on_signals()?;
    let telemetry = Arc::new(Telemetry::new());
    let slot: ShardSlot = Arc::new(OnceLock::new());
    let Listeners { main, admin } = listen::both(args.listen, Some(args.admin_listen)).await?;

    let readiness = readiness(slot.clone(), stop.clone());
    let admin =
        listen::serve(admin, admin::app(telemetry.clone(), readiness), "admin", stop.clone());
    let server = ShardServer::new(&args.collection, &args.shard, slot.clone(), telemetry.clone());
    let server = drain::bounded("shard", stop.clone(), server.serve(main, token, stop.clone()));
    let open = async {
        let shard = open(args).await?;
        telemetry.watch_shard(&shard.0, &shard.1);
        tracing::info!(collection = %shard.0, shard = %shard.1.name(), "open: serving");
        // The slot is set here alone.
        let _ = slot.set(shard.1);
        Ok(())
    };
    let opened = async {
        tokio::select! {
            opened = open => opened,
            // Opening writes nothing that a crash could hurt, so there is nothing to wait for.
            () = stop.clone().wait() => Ok(()),
        }
    };
    let served = tokio::try_join!(opened, server, admin);
    if let Some(shard) = slot.get().cloned() {
        tokio::task::spawn_blocking(move || shard.shard().clone().close()).await?;
        tracing::info!("closed");
    }
    served.map(|_| ())
}

async fn open(args: ShardArgs) -> anyhow::Result<(String, LocalShard)> {
    let (name, collection) = (args.shard.clone(), args.collection.clone());
    let identity =
        Identity { collection: args.collection, shard: args.shard, vectors: args.vectors.0 };
    let tuning = Tuning { ef_construct: args.ef_construct as usize, ef: args.ef as usize };
    let limits = Limits { mutable_entries: args.flush_points, ..Limits::default() };
    let data = args.data;
    let opened = tokio::task::spawn_blocking(move || Shard::open(&data, identity, tuning, limits));
    let shard = opened.await?.with_context(|| format!("shard {name} cannot be opened"))?;
    Ok((collection, LocalShard::new(name, shard, ReadPool::for_this_machine())))
}

fn readiness(slot: ShardSlot, stop: Stop) -> admin::Readiness {
    Arc::new(move || match (slot.get(), stop.is_set()) {
        (_, true) => Err("stopping".to_owned()),
        (None, false) => Err("the shard is being opened".to_owned()),
        (Some(_), false) => Ok(()),
    })
}
