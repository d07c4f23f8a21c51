//! What deleting a collection leaves, and what may use it afterwards.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use shoal_crds::collection::DeletionPolicy;
use shoal_crds::conditions::reason;
use shoal_crds::{Shard, VectorCollection, labels};
use shoal_e2e::cluster::{Cluster, until};
use shoal_e2e::namespace::Namespace;

use crate::{START, collection, load, serve, whole_again};

/// Names of the objects of a kind that belong to the collection.
async fn left<K>(namespace: &Namespace, collection: &str) -> Result<Vec<String>>
where
    K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
    K::DynamicType: Default,
{
    let params = ListParams::default().labels(&format!("{}={collection}", labels::COLLECTION));
    Ok(namespace.api::<K>().list(&params).await?.items.iter().map(ResourceExt::name_any).collect())
}

/// Deletes a collection and waits until only claims are left of it.
async fn delete_collection(namespace: &Namespace, name: &str) -> Result<()> {
    namespace.remove::<VectorCollection>(name, START).await?;
    until("everything but the claims to be gone", START, || async {
        let left = [
            left::<Shard>(namespace, name).await?,
            left::<StatefulSet>(namespace, name).await?,
            left::<Pod>(namespace, name).await?,
            left::<Service>(namespace, name).await?,
            left::<PodDisruptionBudget>(namespace, name).await?,
        ]
        .concat();
        ensure!(left.is_empty(), "still there: {}", left.join(", "));
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_deleted_with_retain_finds_its_data_when_applied_again() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("retain", |namespace| async move {
            let router = serve(&namespace, &collection("kept", 2)?).await?;
            let rows = load(&router.client, "kept", 400).await?;
            delete_collection(&namespace, "kept").await?;
            let claims = left::<PersistentVolumeClaim>(&namespace, "kept").await?;
            ensure!(claims.len() == 2, "claims left: {claims:?}");
            let router = serve(&namespace, &collection("kept", 2)?).await?;
            whole_again(&router.client, "kept", &rows, 400).await
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_other_vectors_is_refused_the_disks_of_its_name() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("foreign", |namespace| async move {
            let router = serve(&namespace, &collection("taken", 1)?).await?;
            let rows = load(&router.client, "taken", 200).await?;
            delete_collection(&namespace, "taken").await?;

            let mut other = collection("taken", 1)?;
            other.spec.vectors[0].size = 128;
            namespace.apply(&other).await?;
            let (why, message) = namespace.condition("taken", "Stalled", "True", START).await?;
            ensure!(why == reason::DISK_CONFLICT, "Stalled for another reason: {why}: {message}");
            ensure!(
                left::<Pod>(&namespace, "taken").await?.is_empty(),
                "a pod was started on them"
            );
            namespace.remove::<VectorCollection>("taken", START).await?;

            // The refusal did no harm: who owns them still finds them.
            let router = serve(&namespace, &collection("taken", 1)?).await?;
            whole_again(&router.client, "taken", &rows, 200).await
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_deleted_with_delete_takes_its_disks_along() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("delete", |namespace| async move {
            let mut object = collection("gone", 2)?;
            object.spec.deletion_policy = Some(DeletionPolicy::Delete);
            let router = serve(&namespace, &object).await?;
            load(&router.client, "gone", 200).await?;
            delete_collection(&namespace, "gone").await?;
            until("the claims to be gone", START, || async {
                let claims = left::<PersistentVolumeClaim>(&namespace, "gone").await?;
                ensure!(claims.is_empty(), "still there: {claims:?}");
                Ok(Some(()))
            })
            .await
        })
        .await
}
