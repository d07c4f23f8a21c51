//! Qdrant's REST dialect, the one HTTP API of the laptop server and of a router.
//!
//! Each path has a file; a body becomes a typed request for the [`Router`], and its answer an envelope. What the dialect
//! has and Shoal does not yet answers 501 with the feature's name: an option that would change the result is never
//! skipped. Start reading at [`app`].
//!
//! Invariant: whatever a client sends, the answer is an envelope; nothing here panics.

mod auth;
mod collections;
mod envelope;
mod error;
mod extract;
mod health;
mod models;
mod params;
mod points;
mod room;
pub mod sample;
mod search;
mod unsupported;

use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::admin::Readiness;
use crate::router::Router;
use crate::telemetry::Telemetry;
use envelope::Started;

pub use auth::ApiKey;
pub use envelope::PARTIAL;
pub use room::BodyRoom;

/// Version of the dialect that is spoken; clients compare it with their own.
pub const DIALECT_VERSION: &str = "1.18.3";
/// Greatest length of a body unless configured, as in Qdrant: 32 MB.
pub const DEFAULT_MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Requests handled at a time; the rest wait their turn. A shard serves at most a few dozen at a time anyway. What their
/// bodies take is bounded by [`BodyRoom`].
const MAX_REQUESTS_AT_ONCE: usize = 1024;

/// What requests are answered from.
pub struct AppState {
    /// Finds collections and asks their shards.
    pub router: Arc<Router>,
    /// The key clients must show; `None` opens everything.
    pub api_key: Option<ApiKey>,
    /// Counts requests, and renders `/metrics`.
    pub telemetry: Arc<Telemetry>,
    /// Answers `/readyz`.
    pub readiness: Readiness,
    /// Greatest length of a body.
    pub max_body_bytes: usize,
    /// How much all bodies together may take.
    pub body_room: BodyRoom,
}

/// All routes of the dialect.
pub fn app(state: Arc<AppState>) -> Routes {
    let routes = Routes::new()
        .route("/", get(health::root))
        .route("/healthz", get(health::alive))
        .route("/livez", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(collections::routes())
        .merge(points_routes());
    unsupported::add(routes)
        .fallback(unsupported::no_such_path)
        .layer(middleware::from_fn_with_state(state.clone(), around))
        .layer(GlobalConcurrencyLimitLayer::new(MAX_REQUESTS_AT_ONCE))
        .with_state(state)
}

fn points_routes() -> Routes<Arc<AppState>> {
    let at = |tail: &str| format!("/collections/{{collection_name}}/points{tail}");
    Routes::new()
        .route(&at(""), put(points::upsert::upsert).post(points::read::retrieve))
        .route(&at("/{id}"), get(points::read::get_one))
        .route(&at("/scroll"), post(points::scroll::scroll))
        .route(&at("/count"), post(points::count::count))
        .route(&at("/delete"), post(points::delete::delete))
        .route(&at("/payload"), post(points::payload::set).put(points::payload::overwrite))
        .route(&at("/payload/delete"), post(points::payload::delete_keys))
        .route(&at("/payload/clear"), post(points::payload::clear))
        .route(&at("/vectors"), put(points::vectors::update))
        .route(&at("/vectors/delete"), post(points::vectors::delete))
        .route(&at("/batch"), post(points::batch::batch))
        .route(&at("/search"), post(search::classic::one))
        .route(&at("/search/batch"), post(search::classic::batch))
        .route(&at("/query"), post(search::query::one))
        .route(&at("/query/batch"), post(search::query::batch))
}

/// What is done around every request. One layer, because each costs a request some copies and boxes.
async fn around(State(state): State<Arc<AppState>>, mut request: Request, next: Next) -> Response {
    let started = Started::now();
    request.extensions_mut().insert(started);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = match auth::require_key(&state, &request) {
        // The room for its body is its own until it is answered.
        Ok(()) => match state.body_room.take(room::announced(&request)).await {
            Ok(_held) => next.run(request).await,
            Err(failure) => failure.into_response(),
        },
        Err(failure) => failure.into_response(),
    };
    let response = envelope::enclose(response, started).await;
    observe(&state, &method, route.as_ref(), &response, started);
    response
}

/// Counts a request under the pattern it matched.
fn observe(
    state: &AppState,
    method: &Method,
    route: Option<&MatchedPath>,
    response: &Response,
    started: Started,
) {
    // Labels must have few values, and a client may invent both paths and methods.
    let route = route.map_or("none", MatchedPath::as_str);
    let method = match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::PATCH
        | Method::HEAD => method.as_str(),
        _ => "other",
    };
    state.telemetry.http.observe(method, route, response.status().as_u16(), started.elapsed());
}
