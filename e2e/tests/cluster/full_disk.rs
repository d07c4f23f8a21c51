//! A disk that is full.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use shoal_e2e::cluster::{Cluster, until};
use shoal_e2e::faults::Faults;
use shoal_e2e::qdrant::{Answer, Failed, Qdrant};
use shoal_e2e::sample::Row;

use crate::{START, collection, faults_or_skip, load, serve};

const NODE: &str = "node1";
/// Small enough to fill in seconds, large enough for a few thousand points.
const MEBIBYTES: u32 = 48;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_with_a_clear_error_while_reads_go_on() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let Some(faults) = faults_or_skip(&cluster, "full disk") else { return Ok(()) };
    cluster
        .with_namespace("full", |namespace| async move {
            let name = namespace.name.clone();
            make_storage(&namespace.cluster, &faults, &name).await?;
            let outcome = async {
                let mut full = collection("full", 1)?;
                let storage = full.spec.storage.get_or_insert_default();
                storage.storage_class_name = Some(name.clone());
                storage.size =
                    Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity("40Mi".into()));
                let router = serve(&namespace, &full).await?;
                let rows = load(&router.client, "full", 200).await?;
                let (acked, refused) = fill(&router.client, &rows).await?;
                ensure!(
                    refused.status == 507,
                    "a full disk answered {} {}",
                    refused.status,
                    refused.error()
                );
                ensure!(
                    refused.error().contains("disk"),
                    "the error does not name the disk: {}",
                    refused.error()
                );
                reads_go_on(&router.client, &rows, &acked).await?;
                let pods = namespace.shard_pods("full").await?;
                let pod = pods
                    .first()
                    .and_then(|pod| pod.metadata.name.clone())
                    .context("no shard pod")?;
                faults.kill_pod(&namespace.name, &pod).await?;
                until("the shard to start on its full disk", START, || async {
                    router.client.count("full").await.map(Some)
                })
                .await?;
                reads_go_on(&router.client, &rows, &acked).await?;
                namespace.remove::<shoal_crds::VectorCollection>("full", START).await?;
                until("the pod to let go of its disk", START, || async {
                    Ok(namespace.shard_pods("full").await?.is_empty().then_some(()))
                })
                .await
            }
            .await;
            let removed = remove_storage(&namespace.cluster, &faults, &name).await;
            outcome.and(removed)
        })
        .await
}

/// Writes until the server refuses; returns the ids it took and its refusal.
async fn fill(client: &Qdrant, rows: &[Row]) -> Result<(Vec<u64>, Answer)> {
    let mut acked: Vec<u64> = (0..200).collect();
    for first in (1000..100_000_u64).step_by(100) {
        let batch: Vec<_> =
            (first..first + 100).map(|id| (id, &rows[id as usize % rows.len()])).collect();
        match client.upsert("full", &batch).await {
            Ok(_) => acked.extend(first..first + 100),
            Err(Failed::Refused(answer)) => return Ok((acked, answer)),
            Err(error) => bail!("instead of refusing, the server gave {error}"),
        }
    }
    bail!("{} points fitted on {MEBIBYTES} MiB", acked.len())
}

async fn reads_go_on(client: &Qdrant, rows: &[Row], acked: &[u64]) -> Result<()> {
    let found = client.existing("full", acked).await?;
    ensure!(
        found.len() == acked.len(),
        "{} acknowledged points, {} found",
        acked.len(),
        found.len()
    );
    let answer = client.nearest("full", &rows[0].vector, 10, false).await?;
    ensure!(
        answer.ids().len() == 10 && answer.missing().is_empty(),
        "a search gave {}",
        answer.body
    );
    Ok(())
}

/// A small disk on one node, and a class that only it belongs to.
async fn make_storage(cluster: &Cluster, faults: &Faults, name: &str) -> Result<()> {
    let path = faults.make_disk(NODE, name, MEBIBYTES).await?;
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }))?;
    let volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": format!("{MEBIBYTES}Mi")},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]},
            ]}]}},
        },
    }))?;
    Api::all(cluster.client.clone()).create(&PostParams::default(), &class).await?;
    Api::all(cluster.client.clone()).create(&PostParams::default(), &volume).await?;
    Ok(())
}

async fn remove_storage(cluster: &Cluster, faults: &Faults, name: &str) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    let classes: Api<StorageClass> = Api::all(cluster.client.clone());
    volumes.delete(name, &DeleteParams::default()).await?;
    classes.delete(name, &DeleteParams::default()).await?;
    faults.free_disk(NODE, name).await
}
