//! `POST /collections/{collection_name}/points/count`: how many points match.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Json;
use super::super::models::{NotYet, filter, refuse};
use super::super::params::ReadParams;
use crate::http::models::distinct;

/// The body. `exact` is read and has no effect: counts are always exact.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Count {
    #[serde(default, deserialize_with = "distinct::optional")]
    filter: Option<Value>,
    #[serde(rename = "exact")]
    _exact: Option<bool>,
    shard_key: NotYet,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(in super::super) struct CountResult {
    count: u64,
}

/// `POST /collections/{collection_name}/points/count`
pub(in super::super) async fn count(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    params: ReadParams,
    Json(body): Json<Count>,
) -> Result<Reply<CountResult>, Failure> {
    let collection = state.router.collection(&name)?;
    refuse(&[("shard_key", &body.shard_key)])?;
    let filter = filter(body.filter.as_ref())?;
    let answer = params
        .run(state.router.deadlines(), async |time| {
            Ok(state.router.count(&collection, filter, time.read()).await?)
        })
        .await?;
    Ok(Reply::of(started, answer.map(|count| CountResult { count })))
}
