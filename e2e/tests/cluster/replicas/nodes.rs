//! The primary's node dies, is cut off while its pods run on, and is drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use shoal_crds::{VectorCollection, labels};
use shoal_e2e::cluster::{output, until};
use shoal_e2e::history::Action;
use shoal_e2e::history::over_http::OverHttp;
use shoal_e2e::history::workers::{KEYS, Points};
use shoal_e2e::inside::Inside;
use shoal_e2e::namespace::Namespace;
use shoal_e2e::qdrant::Qdrant;

use super::story::{CUT_OFF, NAME, Story, pod_of, tell};
use super::{AFTER_A_KILL, AFTER_A_NODE};
use crate::START;

/// Longer than it takes to elect another, and for the node to be known to be gone.
const GONE: Duration = Duration::from_secs(30);

async fn node_is_ready(story: &Story, node: &str, ready: bool) -> Result<()> {
    let nodes: kube::Api<Node> = kube::Api::all(story.namespace.cluster.client.clone());
    until(&format!("{node} to be ready: {ready}"), START, || async {
        let status = nodes.get(node).await?.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let now = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        Ok((now == ready).then_some(()))
    })
    .await
}

/// Waits until another replica votes in the place of one that was on a lost node, and the Job that named it is done.
async fn moved(story: &Story, lost: &str) -> Result<()> {
    until(&format!("{lost} to be replaced"), 2 * START, || async {
        let collection: VectorCollection = story.namespace.api().get(NAME).await?;
        let doing = collection.status.unwrap_or_default().rebalance;
        let shard = story.shard().await?;
        let names = &shard.spec.replica_names;
        ensure!(!names.iter().any(|name| name == lost), "{names:?}, {doing:?}");
        let rebalance = doing.context("nothing tells what was moved")?;
        ensure!((rebalance.moved, rebalance.total) == (1, 1), "{rebalance:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nodes_replica_moves_and_its_disk_goes_when_the_node_is_back() -> Result<()> {
    tell("dead-node", |mut story, faults| async move {
        let ((lost, pod), epoch) = (story.primary().await?, story.epoch().await?);
        let node = story.node_of(&pod).await?;
        story.does("the primary's node dies");
        faults.kill_node(&node).await?;
        let gone = async {
            story.elected_after(epoch).await?;
            node_is_ready(&story, &node, false).await?;
            moved(&story, &lost).await?;
            story.does("its replica was moved");
            story.whole().await
        };
        let gone = gone.await;
        faults.start_node(&node).await?;
        gone?;
        story.does("the node is back");
        until("what is left of the lost replica to go", 2 * START, || async {
            let claims = story.namespace.api::<PersistentVolumeClaim>();
            let left = claims.get_opt(&format!("data-{}", pod_of(&lost))).await?;
            Ok(left.is_none().then_some(()))
        })
        .await?;
        story.namespace.ready(NAME, START).await?;
        story.end(AFTER_A_NODE).await
    })
    .await
}

/// Address of a router's pod on a node.
async fn router_on(namespace: &Namespace, node: &str) -> Result<String> {
    let selector = "app.kubernetes.io/component=router";
    let pods = namespace.api::<Pod>().list(&ListParams::default().labels(selector)).await?;
    let there = |pod: &Pod| pod.spec.as_ref().is_some_and(|s| s.node_name.as_deref() == Some(node));
    let pod = pods.items.into_iter().find(there).with_context(|| format!("no router on {node}"))?;
    let ip = pod.status.and_then(|status| status.pod_ip).context("a router without an address")?;
    Ok(format!("http://{ip}:{}", labels::HTTP_PORT))
}

/// Clients on the node: each writes and reads strongly until it is told to stop.
fn clients_on(story: &Story, node: &str, url: &str) -> Result<Inside> {
    let client = Qdrant::new(url, &story.router.key)?;
    let points = OverHttp::new(client, NAME, CUT_OFF, story.history.clone());
    let work = move |stop: Arc<AtomicBool>| async move {
        let goes_on = || !stop.load(Ordering::SeqCst);
        let writes = async {
            // Numbers that no client elsewhere has.
            let mut number = 1 << 31;
            while goes_on() {
                number += 1;
                points.write(number % KEYS, 101, number, Action::Upsert(number), true).await;
            }
        };
        let reads = async {
            let mut number = 0;
            while goes_on() {
                number += 1;
                points.read(number % KEYS, 102, number, true, 0).await;
            }
        };
        futures::future::join(writes, reads).await;
    };
    Ok(Inside::start(node, work))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_cut_off_with_its_node_acks_nothing_while_another_leads() -> Result<()> {
    tell("cut-off", |mut story, faults| async move {
        let (before, pod) = story.primary().await?;
        let node = story.node_of(&pod).await?;
        let url = router_on(&story.namespace, &node).await?;
        let there = clients_on(&story, &node, &url)?;
        // They are answered as all others are, until the cable is pulled.
        story.acks(200).await?;
        story.does("the primary's node is cut off");
        faults.cut_node(&node).await?;
        let from = story.history.now();
        let gone = async {
            story.writes_go_on().await?;
            tokio::time::sleep(GONE).await;
            let (now, _) = story.primary().await?;
            ensure!(now != before, "{before} leads as before");
            Ok(())
        };
        let gone = gone.await;
        // A node that is back within the grace keeps its replica.
        let names = story.shard().await?.spec.replica_names;
        let to = story.history.now();
        story.does("it is back");
        faults.join_node(&node).await?;
        there.stop().await?;
        gone?;
        story.was_cut_off(from, to);
        node_is_ready(&story, &node, true).await?;
        story.whole().await?;
        ensure!(story.shard().await?.spec.replica_names == names, "{names:?} were moved");
        story.end(AFTER_A_NODE).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_while_clients_write_and_read() -> Result<()> {
    tell("drained", |mut story, _faults| async move {
        let (before, pod) = story.primary().await?;
        let node = story.node_of(&pod).await?;
        story.does("the primary's node is drained");
        let drain = [
            "drain",
            node.as_str(),
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=90s",
        ];
        let mine = format!("--pod-selector={}={NAME}", labels::COLLECTION);
        let mut arguments = drain.to_vec();
        arguments.push(&mine);
        let drained = output("kubectl", &arguments).await;
        let gone = async {
            drained?;
            story.writes_go_on().await?;
            let (now, _) = story.primary().await?;
            ensure!(now != before, "{before} leads on a node that is drained");
            Ok::<_, anyhow::Error>(())
        };
        let gone = gone.await;
        output("kubectl", &["uncordon", &node]).await?;
        gone?;
        story.whole().await?;
        story.end(AFTER_A_KILL).await
    })
    .await
}
