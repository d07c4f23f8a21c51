//! Bounds the depth of filters while they are decoded.
//!
//! Binary decoders recurse as deeply as their input says, so a few kilobytes of hostile input could exhaust the stack
//! before any check of the finished filter. This counts levels on the way down. Invariant: the count is back where it
//! was when a decode ends, also when it ends in an error.

use std::cell::Cell;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::{Filter, MAX_DEPTH};

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

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Box<Filter>, D::Error> {
    let _level = Level::enter()
        .ok_or_else(|| D::Error::custom(format!("filter nested deeper than {MAX_DEPTH} levels")))?;
    Filter::deserialize(deserializer).map(Box::new)
}

#[cfg(test)]
mod tests {
    use super::super::Condition;
    use super::*;

    fn nested(levels: usize) -> Filter {
        let mut filter = Filter::default();
        for _ in 1..levels {
            filter =
                Filter { must: vec![Condition::Filter(Box::new(filter))], ..Filter::default() };
        }
        filter
    }

    #[test]
    fn decoding_refuses_what_is_nested_too_deeply_and_recovers() {
        for _ in 0..2 {
            let good = serde_json::to_string(&nested(MAX_DEPTH)).unwrap();
            assert_eq!(serde_json::from_str::<Filter>(&good).unwrap(), nested(MAX_DEPTH));
            assert!(nested(MAX_DEPTH).matcher().is_ok());
            let bad = serde_json::to_string(&nested(MAX_DEPTH + 1)).unwrap();
            let error = serde_json::from_str::<Filter>(&bad).unwrap_err().to_string();
            assert!(error.contains("nested deeper"), "{error}");
        }
    }
}
