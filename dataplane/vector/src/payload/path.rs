//! Key paths such as `a.b`, `a[].b`, `a[0]` and `"a.b".c`, in Qdrant's grammar.
//!
//! A bare key is letters, digits, `_` and `-`; any other key stands in quotes, without escapes. Invariant: a path has
//! at least one key, and at most [`KeyPath::MAX_STEPS`] steps, so that walking one cannot exhaust the stack.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::Payload;

/// One step of a path below the first key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Into an object, `.key`.
    Key(String),
    /// To one element of an array, `[3]`.
    Index(usize),
    /// To every element of an array, `[]`.
    Every,
}

/// Where a value stands in a payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPath {
    first: String,
    rest: Vec<Step>,
}

/// The text is not a key path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid json path: '{0}'")]
pub struct InvalidPath(pub String);

impl KeyPath {
    /// Greatest number of steps after the first key. An edit at a path of this depth, of a payload nested as deeply
    /// as is accepted, still reads back within serde_json's limit of 128 levels.
    pub const MAX_STEPS: usize = 31;

    /// The key of the payload that the path begins at.
    pub fn first(&self) -> &str {
        &self.first
    }

    pub(super) fn rest(&self) -> &[Step] {
        &self.rest
    }

    /// The path to the elements of the array that this path leads to: this path with `[]` at its end.
    #[must_use]
    pub fn elements(mut self) -> Self {
        if self.rest.last() != Some(&Step::Every) {
            self.rest.push(Step::Every);
        }
        self
    }

    /// The path that leads to where this path does from whatever another leads to.
    #[must_use]
    pub fn under(&self, outer: &KeyPath) -> KeyPath {
        let first = std::iter::once(Step::Key(self.first.clone()));
        let rest = outer.rest.iter().cloned().chain(first).chain(self.rest.iter().cloned());
        KeyPath { first: outer.first.clone(), rest: rest.collect() }
    }

    /// Calls `visit` with each value the path leads to, until it returns true; says whether it did.
    pub fn any<'a>(&self, payload: &'a Payload, visit: &mut dyn FnMut(&'a Value) -> bool) -> bool {
        payload.get(&self.first).is_some_and(|value| any_below(value, &self.rest, visit))
    }

    /// Whether one of the two, this path and a trail of steps from the top, begins with the other.
    pub(super) fn meets(&self, trail: &[Step]) -> bool {
        self.first_is(trail) && self.rest.iter().zip(trail.iter().skip(1)).all(|(a, b)| a == b)
    }

    /// Whether a trail of steps from the top begins with this path.
    pub(super) fn covers(&self, trail: &[Step]) -> bool {
        self.first_is(trail) && trail.get(1..).is_some_and(|trail| trail.starts_with(&self.rest))
    }

    fn first_is(&self, trail: &[Step]) -> bool {
        matches!(trail.first(), Some(Step::Key(key)) if *key == self.first)
    }
}

fn any_below<'a>(
    value: &'a Value,
    steps: &[Step],
    visit: &mut dyn FnMut(&'a Value) -> bool,
) -> bool {
    match (steps.split_first(), value) {
        (None, value) => visit(value),
        (Some((Step::Key(key), rest)), Value::Object(map)) => {
            map.get(key).is_some_and(|value| any_below(value, rest, visit))
        }
        (Some((Step::Index(index), rest)), Value::Array(array)) => {
            array.get(*index).is_some_and(|value| any_below(value, rest, visit))
        }
        (Some((Step::Every, rest)), Value::Array(array)) => {
            array.iter().any(|value| any_below(value, rest, visit))
        }
        _ => false,
    }
}

impl FromStr for KeyPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        parse(text).ok_or_else(|| InvalidPath(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<KeyPath> {
    let (first, mut left) = key(text)?;
    let mut rest = Vec::new();
    while !left.is_empty() {
        let step;
        if let Some(after) = left.strip_prefix("[]") {
            (step, left) = (Step::Every, after);
        } else if let Some(after) = left.strip_prefix('[') {
            let (digits, after) = after.split_once(']')?;
            let number =
                digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
            (step, left) = (Step::Index(number), after);
        } else {
            let (name, after) = key(left.strip_prefix('.')?)?;
            (step, left) = (Step::Key(name), after);
        }
        if rest.len() == KeyPath::MAX_STEPS {
            return None;
        }
        rest.push(step);
    }
    Some(KeyPath { first, rest })
}

/// A key at the beginning of `text`, and what follows it.
fn key(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, after) = quoted.split_once('"')?;
        return (!name.contains('\\')).then(|| (name.to_owned(), after));
    }
    let end = text.find(|c| !is_bare(c)).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    (!name.is_empty()).then(|| (name.to_owned(), after))
}

fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = |f: &mut fmt::Formatter<'_>, name: &str| match !name.is_empty()
            && name.chars().all(is_bare)
        {
            true => f.write_str(name),
            false => write!(f, "\"{name}\""),
        };
        key(f, &self.first)?;
        for step in &self.rest {
            match step {
                Step::Key(name) => {
                    f.write_str(".")?;
                    key(f, name)?;
                }
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Every => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn get(payload: &Value, path: &str) -> Vec<Value> {
        let mut out = Vec::new();
        let path: KeyPath = path.parse().unwrap();
        path.any(payload.as_object().unwrap(), &mut |value| {
            out.push(value.clone());
            false
        });
        out
    }

    #[test]
    fn a_path_leads_to_all_its_values() {
        let payload =
            json!({"a": {"b": 1}, "c": [{"d": 1}, {"d": 2}, {}], "e.f": 5, "g": [[1, 2], [3]]});
        assert_eq!(get(&payload, "a.b"), [json!(1)]);
        assert_eq!(get(&payload, "c[].d"), [json!(1), json!(2)]);
        assert_eq!(get(&payload, "c[1].d"), [json!(2)]);
        assert_eq!(get(&payload, "c.d"), [] as [Value; 0]);
        assert_eq!(get(&payload, "\"e.f\""), [json!(5)]);
        assert_eq!(get(&payload, "g[][]"), [json!(1), json!(2), json!(3)]);
        assert_eq!(get(&payload, "g[0]"), [json!([1, 2])]);
        assert_eq!(get(&payload, "none.at.all"), [] as [Value; 0]);
    }

    #[test]
    fn what_is_not_a_path_is_refused() {
        let too_deep = format!("a{}", ".a".repeat(KeyPath::MAX_STEPS + 1));
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a[",
            "a[x]",
            "a[+1]",
            "a]",
            "a b",
            "\"a",
            "a[99999999999999999999999]",
            "a\"b\"",
            &too_deep,
        ] {
            assert_eq!(text.parse::<KeyPath>(), Err(InvalidPath(text.to_owned())));
        }
        assert!(format!("a{}", ".a".repeat(KeyPath::MAX_STEPS)).parse::<KeyPath>().is_ok());
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            "[a-z.\\[\\] é]{0,5}".prop_map(Step::Key),
            any::<usize>().prop_map(Step::Index),
            Just(Step::Every)
        ]
    }

    proptest! {
        #[test]
        fn a_path_reads_back_as_it_was_written(
            first in "[a-zA-Z0-9_. \\[-]{0,6}", rest in prop::collection::vec(step(), 0..KeyPath::MAX_STEPS)
        ) {
            let path = KeyPath { first, rest };
            prop_assert_eq!(path.to_string().parse::<KeyPath>(), Ok(path));
        }

        #[test]
        fn any_text_is_a_path_or_an_error(text in ".{0,40}") {
            let _ = text.parse::<KeyPath>();
        }
    }
}
