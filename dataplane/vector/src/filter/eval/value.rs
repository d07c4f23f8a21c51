//! Whether one payload value passes a test.
//!
//! Tests are made ready once, since they are asked about the values of every point: long lists become sets, areas know
//! what they need to be compared quickly. Integers match integers only: 5.0 in a payload is not the integer 5.

use std::collections::HashSet;
use std::hash::Hash;

use serde_json::Value;

use crate::filter::geo::{Circle, GeoBox, GeoError, GeoPoint, Polygon};
use crate::filter::{DateTime, MatchValue, Range, Test, parse_datetime};
use crate::text::{TextQuery, Tokenizer, Wanted};

/// A test made ready.
#[derive(Debug)]
pub(super) enum ReadyTest<'a> {
    Match(&'a MatchValue),
    MatchAny(Values<'a>),
    MatchExcept(Values<'a>),
    Range(Range),
    Datetime(Range<DateTime>),
    ValuesCount(Range<u64>),
    GeoBox(GeoBox),
    Circle(Circle),
    Polygon(Polygon<'a>),
    Contains(&'a str),
    ContainsAny(Vec<&'a str>),
    Tokens(TextQuery),
    IsEmpty(bool),
    IsNull(bool),
}

/// Values to look a point's value up in. Lists may be as long as a request, and are asked about every point.
#[derive(Debug)]
pub(super) struct Values<'a> {
    keywords: Lookup<&'a str>,
    integers: Lookup<i64>,
    bools: Lookup<bool>,
}

/// A list that is looked through while it is short, since that is quicker than to hash.
#[derive(Debug)]
enum Lookup<T> {
    Few(Vec<T>),
    Many(HashSet<T>),
}

/// Where hashing becomes quicker than looking through, for short texts and numbers.
const FEW: usize = 12;

impl<T: Hash + Eq> FromIterator<T> for Lookup<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let list: Vec<T> = items.into_iter().collect();
        match list.len() <= FEW {
            true => Lookup::Few(list),
            false => Lookup::Many(list.into_iter().collect()),
        }
    }
}

impl<T: Hash + Eq> Lookup<T> {
    fn contains(&self, value: &T) -> bool {
        match self {
            Lookup::Few(list) => list.contains(value),
            Lookup::Many(set) => set.contains(value),
        }
    }
}

impl<'a> From<&'a [MatchValue]> for Values<'a> {
    fn from(list: &'a [MatchValue]) -> Self {
        let keyword = |value: &'a MatchValue| match value {
            MatchValue::Keyword(keyword) => Some(keyword.as_str()),
            _ => None,
        };
        let integer = |value: &MatchValue| match value {
            MatchValue::Integer(integer) => Some(*integer),
            _ => None,
        };
        let bool = |value: &MatchValue| match value {
            MatchValue::Bool(bool) => Some(*bool),
            _ => None,
        };
        Values {
            keywords: list.iter().filter_map(keyword).collect(),
            integers: list.iter().filter_map(integer).collect(),
            bools: list.iter().filter_map(bool).collect(),
        }
    }
}

impl Values<'_> {
    fn contain(&self, value: &Value) -> bool {
        match value {
            Value::String(value) => self.keywords.contains(&value.as_str()),
            Value::Number(value) => value.as_i64().is_some_and(|n| self.integers.contains(&n)),
            Value::Bool(value) => self.bools.contains(value),
            _ => false,
        }
    }
}

