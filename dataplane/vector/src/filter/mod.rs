//! Filters: conditions on ids and payloads, in Qdrant's dialect.
//!
//! `parse` turns the dialect's JSON into these types and names what is not there yet; `eval` answers for one point.
//! The derived serde form is for logs and RPC, not for clients. Invariant: no filter, wherever it comes from, nests
//! deeper than [`MAX_DEPTH`]: parsing, decoding and evaluating all refuse it, so recursion over one is safe.

mod datetime;
mod eval;
pub mod geo;
mod nesting;
mod parse;

use serde::{Deserialize, Serialize};

pub use datetime::{DateTime, parse_datetime};
pub use eval::{Matcher, Subject};
pub use geo::{GeoBox, GeoPoint, GeoPolygon, GeoRadius};

use crate::PointId;

/// How deeply filters nest. People write two or three levels, programs rarely ten.
pub const MAX_DEPTH: usize = 32;

/// How many conditions a filter has in all. A condition is asked about every point, at some 20 nanoseconds, so this is a
/// bound on time: a million points take at most a minute or two. Lists of values go into one `match` with `any`, which
/// has no such bound, so no filter that people or programs write comes near. What of one condition is asked about every
/// point counts as well: see [`Test::cost`].
pub const MAX_CONDITIONS: usize = 4_096;

/// Points of a polygon that count as one condition, since a place is compared with each of its edges in 2 nanoseconds. So
/// polygons of 40,000 points are taken, with which borders of countries are drawn to 100 metres.
const RING_POINTS_PER_CONDITION: usize = 10;

/// Clauses that combine: all of `must`, at least one of `should` (where there is one), none of `must_not`. The dialect's
/// `min_should` clause is one condition more in `must`, which is what it means.
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
    /// All values under the key are null or empty arrays, or there is none.
    IsEmpty(String),
    /// A value under the key is null.
    IsNull(String),
    /// A filter inside.
    Filter(#[serde(deserialize_with = "nesting::deserialize")] Box<Filter>),
    /// At least so many of some conditions hold.
    MinShould(#[serde(deserialize_with = "nesting::deserialize")] Box<MinShould>),
    /// One object in an array passes a filter of its own.
    Nested(#[serde(deserialize_with = "nesting::deserialize")] Box<Nested>),
    /// The point has a vector of this name; "" is the default vector.
    HasVector(String),
}

/// Conditions of which some must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinShould {
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// How many of them must hold at least: 0 always holds, more than there are never.
    pub min_count: u64,
}

/// A filter that one and the same element of an array must pass. Ids and vectors belong to points, not to elements, so
/// `has_id` and `has_vector` hold for no element.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nested {
    /// Key path of the array, with or without `[]` at its end. Elements that are not objects never pass.
    pub key: String,
    /// What an element must pass; keys in it begin at the element.
    pub filter: Filter,
}

/// A test of one payload value. Unless a variant says otherwise, an array passes when an element of it does, and a key that
/// is absent does not pass.
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
    /// A text that is a date and time within bounds.
    Datetime(Range<DateTime>),
    /// The number of values within bounds: an array's length, 0 for null, else 1.
    ValuesCount(Range<u64>),
    /// A geo point within a box.
    GeoBox(GeoBox),
    /// A geo point within a circle.
    GeoRadius(GeoRadius),
    /// A geo point within a polygon.
    GeoPolygon(GeoPolygon),
    /// A text that contains this one; with a full-text index, all its tokens.
    Text(String),
    /// A text that contains one of the words in this one; with a full-text index, one of its tokens.
    TextAny(String),
    /// A text that contains this one; with a full-text index, its tokens in this order.
    Phrase(String),
    /// A value that is null or an empty array (true), or one that is not (false). An absent key is empty.
    IsEmpty(bool),
    /// A value that is null or an array with a null in it (true), or one that is not (false). An absent key is not null.
    IsNull(bool),
}

impl Test {
    /// How many conditions it counts as, where they are counted: one, and more for what takes as long as more.
    fn cost(&self) -> usize {
        match self {
            Test::TextAny(text) => text.split_whitespace().count().max(1),
            Test::GeoPolygon(area) => 1 + area.points() / RING_POINTS_PER_CONDITION,
            _ => 1,
        }
    }
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

/// Bounds of a value; absent ones do not bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Range<T = f64> {
    /// Less than.
    pub lt: Option<T>,
    /// Greater than.
    pub gt: Option<T>,
    /// Less than or equal.
    pub lte: Option<T>,
    /// Greater than or equal.
    pub gte: Option<T>,
}

impl<T: PartialOrd + Copy> Range<T> {
    /// Whether a value lies within all bounds.
    pub fn contains(&self, value: T) -> bool {
        self.lt.is_none_or(|bound| value < bound)
            && self.gt.is_none_or(|bound| value > bound)
            && self.lte.is_none_or(|bound| value <= bound)
            && self.gte.is_none_or(|bound| value >= bound)
    }
}

/// Why a filter was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The JSON is not a filter; the text names the place and what to write there.
    #[error("{0}")]
    Invalid(String),
    /// The JSON is of a filter's form, and a part of it has a value it may not have.
    #[error("{place}: {why}")]
    Field {
        /// Which part.
        place: String,
        /// What to write there.
        why: String,
    },
    /// The dialect has it, Shoal does not yet; the text is the feature's name.
    #[error("{0} is not supported yet")]
    Unsupported(String),
}

impl FilterError {
    fn too_deep() -> Self {
        FilterError::Invalid(format!("filter: nested deeper than {MAX_DEPTH} levels"))
    }

    fn too_many() -> Self {
        FilterError::Invalid(format!(
            "filter: more than {MAX_CONDITIONS} conditions; a word of `text_any` counts as one, and so do {RING_POINTS_PER_CONDITION} points of a polygon"
        ))
    }
}
