//! Collections: listing, making, describing and removing them.

mod create;
mod index;
mod info;

use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, put};
use serde::Serialize;

use super::AppState;
use super::envelope::{Reply, Started};
use super::error::Failure;
use super::extract::Json;
use super::params::CollectionParams;
use crate::router::api::{Lacks, RouteError};
use create::CreateBody;
use info::CollectionInfoOut;

/// How long to wait for a new collection to serve unless asked otherwise: on a cluster its pods have to start, and an
/// image may have to be pulled.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
/// Greatest length of a name, as in Qdrant.
const MAX_NAME: usize = 255;
/// What a name may not contain, as in Qdrant; control characters besides.
const FORBIDDEN: [char; 9] = ['<', '>', ':', '"', '/', '\\', '|', '?', '*'];

/// Paths under `/collections`, but for points.
pub(super) fn routes() -> Routes<Arc<AppState>> {
    Routes::new()
        .route("/collections", get(list))
        .route("/collections/{collection_name}", get(describe).put(make).delete(remove))
        .route("/collections/{collection_name}/exists", get(exists))
        .route("/collections/{collection_name}/index", put(index::make))
        .route("/collections/{collection_name}/index/{field_name}", delete(index::remove))
}

#[derive(Serialize)]
struct CollectionsResponse {
    collections: Vec<CollectionDescription>,
}

#[derive(Serialize)]
struct CollectionDescription {
    name: String,
}

#[derive(Serialize)]
struct CollectionExistence {
    exists: bool,
}

/// `GET /collections`
async fn list(
    started: Started,
    State(state): State<Arc<AppState>>,
) -> Result<Reply<CollectionsResponse>, Failure> {
    let names = state.router.list()?.into_iter();
    let collections = names.map(|name| CollectionDescription { name }).collect();
    Ok(Reply::whole(started, CollectionsResponse { collections }))
}

/// `GET /collections/{collection_name}/exists`
async fn exists(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
) -> Result<Reply<CollectionExistence>, Failure> {
    let exists = match state.router.collection(&name) {
        Ok(_) => true,
        Err(RouteError::NoCollection(_)) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(Reply::whole(started, CollectionExistence { exists }))
}

/// `GET /collections/{collection_name}`
async fn describe(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
) -> Result<Reply<CollectionInfoOut>, Failure> {
    let collection = state.router.collection(&name)?;
    let info = state.router.info(&collection).await?;
    let result = CollectionInfoOut::new(&collection, &info);
    let lacks = Lacks { missing: info.missing, ..Lacks::default() };
    Ok(Reply { started, result, lacks, bytes: 0 })
}

/// `PUT /collections/{collection_name}`
async fn make(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<CollectionParams>,
    Json(body): Json<CreateBody>,
) -> Result<Reply<bool>, Failure> {
    check_name(&name)?;
    let request = body.into_request(name, params.timeout_or(CREATE_TIMEOUT)?)?;
    let router = state.router.clone();
    to_the_end(async move { router.create(request).await.map(|()| true) })
        .await
        .map(|made| Reply::whole(started, made))
}

/// `DELETE /collections/{collection_name}`
async fn remove(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<CollectionParams>,
) -> Result<Reply<bool>, Failure> {
    let timeout = params.timeout_or(CREATE_TIMEOUT)?;
    let router = state.router.clone();
    let removal = to_the_end(async move { router.delete(&name).await });
    match tokio::time::timeout(timeout, removal).await {
        Ok(removed) => removed.map(|removed| Reply::whole(started, removed)),
        Err(_) => Err(Failure::timeout(timeout.as_secs())),
    }
}

/// Does a change of several steps to its end, also when the client goes away in the middle.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, RouteError>> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Failure::internal("the change was cut off; see the server's log")),
    }
}

/// Checks a new collection's name.
fn check_name(name: &str) -> Result<(), Failure> {
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME {
        let why = format!("value invalid, must be from 1 to {MAX_NAME} characters, got {length}");
        return Err(Failure::path("collection_name", why));
    }
    match name.chars().find(|c| FORBIDDEN.contains(c) || c.is_control()) {
        Some(c) => Err(Failure::path(
            "collection_name",
            format!("collection name cannot contain {c:?} char"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_dialect() {
        for good in ["my_collection", "a", "Wörter", "with space", &"x".repeat(255)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a/b", "a\\b", "a:b", "a\0", "a\n", &"x".repeat(256), &"x".repeat(300)] {
            let failure = check_name(bad).unwrap_err();
            assert_eq!(failure.status.as_u16(), 422);
            assert!(failure.text.contains("collection_name"), "{}", failure.text);
        }
    }
}
