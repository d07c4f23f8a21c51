//! The Kubernetes API does not answer for a while.

use std::time::Duration;

use anyhow::{Result, ensure};
use shoal_crds::collection::Replication;
use shoal_e2e::cluster::Cluster;
use shoal_e2e::figures::{note, percentile};
use shoal_e2e::load::Load;

use crate::{START, collection, faults_or_skip, load, serve};

/// How long the API server is gone.
const GONE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn searches_and_writes_go_on_while_the_api_server_is_gone_for_a_minute() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let Some(faults) = faults_or_skip(&cluster, "API server gone") else { return Ok(()) };
    cluster
        .with_namespace("apigone", |namespace| async move {
            let mut alone = collection("alone", 2)?;
            alone.spec.replication = Some(Replication { replicas: Some(3), ..Replication::default() });
            let router = serve(&namespace, &alone).await?;
            let rows = load(&router.client, "alone", 400).await?;
            faults.pause_api().await?;
            let users = Load::start(&router.client, "alone", rows, 1000, 1, 2);
            tokio::time::sleep(GONE).await;
            let done = users.stop().await;
            faults.resume_api().await?;
            let done = done?;
            note(&format!(
                "API server gone for {} s: {} writes of 16 points and {} searches (p99 {:.1} ms), {} failed",
                GONE.as_secs(),
                done.acked.len() / 16,
                done.searches.len(),
                percentile(&done.searches, 99.0).unwrap_or_default().as_secs_f64() * 1000.0,
                done.failed_writes.len() + done.failed_searches.len(),
            ));
            ensure!(done.failed_writes.is_empty(), "writes failed: {:?}", done.failed_writes);
            ensure!(done.failed_searches.is_empty(), "searches failed: {:?}", done.failed_searches);
            ensure!(!done.acked.is_empty() && !done.searches.is_empty(), "nothing was asked");
            let found = router.client.existing("alone", &done.acked).await?;
            ensure!(found.len() == done.acked.len(), "{} of {} are there", found.len(), done.acked.len());
            namespace.ready("alone", START).await.map(drop)
        })
        .await
}
