//! The command line: every flag is also an environment variable `SHOAL_*`.

mod client_args;
mod limit_args;
mod open_files;
pub mod rebalance;
mod replica_args;
pub mod router;
mod secrets;
pub mod serve;
pub mod shard;

use clap::{Parser, Subcommand};

use crate::logs::LogArgs;

/// Vector search for Kubernetes, and for a laptop.
#[derive(Debug, Parser)]
#[command(name = "shoal", version, about)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
    /// Logging.
    #[command(flatten)]
    pub logs: LogArgs,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve collections from a folder on this machine; no Kubernetes needed.
    Serve(serve::ServeArgs),
    /// Serve one shard to routers. The operator starts this.
    Shard(Box<shard::ShardArgs>),
    /// Serve a namespace's collections to clients. The operator starts this.
    Router(router::RouterArgs),
    /// Move replicas of a collection off lost nodes. The operator starts this.
    Rebalance(rebalance::RebalanceArgs),
    /// Load a sample into a server and search it.
    Sample(crate::http::sample::SampleArgs),
}

/// Runs a command to its end.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Shard(args) => shard::run(*args).await,
        Command::Router(args) => router::run(args).await,
        Command::Rebalance(args) => rebalance::run(args).await,
        Command::Sample(args) => crate::http::sample::run(args).await,
    }
}
