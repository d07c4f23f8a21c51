//! What every story has: a shard of several replicas, clients that write and read throughout, and their history, which is
//! checked at the end.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use shoal_crds::{Shard, VectorCollection, labels};
use shoal_e2e::cluster::{pod_is_ready, until};
use shoal_e2e::figures::note;
use shoal_e2e::history::figures::{Injected, report, stalls};
use shoal_e2e::history::over_http::OverHttp;
use shoal_e2e::history::workers::{KEYS, Points, Workers};
use shoal_e2e::history::{CutOff, History, check};
use shoal_e2e::namespace::{Namespace, RouterClient};

use crate::START;

/// Longest pause of a client between two ops.
const PAUSE: Duration = Duration::from_millis(60);
/// Name of the collection.
pub(crate) const NAME: &str = "story";
/// As a client in the history, who is on a node that is cut off; all others are 0.
pub(crate) const CUT_OFF: usize = 1;

/// See the module's comment.
pub(crate) struct Story {
    pub(crate) namespace: Namespace,
    pub(crate) router: RouterClient,
    pub(crate) history: Arc<History>,
    name: String,
    points: Arc<OverHttp>,
    workers: Workers,
    faults: Vec<Injected>,
}

/// A collection of one shard with so many replicas.
pub(crate) fn replicated(replicas: u32) -> Result<VectorCollection> {
    let yaml = json!({
        "apiVersion": "shoal.dev/v1alpha1",
        "kind": "VectorCollection",
        "metadata": {"name": NAME},
        "spec": {
            "vectors": [{"size": 2, "distance": "Euclid"}],
            "replication": {"replicas": replicas},
            "failover": {"budget": "5s", "nodeLossGrace": "1m"},
            "router": {"minReplicas": 3},
            "storage": {"size": "100Mi"},
            "deletionPolicy": "Delete",
        },
    });
    Ok(serde_json::from_value(yaml)?)
}

impl Story {
    /// Clients of a shard of so many replicas are under way, and some of their writes are acked.
    pub(crate) async fn begin(namespace: &Namespace, name: &str, replicas: u32) -> Result<Self> {
        let router = crate::serve(namespace, &replicated(replicas)?).await?;
        let folder =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-logs/histories");
        std::fs::create_dir_all(&folder)?;
        let history = Arc::new(History::new(&folder.join(format!("{name}.jsonl"))));
        let points = OverHttp::new(router.client.clone(), NAME, 0, history.clone());
        let seed = rand::random();
        history.remark(&format!("seed of the clients: {seed}"));
        let workers = Workers::start(&points, PAUSE, seed);
        let (namespace, name) = (namespace.clone(), name.to_owned());
        let story = Self { namespace, router, history, name, points, workers, faults: Vec::new() };
        story.acks(50).await?;
        Ok(story)
    }

    /// Takes note that something is done now.
    pub(crate) fn does(&mut self, what: &str) {
        let at = self.history.now();
        self.history.fault(at, what);
        self.faults.push(Injected { what: what.to_owned(), at });
    }

    /// Waits until a write is acked that was sent after the last thing that was done.
    pub(crate) async fn writes_go_on(&self) -> Result<()> {
        let at = self.faults.last().map_or(0, |fault| fault.at);
        until("writes to go on", START, || async { Ok(self.history.acked_since(at).then_some(())) })
            .await
    }

    /// The epoch that the register is at.
    pub(crate) async fn epoch(&self) -> Result<u64> {
        let register = self.shard().await?.status.unwrap_or_default().register;
        Ok(register.context("no register")?.epoch.parse()?)
    }

    /// Waits until somebody was elected after this epoch, and writes go on.
    pub(crate) async fn elected_after(&self, epoch: u64) -> Result<()> {
        until(&format!("an epoch after {epoch}"), START, || async {
            let now = self.epoch().await?;
            ensure!(now > epoch, "it is {now}");
            Ok(Some(()))
        })
        .await?;
        self.primary().await?;
        self.writes_go_on().await
    }

    /// Waits until so many more writes are acked.
    pub(crate) async fn acks(&self, more: u64) -> Result<()> {
        let enough = self.history.acks() + more;
        until(&format!("{more} more acks"), START, || async {
            Ok((self.history.acks() >= enough).then_some(()))
        })
        .await
    }

    /// The Shard as the API server has it.
    pub(crate) async fn shard(&self) -> Result<Shard> {
        Ok(self.namespace.api().get(&labels::shard_name(NAME, 0)).await?)
    }

