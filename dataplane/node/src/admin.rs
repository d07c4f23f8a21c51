//! Health and metrics, on a port of their own so that probes and scrapes never compete with clients.
//!
//! `/livez` says that the process runs and depends on nothing else; `/readyz` and `/healthz` say whether it serves.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::telemetry::Telemetry;

/// Tells whether the process serves; if not, why.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
struct Admin {
    telemetry: Arc<Telemetry>,
    readiness: Readiness,
}

/// The admin port's routes.
pub fn app(telemetry: Arc<Telemetry>, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin { telemetry, readiness })
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    match (admin.readiness)() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    // Reading shard figures may touch the disk.
    let telemetry = admin.telemetry;
    let text = tokio::task::spawn_blocking(move || telemetry.render()).await.unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
