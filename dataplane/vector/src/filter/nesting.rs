//! Bounds the depth of filters while they are decoded.
//!
//! Binary decoders recurse as deeply as their input says, so a few kilobytes of hostile input could exhaust the stack
//! before any check of the finished filter. This counts levels on the way down. Invariant: the count is back where it
//! was when a decode ends, also when it ends in an error.

use std::cell::Cell;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::MAX_DEPTH;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

struct Level;

impl Level {
    fn enter() -> Option<Level> {
        DEPTH.with(|depth| {
            // The outermost filter is a level of its own and does not come through here.
            let below = depth.get() + 1;
            (below < MAX_DEPTH).then(|| {
                depth.set(below);
                Level
            })
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// For whatever of a filter holds conditions again.
pub(super) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Box<T>, D::Error> {
    let _level = Level::enter()
        .ok_or_else(|| D::Error::custom(format!("filter nested deeper than {MAX_DEPTH} levels")))?;
    T::deserialize(deserializer).map(Box::new)
}

#[cfg(test)]
mod tests {
    use super::super::{Condition, Filter, MinShould, Nested};
    use super::*;

    fn nested(levels: usize, wrap: fn(Filter) -> Condition) -> Filter {
        let mut filter = Filter::default();
        for _ in 1..levels {
            filter = Filter { must: vec![wrap(filter)], ..Filter::default() };
        }
        filter
    }

    fn check(levels: usize, wrap: fn(Filter) -> Condition) {
        for _ in 0..2 {
            let deepest = nested(levels, wrap);
            let good = serde_json::to_string(&deepest).unwrap();
            assert_eq!(serde_json::from_str::<Filter>(&good).unwrap(), deepest);
            assert!(deepest.matcher().is_ok());
            let too_deep = nested(levels + 1, wrap);
            assert!(too_deep.matcher().is_err());
            let bad = serde_json::to_string(&too_deep).unwrap();
            let error = serde_json::from_str::<Filter>(&bad).unwrap_err().to_string();
            assert!(error.contains("nested deeper"), "{error}");
        }
    }

    #[test]
    fn decoding_refuses_what_is_nested_too_deeply_and_recovers() {
        check(MAX_DEPTH, |filter| Condition::Filter(Box::new(filter)));
    }

    #[test]
    fn whatever_holds_conditions_is_a_level() {
        check(MAX_DEPTH, |filter| Condition::Nested(Box::new(Nested { key: "a".into(), filter })));
        // Two levels each: its own, and the filter in it.
        check(MAX_DEPTH / 2, |filter| {
            let conditions = vec![Condition::Filter(Box::new(filter))];
            Condition::MinShould(Box::new(MinShould { conditions, min_count: 1 }))
        });
    }
}
