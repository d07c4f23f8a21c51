//! The envelope of every answer: `{"result", "status": "ok", "time"}`, or `{"status": {"error"}, "time"}`.
//!
//! Where shards are missing from an answer, a header and one more member say which; a whole answer has neither. An answer of
//! a replica that may be behind says how far in a header, and where it is further than it should be in that member too.
//!
//! Invariant: no error leaves without an envelope, whoever made it: ours, or the HTTP library's for a bad path.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::Failure;
use crate::clock;
use crate::router::api::{Answer, Lacks};

/// Header that names the shards missing from an answer, separated by commas.
pub const PARTIAL: HeaderName = HeaderName::from_static("x-shoal-partial");
/// Header that says how many milliseconds ago all was in an answer that was acknowledged then; absent where that is so now.
const STALENESS: HeaderName = HeaderName::from_static("x-shoal-staleness-ms");
/// Longest text of an error made elsewhere that is passed on; the HTTP library's are a line.
const MAX_FOREIGN_TEXT: usize = 4096;

/// When the request arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started(Instant);

impl Started {
    pub(super) fn now() -> Self {
        Self(clock::now())
    }

    /// How long ago.
    pub(super) fn elapsed(self) -> Duration {
        clock::now().saturating_duration_since(self.0)
    }

    /// Seconds since.
    fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

impl<S: Sync> FromRequestParts<S> for Started {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_else(Self::now))
    }
}

/// A result on its way into an envelope.
pub(super) struct Reply<T> {
    pub(super) started: Started,
    pub(super) result: T,
    pub(super) lacks: Lacks,
    /// How long it will be, roughly; 0 for short.
    pub(super) bytes: usize,
}

impl<T> Reply<T> {
    pub(super) fn whole(started: Started, result: T) -> Self {
        Self { started, result, lacks: Lacks::default(), bytes: 0 }
    }

    /// What was read.
    pub(super) fn of(started: Started, answer: Answer<T>) -> Self {
        Self { started, result: answer.value, lacks: answer.lacks, bytes: 0 }
    }

    /// The same, known to be about so long.
    pub(super) fn of_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

#[derive(Serialize)]
struct OkEnvelope<'a, T> {
    result: &'a T,
    status: &'static str,
    time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shoal: Option<Shoal<'a>>,
}

/// What Qdrant's envelope has no word for.
#[derive(Serialize)]
struct Shoal<'a> {
    #[serde(flatten)]
    partial: Option<Partial<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

#[derive(Serialize)]
struct Partial<'a> {
    partial: bool,
    missing: &'a [String],
}

impl<'a> Shoal<'a> {
    fn of(lacks: &'a Lacks) -> Option<Self> {
        let missing = lacks.missing.as_slice();
        let partial = (!missing.is_empty()).then_some(Partial { partial: true, missing });
        let stale_ms = lacks.too_stale.then(|| millis(lacks.staleness));
        (partial.is_some() || stale_ms.is_some()).then_some(Self { partial, stale_ms })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct ErrorEnvelope<'a> {
    status: ErrorStatus<'a>,
    time: f64,
}

#[derive(Serialize)]
struct ErrorStatus<'a> {
    error: &'a str,
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let shoal = Shoal::of(&self.lacks);
        let envelope =
            OkEnvelope { result: &self.result, status: "ok", time: self.started.seconds(), shoal };
        let json = shoal_shard::compute(self.bytes, || serde_json::to_vec(&envelope));
        let mut response = match json {
            Ok(json) => as_json(json),
            Err(error) => {
                return Failure::internal(format!("cannot write the answer: {error}"))
                    .into_response();
            }
        };
        // Names of shards are names of Kubernetes objects, so they fit a header; if one ever did not, the body says it.
        if !self.lacks.missing.is_empty()
            && let Ok(names) = HeaderValue::from_str(&self.lacks.missing.join(","))
        {
            response.headers_mut().insert(PARTIAL, names);
        }
        let stale_ms = millis(self.lacks.staleness);
        if stale_ms > 0 {
            response.headers_mut().insert(STALENESS, HeaderValue::from(stale_ms));
        }
        response
    }
}

