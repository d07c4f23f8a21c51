//! The one place where a shard meets the outside that is not its disk: time, randomness, threads, and the end of the
//! process. Everything else takes these as arguments or calls them here, so that a simulation can take their place.

#![cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is the one place"))]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use uuid::Uuid;

/// A random identity, for a disk that is seen for the first time.
pub(crate) fn random_uuid() -> Uuid {
    Uuid::new_v4()
}

/// A point in time to measure from; for figures and for pauses, never for what is right.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Starts a thread whose panic ends the process: a shard whose writer or flusher is gone would accept requests and
/// never answer them, and what it was doing to shared state when it panicked is unknown.
pub(crate) fn spawn_vital(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let named = name.to_owned();
    Builder::new().name(name.to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            fatal(&format!("thread {named} panicked"));
        }
    })
}

/// Starts a thread that the shard can do without; its body answers for its own panics.
pub(crate) fn spawn_helper(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(body)
}

/// Runs work that nobody waits for on one thread of low priority, and waits for it. Whatever it does in parallel stays on
/// that thread.
pub(crate) fn in_background<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let one = || ThreadPoolBuilder::new().num_threads(1);
    at_low_priority(POOL.get_or_init(|| low_priority(one(), "shard-background")), work)
}

/// Runs work on as many threads as there are processors, of low priority, and waits for it: what searches leave over is
/// for it.
pub(crate) fn in_spare_time<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let all = ThreadPoolBuilder::new;
    at_low_priority(POOL.get_or_init(|| low_priority(all(), "shard-flush")), work)
}

/// Runs work in a pool; where there is none, here.
fn at_low_priority<T: Send>(pool: &Option<ThreadPool>, work: impl FnOnce() -> T + Send) -> T {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

fn low_priority(pool: ThreadPoolBuilder, name: &'static str) -> Option<ThreadPool> {
    // On Linux this concerns the calling thread alone. Where it is refused, the thread is as others are.
    let begin = |_| {
        let _ = rustix::process::setpriority_process(None, LOW_PRIORITY);
    };
    pool.thread_name(|_| name.to_owned()).start_handler(begin).build().ok()
}

/// As `nice` counts: a thread of 0 gets nearly ten times as much of a processor that both want, and gets it at once when it
/// wakes. At 5 it still waited for milliseconds.
const LOW_PRIORITY: i32 = 10;

/// Waits for a thread, but not longer than this. Whether it ended.
pub(crate) fn join_within(thread: JoinHandle<()>, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        pause();
    }
    thread.join().is_ok()
}

/// A moment, for a thread that waits for others to be done and that nobody waits for.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

/// What is computed from so many bytes stays on the thread that drives the network: it takes 2 ms at most, at 100 MB/s and
/// more, and to move it would cost small requests more than it spares others.
const IN_PLACE_BYTES: usize = 256 * 1024;

/// Computes something from so many bytes. A long computation lets another thread drive the network meanwhile; the task
/// it belongs to waits.
pub fn compute<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let runtime = || tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor());
    // A runtime of one thread has no other.
    let moves = bytes > IN_PLACE_BYTES
        && runtime().is_ok_and(|flavor| flavor == tokio::runtime::RuntimeFlavor::MultiThread);
    match moves {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}

/// Ends the process at once: memory and disk may disagree, and only reading the disk anew settles that. Nothing that
/// was not answered yet is answered.
pub(crate) fn fatal(reason: &str) -> ! {
    tracing::error!(reason, "the process ends, because a shard can no longer vouch for its data");
    std::process::abort()
}

/// Locks. A panic while the lock was held ends the process elsewhere (see [`spawn_vital`]), so poison says nothing new.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until notified.
pub(crate) fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits until notified, or until the time is up.
pub(crate) fn wait_for<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> MutexGuard<'a, T> {
    changed.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_long_computation_does_not_stop_the_network() {
        let mut one = tokio::runtime::Builder::new_multi_thread();
        let runtime = one.worker_threads(1).build().unwrap();
        let (done, result) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let (begun, computing) = mpsc::channel();
        runtime.spawn(async move {
            let ended = compute(IN_PLACE_BYTES + 1, || {
                let _ = begun.send(());
                held.recv()
            });
            let _ = done.send(ended.is_ok());
        });
        computing.recv().unwrap();
        // The only worker is busy, and still another task of the network runs.
        runtime.spawn(async move { release.send(()) });
        assert_eq!(result.recv_timeout(Duration::from_secs(60)), Ok(true));
    }

    #[test]
    fn a_runtime_of_one_thread_computes_in_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(async { compute(usize::MAX, || 7) }), 7);
        assert_eq!(compute(usize::MAX, || 7), 7);
    }
}
