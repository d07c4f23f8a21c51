//! A watch that is begun anew, with a list, after whatever ended it.
//!
//! Why: a watch that goes on from the version that it saw last sees nothing for a long time where the store behind the API
//! server was restored to a backup, as its versions begin again from there.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::Instant;

/// First and longest pause before it is begun again: a router that starts while the API restarts must not be late by half
/// a minute.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What the streams that `begin` makes say, one after another. Never ends. Needs a tokio runtime.
pub fn renewed<S, T, E>(begin: impl Fn() -> S) -> impl Stream<Item = Result<T, E>>
where
    S: Stream<Item = Result<T, E>>,
{
    let current: Option<Pin<Box<S>>> = None;
    let first = (current, begin, PAUSES.0, Instant::now());
    futures::stream::unfold(first, |(mut current, begin, mut pause, mut began)| async move {
        loop {
            let stream = current.get_or_insert_with(|| {
                began = Instant::now();
                Box::pin(begin())
            });
            let item = stream.next().await;
            if matches!(item, Some(Ok(_))) {
                return Some((item?, (current, begin, pause, began)));
            }
            current = None;
            // One that lasted was no attempt that failed.
            if Instant::now().duration_since(began) > 2 * PAUSES.1 {
                pause = PAUSES.0;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSES.1);
            if let Some(error) = item {
                return Some((error, (current, begin, pause, began)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_an_error_or_an_end_it_begins_again() {
        let begun = AtomicU32::new(0);
        let stream = renewed(|| {
            let all = match begun.fetch_add(1, Ordering::Relaxed) {
                0 => vec![Ok(1), Err("gone"), Ok(2)],
                1 => vec![Ok(3)],
                _ => vec![Ok(4), Ok(5)],
            };
            futures::stream::iter(all)
        });
        let said: Vec<Result<i32, &str>> = stream.take(5).collect().await;
        assert_eq!(said, [Ok(1), Err("gone"), Ok(3), Ok(4), Ok(5)]);
        assert_eq!(begun.into_inner(), 3);
    }
}
