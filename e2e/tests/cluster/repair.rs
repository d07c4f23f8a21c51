//! Objects that someone deleted come back, with the data.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use shoal_crds::{Shard, labels};
use shoal_e2e::cluster::{Cluster, until};
use shoal_e2e::namespace::Namespace;

use crate::{START, collection, load, serve, whole_again};

/// Deletes an object and waits for another of its name.
async fn delete_and_await_return<K>(namespace: &Namespace, name: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api = namespace.api::<K>();
    let before = api.get(name).await?.uid().context("an object without uid")?;
    api.delete(name, &Default::default()).await?;
    until(&format!("{name} to come back"), START, || async {
        let now = api.get(name).await?;
        Ok((now.uid().as_ref() != Some(&before) && now.meta().deletion_timestamp.is_none())
            .then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_objects_come_back_with_their_data() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("repair", |namespace| async move {
            let router = serve(&namespace, &collection("mended", 2)?).await?;
            let rows = load(&router.client, "mended", 400).await?;
            let shard = labels::shard_name("mended", 0);

            delete_and_await_return::<StatefulSet>(&namespace, &labels::replica_name(&shard, 0))
                .await?;
            whole_again(&router.client, "mended", &rows, 400)
                .await
                .context("after the StatefulSet")?;
            delete_and_await_return::<Shard>(&namespace, &shard).await?;
            whole_again(&router.client, "mended", &rows, 400).await.context("after the Shard")?;
            delete_and_await_return::<Service>(&namespace, &labels::shards_service("mended"))
                .await?;
            delete_and_await_return::<Service>(&namespace, labels::ROUTER).await?;
            delete_and_await_return::<Deployment>(&namespace, labels::ROUTER).await?;

            // The router's Service may have another address now.
            let router = namespace.router().await?;
            whole_again(&router.client, "mended", &rows, 400)
                .await
                .context("after the Services")?;
            namespace.ready("mended", START).await?;
            let shards = namespace.api::<Shard>().list(&Default::default()).await?;
            ensure!(shards.items.len() == 2, "{} shards instead of 2", shards.items.len());
            Ok(())
        })
        .await
}
