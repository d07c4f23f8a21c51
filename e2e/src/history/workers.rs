//! Clients that write and read without end, all on the same few points, so that their ops meet.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use super::{Action, State};

/// Points: few enough that clients meet on them, enough that segments hold some and the log others.
pub const KEYS: u64 = 24;
const WRITERS: u64 = 4;
const READERS: u64 = 4;

/// Where points are written and read; what comes of it is put into the history there.
pub trait Points: Send + Sync + 'static {
    /// Writes to one point; `wait` until it is visible.
    fn write(
        &self,
        key: u64,
        client: u64,
        op: u64,
        action: Action,
        wait: bool,
    ) -> impl Future<Output = ()> + Send;

    /// Reads one point; `first` is a number by which to choose whom to ask. What was seen, if there was an answer in time.
    fn read(
        &self,
        key: u64,
        client: u64,
        op: u64,
        strong: bool,
        first: usize,
    ) -> impl Future<Output = Option<State>> + Send;
}

/// Clients under way.
pub struct Workers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts them, each pausing up to `pause` between two ops.
    pub fn start<P: Points>(points: &Arc<P>, pause: Duration, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // Numbers that no two writes of a run share.
        let numbers = Arc::new(AtomicU64::new(1));
        let mut tasks = Vec::new();
        // Client 0 is who reads at the end; as the id of a client 0 means that it has none.
        for client in 1..=WRITERS + READERS {
            let rng = StdRng::seed_from_u64(seed.wrapping_mul(1009).wrapping_add(client));
            let points = points.clone();
            let worker = Worker { points, client, op: 0, rng, pause, stop: stop.clone() };
            tasks.push(match client <= WRITERS {
                true => tokio::spawn(worker.write(numbers.clone())),
                false => tokio::spawn(worker.read()),
            });
        }
        Self { stop, tasks }
    }

    /// Fails if a client has.
    pub async fn assert_running(&mut self) {
        for task in &mut self.tasks {
            if task.is_finished() {
                let ended = task.await;
                panic!("a client ended: {ended:?}");
            }
        }
    }

    /// Lets every client finish what it is at.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            let ended = task.await;
            assert!(ended.is_ok(), "a client ended: {ended:?}");
        }
    }
}

struct Worker<P> {
    points: Arc<P>,
    client: u64,
    op: u64,
    rng: StdRng,
    pause: Duration,
    stop: Arc<AtomicBool>,
}

impl<P: Points> Worker<P> {
    async fn write(mut self, numbers: Arc<AtomicU64>) {
        while self.goes_on().await {
            let number = numbers.fetch_add(1, Ordering::SeqCst);
            let action = match self.rng.random_range(0..20) {
                0..12 => Action::Upsert(number),
                12..17 => Action::Merge(number),
                _ => Action::Delete,
            };
            let (key, wait) = (self.rng.random_range(0..KEYS), self.rng.random());
            self.points.write(key, self.client, self.op, action, wait).await;
        }
    }

    async fn read(mut self) {
        while self.goes_on().await {
            let (key, strong) = (self.rng.random_range(0..KEYS), self.rng.random());
            let first = self.rng.random_range(0..usize::MAX);
            self.points.read(key, self.client, self.op, strong, first).await;
        }
    }

    async fn goes_on(&mut self) -> bool {
        self.op += 1;
        let most = self.pause.as_millis() as u64;
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..=most))).await;
        !self.stop.load(Ordering::SeqCst)
    }
}
