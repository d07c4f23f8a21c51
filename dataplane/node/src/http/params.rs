//! Query parameters: `wait`, `timeout`, and wishes about consistency: whoever asks for more than one replica gets a read that
//! sees all that was acknowledged.

use std::future::Future;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Query};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::envelope::PARTIAL;
use super::error::Failure;
use crate::clock;
use crate::router::Deadlines;
use crate::router::api::{Consistency, Partial, ReadOptions};

/// Longest `timeout` a client may ask for: an hour. Longer waits are a client that went away.
const MAX_TIMEOUT_SECONDS: u64 = 3600;

/// How much of a client's time is kept for what comes after the shards: merging, and the way back. Without it the client
/// hears nothing when one shard is late, though the others have answered.
const KEPT_MOST: Duration = Duration::from_millis(500);

/// The time a request has: the server's deadlines, and not longer than the client waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    deadlines: Deadlines,
    until: Option<Instant>,
    consistency: Consistency,
    partial: Option<Partial>,
}

impl Time {
    fn new(deadlines: Deadlines, client: Option<Duration>) -> Self {
        let shards = |time: Duration| time - (time / 10).min(KEPT_MOST);
        let until = client.map(|time| clock::now() + shards(time));
        Self { deadlines, until, consistency: Consistency::Any, partial: None }
    }

    /// How reads are to be made that have so long.
    pub(super) fn search(&self, deadline: Duration) -> ReadOptions {
        ReadOptions { consistency: self.consistency, partial: self.partial, ..deadline.into() }
    }

    /// When a search that begins now has to answer with what it has.
    pub(super) fn search_until(&self) -> Instant {
        clock::now() + self.left(self.deadlines.search)
    }

    /// What a read has that begins now and needs every shard.
    pub(super) fn read(&self) -> ReadOptions {
        self.search(self.left(self.deadlines.read))
    }

    /// What a write has that begins now.
    pub(super) fn write(&self) -> Duration {
        self.left(self.deadlines.write)
    }

    fn left(&self, deadline: Duration) -> Duration {
        self.until.map_or(deadline, |until| deadline.min(left_until(until)))
    }
}

/// How long it is from now.
pub(super) fn left_until(until: Instant) -> Duration {
    until.saturating_duration_since(clock::now())
}

/// Parameters of a read, in its path and in a header that clients of Qdrant can be told to send.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadParams {
    query: ReadQuery,
    partial: Option<Partial>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ReadQuery {
    consistency: Option<String>,
    timeout: Option<u64>,
}

impl<S: Send + Sync> FromRequestParts<S> for ReadParams {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let query = Query::<ReadQuery>::from_request_parts(parts, state).await;
        let Query(query) = query.map_err(IntoResponse::into_response)?;
        let partial = parts.headers.get(PARTIAL).map(partial).transpose();
        Ok(Self { query, partial: partial.map_err(IntoResponse::into_response)? })
    }
}

/// What a client says of answers without a shard.
fn partial(header: &HeaderValue) -> Result<Partial, Failure> {
    match header.as_bytes() {
        b"allow" => Ok(Partial::Allow),
        b"refuse" => Ok(Partial::Refuse),
        other => Err(Failure::wrong_input(format!(
            "header {PARTIAL}: unknown value `{}`, expected `allow` or `refuse`",
            String::from_utf8_lossy(other)
        ))),
    }
}

/// Parameters of a write.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct WriteParams {
    wait: Option<bool>,
    ordering: Option<String>,
    timeout: Option<u64>,
}

/// Parameters of creating or deleting a collection.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct CollectionParams {
    timeout: Option<u64>,
}

impl ReadParams {
    /// Runs a read within the client's time, once its other wishes are known to hold.
    pub(super) async fn run<T, F>(
        &self,
        deadlines: Deadlines,
        read: impl FnOnce(Time) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let consistency = match self.query.consistency.as_deref() {
            None | Some("1") => Consistency::Any,
            // All that was acknowledged is on a majority, so whoever sees that sees what any number of replicas would tell.
            Some("majority" | "quorum" | "all") => Consistency::Strong,
            Some(text) => match text.parse::<u64>() {
                Ok(0) => {
                    return Err(Failure::query(
                        "consistency",
                        "value 0 invalid, must be 1 or larger",
                    ));
                }
                Ok(_) => Consistency::Strong,
                Err(_) => {
                    let why = format!(
                        "unknown value `{text}`, expected a number, `majority`, `quorum` or `all`"
                    );
                    return Err(Failure::query("consistency", why));
                }
            },
        };
        let read = |time| read(Time { consistency, partial: self.partial, ..time });
        within(self.query.timeout, deadlines, read).await
    }
}

impl WriteParams {
    /// Whether to answer only once readers see the write.
    pub(super) fn wait(&self) -> bool {
        self.wait.unwrap_or(false)
    }

    /// Runs a write within the client's time, once its other wishes are known to hold.
    pub(super) async fn run<T, F>(
        &self,
        deadlines: Deadlines,
        write: impl FnOnce(Time) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        match self.ordering.as_deref() {
            // Each shard has one log, so writes are always in the strongest order there is.
            None | Some("weak" | "medium" | "strong") => {
                within(self.timeout, deadlines, write).await
            }
            Some(text) => {
                let why = format!("unknown value `{text}`, expected `weak`, `medium` or `strong`");
                Err(Failure::query("ordering", why))
            }
        }
    }
}

