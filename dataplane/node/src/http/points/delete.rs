//! `POST /collections/{collection_name}/points/delete`: removes points by ids or by a filter.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use shoal_vector::Op;

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Json;
use super::super::models::selector::PointsSelector;
use super::super::params::WriteParams;
use super::{UpdateResult, write};

/// `POST /collections/{collection_name}/points/delete`
pub(in super::super) async fn delete(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<PointsSelector>,
) -> Result<Reply<UpdateResult>, Failure> {
    let collection = state.router.collection(&name)?;
    write(&state, started, &params, &collection, Op::Delete(body.into_selector()?)).await
}
