//! The primary's node dies, is cut off while its pods run on, and is drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use shoal_crds::labels;
use shoal_e2e::cluster::{output, until};
use shoal_e2e::history::Action;
use shoal_e2e::history::over_http::OverHttp;
use shoal_e2e::history::workers::{KEYS, Points};
use shoal_e2e::inside::Inside;
use shoal_e2e::namespace::Namespace;
use shoal_e2e::qdrant::Qdrant;

use super::story::{CUT_OFF, NAME, Story, tell};
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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_primarys_node_dies() -> Result<()> {
    tell("dead-node", |mut story, faults| async move {
        let ((_, pod), epoch) = (story.primary().await?, story.epoch().await?);
        let node = story.node_of(&pod).await?;
        story.does("the primary's node dies");
        faults.kill_node(&node).await?;
        let gone = async {
            story.elected_after(epoch).await?;
            node_is_ready(&story, &node, false).await
        };
        let gone = gone.await;
        faults.start_node(&node).await?;
        gone?;
        story.whole().await?;
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
        let to = story.history.now();
        story.does("it is back");
        faults.join_node(&node).await?;
        there.stop().await?;
        gone?;
        story.was_cut_off(from, to);
        node_is_ready(&story, &node, true).await?;
        story.whole().await?;
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
