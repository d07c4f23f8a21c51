//! What clients and probes ask of the server itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::envelope::Plain;
use super::error::Failure;
use super::{AppState, DIALECT_VERSION};

/// The first thing a client reads: which version of the dialect it may speak, and with whom.
#[derive(Serialize)]
pub(super) struct About {
    title: &'static str,
    version: &'static str,
    shoal: Own,
}

#[derive(Serialize)]
struct Own {
    version: &'static str,
}

/// `GET /`
pub(super) async fn root() -> Json<About> {
    Json(About {
        title: "shoal - vector search for Kubernetes",
        version: DIALECT_VERSION,
        shoal: Own { version: env!("CARGO_PKG_VERSION") },
    })
}

/// `GET /healthz`, `GET /livez`
pub(super) async fn alive() -> Response {
    plain(StatusCode::OK, "healthz check passed".to_owned())
}

/// `GET /readyz`
pub(super) async fn ready(State(state): State<Arc<AppState>>) -> Response {
    match (state.readiness)() {
        Ok(()) => plain(StatusCode::OK, "all shards are ready".to_owned()),
        Err(why) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, format!("some shards are not ready: {why}"))
        }
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(state): State<Arc<AppState>>) -> Result<Response, Failure> {
    // Reading the figures of shards may touch the disk.
    let text = tokio::task::spawn_blocking(move || state.telemetry.render()).await;
    let text = text.map_err(|_| Failure::internal("metrics were cut off"))?;
    Ok((
        [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        text,
    )
        .into_response())
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response =
        (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
    response.extensions_mut().insert(Plain);
    response
}
