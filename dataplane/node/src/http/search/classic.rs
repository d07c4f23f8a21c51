//! `POST /collections/{collection_name}/points/search`: the older form of a nearest search.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::Value;

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Json;
use super::super::models::output::ScoredOut;
use super::super::models::vector::{self, Known, VectorLike};
use super::super::models::want::{WithPayload, WithVector, want};
use super::super::models::{NotYet, filter, limits, refuse};
use super::super::params::ReadParams;
use super::params::{SearchParams, threshold};
use super::{Nearest, Target, check_batch, run, run_all, target};
use crate::http::models::distinct;
use crate::router::Collection;

/// The body. `top` is an older name of `limit`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct SearchBody {
    vector: VectorLike,
    #[serde(alias = "top")]
    limit: usize,
    #[serde(default, deserialize_with = "distinct::optional")]
    filter: Option<Value>,
    params: Option<SearchParams>,
    offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    with_payload: Option<WithPayload>,
    score_threshold: Option<f32>,
    shard_key: NotYet,
}

/// Several.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct SearchBatch {
    searches: Vec<SearchBody>,
}

impl SearchBody {
    fn into_nearest(self, collection: &Collection) -> Result<Nearest, Failure> {
        refuse(&[("shard_key", &self.shard_key)])?;
        let effort = self.params.unwrap_or_default().effort()?;
        let (to, using) = read_vector(self.vector, collection)?;
        Ok(Nearest {
            to,
            using,
            filter: filter(self.filter.as_ref())?,
            limit: limits::limit(Some(self.limit), 0)?,
            offset: self.offset.unwrap_or(0),
            effort,
            score_threshold: threshold(self.score_threshold)?,
            want: want(self.with_payload, false, self.with_vector, Known::from(collection))?,
        })
    }
}

/// A vector, or `{"name": .., "vector": ..}`: what to search with, and by which name.
fn read_vector(like: VectorLike, collection: &Collection) -> Result<(Target, String), Failure> {
    let VectorLike::Object(members) = like else {
        return Ok((
            target(collection, "", VectorLike::into_either(like, "vector")?)?,
            String::new(),
        ));
    };
    let (mut name, mut unnamed) = (None, None);
    for (key, value) in members {
        match (key.as_str(), value) {
            ("name", VectorLike::Text(text)) => name = Some(text),
            ("vector", value) => unnamed = Some(value),
            (other, _) => {
                return Err(Failure::format(format!(
                    "vector: `{other}`: expected {{\"name\": text, \"vector\": list}}"
                )));
            }
        }
    }
    let (Some(name), Some(vector)) = (name, unnamed) else {
        return Err(Failure::format("vector: expected both `name` and `vector`"));
    };
    vector::named(Known::from(collection), &name)?;
    Ok((target(collection, &name, vector.into_either("vector.vector")?)?, name))
}

/// `POST /collections/{collection_name}/points/search`
pub(in super::super) async fn one(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    params: ReadParams,
    Json(body): Json<SearchBody>,
) -> Result<Reply<Vec<ScoredOut>>, Failure> {
    let collection = state.router.collection(&name)?;
    let search = body.into_nearest(&collection)?;
    let answer =
        params.run(state.router.deadlines(), |time| run(&state, &collection, search, time)).await?;
    Ok(answer.reply(started, |points| points))
}

/// `POST /collections/{collection_name}/points/search/batch`
pub(in super::super) async fn batch(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    params: ReadParams,
    Json(body): Json<SearchBatch>,
) -> Result<Reply<Vec<Vec<ScoredOut>>>, Failure> {
    let collection = state.router.collection(&name)?;
    check_batch(&body.searches)?;
    let searches: Result<Vec<_>, _> =
        body.searches.into_iter().map(|one| one.into_nearest(&collection)).collect();
    let searches = searches?;
    let answer = params
        .run(state.router.deadlines(), |time| run_all(&state, &collection, searches, time))
        .await?;
    Ok(answer.reply(started, |points| points))
}
