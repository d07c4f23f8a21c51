//! Paths that the dialect has and Shoal does not yet: each answers 501 with the feature's name.
//!
//! Invariant: no path of the dialect's OpenAPI description answers 404; those that are not here are served.

use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::routing::{MethodFilter, on};

use super::AppState;
use super::error::Failure;

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const PUT: MethodFilter = MethodFilter::PUT;
const DELETE: MethodFilter = MethodFilter::DELETE;
const PATCH: MethodFilter = MethodFilter::PATCH;

/// Method, path and feature.
const NOT_YET: [(MethodFilter, &str, &str); 45] = [
    (GET, "/telemetry", "telemetry in JSON (use /metrics)"),
    (GET, "/issues", "listing issues"),
    (DELETE, "/issues", "clearing issues"),
    (GET, "/cluster", "the status of a Qdrant cluster"),
    (GET, "/cluster/telemetry", "telemetry of a Qdrant cluster"),
    (POST, "/cluster/recover", "recovering a peer"),
    (DELETE, "/cluster/peer/{peer_id}", "removing a peer"),
    (GET, "/aliases", "collection aliases"),
    (GET, "/snapshots", "full snapshots"),
    (POST, "/snapshots", "full snapshots"),
    (GET, "/snapshots/{snapshot_name}", "full snapshots"),
    (DELETE, "/snapshots/{snapshot_name}", "full snapshots"),
    (PATCH, "/collections/{collection_name}", "changing a collection's parameters"),
    (GET, "/collections/{collection_name}/aliases", "collection aliases"),
    (GET, "/collections/{collection_name}/cluster", "a collection's place in a Qdrant cluster"),
    (POST, "/collections/{collection_name}/cluster", "moving shards by request"),
    (GET, "/collections/{collection_name}/optimizations", "listing optimizations"),
    (POST, "/collections/{collection_name}/facet", "facet counts"),
    (
        PUT,
        "/collections/{collection_name}/vectors/{vector_name}",
        "adding a vector to a collection",
    ),
    (
        DELETE,
        "/collections/{collection_name}/vectors/{vector_name}",
        "removing a vector from a collection",
    ),
    (GET, "/collections/{collection_name}/shards", "shard keys"),
    (PUT, "/collections/{collection_name}/shards", "shard keys"),
    (POST, "/collections/{collection_name}/shards/delete", "shard keys"),
    (GET, "/collections/{collection_name}/snapshots", "collection snapshots"),
    (POST, "/collections/{collection_name}/snapshots", "collection snapshots"),
    (POST, "/collections/{collection_name}/snapshots/upload", "collection snapshots"),
    (PUT, "/collections/{collection_name}/snapshots/recover", "collection snapshots"),
    (GET, "/collections/{collection_name}/snapshots/{snapshot_name}", "collection snapshots"),
    (DELETE, "/collections/{collection_name}/snapshots/{snapshot_name}", "collection snapshots"),
    (GET, "/collections/{collection_name}/shards/{shard_id}/snapshot", "shard snapshots"),
    (GET, "/collections/{collection_name}/shards/{shard_id}/snapshots", "shard snapshots"),
    (POST, "/collections/{collection_name}/shards/{shard_id}/snapshots", "shard snapshots"),
    (POST, "/collections/{collection_name}/shards/{shard_id}/snapshots/upload", "shard snapshots"),
    (PUT, "/collections/{collection_name}/shards/{shard_id}/snapshots/recover", "shard snapshots"),
    (
        GET,
        "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}",
        "shard snapshots",
    ),
    (
        DELETE,
        "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}",
        "shard snapshots",
    ),
    (POST, "/collections/{collection_name}/points/search/groups", "grouping results"),
    (POST, "/collections/{collection_name}/points/query/groups", "grouping results"),
    (POST, "/collections/{collection_name}/points/search/matrix/pairs", "distance matrices"),
    (POST, "/collections/{collection_name}/points/search/matrix/offsets", "distance matrices"),
    (POST, "/collections/{collection_name}/points/recommend", "recommendation"),
    (POST, "/collections/{collection_name}/points/recommend/batch", "recommendation"),
    (POST, "/collections/{collection_name}/points/recommend/groups", "recommendation"),
    (POST, "/collections/{collection_name}/points/discover", "discovery"),
    (POST, "/collections/{collection_name}/points/discover/batch", "discovery"),
];

/// Adds the paths that answer 501.
pub(super) fn add(routes: Routes<Arc<AppState>>) -> Routes<Arc<AppState>> {
    // A path of its own for `/collections/aliases` would hide a collection of that name from the other methods.
    let routes = routes.route("/collections/{collection_name}", on(POST, aliases));
    NOT_YET.iter().fold(routes, |routes, &(method, path, feature)| {
        routes.route(path, on(method, move || async move { Failure::unsupported(feature) }))
    })
}

/// `POST /collections/aliases`; under any other name the dialect has nothing for this method.
async fn aliases(Path(name): Path<String>) -> Failure {
    match name.as_str() {
        "aliases" => Failure::unsupported("collection aliases"),
        _ => Failure::other(
            StatusCode::METHOD_NOT_ALLOWED,
            "create a collection with PUT".to_owned(),
        ),
    }
}

/// Anything else.
pub(super) async fn no_such_path(request: Request) -> Failure {
    let path = request.uri().path();
    match path.starts_with("/collections/") && (path.ends_with('/') || path.contains("//")) {
        true => Failure::path("collection_name", "value invalid, must be from 1 to 255 characters"),
        false => Failure::no_path(path),
    }
}
