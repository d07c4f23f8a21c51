//! `POST /collections/{collection_name}/points` and `GET .../points/{id}`: points by their ids.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use shoal_shard::api::{Want, WantPayload, WantVectors};
use shoal_vector::PointId;

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Json;
use super::super::models::limits::MAX_POINTS;
use super::super::models::output::RecordOut;
use super::super::models::want::{WithPayload, WithVector, want};
use super::super::models::{NotYet, refuse};
use super::super::params::{ReadParams, Time};

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Retrieve {
    ids: Vec<PointId>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: NotYet,
}

/// `POST /collections/{collection_name}/points`
pub(in super::super) async fn retrieve(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<ReadParams>,
    Json(body): Json<Retrieve>,
) -> Result<Reply<Vec<RecordOut>>, Failure> {
    let collection = state.router.collection(&name)?;
    refuse(&[("shard_key", &body.shard_key)])?;
    if body.ids.len() > MAX_POINTS {
        return Err(Failure::field(
            "ids",
            format!("{} ids, must be {MAX_POINTS} or fewer", body.ids.len()),
        ));
    }
    let want = want(body.with_payload, true, body.with_vector, &collection.vectors)?;
    let read = async |time: Time| {
        Ok(state.router.retrieve(&collection, &body.ids, &want, time.read()).await?)
    };
    let records = params.run(state.router.deadlines(), read).await?;
    let bytes = records.iter().map(|record| record.parts.bytes()).sum();
    let result = records.into_iter().map(RecordOut::from).collect();
    Ok(Reply::whole(started, result).of_bytes(bytes))
}

/// `GET /collections/{collection_name}/points/{id}`
pub(in super::super) async fn get_one(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path((name, id)): Path<(String, String)>,
    Query(params): Query<ReadParams>,
) -> Result<Reply<RecordOut>, Failure> {
    let collection = state.router.collection(&name)?;
    let id: PointId = id.parse().map_err(Failure::wrong_input)?;
    let want = Want { payload: WantPayload::All, vectors: WantVectors::All };
    let read = async |time: Time| {
        Ok(state.router.retrieve(&collection, &[id], &want, time.read()).await?)
    };
    let record = params
        .run(state.router.deadlines(), read)
        .await?
        .pop()
        .ok_or_else(|| Failure::no_point(id))?;
    Ok(Reply::whole(started, record.into()))
}
