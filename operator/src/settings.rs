//! What the operator is started with. Every flag is also an environment variable.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

/// Flags of `shoal-operator run`.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Image of the data plane: what new collections are pinned to, and what routers run.
    #[arg(long, env = "SHOAL_DATA_PLANE_IMAGE")]
    pub data_plane_image: String,

    /// When nodes fetch the data plane's image: Always, IfNotPresent or Never. Default: as Kubernetes chooses.
    #[arg(long, env = "SHOAL_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub image_pull_policy: Option<String>,

    /// Namespaces that have a router even without a collection, so that a first `PUT /collections/x` has someone to
    /// ask. Separated by commas.
    #[arg(long, env = "SHOAL_ROUTER_NAMESPACES", value_delimiter = ',')]
    pub router_namespaces: Vec<String>,

    /// How long a namespace's router outlives the last reason for it, in seconds.
    #[arg(long, env = "SHOAL_ROUTER_GRACE_SECONDS", default_value_t = 60)]
    pub router_grace_seconds: u64,

    /// Whether routers may create and delete collections for `PUT` and `DELETE /collections/x`.
    #[arg(long, env = "SHOAL_HTTP_COLLECTIONS", default_value_t = true, action = clap::ArgAction::Set)]
    pub http_collections: bool,

    /// How often shards are asked for their size, in seconds.
    #[arg(long, env = "SHOAL_SAMPLE_SECONDS", default_value_t = 60)]
    pub sample_seconds: u64,

    /// Where health and metrics are served.
    #[arg(long, env = "SHOAL_ADMIN_LISTEN", default_value = "[::]:9090")]
    pub admin_listen: SocketAddr,

    /// Namespace the operator runs in: its Lease is kept there, and shards let its pods in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "shoal-system")]
    pub namespace: String,

    /// Name of this instance, in the Lease and in events. Default: the host's name, which is the pod's.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Seconds after which another instance may take over from a leader that is no longer heard of.
    #[arg(long, env = "SHOAL_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=600))]
    pub lease_seconds: u64,
}

impl Settings {
    /// How long a namespace's router outlives the last reason for it.
    pub fn router_grace(&self) -> Duration {
        Duration::from_secs(self.router_grace_seconds)
    }

    /// Whether a namespace was named as one that has a router in any case.
    pub fn names(&self, namespace: &str) -> bool {
        self.router_namespaces.iter().any(|named| named.trim() == namespace)
    }
}
