//! The replicas of one shard and all lines between them and to their clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Clients;
use crate::disk::Syncs;
use crate::processes::{self, Peers, Replica};
use crate::proxy::{Condition, Proxy};
use crate::register::Register;
use shoal_e2e::history::check;
use shoal_e2e::history::workers::{KEYS, Points};
use shoal_e2e::history::{History, State};

/// `spec.failover.budget` of the shard.
const BUDGET: &str = "5s";
/// How long anything may take that has to come about at some time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    pub(crate) replicas: Vec<Replica>,
    /// From clients to each replica.
    pub(crate) to_clients: Vec<Proxy>,
    /// From one replica to another.
    pub(crate) between: BTreeMap<(usize, usize), Proxy>,
    pub(crate) register: Register,
    pub(crate) clients: Arc<Clients>,
}

impl Cluster {
    /// All of it in an empty folder, started.
    pub(crate) async fn start(folder: &Path, count: usize) -> Self {
        processes::folder(folder);
        let register = Register::new(folder);
        let mut replicas: Vec<Replica> = (0..count).map(|n| Replica::new(folder, n)).collect();
        let (mut between, mut to_clients) = (BTreeMap::new(), Vec::new());
        for (to, replica) in replicas.iter().enumerate() {
            to_clients.push(Proxy::start(replica.address).await);
            for from in (0..count).filter(|from| *from != to) {
                between.insert((from, to), Proxy::start(replica.address).await);
            }
        }
        let names: Vec<String> = replicas.iter().map(|replica| replica.name.clone()).collect();
        for (from, replica) in replicas.iter_mut().enumerate() {
            if count > 1 {
                let others = between.iter().filter(|((caller, _), _)| *caller == from);
                let reached_at = others.map(|((_, to), line)| (names[*to].clone(), line.address()));
                replica.set_peers(Peers {
                    register: register.file.clone(),
                    budget: BUDGET,
                    names: names.clone(),
                    reached_at: reached_at.collect(),
                });
            }
            replica.start();
        }
        let reached: Vec<(SocketAddr, SocketAddr)> = to_clients
            .iter()
            .zip(&replicas)
            .map(|(line, replica)| (line.address(), replica.address))
            .collect();
        let clients = Clients::new(&reached, History::new(&folder.join("history.jsonl")));
        Self { replicas, to_clients, between, register, clients }
    }

    pub(crate) fn count(&self) -> usize {
        self.replicas.len()
    }

    /// Sets all lines from one replica to the others.
    pub(crate) fn outgoing(&self, of: usize, condition: Condition) {
        self.lines(condition, |from, _| from == of);
    }

    /// Sets all lines from the others to one replica.
    pub(crate) fn incoming(&self, of: usize, condition: Condition) {
        self.lines(condition, |_, to| to == of);
    }

    pub(crate) fn lines(&self, condition: Condition, which: impl Fn(usize, usize) -> bool) {
        for ((from, to), line) in &self.between {
            if which(*from, *to) {
                line.set(condition);
            }
        }
    }

    /// Everything as it should be: lines, disks, processes.
    pub(crate) fn heal(&mut self) {
        self.register.let_go();
        for line in self.between.values().chain(&self.to_clients) {
            line.set(Condition::default());
        }
        for replica in &mut self.replicas {
            replica.resume();
            replica.disk_full(false);
            replica.syncs(Syncs::Work);
            replica.start();
        }
    }

    /// Whether a write is acked, in time, that was sent after this moment.
    pub(crate) async fn acks_since(&self, time: u64) -> bool {
        in_time(|| self.clients.history.acked_since(time)).await
    }

    /// Whether so many more writes are acked in time.
    pub(crate) async fn acks_more(&self, count: u64) -> bool {
        let enough = self.clients.history.acks() + count;
        in_time(|| self.clients.history.acks() >= enough).await
    }

    /// Replicas that do not answer reads, even after a while.
    pub(crate) async fn silent(&self) -> Vec<usize> {
        let began = Instant::now();
        loop {
            let mut silent = Vec::new();
            for replica in 0..self.count() {
                if self.clients.holds(replica, &[0], false).await.is_none() {
                    silent.push(replica);
                }
            }
            if silent.is_empty() || began.elapsed() >= PATIENCE {
                return silent;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Processes that ended by themselves.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        self.replicas.iter_mut().filter_map(Replica::ended).collect()
    }

    /// What primaries found to differ among the replicas' points, by their logs.
    pub(crate) fn differed(&self) -> Vec<String> {
        let of = |replica: &Replica| std::fs::read_to_string(replica.log()).unwrap_or_default();
        let logs = self.replicas.iter().map(of).collect::<String>();
        let differ = |line: &&str| {
            line.contains("other points than the") || line.contains("hold different points")
        };
        logs.lines().filter(differ).map(str::to_owned).collect()
    }

    /// Ends the processes and removes their disks; their logs and the history stay.
    pub(crate) fn clean(mut self) {
        for replica in &mut self.replicas {
            replica.kill();
            replica.wipe();
        }
    }

    /// Once all is healed and nobody writes: reads every point, and waits until all replicas hold the same. What differs
    /// after that.
    pub(crate) async fn settle(&self) -> Vec<String> {
        let mut strong: BTreeMap<u64, State> = BTreeMap::new();
        for key in 0..KEYS {
            match self.clients.read(key, 0, key, true, 0).await {
                Some(state) => drop(strong.insert(key, state)),
                None => return vec![format!("point {key} could not be read at the end")],
            }
        }
        let keys: Vec<u64> = (0..KEYS).collect();
        let began = Instant::now();
        loop {
            let mut found = Vec::new();
            for replica in 0..self.count() {
                match self.clients.holds(replica, &keys, false).await {
                    Some(holds) => found.extend(check::differences(&strong, replica, &holds)),
                    None => found.push(format!("replica {replica} does not answer")),
                }
            }
            if found.is_empty() || began.elapsed() >= PATIENCE {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether something comes about in time.
pub(crate) async fn in_time(is: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !is() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    is()
}
