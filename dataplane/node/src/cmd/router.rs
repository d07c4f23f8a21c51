//! `shoal router`: a namespace's collections to clients, from shards found through the Kubernetes API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::client_args::ClientArgs;
use super::secrets;
use crate::http;
use crate::listen::{self, Listeners};
use crate::telemetry::Telemetry;
use crate::topology::kube::KubeTopology;
use crate::{admin, drain};

/// What a router must be told.
#[derive(Args, Clone, Debug)]
pub struct RouterArgs {
    /// Where clients reach it.
    #[arg(long, env = "SHOAL_LISTEN", default_value = "[::]:6333")]
    pub listen: SocketAddr,
    /// Where health and metrics are.
    #[arg(long, env = "SHOAL_ADMIN_LISTEN", default_value = "[::]:9090")]
    pub admin_listen: SocketAddr,
    /// The namespace whose collections it serves. Default: that of its pod or kubeconfig.
    #[arg(long, env = "SHOAL_NAMESPACE")]
    pub namespace: Option<String>,
    /// Port that shards answer on.
    #[arg(long, env = "SHOAL_SHARD_PORT", default_value_t = shoal_crds::labels::GRPC_PORT)]
    pub shard_port: u16,
    /// File with the token that shards ask for.
    #[arg(long, env = "SHOAL_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// How clients are served.
    #[command(flatten)]
    pub clients: ClientArgs,
}

/// Serves until told to stop.
pub async fn run(args: RouterArgs) -> anyhow::Result<()> {
    let token = secrets::token(&args.token_file)?;
    let stop = drain::on_signals()?;
    let telemetry = Arc::new(Telemetry::new());
    let Listeners { main, admin } = listen::both(args.listen, Some(args.admin_listen)).await?;

    let topology = Arc::new(KubeTopology::start(args.namespace, args.shard_port, token).await?);
    let state = args.clients.state(topology, telemetry.clone(), &stop)?;
    if state.api_key.is_none() {
        tracing::warn!(
            "no --api-key-file: anyone who can reach this router can read and delete all data"
        );
    }
    let admin =
        listen::serve(admin, admin::app(telemetry, state.readiness.clone()), "admin", stop.clone());
    let clients = listen::serve(Some(main), http::app(state), "client", stop);
    tracing::info!(address = %args.listen, "serving");
    tokio::try_join!(clients, admin).map(|_| ())
}
