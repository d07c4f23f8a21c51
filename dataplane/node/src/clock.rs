//! The one place where this crate takes time and randomness from the system; everything else is given them.

#![cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is the one place"))]

use std::time::{Duration, Instant};

/// A point in time to measure from. Never used for safety, only for deadlines and metrics.
pub fn now() -> Instant {
    Instant::now()
}

/// Waits.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A random number, such as the id a client of the log draws when it starts.
pub fn random_u64() -> u64 {
    rand::random()
}

/// A random UUID, such as the name of a folder.
pub fn random_uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
