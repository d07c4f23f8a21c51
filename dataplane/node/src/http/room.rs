//! Room for bodies: how many bytes of large ones may be held at a time.
//!
//! A thousand requests may run at once and each may bring tens of megabytes, so their number alone bounds nothing. A body
//! up to [`FREE`] needs no room: searches never wait for uploads, and a thousand of those are 256 MiB at most.
//!
//! Invariant: room is taken before the first byte is read, for the length announced or else the greatest there may be,
//! and given back when the request is answered.

use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;

/// Bodies up to this size are not counted.
const FREE: usize = 256 * 1024;

/// Bytes of large bodies at a time: eight of the greatest there are by default. Parsed, and encoded for the shards, one
/// takes two or three times as much.
const ROOM: usize = 256 << 20;

/// Longest wait for room. By then a client would rather know.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of one permit.
const UNIT: usize = 1024;

/// See the file's comment. Clones share it.
#[derive(Clone, Debug)]
pub struct BodyRoom {
    limit: usize,
    permits: Arc<Semaphore>,
    patience: Duration,
}

impl BodyRoom {
    /// Room for bodies of which none is longer than this.
    pub fn new(max_body_bytes: usize) -> Self {
        Self::of(ROOM.max(max_body_bytes), max_body_bytes, PATIENCE)
    }

    fn of(bytes: usize, limit: usize, patience: Duration) -> Self {
        Self { limit, permits: Arc::new(Semaphore::new(bytes.div_ceil(UNIT))), patience }
    }

    /// Waits for room for a body, to be held until its request is answered. `None` for one that needs none, or that is too
    /// long to be read at all.
    pub(super) async fn take(
        &self,
        announced: Option<usize>,
    ) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        let bytes = announced.unwrap_or(self.limit);
        if bytes <= FREE || bytes > self.limit {
            return Ok(None);
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let taken = self.permits.clone().acquire_many_owned(units);
        match tokio::time::timeout(self.patience, taken).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            // It is never closed, so this is the wait that ended.
            Ok(Err(_)) | Err(_) => Err(Failure::no_room(self.patience.as_secs())),
        }
    }
}

/// How long the body says it is.
pub(super) fn announced(request: &Request) -> Option<usize> {
    if request.body().is_end_stream() {
        return Some(0);
    }
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> BodyRoom {
        BodyRoom::of(3 << 20, 2 << 20, Duration::from_secs(7))
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_waits_for_room_and_gets_it_when_another_is_done() {
        let room = room();
        let first = room.take(Some(2 << 20)).await.unwrap();
        let second = tokio::spawn({
            let room = room.clone();
            async move { room.take(Some(2 << 20)).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_retry() {
        let room = room();
        // One that does not say how long it is may be as long as allowed.
        let _held = room.take(None).await.unwrap().unwrap();
        let failure = room.take(Some(2 << 20)).await.unwrap_err();
        assert_eq!(failure.status.as_u16(), 503);
        assert!(failure.text.contains("retry"), "{}", failure.text);
    }

    #[tokio::test(start_paused = true)]
    async fn small_bodies_never_wait_and_what_is_too_long_is_not_waited_for() {
        let room = room();
        let _held =
            (room.take(Some(2 << 20)).await.unwrap(), room.take(Some(1 << 20)).await.unwrap());
        assert!(room.take(Some(FREE)).await.unwrap().is_none());
        assert!(room.take(Some(3 << 20)).await.unwrap().is_none());
    }
}