fn as_json(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Puts errors into their envelope.
pub(super) async fn enclose(mut response: Response, started: Started) -> Response {
    let failure = match response.extensions_mut().remove::<Failure>() {
        Some(failure) => failure,
        None if is_foreign_error(&response) => {
            let (parts, body) = response.into_parts();
            let text = to_bytes(body, MAX_FOREIGN_TEXT).await.unwrap_or_default();
            response = Response::from_parts(parts, Body::empty());
            Failure::other(response.status(), String::from_utf8_lossy(&text).into_owned())
        }
        None => return response,
    };
    log(&failure);
    let envelope =
        ErrorEnvelope { status: ErrorStatus { error: &failure.text }, time: started.seconds() };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Two strings and a number cannot fail to serialise.
    Response::from_parts(parts, Body::from(serde_json::to_vec(&envelope).unwrap_or_default()))
}

/// What is ours to mend is an error; what passes by itself, or needs a larger disk, is a warning; a feature that is not
/// there yet is the client's to know.
fn log(failure: &Failure) {
    match failure.status {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(error = failure.text, "a request failed")
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => {
            tracing::warn!(error = failure.text, "a request was not served");
        }
        _ => {}
    }
}

/// Whether this is an error that did not come from our handlers. Readiness answers plain text by itself.
fn is_foreign_error(response: &Response) -> bool {
    let own = response.extensions().get::<Plain>().is_some();
    !own && (response.status().is_client_error() || response.status().is_server_error())
}

/// Marks an answer that is plain text on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

#[cfg(test)]
mod tests {
    use axum::Router as Routes;
    use axum::extract::{Path, Request};
    use axum::middleware::{self, Next};
    use axum::routing::get;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    async fn ask(path: &str) -> (Response, Value) {
        let partial = |started| Reply {
            started,
            result: 7,
            lacks: Lacks { missing: vec!["c-1".to_owned(), "c-2".to_owned()], ..Lacks::default() },
            bytes: 0,
        };
        let stale = |started, ms, too_stale| Reply {
            lacks: Lacks { staleness: Duration::from_millis(ms), too_stale, ..Lacks::default() },
            ..Reply::whole(started, 7)
        };
        let app = Routes::new()
            .route("/whole", get(|started: Started| async move { Reply::whole(started, 7) }))
            .route("/partial", get(move |started: Started| async move { partial(started) }))
            .route("/behind", get(move |started: Started| async move { stale(started, 40, false) }))
            .route("/stale", get(move |started: Started| async move { stale(started, 9000, true) }))
            .route("/number/{n}", get(|Path(n): Path<u32>| async move { n.to_string() }))
            .layer(middleware::from_fn(async |mut request: Request, next: Next| {
                let started = Started::now();
                request.extensions_mut().insert(started);
                enclose(next.run(request).await, started).await
            }));
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let json = serde_json::from_slice(&body).unwrap();
        (Response::from_parts(parts, Body::empty()), json)
    }

    #[tokio::test]
    async fn a_whole_answer_says_nothing_of_shards() {
        let (response, body) = ask("/whole").await;
        assert!(response.headers().get(PARTIAL).is_none());
        assert!(response.headers().get(STALENESS).is_none());
        assert_eq!(
            (&body["result"], &body["status"], body.get("shoal")),
            (&json!(7), &json!("ok"), None)
        );
        assert!(body["time"].as_f64().is_some_and(|time| (0.0..10.0).contains(&time)), "{body}");
    }

    #[tokio::test]
    async fn a_partial_answer_names_the_missing_shards_in_header_and_body() {
        let (response, body) = ask("/partial").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[PARTIAL], "c-1,c-2");
        assert_eq!(body["shoal"], json!({"partial": true, "missing": ["c-1", "c-2"]}));
        assert_eq!(body["result"], 7);
    }

    #[tokio::test]
    async fn an_answer_says_how_stale_it_is_and_in_its_body_only_where_that_is_too_much() {
        let (response, body) = ask("/behind").await;
        assert_eq!(
            (&response.headers()[STALENESS], body.get("shoal")),
            (&HeaderValue::from(40), None)
        );
        let (response, body) = ask("/stale").await;
        assert_eq!(response.headers()[STALENESS], "9000");
        assert_eq!(body["shoal"], json!({"stale_ms": 9000}));
    }

    #[tokio::test]
    async fn errors_of_the_http_library_get_an_envelope_too() {
        let (response, body) = ask("/number/x").await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert!(body["status"]["error"].as_str().is_some_and(|text| text.contains('x')), "{body}");
        let (response, body) = ask("/nowhere").await;
        assert_eq!(
            (response.status().as_u16(), &body["status"]["error"]),
            (404, &json!("Not Found"))
        );
    }
}