impl<'a> ReadyTest<'a> {
    /// Makes a test ready, with the tokenizer of the field's full-text index if it has one.
    pub(super) fn new(
        test: &'a Test,
        tokenizer: impl Fn() -> Option<Tokenizer>,
    ) -> Result<Self, GeoError> {
        let tokens = |wanted: Wanted, text: &str| {
            tokenizer().map(|tokenizer| ReadyTest::Tokens(TextQuery::new(tokenizer, wanted, text)))
        };
        Ok(match test {
            Test::Match(wanted) => ReadyTest::Match(wanted),
            Test::MatchAny(wanted) => ReadyTest::MatchAny(wanted.as_slice().into()),
            Test::MatchExcept(unwanted) => ReadyTest::MatchExcept(unwanted.as_slice().into()),
            Test::Range(range) => ReadyTest::Range(*range),
            Test::Datetime(range) => ReadyTest::Datetime(*range),
            Test::ValuesCount(range) => ReadyTest::ValuesCount(*range),
            Test::GeoBox(area) => {
                area.check()?;
                ReadyTest::GeoBox(*area)
            }
            Test::GeoRadius(area) => ReadyTest::Circle(Circle::new(area)?),
            Test::GeoPolygon(area) => ReadyTest::Polygon(Polygon::new(area)?),
            Test::Text(text) => tokens(Wanted::All, text).unwrap_or(ReadyTest::Contains(text)),
            Test::Phrase(text) => tokens(Wanted::Phrase, text).unwrap_or(ReadyTest::Contains(text)),
            Test::TextAny(text) => tokens(Wanted::Any, text)
                .unwrap_or_else(|| ReadyTest::ContainsAny(text.split_whitespace().collect())),
            Test::IsEmpty(wanted) => ReadyTest::IsEmpty(*wanted),
            Test::IsNull(wanted) => ReadyTest::IsNull(*wanted),
        })
    }
}

impl ReadyTest<'_> {
    /// Whether what a key leads to passes.
    pub(super) fn passes(&self, value: &Value) -> bool {
        match (self, value) {
            (ReadyTest::ValuesCount(range), value) => range.contains(values_count(value)),
            (ReadyTest::IsEmpty(wanted), value) => is_empty(value) == *wanted,
            (ReadyTest::IsNull(wanted), value) => has_null(value) == *wanted,
            (test, Value::Array(array)) => array.iter().any(|value| test.passes_one(value)),
            (test, value) => test.passes_one(value),
        }
    }

    /// Whether a key that leads nowhere passes.
    pub(super) fn passes_absent(&self) -> bool {
        matches!(self, ReadyTest::IsEmpty(true) | ReadyTest::IsNull(false))
    }

    fn passes_one(&self, value: &Value) -> bool {
        let place = || GeoPoint::from_value(value);
        match self {
            ReadyTest::Match(wanted) => equals(value, wanted),
            ReadyTest::MatchAny(wanted) => wanted.contain(value),
            ReadyTest::MatchExcept(unwanted) => !value.is_null() && !unwanted.contain(value),
            ReadyTest::Range(range) => value.as_f64().is_some_and(|number| range.contains(number)),
            ReadyTest::Datetime(range) => {
                value.as_str().and_then(parse_datetime).is_some_and(|time| range.contains(time))
            }
            ReadyTest::GeoBox(area) => place().is_some_and(|place| area.contains(place)),
            ReadyTest::Circle(area) => place().is_some_and(|place| area.contains(place)),
            ReadyTest::Polygon(area) => place().is_some_and(|place| area.contains(place)),
            ReadyTest::Contains(text) => value.as_str().is_some_and(|value| value.contains(text)),
            ReadyTest::ContainsAny(words) => {
                value.as_str().is_some_and(|value| words.iter().any(|word| value.contains(word)))
            }
            ReadyTest::Tokens(query) => value.as_str().is_some_and(|value| query.matches(value)),
            ReadyTest::ValuesCount(_) | ReadyTest::IsEmpty(_) | ReadyTest::IsNull(_) => false,
        }
    }
}

/// How many values a payload value is.
fn values_count(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Array(array) => array.len() as u64,
        _ => 1,
    }
}

pub(super) fn is_empty(value: &Value) -> bool {
    values_count(value) == 0
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Array(array) => array.iter().any(Value::is_null),
        value => value.is_null(),
    }
}

fn equals(value: &Value, wanted: &MatchValue) -> bool {
    match (value, wanted) {
        (Value::String(value), MatchValue::Keyword(wanted)) => value == wanted,
        (Value::Number(value), MatchValue::Integer(wanted)) => value.as_i64() == Some(*wanted),
        (Value::Bool(value), MatchValue::Bool(wanted)) => value == wanted,
        _ => false,
    }
}
