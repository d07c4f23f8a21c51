//! Collections that clients make over HTTP are objects like any other.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use shoal_crds::VectorCollection;
use shoal_crds::collection::DeletionPolicy;
use shoal_crds::labels;
use shoal_e2e::cluster::{Cluster, output, until};

use crate::{START, collection, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_made_over_http_is_an_object_and_can_be_deleted_over_http() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("http", |namespace| async move {
            let router = serve(&namespace, &collection("applied", 1)?).await?;
            let body = json!({"vectors": {"size": 4, "distance": "Dot"}});
            router.client.ask("PUT", "/collections/my_collection", Some(&body)).await?;
            let objects = namespace.api::<VectorCollection>().list(&Default::default()).await?;
            let made = objects.items.iter().find(|c| c.client_name() == "my_collection");
            let made = made.context("no object of that name")?;
            ensure!(made.deletion_policy() == DeletionPolicy::Delete, "its disks would be kept");
            ensure!(
                made.metadata.labels.as_ref().is_some_and(|l| l.contains_key(labels::MADE_BY_HTTP)),
                "no label"
            );
            let points = json!({"points": [{"id": 1, "vector": [0.1, 0.2, 0.3, 0.4]}]});
            router
                .client
                .ask("PUT", "/collections/my_collection/points?wait=true", Some(&points))
                .await?;
            ensure!(router.client.count("my_collection").await? == 1, "the point is not there");

            let refused = router.client.send("DELETE", "/collections/applied", None).await?;
            ensure!(
                refused.status == 409,
                "deleting what was applied: {} {}",
                refused.status,
                refused.error()
            );
            router.client.ask("DELETE", "/collections/my_collection", None).await?;
            until("the object to be gone", START, || async {
                let objects = namespace.api::<VectorCollection>().list(&Default::default()).await?;
                Ok((objects.items.len() == 1).then_some(()))
            })
            .await?;
            ensure!(router.client.collections().await? == ["applied"], "the router still lists it");
            Ok(())
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmodified_qdrant_client_walks_through_its_quick_start() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("client", |namespace| async move {
            let router = serve(&namespace, &collection("neighbour", 1)?).await?;
            let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/run.sh");
            let script = script.to_str().context("a path that is not text")?;
            output(script, &[&router.url, "--api-key", &router.key]).await.map(drop)
        })
        .await
}
