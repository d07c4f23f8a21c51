//! Shard pods that die and freeze.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use shoal_e2e::cluster::Cluster;
use shoal_e2e::figures::note;
use shoal_e2e::load::Load;

use crate::{START, collection, faults_or_skip, load, serve, whole_again};

/// Kills of shard pods under writes.
const KILLS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_killed_under_writes_loses_nothing_that_was_acknowledged() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("kill", |namespace| async move {
            let router = serve(&namespace, &collection("killed", 2)?).await?;
            let rows = load(&router.client, "killed", 200).await?;
            let writers = Load::start(&router.client, "killed", rows.clone(), 1000, 4, 0);
            for round in 0..KILLS {
                writers.wait_for_more(200, START).await?;
                let pods = namespace.shard_pods("killed").await?;
                let pod = pods.get(round % pods.len().max(1)).context("no shard pods")?.name_any();
                match &namespace.cluster.faults {
                    Some(faults) => faults.kill_pod(&namespace.name, &pod).await?,
                    None => {
                        let now = DeleteParams::default().grace_period(0);
                        namespace.api::<Pod>().delete(&pod, &now).await.map(drop)?;
                    }
                }
            }
            writers.wait_for_more(200, START).await?;
            let done = writers.stop().await?;
            shoal_e2e::cluster::until("all shards to be there again", START, || async {
                router.client.count("killed").await.map(Some)
            })
            .await?;
            let found = router.client.existing("killed", &done.acked).await?;
            let lost = done.acked.len() - found.len();
            note(&format!(
                "{KILLS} kills of a shard under writes: {} points acknowledged, {lost} lost, {} requests refused meanwhile",
                done.acked.len(),
                done.failed_writes.len()
            ));
            ensure!(lost == 0, "{lost} acknowledged points are missing");
            Ok(())
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_shard_is_named_as_missing_while_the_others_answer() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let Some(faults) = faults_or_skip(&cluster, "frozen shard") else { return Ok(()) };
    cluster
        .with_namespace("freeze", |namespace| async move {
            let router = serve(&namespace, &collection("frozen", 2)?).await?;
            let rows = load(&router.client, "frozen", 400).await?;
            let pods = namespace.shard_pods("frozen").await?;
            let pod = pods.first().context("no shard pods")?.name_any();
            faults.freeze_pod(&namespace.name, &pod).await?;
            let answer = router.client.nearest("frozen", &rows[0].vector, 10, false).await;
            faults.thaw_pod(&namespace.name, &pod).await?;
            let answer = answer?;
            ensure!(answer.missing().len() == 1, "not one shard missing: {}", answer.body);
            ensure!(
                pod.starts_with(&answer.missing()[0]),
                "{} was frozen, but {:?} named",
                pod,
                answer.missing()
            );
            ensure!(!answer.ids().is_empty(), "the other shard gave no hits");
            whole_again(&router.client, "frozen", &rows, 400).await
        })
        .await
}
