//! The envelope of every answer: `{"result", "status": "ok", "time"}`, or `{"status": {"error"}, "time"}`.
//!
//! Where shards are missing from an answer, a header and one more member say which; a whole answer has neither.
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

/// Header that names the shards missing from an answer, separated by commas.
pub const PARTIAL: HeaderName = HeaderName::from_static("x-shoal-partial");
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
    /// Shards that had no part in it.
    pub(super) missing: Vec<String>,
    /// How long it will be, roughly; 0 for short.
    pub(super) bytes: usize,
}

impl<T> Reply<T> {
    pub(super) fn whole(started: Started, result: T) -> Self {
        Self { started, result, missing: Vec::new(), bytes: 0 }
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
    shoal: Option<Partial<'a>>,
}

#[derive(Serialize)]
struct Partial<'a> {
    partial: bool,
    missing: &'a [String],
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
        let shoal =
            (!self.missing.is_empty()).then_some(Partial { partial: true, missing: &self.missing });
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
        if !self.missing.is_empty()
            && let Ok(names) = HeaderValue::from_str(&self.missing.join(","))
        {
            response.headers_mut().insert(PARTIAL, names);
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
            missing: vec!["c-1".to_owned(), "c-2".to_owned()],
            bytes: 0,
        };
        let app = Routes::new()
            .route("/whole", get(|started: Started| async move { Reply::whole(started, 7) }))
            .route("/partial", get(move |started: Started| async move { partial(started) }))
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
