//! What everything that serves clients is told in the same way: the API key, bounds, deadlines.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::secrets;
use crate::admin::Readiness;
use crate::drain::Stop;
use crate::http::{ApiKey, AppState, BodyRoom};
use crate::router::{Deadlines, Router};
use crate::telemetry::Telemetry;
use crate::topology::Topology;

/// How clients are served.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Key that clients must send as `api-key` or bearer token. Better from the environment or a file than here, where
    /// other users of the machine can see it.
    #[arg(long, env = "SHOAL_API_KEY", hide_env_values = true, conflicts_with = "api_key_file")]
    pub api_key: Option<String>,
    /// File with that key.
    #[arg(long, env = "SHOAL_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Greatest request body in MiB.
    #[arg(long, env = "SHOAL_MAX_BODY_MIB", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub max_body_mib: u16,
    /// Seconds after which a search answers with the shards that have answered.
    #[arg(long, env = "SHOAL_SEARCH_TIMEOUT", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub search_timeout: u64,
    /// Seconds after which other reads give up.
    #[arg(long, env = "SHOAL_READ_TIMEOUT", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub read_timeout: u64,
    /// Seconds after which writes give up, the wait for a shard that restarts included.
    #[arg(long, env = "SHOAL_WRITE_TIMEOUT", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub write_timeout: u64,
}

impl ClientArgs {
    /// The key clients must send; `None` if anyone may come in.
    fn key(&self) -> anyhow::Result<Option<ApiKey>> {
        let text = match (&self.api_key, &self.api_key_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => secrets::read(file)?,
            (None, None) => return Ok(None),
        };
        match ApiKey::new(&text) {
            Some(key) => Ok(Some(key)),
            None => bail!(
                "the API key is empty: give one, or leave out --api-key and --api-key-file to ask for none"
            ),
        }
    }

    /// Everything the HTTP dialect needs.
    pub(super) fn state(
        &self,
        topology: Arc<dyn Topology>,
        telemetry: Arc<Telemetry>,
        stop: &Stop,
    ) -> anyhow::Result<Arc<AppState>> {
        let api_key = self.key().context("no API key")?;
        let seconds = Duration::from_secs;
        let deadlines = Deadlines {
            search: seconds(self.search_timeout),
            read: seconds(self.read_timeout),
            write: seconds(self.write_timeout),
        };
        let router = Arc::new(Router::new(topology, deadlines, telemetry.clone()));
        let readiness = readiness(router.clone(), stop.clone());
        let max_body_bytes = usize::from(self.max_body_mib) << 20;
        Ok(Arc::new(AppState {
            router,
            api_key,
            telemetry,
            readiness,
            max_body_bytes,
            body_room: BodyRoom::new(max_body_bytes),
        }))
    }
}

fn readiness(router: Arc<Router>, stop: Stop) -> Readiness {
    Arc::new(move || match (router.ready(), stop.is_set()) {
        (_, true) => Err("stopping".to_owned()),
        (false, false) => Err("the list of collections has not been read yet".to_owned()),
        (true, false) => Ok(()),
    })
}
