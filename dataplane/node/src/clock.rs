//! The one place where this crate takes time and randomness from the system; everything else is given them.

#![cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is the one place"))]

use std::time::{Duration, Instant, SystemTime};

/// A point in time to measure from. Never used for safety, only for deadlines and metrics.
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day as milliseconds of Unix time, for people.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Waits.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits on this thread.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Starts a thread whose panic ends the process: what it was doing is unknown then, and others wait for it.
pub fn spawn_vital(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let named = name.to_owned();
    std::thread::Builder::new().name(named.clone()).spawn(move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            tracing::error!(thread = named, "the process ends, because a thread panicked");
            std::process::abort();
        }
    })
}

/// Ends the process at once: only a start finds out what is so.
pub fn fatal(reason: &str) -> ! {
    tracing::error!(reason, "the process ends");
    std::process::abort()
}

/// A random number, such as the id a client of the log draws when it starts.
pub fn random_u64() -> u64 {
    rand::random()
}

/// A random UUID, such as the name of a folder.
pub fn random_uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
