//! Where reads of a shard run: on blocking threads, so that a long scan never stalls the network, and only so many at
//! once, so that a burst queues here instead of making every search slow.
//!
//! A search that takes tens of microseconds would take twice as long for being handed to another thread and back. Those
//! that will be short run where they are asked for, of which there are as many at once as threads that drive the network.
//! They are short only while their points are in memory, so that `Pace` sends them to the pool when they turn out not to
//! be.
//!
//! Invariant: at most [`ReadPool::new`]'s number of reads run on the pool and at most [`QUEUE`] wait; the rest are refused at
//! once.

mod pace;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use shoal_shard::Cancel;
use tokio::sync::Semaphore;

use self::pace::Pace;
use crate::clock;

/// Reads that may wait for a turn. A search takes well under a millisecond, so a full queue is a second of work; to
/// let more wait would only answer them after their callers have given up.
pub const QUEUE: usize = 1024;

/// How long the reads of one request may keep a thread that drives the network: a few times what handing them over
/// costs, and too short to be missed by anyone who waits for that thread.
pub const IN_PLACE: Duration = Duration::from_micros(500);

/// A bounded place to run reads.
#[derive(Clone, Debug)]
pub struct ReadPool {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    pace: Arc<Pace>,
}

/// Why a read did not run to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Too many others wait.
    #[error("more than {QUEUE} reads are waiting; retry later, or add shards or CPU")]
    Overloaded,
    /// The process is stopping, or the read panicked (which its thread has logged).
    #[error("the read was cut off; see this process's log")]
    CutOff,
}

impl ReadPool {
    /// A pool that runs this many reads at once.
    pub fn new(concurrency: usize) -> Self {
        let concurrency = concurrency.max(1);
        Self {
            running: Arc::new(Semaphore::new(concurrency)),
            admitted: Arc::new(Semaphore::new(concurrency + QUEUE)),
            pace: Arc::default(),
        }
    }

    /// A pool for this machine. Reads are CPU work but may fault pages in from disk, hence twice the cores.
    pub fn for_this_machine() -> Self {
        Self::new(2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// Runs a read that will be short on this thread; `None` where those are known to be long at the moment.
    pub fn in_place<T>(&self, read: impl FnOnce() -> T) -> Option<Result<T, ReadError>> {
        if !self.pace.allows() {
            return None;
        }
        let start = clock::now();
        // As on the pool, a bug costs this read and no more. What it shares it only looks at.
        let answer = catch_unwind(AssertUnwindSafe(read)).map_err(|_| ReadError::CutOff);
        self.pace.took(start.elapsed());
        Some(answer)
    }

    /// Runs a read. A caller that gives up while its read waits costs nothing more, and one that gives up later cancels
    /// it; the read has to look.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(Cancel) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let _admitted =
            self.admitted.clone().try_acquire_owned().map_err(|_| ReadError::Overloaded)?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| ReadError::CutOff)?;
        let wanted = Wanted(Cancel::default());
        let cancel = wanted.0.clone();
        let task = tokio::task::spawn_blocking(move || {
            let answer = read(cancel);
            // Held until the read ends, not until the caller loses interest: the thread is busy until then.
            drop(running);
            answer
        });
        task.await.map_err(|_| ReadError::CutOff)
    }
}

/// Cancels a read when the future that waits for it is dropped: by a deadline, or because its client went away.
struct Wanted(Cancel);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_serves_again_when_it_drains() {
        let pool = ReadPool::new(1);
        let (release, held) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move |_| held.recv().is_ok()).await }
        });
        let waiting: Vec<_> = (0..QUEUE)
            .map(|n| {
                let pool = pool.clone();
                tokio::spawn(async move { pool.run(move |_| n).await })
            })
            .collect();
        while pool.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|_| ()).await, Err(ReadError::Overloaded));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(true));
        for (n, task) in waiting.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), Ok(n));
        }
        assert_eq!(pool.run(|_| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn a_read_whose_caller_is_gone_ends_and_gives_its_place_back() {
        let pool = ReadPool::new(1);
        let endless = pool.run(|cancel| {
            while !cancel.is_cancelled() {
                std::thread::yield_now();
            }
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), endless).await.is_err());
        assert_eq!(pool.run(|_| 1).await, Ok(1));
    }

    #[test]
    fn a_short_read_runs_on_the_thread_that_asks_and_its_panic_ends_there() {
        let pool = ReadPool::new(1);
        let here = std::thread::current().id();
        assert_eq!(pool.in_place(|| std::thread::current().id()), Some(Ok(here)));
        let broken = pool.in_place(|| panic!("as a bug would"));
        assert_eq!(broken, Some(Err::<(), _>(ReadError::CutOff)));
        assert_eq!(pool.in_place(|| 1), Some(Ok(1)));
    }

    #[tokio::test]
    async fn a_read_that_panics_is_an_error_and_frees_its_place() {
        let pool = ReadPool::new(1);
        assert_eq!(pool.run(|_| panic!("as a bug would")).await, Err::<(), _>(ReadError::CutOff));
        assert_eq!(pool.run(|_| 1).await, Ok(1));
    }
}
