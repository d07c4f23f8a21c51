//! Forms that several of the dialect's bodies share.

pub(super) mod datatype;
pub(super) mod distinct;
pub(super) mod limits;
pub(super) mod output;
pub(super) mod quantization;
pub(super) mod selector;
pub(super) mod vector;
pub(super) mod want;

use serde::de::IgnoredAny;
use serde_json::Value;
use shoal_vector::Filter;

use super::error::Failure;

/// An option that Shoal does not have: read past, and refused by [`refuse`] when it is there and not null.
pub(super) type NotYet = Option<IgnoredAny>;

/// Refuses the first option that is there, by its name.
pub(super) fn refuse(options: &[(&str, &NotYet)]) -> Result<(), Failure> {
    match options.iter().find(|(_, option)| option.is_some()) {
        Some((name, _)) => Err(Failure::unsupported(format!("`{name}`"))),
        None => Ok(()),
    }
}

/// A filter of a body; absent and null are no filter.
pub(super) fn filter(json: Option<&Value>) -> Result<Option<Filter>, Failure> {
    Ok(json.map(Filter::parse).transpose()?)
}