    /// Name of the replica that leads, and its pod.
    pub(crate) async fn primary(&self) -> Result<(String, String)> {
        let (name, pod) = until("a primary", START, || async {
            let status = self.shard().await?.status.unwrap_or_default();
            let disk =
                status.register.and_then(|register| register.primary).context("none")?.disk_id;
            let replica = status.replicas.into_iter().find(|replica| replica.disk_id == disk);
            let name = replica.context("a primary that says nothing of itself")?.name;
            Ok(Some((name.clone(), pod_of(&name))))
        })
        .await?;
        self.history.remark(&format!("{name} leads"));
        Ok((name, pod))
    }

    /// The node a pod runs on.
    pub(crate) async fn node_of(&self, pod: &str) -> Result<String> {
        let pod = self.namespace.api::<Pod>().get(pod).await?;
        pod.spec.and_then(|spec| spec.node_name).context("a pod that runs nowhere")
    }

    /// Waits until all replicas that are to be there vote and are ready.
    pub(crate) async fn whole(&self) -> Result<()> {
        let what = "all replicas to vote and to be ready";
        until(what, 2 * START, || async {
            let shard = self.shard().await?;
            let status = shard.status.unwrap_or_default();
            let register = status.register.context("no register")?;
            let named = |disk: &String| {
                let replica = status.replicas.iter().find(|replica| &replica.disk_id == disk);
                replica.map(|replica| replica.name.clone())
            };
            let mut voters: Vec<_> = register.members.voters.iter().filter_map(named).collect();
            voters.sort();
            let mut names = shard.spec.replica_names.clone();
            names.sort();
            ensure!(voters == names, "{voters:?} vote of {names:?}");
            for name in &names {
                let pod = self.namespace.api::<Pod>().get(&pod_of(name)).await?;
                ensure!(pod_is_ready(&pod), "{name} is not ready");
            }
            Ok(Some(()))
        })
        .await?;
        self.namespace.ready(NAME, 2 * START).await.map(drop)
    }

    /// Takes note of the time in which a node was cut off, and what its clients were told.
    pub(crate) fn was_cut_off(&self, from: u64, to: u64) {
        self.history.cut_off(CutOff { replica: CUT_OFF, from, to });
    }

    /// Lets the clients end, reads every point once more, and checks all of it. Writes must never have stood
    /// still for longer than `budget`.
    pub(crate) async fn end(self, budget: Duration) -> Result<()> {
        self.workers.stop().await;
        for key in 0..KEYS {
            let read = self.points.read(key, 0, key, true, 0).await;
            ensure!(read.is_some(), "point {key} could not be read at the end");
        }
        let (records, cut_off) = self.history.finish();
        let verdict = check::check(&records, &cut_off);
        // Who is cut off is not to be answered.
        let (records, there): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| record.by != CUT_OFF);
        let stalls = stalls(&self.faults, &records);
        for line in report(&self.name, &stalls, &records, &verdict).lines() {
            note(line);
        }
        note(&format!("{}: attempts of reads that failed {}", self.name, self.points.repeated()));
        if !cut_off.is_empty() {
            note(&format!("{}: asked of who was cut off {}", self.name, there.len()));
        }
        let path = self.history.path().display();
        ensure!(verdict.lost == 0, "{} acked writes are lost: see {path}", verdict.lost);
        ensure!(verdict.violations.is_empty(), "{:#?}: see {path}", verdict.violations);
        let reads = records.iter().filter(|record| !record.action.is_write());
        let (all, failed) = reads.fold((0, 0), |(all, failed), read| {
            (all + 1, failed + u64::from(read.outcome == shoal_e2e::history::Outcome::NotDone))
        });
        ensure!(failed * 1000 <= all, "{failed} of {all} reads failed: see {path}");
        for (what, times) in stalls {
            ensure!(
                times.max() <= budget,
                "no write was acked for {:?} after: {what}",
                times.max()
            );
        }
        Ok(())
    }
}

/// The pod of a replica.
pub(crate) fn pod_of(replica: &str) -> String {
    format!("{}-{replica}-0", labels::shard_name(NAME, 0))
}

/// Runs one story of three replicas in a namespace of its own, if faults can be made here.
pub(crate) async fn tell<F, Fut>(name: &str, story: F) -> Result<()>
where
    F: FnOnce(Story, shoal_e2e::faults::Faults) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    tell_of(name, 3, story).await
}

/// The same of so many replicas at the beginning.
pub(crate) async fn tell_of<F, Fut>(name: &str, replicas: u32, story: F) -> Result<()>
where
    F: FnOnce(Story, shoal_e2e::faults::Faults) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let cluster = shoal_e2e::cluster::Cluster::connect().await?;
    let Some(faults) = crate::faults_or_skip(&cluster, name) else { return Ok(()) };
    let told = |namespace: Namespace| async move {
        let begun = Story::begin(&namespace, name, replicas).await?;
        story(begun, faults).await
    };
    match cluster.with_namespace(name, told).await {
        Ok(()) => Ok(()),
        Err(error) => bail!("{name}: {error:#}"),
    }
}
