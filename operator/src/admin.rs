//! Health and metrics over HTTP.
//!
//! Invariant: `/livez` depends on nothing but this process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// What the health endpoints tell.
#[derive(Debug)]
pub struct Health {
    ready: AtomicBool,
    waiting_for: RwLock<&'static str>,
}

impl Default for Health {
    fn default() -> Self {
        Self { ready: AtomicBool::new(false), waiting_for: RwLock::new("the API server") }
    }
}

impl Health {
    /// Ready: it acts, or stands by.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// Not ready, and what is missing.
    pub fn set_waiting(&self, what: &'static str) {
        *self.waiting_for.write().unwrap_or_else(PoisonError::into_inner) = what;
        self.ready.store(false, Ordering::SeqCst);
    }

    fn answer(&self) -> Response {
        if self.ready.load(Ordering::SeqCst) {
            return (StatusCode::OK, "ok\n").into_response();
        }
        let what = *self.waiting_for.read().unwrap_or_else(PoisonError::into_inner);
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {what}\n")).into_response()
    }
}

#[derive(Clone)]
struct Shared {
    health: Arc<Health>,
    registry: Arc<Registry>,
}

/// Serves until the process ends.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
    registry: Arc<Registry>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address} (--admin-listen): {error}"))?;
    axum::serve(listener, routes(Shared { health, registry })).await?;
    Ok(())
}

fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|State(shared): State<Shared>| async move { shared.health.answer() }))
        .route(
            "/healthz",
            get(|State(shared): State<Shared>| async move { shared.health.answer() }),
        )
        .route(
            "/metrics",
            get(|State(shared): State<Shared>| async move { metrics(&shared.registry) }),
        )
        .with_state(shared)
}

fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
