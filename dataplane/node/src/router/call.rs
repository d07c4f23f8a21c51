//! How a call to a shard can fail, by what may be done about it.
//!
//! Invariant: [`CallError::NotSent`] and [`CallError::NotReady`] mean that the shard has done nothing, so that even a write may be
//! sent again.

use shoal_shard::api::ShardError;

use super::api::RouteError;

/// Why a shard gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The shard looked at the request and refused it.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The request did not reach the shard, or was turned away unseen.
    #[error("shard {shard} cannot be reached: {detail}")]
    NotSent {
        /// The shard.
        shard: String,
        /// Why.
        detail: String,
    },
    /// It answered that it cannot yet, and has not looked at the request.
    #[error("shard {shard} is not ready: {detail}")]
    NotReady {
        /// The shard.
        shard: String,
        /// What it waits for.
        detail: String,
    },
    /// The connection broke: the shard may or may not have done what was asked.
    #[error("the connection to shard {shard} broke: {detail}")]
    Broken {
        /// The shard.
        shard: String,
        /// How.
        detail: String,
    },
    /// The deadline passed: the shard may or may not have done what was asked.
    #[error("shard {shard} did not answer in time")]
    Timeout {
        /// The shard.
        shard: String,
    },
    /// Something that should not be.
    #[error("shard {shard}: {detail}")]
    Internal {
        /// The shard.
        shard: String,
        /// What.
        detail: String,
    },
}

impl CallError {
    /// Whether the request itself is wrong, so that every shard would refuse it.
    pub fn is_invalid(&self) -> bool {
        matches!(self, CallError::Shard(ShardError::Invalid(_)))
    }

    /// Which of several failures to tell the client: what it must change comes first, what passes by itself last.
    pub fn severity(&self) -> u8 {
        match self {
            CallError::Shard(ShardError::Invalid(_)) => 5,
            CallError::Shard(ShardError::Corrupt { .. }) | CallError::Internal { .. } => 4,
            CallError::Shard(ShardError::DiskFull { .. }) => 3,
            CallError::Timeout { .. } | CallError::Shard(ShardError::Cancelled { .. }) => 2,
            CallError::Broken { .. } | CallError::Shard(ShardError::Uncertain { .. }) => 1,
            CallError::Shard(
                ShardError::Unavailable { .. }
                | ShardError::NotReady { .. }
                | ShardError::NotPrimary { .. },
            )
            | CallError::NotSent { .. }
            | CallError::NotReady { .. } => 0,
        }
    }
}

impl From<CallError> for RouteError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Shard(error) => error.into(),
            CallError::NotSent { .. } | CallError::NotReady { .. } => RouteError::Unavailable(text),
            CallError::Broken { .. } => {
                RouteError::Unavailable(format!("{text}. A write may or may not be done; retry"))
            }
            CallError::Timeout { .. } => {
                RouteError::Timeout(format!("{text}. A write may or may not be done; retry"))
            }
            CallError::Internal { .. } => RouteError::Internal(text),
        }
    }
}
