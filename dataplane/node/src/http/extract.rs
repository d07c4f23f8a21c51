//! A request's body, read with a bound and parsed into its type.
//!
//! Invariant: no more than the limit is ever held of a body, and a long parse never runs on a network thread.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde::de::DeserializeOwned;

use super::AppState;
use super::error::Failure;

/// Bodies up to this size are parsed where they are read: JSON parses at 100 MB/s and more, so this is 2 ms at most.
const PARSE_IN_PLACE: usize = 256 * 1024;

/// Longest wait for a body to arrive: the largest there is over a line of 4 Mbit/s. A client that sends slower than this
/// would hold its place for as long as it likes.
const ARRIVES_WITHIN: Duration = Duration::from_secs(120);

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

/// A JSON body, and how long it was.
pub(super) struct Weighed<T>(pub(super) T, pub(super) usize);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<AppState>> for Weighed<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, Failure> {
        is_json(request.headers())?;
        let body = read(request, state.max_body_bytes).await?;
        let len = body.len();
        if len <= PARSE_IN_PLACE {
            return parse(&body).map(|json| Weighed(json, len));
        }
        let parsed = tokio::task::spawn_blocking(move || parse(&body)).await;
        let json = parsed.map_err(|_| Failure::internal("parsing was cut off"))??;
        Ok(Weighed(json, len))
    }
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<AppState>> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, Failure> {
        let Weighed(json, _) = Weighed::from_request(request, state).await?;
        Ok(Json(json))
    }
}

/// Requires the content type, as Qdrant does: a web page cannot send it across origins unasked, so that no page a
/// user visits can write to a server on their own machine.
fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
    {
        return Ok(());
    }
    Err(Failure::bad_request(
        "Content type error: send the header `Content-Type: application/json`",
    ))
}

async fn read(request: Request, limit: usize) -> Result<Bytes, Failure> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Failure::too_large(limit));
    }
    let arrival = tokio::time::timeout(ARRIVES_WITHIN, to_bytes(request.into_body(), limit));
    let arrived = arrival.await.map_err(|_| Failure::late_body(ARRIVES_WITHIN.as_secs()))?;
    arrived.map_err(|error| {
        // The one error that names a length is the limit's own; all others are the connection's.
        match std::error::Error::source(&error)
            .is_some_and(|e| e.to_string().contains("length limit"))
        {
            true => Failure::too_large(limit),
            false => Failure::bad_request(format!("the body ended early: {error}")),
        }
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(Failure::format)
}
