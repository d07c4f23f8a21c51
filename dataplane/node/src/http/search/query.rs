//! `POST /collections/{collection_name}/points/query`: the dialect's universal search. Its nearest form is there.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
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

/// Results unless asked otherwise.
const DEFAULT_LIMIT: usize = 10;

/// Queries other than the nearest, by the key that tells them.
const NOT_YET: [&str; 10] = [
    "recommend",
    "discover",
    "context",
    "order_by",
    "fusion",
    "rrf",
    "formula",
    "sample",
    "relevance_feedback",
    "mmr",
];

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct QueryBody {
    query: Option<VectorLike>,
    prefetch: Option<Value>,
    using: Option<String>,
    #[serde(default, deserialize_with = "distinct::optional")]
    filter: Option<Value>,
    params: Option<SearchParams>,
    score_threshold: Option<f32>,
    limit: Option<usize>,
    offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    with_payload: Option<WithPayload>,
    lookup_from: NotYet,
    shard_key: NotYet,
}

/// Several.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct QueryBatch {
    searches: Vec<QueryBody>,
}

/// The answer of one.
#[derive(Debug, Serialize)]
pub(in super::super) struct QueryResponse {
    points: Vec<ScoredOut>,
}

impl QueryBody {
    fn into_nearest(self, collection: &Collection) -> Result<Nearest, Failure> {
        refuse(&[("lookup_from", &self.lookup_from), ("shard_key", &self.shard_key)])?;
        if self
            .prefetch
            .is_some_and(|prefetch| prefetch.as_array().is_none_or(|list| !list.is_empty()))
        {
            return Err(Failure::unsupported("`prefetch`"));
        }
        let using = self.using.unwrap_or_default();
        vector::named(Known::from(collection), &using)?;
        let query = self
            .query
            .ok_or_else(|| Failure::unsupported("a query without `query` (use `scroll`)"))?;
        let effort = self.params.unwrap_or_default().effort()?;
        Ok(Nearest {
            to: read_query(query, &using, collection)?,
            using,
            filter: filter(self.filter.as_ref())?,
            limit: limits::limit(self.limit, DEFAULT_LIMIT)?,
            offset: self.offset.unwrap_or(0),
            effort,
            score_threshold: threshold(self.score_threshold)?,
            want: want(self.with_payload, false, self.with_vector, Known::from(collection))?,
        })
    }
}

/// A vector, a point's id, or either under `nearest`.
fn read_query(query: VectorLike, using: &str, collection: &Collection) -> Result<Target, Failure> {
    let VectorLike::Object(members) = query else { return read_nearest(query, using, collection) };
    // `{"nearest": .., "mmr": null}` is a plain search.
    let asked = |(key, like): &&(String, VectorLike)| {
        NOT_YET.contains(&key.as_str()) && *like != VectorLike::Null
    };
    if let Some((name, _)) = members.iter().find(asked) {
        return Err(Failure::unsupported(format!("a `{name}` query")));
    }
    if !members.iter().any(|(key, _)| key == "nearest") {
        return read_nearest(VectorLike::Object(members), using, collection);
    }
    if let Some((key, _)) = members.iter().find(|(key, _)| key != "nearest" && key != "mmr") {
        return Err(Failure::format(format!("query: unknown field `{key}`, expected `nearest`")));
    }
    let mut nearest = members.into_iter().filter(|(key, _)| key == "nearest");
    match (nearest.next(), nearest.next()) {
        (Some((_, like)), None) => read_nearest(like, using, collection),
        _ => Err(Failure::format("query: duplicate field `nearest`")),
    }
}

fn read_nearest(like: VectorLike, using: &str, collection: &Collection) -> Result<Target, Failure> {
    if let Some(id) = like.as_id() {
        return Ok(Target::Point(id));
    }
    if let VectorLike::Text(text) = &like {
        return Err(Failure::format(shoal_vector::id::InvalidId(text.clone())));
    }
    target(collection, using, like.into_either("query")?)
}

/// `POST /collections/{collection_name}/points/query`
pub(in super::super) async fn one(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    params: ReadParams,
    Json(body): Json<QueryBody>,
) -> Result<Reply<QueryResponse>, Failure> {
    let collection = state.router.collection(&name)?;
    let search = body.into_nearest(&collection)?;
    let answer =
        params.run(state.router.deadlines(), |time| run(&state, &collection, search, time)).await?;
    Ok(answer.reply(started, |points| QueryResponse { points }))
}

/// `POST /collections/{collection_name}/points/query/batch`
pub(in super::super) async fn batch(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    params: ReadParams,
    Json(body): Json<QueryBatch>,
) -> Result<Reply<Vec<QueryResponse>>, Failure> {
    let collection = state.router.collection(&name)?;
    check_batch(&body.searches)?;
    let searches: Result<Vec<_>, _> =
        body.searches.into_iter().map(|one| one.into_nearest(&collection)).collect();
    let searches = searches?;
    let answer = params
        .run(state.router.deadlines(), |time| run_all(&state, &collection, searches, time))
        .await?;
    let each = |points| QueryResponse { points };
    Ok(answer.reply(started, |answers| answers.into_iter().map(each).collect()))
}
