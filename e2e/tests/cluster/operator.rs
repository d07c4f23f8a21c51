//! The operator itself: killed, upgraded, asked for its health.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use shoal_e2e::cluster::{Cluster, OPERATOR_NAMESPACE, output, pod_is_ready, until};
use shoal_e2e::namespace::Namespace;

use crate::{START, collection, load, serve, whole_again};

/// Uid and restarts of each shard and router pod.
async fn pods_as_they_are(namespace: &Namespace) -> Result<BTreeMap<String, (String, i32)>> {
    let pods = namespace.api::<Pod>().list(&Default::default()).await?;
    Ok(pods
        .items
        .iter()
        .map(|pod| {
            let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
            let restarts = statuses.map_or(0, |all| all.iter().map(|c| c.restart_count).sum());
            (pod.name_any(), (pod.uid().unwrap_or_default(), restarts))
        })
        .collect())
}

async fn operator_is_up(cluster: &Cluster) -> Result<()> {
    until("the operator to be ready", START, || async {
        Ok(cluster.operator_pods().await?.iter().any(pod_is_ready).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_at_any_moment_resumes() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("opkill", |namespace| async move {
            for round in 0..4_u64 {
                let name = format!("round{round}");
                namespace.apply(&collection(&name, 1)?).await?;
                // Each round another moment of the work.
                tokio::time::sleep(Duration::from_millis(round * 250)).await;
                for pod in namespace.cluster.operator_pods().await? {
                    let now = DeleteParams::default().grace_period(0);
                    let pods = namespace.cluster.api_in::<Pod>(OPERATOR_NAMESPACE);
                    pods.delete(&pod.name_any(), &now).await?;
                }
                namespace.ready(&name, START).await?;
            }
            operator_is_up(&namespace.cluster).await
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_the_operator_restarts_no_data_pod() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("upgrade", |namespace| async move {
            let router = serve(&namespace, &collection("steady", 2)?).await?;
            let rows = load(&router.client, "steady", 200).await?;
            let before = pods_as_they_are(&namespace).await?;
            let operators: Vec<_> = namespace
                .cluster
                .operator_pods()
                .await?
                .iter()
                .filter_map(ResourceExt::uid)
                .collect();

            // What an upgrade brings: another operator pod, and another data plane for collections made from now on.
            let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/shoal");
            let upgrade = [
                "upgrade",
                "shoal",
                chart,
                "--namespace",
                OPERATOR_NAMESPACE,
                "--reuse-values",
                "--wait",
            ];
            let next = ["--set", "dataPlaneImage.tag=next"];
            output("helm", &[&upgrade[..], &next].concat()).await?;
            let seen = async {
                operator_is_up(&namespace.cluster).await?;
                let now: Vec<_> = namespace
                    .cluster
                    .operator_pods()
                    .await?
                    .iter()
                    .filter_map(ResourceExt::uid)
                    .collect();
                ensure!(
                    now.iter().all(|uid| !operators.contains(uid)),
                    "the operator was not replaced"
                );
                // Long enough for the new operator to have looked at every object.
                tokio::time::sleep(Duration::from_secs(15)).await;
                let after = pods_as_they_are(&namespace).await?;
                let data = |pods: &BTreeMap<String, (String, i32)>| {
                    pods.iter()
                        .filter(|(name, _)| name.starts_with("steady-"))
                        .map(|(_, p)| p.clone())
                        .collect::<Vec<_>>()
                };
                ensure!(!data(&before).is_empty(), "no data pods: {before:?}");
                ensure!(data(&before) == data(&after), "before {before:?}, after {after:?}");
                whole_again(&router.client, "steady", &rows, 200).await
            }
            .await;
            let back = ["rollback", "shoal", "--namespace", OPERATOR_NAMESPACE, "--wait"];
            output("helm", &back).await.context("rolling back")?;
            operator_is_up(&namespace.cluster).await?;
            seen
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_test_passes() -> Result<()> {
    let cluster = Cluster::connect().await?;
    operator_is_up(&cluster).await?;
    output("helm", &["test", "shoal", "--namespace", OPERATOR_NAMESPACE, "--timeout", "2m"])
        .await
        .map(drop)
}
