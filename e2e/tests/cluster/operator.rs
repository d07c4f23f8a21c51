//! The operator itself: killed, upgraded, asked for its health.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use shoal_crds::Shard;
use shoal_e2e::cluster::{Cluster, OPERATOR_NAMESPACE, output, pod_is_ready, until};
use shoal_e2e::namespace::Namespace;

use crate::{START, collection, load, serve, whole_again};

/// Name of the operator's Lease.
const LEASE: &str = "shoal-operator";

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

/// Waits until pods that were not there before run the operator, and one of them holds the Lease.
async fn acts_in_place_of(cluster: &Cluster, former: &[Pod]) -> Result<()> {
    let former: Vec<_> = former.iter().filter_map(ResourceExt::uid).collect();
    let leases = cluster.api_in::<Lease>(OPERATOR_NAMESPACE);
    until("a new operator to hold the Lease", START, || async {
        let pods = cluster.operator_pods().await?;
        let stays = pods.iter().find(|pod| pod.uid().is_some_and(|uid| former.contains(&uid)));
        if let Some(pod) = stays {
            bail!("{} was not replaced", pod.name_any());
        }
        let lease = leases.get(LEASE).await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        // An identity is the pod's name and something that is drawn anew at each start.
        let holds = |pod: &Pod| holder.starts_with(&format!("{}_", pod.name_any()));
        ensure!(pods.iter().any(holds), "the Lease is held by `{holder}`");
        Ok(Some(()))
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
            let former = namespace.cluster.operator_pods().await?;
            ensure!(!former.is_empty(), "no operator to upgrade");

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
                acts_in_place_of(&namespace.cluster, &former).await?;
                // Only the new operator pins the new image. It queued everything there was before it heard of this.
                namespace.apply(&collection("marker", 1)?).await?;
                let shards = namespace.api::<Shard>();
                until("the new operator to act", START, || async {
                    let image = shards.get("marker-0").await?.spec.image;
                    ensure!(image.ends_with(":next"), "made by the former operator: {image}");
                    Ok(Some(()))
                })
                .await?;
                // Long enough for a pod that it would have replaced to be gone.
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
