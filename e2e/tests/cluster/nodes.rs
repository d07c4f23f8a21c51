//! Nodes that die and come back, and nodes that are cut off.

use anyhow::{Context, Result, ensure};
use shoal_e2e::cluster::{Cluster, until};

use crate::{START, collection, faults_or_skip, load, serve, whole_again};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_died_comes_back_with_its_shards() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let Some(faults) = faults_or_skip(&cluster, "dead node") else { return Ok(()) };
    cluster
        .with_namespace("node", |namespace| async move {
            let router = serve(&namespace, &collection("survivor", 3)?).await?;
            let rows = load(&router.client, "survivor", 600).await?;
            let pods = namespace.shard_pods("survivor").await?;
            let node = pods
                .iter()
                .find_map(|pod| pod.spec.as_ref()?.node_name.clone())
                .context("no node")?;
            faults.kill_node(&node).await?;
            let meanwhile = until("the other shards to answer", START, || async {
                let answer = router.client.nearest("survivor", &rows[0].vector, 10, false).await?;
                ensure!(!answer.missing().is_empty(), "a whole answer although {node} is dead");
                Ok(Some(answer))
            })
            .await;
            faults.start_node(&node).await?;
            ensure!(!meanwhile?.ids().is_empty(), "no hits from the shards that live");
            whole_again(&router.client, "survivor", &rows, 600).await?;
            namespace.ready("survivor", START).await.map(drop)
        })
        .await
}
