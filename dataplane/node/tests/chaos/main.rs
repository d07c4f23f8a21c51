//! Real processes under faults, and clients whose history is checked: nothing acked is lost, strong reads and writes are
//! linearizable, and no replica answers alone for all.
//!
//! `SHOAL_CHAOS_ROUNDS` sets the number of faults, `SHOAL_CHAOS_SEED` draws the same ones again, `SHOAL_CHAOS_WIPES=1`
//! wipes disks as well, with `SHOAL_CHAOS_ONLY=KillPrimary` (or another of the names in `faults.rs`) every fault is that one. The
//! folder of a run holds the history, and the logs and disks of a run that failed.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod client;
#[cfg(test)]
mod client_tests;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod faults;
mod processes;
mod proxy;
mod register;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::Cluster;
use faults::{Fault, Round};
use rand::SeedableRng;
use rand::rngs::StdRng;
use shoal_e2e::history::workers::Workers;
use shoal_e2e::history::{check, figures};

/// Rounds where nothing else is said: a few, for a run of all tests.
const ROUNDS: u64 = 4;
/// Longest pause of a client between two ops.
const PAUSE: Duration = Duration::from_millis(30);

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

fn seed() -> u64 {
    let drawn = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    setting("SHOAL_CHAOS_SEED").unwrap_or_else(drawn)
}

/// A cluster under the load of its clients.
struct Run {
    seed: u64,
    cluster: Cluster,
    workers: Workers,
    rounds: Vec<Round>,
    wrong: Vec<String>,
}

impl Run {
    async fn start(name: &str, replicas: usize) -> Self {
        let seed = seed();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{name}-{seed}"));
        println!("SHOAL_CHAOS_SEED={seed}: {replicas} replicas, in {}", folder.display());
        let cluster = Cluster::start(&folder, replicas).await;
        let workers = Workers::start(&cluster.clients, PAUSE, seed);
        let mut wrong = Vec::new();
        if !cluster.acks_since(0).await {
            wrong.push("no write was acked at all".to_owned());
        }
        Self { seed, cluster, workers, rounds: Vec::new(), wrong }
    }

    /// Faults, one after another, until something is wrong: what has ended by itself will not go on after the next.
    async fn faults(&mut self, rounds: u64) {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let wipes = setting("SHOAL_CHAOS_WIPES") == Some(1);
        let only = std::env::var("SHOAL_CHAOS_ONLY").ok().filter(|name| !name.is_empty());
        let only =
            only.map(|name| Fault::named(&name).unwrap_or_else(|| panic!("no fault {name}")));
        for number in 0..rounds {
            if !self.wrong.is_empty() {
                return;
            }
            let drawn = Fault::draw(&mut rng, self.cluster.count(), wipes);
            let fault = only.unwrap_or(drawn);
            println!("round {number}: {fault:?}");
            let round = faults::round(&mut self.cluster, fault, &mut rng).await;
            self.wrong.extend(round.stalled.clone());
            self.wrong.extend(self.cluster.ended());
            self.rounds.push(round);
            self.workers.assert_running().await;
        }
    }

    /// Lets everything come to rest, and checks it: acked writes that were lost, and all that is wrong.
    async fn finish(mut self) -> (u64, Vec<String>) {
        self.workers.stop().await;
        self.wrong.extend(self.cluster.settle().await);
        self.wrong.extend(self.cluster.differed());
        let (records, cut_off) = self.cluster.clients.history.finish();
        let verdict = check::check(&records, &cut_off);
        let lost = verdict.lost;
        self.wrong.extend(verdict.violations.clone());
        for line in &self.wrong {
            println!("WRONG: {line}");
        }
        println!("history: {}", self.cluster.clients.history.path().display());
        let faults: Vec<_> = self.rounds.iter().map(Round::injected).collect();
        println!(
            "{}",
            figures::report("chaos", &figures::resumed(&faults, &records), &records, &verdict)
        );
        if lost == 0 && self.wrong.is_empty() {
            self.cluster.clean();
        }
        (lost, self.wrong)
    }
}

async fn nothing_is_lost(name: &str, replicas: usize) {
    let mut run = Run::start(name, replicas).await;
    let seed = run.seed;
    run.faults(setting("SHOAL_CHAOS_ROUNDS").unwrap_or(ROUNDS)).await;
    let (lost, wrong) = run.finish().await;
    assert!(lost == 0 && wrong.is_empty(), "SHOAL_CHAOS_SEED={seed}, {lost} lost: {wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_shard_loses_nothing_that_it_acked() {
    nothing_is_lost("lone", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_lose_nothing_that_they_acked() {
    nothing_is_lost("replicas", 3).await;
}

/// What shows that the tests above can fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_disk_is_swapped_for_an_empty_one_is_found_to_have_lost_what_it_acked() {
    let mut run = Run::start("wiped", 1).await;
    // Of most points something is acked by then.
    assert!(run.cluster.acks_more(100).await);
    let shard = &mut run.cluster.replicas[0];
    shard.kill();
    shard.wipe();
    shard.start();
    let now = run.cluster.clients.history.now();
    assert!(run.cluster.acks_since(now).await);
    let folder = run.cluster.clients.history.path().parent().unwrap().to_owned();
    let (lost, wrong) = run.finish().await;
    assert!(lost > 0 && wrong.iter().any(|line| line.contains("is not linearizable")), "{wrong:?}");
    std::fs::remove_dir_all(folder).unwrap();
}
