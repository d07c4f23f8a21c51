//! `shoal rebalance`: moves replicas off lost nodes. The operator runs it as a Job.

use std::time::Duration;

use clap::Args;

use crate::drain;
use crate::rebalance::kube::KubeShards;
use crate::rebalance::{Pace, move_all};

/// How often Shards are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Calls to the API server in a row that may fail: a minute.
const FAILURES: u32 = 30;

/// What is to be looked after.
#[derive(Args, Clone, Debug)]
pub struct RebalanceArgs {
    /// Name of a Shard of the collection; once for each.
    #[arg(long = "shard", required = true)]
    pub shards: Vec<String>,
    /// How many seconds one and the same step may take, such as copying a shard to another node, before this ends with an
    /// error; whoever runs it again goes on.
    #[arg(long, env = "SHOAL_REBALANCE_PATIENCE_SECONDS", default_value_t = 3600)]
    pub patience_seconds: u64,
}

/// Moves all that is marked; ends at once when it is told to.
pub async fn run(args: RebalanceArgs) -> anyhow::Result<()> {
    let stop = drain::on_signals()?;
    let shards = KubeShards::start().await?;
    let patience = Duration::from_secs(args.patience_seconds);
    let pace = Pace { look: LOOK, patience, failures: FAILURES };
    tokio::select! {
        moved = move_all(&shards, &args.shards, pace) => {
            tracing::info!(replicas = moved?, "nothing is left to be moved");
            Ok(())
        }
        () = stop.wait() => anyhow::bail!("told to stop before all was moved; whoever runs next goes on"),
    }
}
