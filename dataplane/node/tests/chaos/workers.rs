//! Clients that write and read without end, all on the same few points, so that their ops meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use crate::client::Clients;
use crate::history::Action;

/// Points: few enough that clients meet on them, enough that segments hold some and the log others.
pub(crate) const KEYS: u64 = 24;
const WRITERS: u64 = 4;
const READERS: u64 = 4;
/// Longest pause of a client between two ops, in milliseconds.
const PAUSE_MS: u64 = 30;

/// Clients under way.
pub(crate) struct Workers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(crate) fn start(clients: &Arc<Clients>, replicas: usize, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // Numbers that no two writes of a run share.
        let numbers = Arc::new(AtomicU64::new(1));
        let mut tasks = Vec::new();
        // Client 0 is who reads at the end; as the id of a client 0 means that it has none.
        for client in 1..=WRITERS + READERS {
            let rng = StdRng::seed_from_u64(seed.wrapping_mul(1009).wrapping_add(client));
            let clients = clients.clone();
            let worker = Worker { clients, replicas, client, op: 0, rng, stop: stop.clone() };
            tasks.push(match client <= WRITERS {
                true => tokio::spawn(worker.write(numbers.clone())),
                false => tokio::spawn(worker.read()),
            });
        }
        Self { stop, tasks }
    }

    /// Fails if a client has.
    pub(crate) async fn assert_running(&mut self) {
        for task in &mut self.tasks {
            if task.is_finished() {
                task.await.unwrap();
                panic!("a client ended");
            }
        }
    }

    /// Lets every client finish what it is at.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

struct Worker {
    clients: Arc<Clients>,
    replicas: usize,
    client: u64,
    op: u64,
    rng: StdRng,
    stop: Arc<AtomicBool>,
}

impl Worker {
    async fn write(mut self, numbers: Arc<AtomicU64>) {
        while self.goes_on().await {
            let number = numbers.fetch_add(1, Ordering::SeqCst);
            let action = match self.rng.random_range(0..20) {
                0..12 => Action::Upsert(number),
                12..17 => Action::Merge(number),
                _ => Action::Delete,
            };
            let (key, wait) = (self.rng.random_range(0..KEYS), self.rng.random());
            self.clients.write(key, self.client, self.op, action, wait).await;
        }
    }

    async fn read(mut self) {
        while self.goes_on().await {
            let (key, strong) = (self.rng.random_range(0..KEYS), self.rng.random());
            let first = self.rng.random_range(0..self.replicas);
            self.clients.read(key, self.client, self.op, strong, first).await;
        }
    }

    async fn goes_on(&mut self) -> bool {
        self.op += 1;
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..=PAUSE_MS))).await;
        !self.stop.load(Ordering::SeqCst)
    }
}
