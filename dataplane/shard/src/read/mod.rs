//! Reading: search, retrieve, scroll and count, each over one immutable view.

mod cost;
mod filtered;
mod filtered_memory;
mod matching;
mod parts;
mod scan;
mod scroll;
mod search;
mod sparse;

pub(crate) use cost::guess;
pub(crate) use parts::{Projection, retrieve};
pub(crate) use scan::{count, matching_ids};
pub(crate) use scroll::scroll;
pub(crate) use search::search;
pub(crate) use sparse::search_sparse;

use crate::cancel::Cancelled;
use crate::segment::Damage;

/// Why a read has no answer.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The request is wrong.
    Invalid(String),
    /// A file is damaged.
    Damage(Damage),
    /// The answer would be too long.
    TooLong,
    /// Nobody waits for the answer.
    Cancelled,
}

impl From<Cancelled> for ReadError {
    fn from(_: Cancelled) -> Self {
        ReadError::Cancelled
    }
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        ReadError::Damage(damage)
    }
}

impl From<shoal_vector::FilterError> for ReadError {
    fn from(error: shoal_vector::FilterError) -> Self {
        ReadError::Invalid(error.to_string())
    }
}
