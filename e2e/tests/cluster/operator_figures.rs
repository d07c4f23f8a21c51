//! What the operator costs in a steady state: writes to the API, memory, processor time.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use shoal_e2e::audit;
use shoal_e2e::cluster::{Cluster, OPERATOR_NAMESPACE};
use shoal_e2e::faults::Faults;
use shoal_e2e::figures::note;
use shoal_e2e::load::Load;

use crate::{collection, faults_or_skip, load, serve};

/// How long each state is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// Now, as the audit log writes it.
fn moment() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Writes by the operator since `from`.
fn writes(faults: &Faults, account: &str, from: &str) -> Result<BTreeMap<String, usize>> {
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{account}");
    Ok(audit::writes(&faults.audit_log()?, &user, from, &moment()))
}

/// Nothing but the lease, and a status of each object at most once a minute (twice where a minute begins in between).
fn is_steady(writes: &BTreeMap<String, usize>) -> Result<()> {
    for (what, count) in writes {
        match what.as_str() {
            what if what.ends_with(" leases") => {}
            "patch vectorcollections/status" | "update vectorcollections/status" => {
                ensure!(*count <= 2, "{count} writes: {what}");
            }
            "patch shards/status" | "update shards/status" => {
                ensure!(*count <= 4, "{count} writes: {what}")
            }
            _ => anyhow::bail!("{count} writes: {what}"),
        }
    }
    Ok(())
}

fn told(writes: &BTreeMap<String, usize>) -> String {
    let list: Vec<_> = writes.iter().map(|(what, count)| format!("{count} {what}")).collect();
    if list.is_empty() { "none".into() } else { list.join(", ") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_operator_writes_its_lease_and_a_rounded_status_and_nothing_else() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let Some(faults) = faults_or_skip(&cluster, "operator's writes") else { return Ok(()) };
    cluster
        .with_namespace("steady", |namespace| async move {
            let router = serve(&namespace, &collection("watched", 2)?).await?;
            let rows = load(&router.client, "watched", 400).await?;
            // What starting and loading caused is over by then, but for one rounded status.
            tokio::time::sleep(Duration::from_secs(20)).await;
            let pods = namespace.cluster.operator_pods().await?;
            let pod = pods.first().context("no operator pod")?;
            let account = pod
                .spec
                .as_ref()
                .and_then(|s| s.service_account_name.clone())
                .context("no account")?;

            let (from, before) =
                (moment(), faults.usage(OPERATOR_NAMESPACE, &pod.name_any()).await?);
            tokio::time::sleep(WATCHED).await;
            let quiet = writes(&faults, &account, &from)?;
            let after = faults.usage(OPERATOR_NAMESPACE, &pod.name_any()).await?;
            note(&format!(
                "operator idle: {:.1} MiB resident, {:.2} % of a core, API writes in {} s: {}",
                after.resident_bytes as f64 / 1048576.0,
                (after.cpu.saturating_sub(before.cpu)).as_secs_f64() / WATCHED.as_secs_f64()
                    * 100.0,
                WATCHED.as_secs(),
                told(&quiet)
            ));

            let from = moment();
            let users = Load::start(&router.client, "watched", rows, 1000, 2, 2);
            tokio::time::sleep(WATCHED).await;
            let busy = writes(&faults, &account, &from)?;
            let done = users.stop().await?;
            note(&format!(
                "operator under load ({} points written, {} searches): API writes in {} s: {}",
                done.acked.len(),
                done.searches.len(),
                WATCHED.as_secs(),
                told(&busy)
            ));
            is_steady(&quiet).context("while idle")?;
            is_steady(&busy).context("under load")
        })
        .await
}
