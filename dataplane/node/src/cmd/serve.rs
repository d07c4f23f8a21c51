//! `shoal serve`: collections from a folder on this machine, the same code as on a cluster in one process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::client_args::ClientArgs;
use super::limit_args::LimitArgs;
use super::open_files;
use crate::http::{self, sample};
use crate::listen::{self, Listeners};
use crate::reads::ReadPool;
use crate::telemetry::Telemetry;
use crate::topology::local::LocalTopology;
use crate::{admin, drain};

/// What a laptop server must be told.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Folder for all data; made if there is none.
    #[arg(long, env = "SHOAL_DATA", default_value = "data")]
    pub data: PathBuf,
    /// Where clients reach it.
    #[arg(long, env = "SHOAL_LISTEN", default_value = "127.0.0.1:6333")]
    pub listen: SocketAddr,
    /// Where health and metrics are as well, on a port without a key.
    #[arg(long, env = "SHOAL_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// Shards of a new collection that names no number.
    #[arg(long, env = "SHOAL_SHARDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: u32,
    /// Limits of the shards.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Load the sample in this folder once the server listens, show searches in it, and go on serving.
    #[arg(long, env = "SHOAL_SAMPLE")]
    pub sample: Option<PathBuf>,
    /// How clients are served.
    #[command(flatten)]
    pub clients: ClientArgs,
}

/// Serves until told to stop.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let stop = drain::on_signals()?;
    open_files::raise(u64::from(args.shards));
    let telemetry = Arc::new(Telemetry::new());
    let Listeners { main, admin } = listen::both(args.listen, args.admin_listen).await?;
    let address = main.local_addr()?;

    let (data, shards, opened_by) = (args.data.clone(), args.shards, telemetry.clone());
    let limits = args.limits.limits();
    let open = move || {
        LocalTopology::open_with(&data, shards, limits, ReadPool::for_this_machine(), opened_by)
    };
    let topology = tokio::task::spawn_blocking(open).await??;
    let state = args.clients.state(Arc::new(topology.clone()), telemetry.clone(), &stop)?;
    if state.api_key.is_none() && !address.ip().is_loopback() {
        tracing::warn!(%address, "anyone who can reach this address can read and delete all data: set --api-key");
    }

    let admin =
        listen::serve(admin, admin::app(telemetry, state.readiness.clone()), "admin", stop.clone());
    let api_key = state.api_key.as_ref().map(|key| key.reveal().to_owned());
    let clients = listen::serve(Some(main), http::app(state), "client", stop.clone());
    tracing::info!(data = %args.data.display(), "serving on http://{address}");
    let sample =
        args.sample.map(|folder| sample::SampleArgs::of_this_server(address, api_key, folder));
    let sample = async {
        match sample {
            Some(sample) => tokio::select! {
                loaded = sample::run(sample) => loaded,
                () = stop.clone().wait() => Ok(()),
            },
            None => Ok(()),
        }
    };
    let served = tokio::try_join!(clients, admin, sample);
    topology.close().await;
    tracing::info!("closed");
    served.map(|_| ())
}
