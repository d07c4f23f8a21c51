//! A number as a key: JSON has no NaN, and the rest are in order.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A float that is compared by its total order.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Number(pub(super) f64);

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}
