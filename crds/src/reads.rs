//! What a user writes about how a collection is read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::PATTERN;

/// How a collection is read where a request does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reads {
    /// What a search answers with while a shard does not answer at all. Default: Allow. A request may say something else, in
    /// the header `x-shoal-partial`. May change at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial_answers: Option<PartialAnswers>,
    /// A copy of a shard that may show what was so longer ago is read only where no better one answers; the answer says so
    /// then. 100ms to 1h: a number with a unit. Default: 10s. May change at any time. A time that cannot be is taken for the
    /// default, and a condition says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = PATTERN))]
    pub max_staleness: Option<String>,
}

/// What a search answers with while a shard does not answer at all. Default: Allow. A request may say something else, in the
/// header `x-shoal-partial`. May change at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartialAnswers {
    /// With what the other shards found, and the names of those that are missing.
    #[default]
    Allow,
    /// With 503.
    Refuse,
}
