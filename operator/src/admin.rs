//! Health and metrics over HTTP.
//!
//! Invariant: `/livez` depends on nothing but this process.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
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
    let listener = bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address} (--admin-listen): {error}"))?;
    axum::serve(listener, routes(Shared { health, registry })).await?;
    Ok(())
}

/// Binds a port. `[::]`, which is every address of both families, is every IPv4 address where there is no IPv6.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address == SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()))
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_answers_on_ipv4_and_where_there_is_ipv6_on_that() {
        let listener = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("IPv4");
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.expect("IPv6");
        }
    }
}
