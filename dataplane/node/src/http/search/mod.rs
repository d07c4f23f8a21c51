//! Finding the nearest points: what both dialect forms, `query` and `search`, come down to.

pub(super) mod classic;
mod params;
pub(super) mod query;

use futures::{StreamExt, TryStreamExt};
use shoal_shard::api::{FoundPoint, SearchRequest, Want, WantVectors, answer_too_long};
use shoal_shard::limits::MAX_ANSWER_BYTES;
use shoal_vector::filter::Condition;
use shoal_vector::{Filter, PointId, SparseVector};

use self::params::Effort;
use super::AppState;
use super::envelope::{Reply, Started};
use super::error::Failure;
use super::models::limits::{MAX_SEARCHES, SEARCHES_AT_ONCE};
use super::models::output::ScoredOut;
use super::models::vector::{self, Either, Known};
use super::params::{Time, left_until};
use crate::router::Collection;
use crate::router::api::{Answer, Lacks, ReadOptions, RouteError};

/// A search, understood and checked, but for the vector of a point that is yet to be read.
#[derive(Debug)]
struct Nearest {
    to: Target,
    /// Name of the vector to compare with.
    using: String,
    filter: Option<Filter>,
    limit: usize,
    offset: usize,
    effort: Effort,
    score_threshold: Option<f32>,
    want: Want,
}

/// What to be near to.
#[derive(Debug, PartialEq)]
enum Target {
    Vector(Vec<f32>),
    Sparse(SparseVector),
    Point(PointId),
}

/// What was found.
struct Found<T> {
    answer: Answer<T>,
    /// How long it is, roughly.
    bytes: usize,
}

impl<T> Found<T> {
    /// The reply, made of what was found.
    fn reply<R>(self, started: Started, result: impl FnOnce(T) -> R) -> Reply<R> {
        Reply::of(started, self.answer.map(result)).of_bytes(self.bytes)
    }
}

/// Runs a search.
async fn run(
    state: &AppState,
    collection: &Collection,
    search: Nearest,
    time: Time,
) -> Result<Found<Vec<ScoredOut>>, Failure> {
    let answer = find(state, collection, search, time, 1).await?;
    let bytes = answer.value.iter().map(|found| found.parts.bytes()).sum();
    Ok(Found {
        answer: answer.map(|found| found.into_iter().map(ScoredOut::from).collect()),
        bytes,
    })
}

/// Runs one of so many searches of a request.
async fn find(
    state: &AppState,
    collection: &Collection,
    search: Nearest,
    time: Time,
    together: usize,
) -> Result<Answer<Vec<FoundPoint>>, Failure> {
    let k = super::models::limits::skip_and_take(search.offset, search.limit)?;
    search.effort.check(k)?;
    // Reading the point it is about is part of a search, and takes from its time.
    let until = time.search_until();
    let (to, filter) = match search.to {
        Target::Point(id) => (
            vector_of(state, collection, id, &search.using, time.search(left_until(until))).await?,
            Some(without(search.filter, id)),
        ),
        Target::Vector(vector) => (whole(Either::Dense(vector)), search.filter),
        Target::Sparse(vector) => (whole(Either::Sparse(vector)), search.filter),
    };
    let Answer { value: to, lacks } = to;
    let (vector, sparse) = match to {
        Either::Dense(vector) => (vector, None),
        Either::Sparse(vector) => (Vec::new(), Some(vector)),
    };
    let request = SearchRequest {
        using: search.using,
        vector,
        sparse,
        filter,
        k,
        ef: search.effort.ef,
        exact: search.effort.exact,
        quantization: search.effort.quantization,
        score_threshold: search.score_threshold,
        want: search.want,
    };
    let options = time.search(left_until(until));
    let mut answer = state.router.search_one_of(together, collection, request, options).await?;
    answer.value.drain(..search.offset.min(answer.value.len()));
    Ok(Answer { lacks: answer.lacks.and(lacks), ..answer })
}

/// What was not read.
fn whole<T>(value: T) -> Answer<T> {
    Answer { value, lacks: Lacks::default() }
}

/// Runs a batch, some at a time, and answers in the order asked. One that fails fails all, as in the dialect. All answers
/// together may be as long as one.
async fn run_all(
    state: &AppState,
    collection: &Collection,
    searches: Vec<Nearest>,
    time: Time,
) -> Result<Found<Vec<Vec<ScoredOut>>>, Failure> {
    let together = searches.len();
    let running = futures::stream::iter(searches)
        .map(|search| find(state, collection, search, time, together));
    let mut running = running.buffered(SEARCHES_AT_ONCE);
    let (mut answers, mut lacks) = (Vec::new(), Lacks::default());
    let mut room = MAX_ANSWER_BYTES;
    while let Some(answer) = running.try_next().await? {
        let bytes = answer.value.iter().map(|found| found.parts.bytes()).sum();
        room = room.checked_sub(bytes).ok_or_else(|| RouteError::from(answer_too_long()))?;
        answers.push(answer.value.into_iter().map(ScoredOut::from).collect());
        lacks = lacks.and(answer.lacks);
    }
    Ok(Found { answer: Answer { value: answers, lacks }, bytes: MAX_ANSWER_BYTES - room })
}

/// Checks the length of a batch.
fn check_batch<T>(searches: &[T]) -> Result<(), Failure> {
    match searches.len() > MAX_SEARCHES {
        true => Err(Failure::field(
            "searches",
            format!("{}, must be {MAX_SEARCHES} or fewer", searches.len()),
        )),
        false => Ok(()),
    }
}

/// The vector of a point that stands for a query, by the name that is searched.
async fn vector_of(
    state: &AppState,
    collection: &Collection,
    id: PointId,
    using: &str,
    options: ReadOptions,
) -> Result<Answer<Either>, Failure> {
    let want = Want { vectors: WantVectors::Named(vec![using.to_owned()]), ..Want::default() };
    let Answer { mut value, lacks } =
        state.router.retrieve(collection, &[id], &want, options).await?;
    let record = value.pop().ok_or_else(|| Failure::no_query_point(id))?;
    let dense = record.parts.vectors.unwrap_or_default().into_iter();
    let dense = dense.map(|(name, vector)| (name, Either::Dense(vector)));
    let sparse = record.parts.sparse.into_iter();
    let mut vectors = dense.chain(sparse.map(|(name, vector)| (name, Either::Sparse(vector))));
    let vector = vectors.find(|(name, _)| name == using).map(|(_, vector)| vector);
    let none = || Failure::wrong_input(format!("Point {id} has no vector named `{using}`"));
    Ok(Answer { value: vector.ok_or_else(none)?, lacks })
}

/// The same filter, and not this point: nothing is nearer to a point than itself, so it is not an answer.
fn without(filter: Option<Filter>, id: PointId) -> Filter {
    let mut filter = filter.unwrap_or_default();
    filter.must_not.push(Condition::HasId(vec![id]));
    filter
}

/// A vector to search those of a name with, checked.
fn target(collection: &Collection, using: &str, vector: Either) -> Result<Target, Failure> {
    let known = Known::from(collection);
    match vector {
        Either::Dense(vector) => {
            vector::check(known, using, &vector)?;
            Ok(Target::Vector(vector))
        }
        Either::Sparse(vector) => {
            vector::check_sparse(known, using)?;
            Ok(Target::Sparse(vector))
        }
    }
}