impl CollectionParams {
    /// The client's time, or this.
    pub(super) fn timeout_or(&self, default: Duration) -> Result<Duration, Failure> {
        Ok(check(self.timeout)?.map_or(default, Duration::from_secs))
    }
}

fn check(timeout: Option<u64>) -> Result<Option<u64>, Failure> {
    match timeout {
        Some(0) => Err(Failure::query("timeout", "value 0 invalid, must be 1 or larger")),
        Some(n) if n > MAX_TIMEOUT_SECONDS => Err(Failure::query(
            "timeout",
            format!("value {n} invalid, must be {MAX_TIMEOUT_SECONDS} or smaller"),
        )),
        other => Ok(other),
    }
}

async fn within<T, F>(
    timeout: Option<u64>,
    deadlines: Deadlines,
    work: impl FnOnce(Time) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    match check(timeout)? {
        None => work(Time::new(deadlines, None)).await,
        Some(seconds) => {
            let client = Duration::from_secs(seconds);
            let work = work(Time::new(deadlines, Some(client)));
            // The shards' part ends earlier; this is for all that has no deadline of its own.
            let answer = tokio::time::timeout(client, work).await;
            answer.unwrap_or_else(|_| Err(Failure::timeout(seconds)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(consistency: Option<&str>, timeout: Option<u64>) -> ReadParams {
        let query = ReadQuery { consistency: consistency.map(str::to_owned), timeout };
        ReadParams { query, partial: None }
    }

    #[tokio::test]
    async fn who_asks_for_more_than_one_replica_reads_all_that_was_acknowledged() {
        let any = [None, Some("1")].map(|wish| (wish, Consistency::Any));
        let strong = ["2", "majority", "quorum", "all"].map(|w| (Some(w), Consistency::Strong));
        for (wish, expected) in any.into_iter().chain(strong) {
            let seen = async |time: Time| Ok(time.read().consistency);
            assert_eq!(read(wish, None).run(Deadlines::default(), seen).await, Ok(expected));
        }
        for (refused, status) in [("0", 400), ("most", 400)] {
            let failure = read(Some(refused), None)
                .run(Deadlines::default(), async |_| Ok(7))
                .await
                .unwrap_err();
            assert_eq!(failure.status.as_u16(), status);
            assert!(failure.text.contains("consistency"), "{}", failure.text);
        }
        let write = WriteParams { ordering: Some("sideways".into()), ..WriteParams::default() };
        assert!(
            write
                .run(Deadlines::default(), async |_| Ok(()))
                .await
                .unwrap_err()
                .text
                .contains("ordering")
        );
    }

    #[tokio::test]
    async fn a_header_says_what_to_do_without_a_shard() {
        let asked = async |value: Option<&str>| {
            let mut request = axum::http::Request::builder().uri("/?timeout=3");
            if let Some(value) = value {
                request = request.header(PARTIAL, value);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            ReadParams::from_request_parts(&mut parts, &()).await
        };
        let seen = async |time: Time| Ok(time.read().partial);
        for (value, expected) in [
            (None, None),
            (Some("allow"), Some(Partial::Allow)),
            (Some("refuse"), Some(Partial::Refuse)),
        ] {
            let params = asked(value).await.unwrap();
            assert_eq!(params.run(Deadlines::default(), seen).await, Ok(expected));
        }
        assert_eq!(asked(Some("maybe")).await.unwrap_err().status(), 400);
    }

    #[tokio::test]
    async fn a_timeout_is_kept_and_says_that_the_outcome_is_unknown() {
        let never = std::future::pending::<Result<(), Failure>>();
        let failure = read(None, Some(1)).run(Deadlines::default(), |_| never).await.unwrap_err();
        assert_eq!(failure.status.as_u16(), 408);
        assert!(failure.text.contains("may or may not"), "{}", failure.text);
        for wrong in [0, 3601] {
            assert!(
                read(None, Some(wrong))
                    .run(Deadlines::default(), async |_| Ok(()))
                    .await
                    .unwrap_err()
                    .text
                    .contains("timeout")
            );
        }
    }

    #[test]
    fn shards_have_less_time_than_the_client_and_never_more_than_the_servers_deadline() {
        let seconds = Duration::from_secs;
        let deadlines = Deadlines { search: seconds(4), read: seconds(30), write: seconds(60) };
        let own = Time::new(deadlines, None);
        assert_eq!((own.read().deadline, own.write()), (seconds(30), seconds(60)));
        let short = Time::new(deadlines, Some(seconds(1)));
        assert!(
            short.read().deadline <= Duration::from_millis(900)
                && short.write() <= short.read().deadline + seconds(1)
        );
        assert!(left_until(short.search_until()) <= Duration::from_millis(900));
        let long = Time::new(deadlines, Some(seconds(40)));
        assert!(left_until(long.search_until()) <= seconds(4));
        assert_eq!(long.read().deadline, seconds(30));
        assert!(long.write() < seconds(40));
    }
}
