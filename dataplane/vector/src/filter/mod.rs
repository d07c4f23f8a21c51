//! Filters: conditions on ids and payloads, in Qdrant's dialect.
//!
//! `parse` turns the dialect's JSON into these types and names what is not there yet; `eval` answers for one point.
//! The derived serde form is for logs and RPC, not for clients. Invariant: no filter, wherever it comes from, nests
//! deeper than [`MAX_DEPTH`]: parsing, decoding and evaluating all refuse it, so recursion over one is safe.

mod eval;
mod nesting;
mod parse;

use serde::{Deserialize, Serialize};

pub use eval::Matcher;

use crate::PointId;

/// How deeply filters nest. People write two or three levels, programs rarely ten.
pub const MAX_DEPTH: usize = 32;

/// How many conditions a filter has in all. A condition is asked about every point, at some 20 nanoseconds, so this is a
/// bound on time: a million points take at most a minute or two. Lists of values go into one `match` with `any`, which
/// has no such bound, so no filter that people or programs write comes near.
pub const MAX_CONDITIONS: usize = 4_096;

/// Clauses that combine: all of `must`, at least one of `should` (where there is one), none of `must_not`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// All of these.
    pub must: Vec<Condition>,
    /// At least one of these, unless empty.
    pub should: Vec<Condition>,
    /// None of these.
    pub must_not: Vec<Condition>,
}

/// One condition. Variants are only ever added at the end: their position is their number in logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// A value under a payload key (any of them, where the key leads to several) passes a test.
    Field {
        /// Key path, such as `a.b[].c`.
        key: String,
        /// What the value must pass.
        test: Test,
    },
    /// The id is one of these, ascending.
    HasId(Vec<PointId>),
    /// The key is absent, null or an empty array.
    IsEmpty(String),
    /// The key is there and null.
    IsNull(String),
    /// A filter inside.
    Filter(#[serde(deserialize_with = "nesting::deserialize")] Box<Filter>),
}

/// A test of one payload value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// Equals this.
    Match(MatchValue),
    /// Equals one of these.
    MatchAny(Vec<MatchValue>),
    /// Equals none of these.
    MatchExcept(Vec<MatchValue>),
    /// A number within bounds.
    Range(Range),
}

/// A value that payload values are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MatchValue {
    /// A string, compared whole.
    Keyword(String),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Bool(bool),
}

/// Bounds of a number; absent ones do not bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Less than.
    pub lt: Option<f64>,
    /// Greater than.
    pub gt: Option<f64>,
    /// Less than or equal.
    pub lte: Option<f64>,
    /// Greater than or equal.
    pub gte: Option<f64>,
}

/// Why a filter was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The JSON is not a filter; the text names the place and what to write there.
    #[error("{0}")]
    Invalid(String),
    /// The dialect has it, Shoal does not yet; the text is the feature's name.
    #[error("{0} is not supported yet")]
    Unsupported(String),
}

impl FilterError {
    fn too_deep() -> Self {
        FilterError::Invalid(format!("filter: nested deeper than {MAX_DEPTH} levels"))
    }

    fn too_many() -> Self {
        FilterError::Invalid(format!("filter: more than {MAX_CONDITIONS} conditions"))
    }
}
