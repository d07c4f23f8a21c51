//! Writers and searchers that run beside a fault, and know what was acknowledged.
//!
//! Invariant: an id is in `acked` only if the server answered that it is durable and visible; ids are never used twice,
//! so that whatever is missing afterwards was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::qdrant::Qdrant;
use crate::sample::Row;

/// Points a writer sends at once.
const BATCH: u64 = 16;

/// What writers and searchers have done so far.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    next_id: AtomicU64,
    acked: Mutex<Vec<u64>>,
    failed_writes: Mutex<Vec<String>>,
    searches: Mutex<Vec<Duration>>,
    failed_searches: Mutex<Vec<String>>,
}

/// A load that runs until it is stopped.
pub struct Load {
    tally: Arc<Tally>,
    tasks: JoinSet<()>,
}

/// What a load did.
#[derive(Debug, Default)]
pub struct Done {
    /// Ids that were acknowledged.
    pub acked: Vec<u64>,
    /// Why writes failed.
    pub failed_writes: Vec<String>,
    /// How long each search that succeeded took.
    pub searches: Vec<Duration>,
    /// Why searches failed; a partial answer is a failure.
    pub failed_searches: Vec<String>,
}

impl Load {
    /// Starts writers and searchers on a collection. Ids begin at `first_id`.
    pub fn start(
        client: &Qdrant,
        collection: &str,
        rows: Arc<Vec<Row>>,
        first_id: u64,
        writers: usize,
        searchers: usize,
    ) -> Self {
        let tally = Arc::new(Tally { next_id: first_id.into(), ..Tally::default() });
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            tasks.spawn(write(tally.clone(), client.clone(), collection.to_owned(), rows.clone()));
        }
        for _ in 0..searchers {
            tasks.spawn(search(tally.clone(), client.clone(), collection.to_owned(), rows.clone()));
        }
        Self { tally, tasks }
    }

    /// How many points were acknowledged so far.
    pub async fn acked(&self) -> usize {
        self.tally.acked.lock().await.len()
    }

    /// Waits until so many more points were acknowledged than now.
    pub async fn wait_for_more(&self, points: usize, limit: Duration) -> Result<()> {
        let (deadline, enough) = (Instant::now() + limit, self.acked().await + points);
        while self.acked().await < enough {
            ensure!(
                Instant::now() < deadline,
                "no {points} more writes were acknowledged within {} s; last failure: {:?}",
                limit.as_secs(),
                self.tally.failed_writes.lock().await.last()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Stops, waits for what is under way, and says what was done.
    pub async fn stop(mut self) -> Result<Done> {
        self.tally.stop.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task?;
        }
        let tally = &self.tally;
        Ok(Done {
            acked: std::mem::take(&mut *tally.acked.lock().await),
            failed_writes: std::mem::take(&mut *tally.failed_writes.lock().await),
            searches: std::mem::take(&mut *tally.searches.lock().await),
            failed_searches: std::mem::take(&mut *tally.failed_searches.lock().await),
        })
    }
}

/// The row an id stands for: rows are used again with new ids.
fn row_of(rows: &[Row], id: u64) -> &Row {
    &rows[(id % rows.len() as u64) as usize]
}

async fn write(tally: Arc<Tally>, client: Qdrant, collection: String, rows: Arc<Vec<Row>>) {
    while !tally.stop.load(Ordering::Relaxed) {
        let first = tally.next_id.fetch_add(BATCH, Ordering::Relaxed);
        let batch: Vec<_> = (first..first + BATCH).map(|id| (id, row_of(&rows, id))).collect();
        match client.upsert(&collection, &batch).await {
            Ok(_) => tally.acked.lock().await.extend(first..first + BATCH),
            Err(error) => {
                tally.failed_writes.lock().await.push(error.to_string());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn search(tally: Arc<Tally>, client: Qdrant, collection: String, rows: Arc<Vec<Row>>) {
    let mut id = 0;
    while !tally.stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        id += 1;
        let failed = match client.nearest(&collection, &row_of(&rows, id).vector, 10, false).await {
            Ok(answer) if answer.missing().is_empty() => {
                tally.searches.lock().await.push(began.elapsed());
                None
            }
            Ok(answer) => Some(format!("missing {}", answer.missing().join(", "))),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = failed {
            tally.failed_searches.lock().await.push(why);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
