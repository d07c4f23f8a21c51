//! Shoal on a real cluster: what a user does, and the bad days. Run by `make e2e`.
//!
//! Each test has a namespace of its own that is deleted afterwards. Those that measure, or make faults that touch the whole
//! cluster, run one at a time (`e2e/suite.sh` tells them apart). Figures go to the suite's closing block.

mod api_server_gone;
mod collections_over_http;
mod deletion;
mod full_disk;
mod nodes;
mod operator;
mod operator_figures;
mod pods;
mod refusals;
mod repair;
mod replicas;
mod serving;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shoal_crds::VectorCollection;
use shoal_e2e::cluster::Cluster;
use shoal_e2e::faults::Faults;
use shoal_e2e::namespace::{Namespace, RouterClient};
use shoal_e2e::qdrant::Qdrant;
use shoal_e2e::sample::{self, Row};
use shoal_e2e::skip::skipped;

/// Time within which anything that starts must have started. Generous: machines that run tests are slow and shared.
const START: Duration = Duration::from_secs(120);

/// The faults of our own cluster; elsewhere says loudly that the test was skipped.
fn faults_or_skip(cluster: &Cluster, test: &str) -> Option<Faults> {
    if cluster.faults.is_none() {
        skipped(test, "faults can be made only on the cluster that e2e/cluster starts");
    }
    cluster.faults.clone()
}

/// A collection of `shards` shards for the sample's vectors.
fn collection(name: &str, shards: u32) -> Result<VectorCollection> {
    let yaml = serde_json::json!({
        "apiVersion": "shoal.dev/v1alpha1",
        "kind": "VectorCollection",
        "metadata": {"name": name},
        "spec": {
            "vectors": [{"size": 384, "distance": "Cosine"}],
            "sharding": {"initialShards": shards},
            "storage": {"size": "100Mi"},
        },
    });
    Ok(serde_json::from_value(yaml)?)
}

/// Applies a collection, waits until it is Ready, and returns the way to its router.
async fn serve(namespace: &Namespace, collection: &VectorCollection) -> Result<RouterClient> {
    namespace.apply(collection).await?;
    let name = collection.metadata.name.as_deref().context("a collection without a name")?;
    namespace.ready(name, START).await?;
    let router = namespace.router().await?;
    // Routers learn of a new collection by watching, a moment after it is Ready.
    shoal_e2e::cluster::until("the router to serve the collection", START, || async {
        router.client.count(collection.client_name()).await.map(Some)
    })
    .await?;
    Ok(router)
}

/// Upserts the first `count` rows of the sample, ids from 0.
async fn load(client: &Qdrant, collection: &str, count: usize) -> Result<Arc<Vec<Row>>> {
    let rows = Arc::new(sample::points()?);
    for start in (0..count).step_by(200) {
        let end = (start + 200).min(count);
        let batch: Vec<_> = (start..end).map(|i| (i as u64, &rows[i])).collect();
        client.upsert(collection, &batch).await?;
    }
    let counted = client.count(collection).await?;
    ensure!(counted == count as u64, "loaded {count} points, but {counted} are there");
    Ok(rows)
}

/// Waits until a whole search answers and so many points are there.
async fn whole_again(client: &Qdrant, collection: &str, rows: &[Row], points: u64) -> Result<()> {
    shoal_e2e::cluster::until("whole answers", START, || async {
        let answer = client.nearest(collection, &rows[0].vector, 10, false).await?;
        ensure!(answer.missing().is_empty(), "still missing: {:?}", answer.missing());
        let counted = client.count(collection).await?;
        ensure!(counted == points, "{counted} points of {points}");
        Ok(Some(()))
    })
    .await
}
