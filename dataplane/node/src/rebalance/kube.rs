//! Shards on the Kubernetes API.
//!
//! Invariant: a Shard is changed only while it is what was read, by its version; a call that takes too long is told as failed,
//! whatever came of it, and what came of it the next read tells.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use shoal_crds::Shard;

use super::{CallFailed, Replacement, Shards};

/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);
/// Field manager of the names.
const MANAGER: &str = "shoal-rebalance";

/// See the file's comment.
pub struct KubeShards(Api<Shard>);

impl KubeShards {
    /// Those of the namespace of the pod or kubeconfig.
    pub async fn start() -> anyhow::Result<Self> {
        let config = kube::Config::infer()
            .await
            .context("no way to the Kubernetes API: run in a pod with a service account, or with a kubeconfig")?;
        Ok(Self::with_config(config)?)
    }

    /// The same by a way to the API that is given.
    pub fn with_config(config: kube::Config) -> kube::Result<Self> {
        let namespace = config.default_namespace.clone();
        Ok(Self(Api::namespaced(kube::Client::try_from(config)?, &namespace)))
    }
}

#[async_trait]
impl Shards for KubeShards {
    async fn read(&self, name: &str) -> Result<Option<Shard>, CallFailed> {
        let found = tokio::time::timeout(CALL, self.0.get_opt(name)).await.map_err(late)?;
        found.map_err(|error| CallFailed(error.to_string()))
    }

    async fn replace(&self, read: &Shard, with: &Replacement) -> Result<bool, CallFailed> {
        let name = read.metadata.name.as_deref().unwrap_or_default();
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": read.metadata.resource_version, "uid": read.metadata.uid},
            "spec": {"replicaNames": with.names, "nextReplica": with.next},
        }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let answer = tokio::time::timeout(CALL, self.0.patch(name, &params, &patch)).await;
        match answer.map_err(late)? {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                Ok(false)
            }
            Err(error) => Err(CallFailed(error.to_string())),
        }
    }
}

fn late(_: tokio::time::error::Elapsed) -> CallFailed {
    CallFailed(format!("no answer after {CALL:?}"))
}
