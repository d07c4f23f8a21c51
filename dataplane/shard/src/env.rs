//! The one place where a shard meets the outside that is not its disk: time, randomness, threads, and the end of the
//! process. Everything else takes these as arguments or calls them here, so that a simulation can take their place.

#![cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is the one place"))]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

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
