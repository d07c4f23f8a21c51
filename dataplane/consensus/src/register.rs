//! The register: what the replicas of a shard agree on through compare-and-swap, in one object outside of them.

use serde::{Deserialize, Serialize};

use crate::{Epoch, Identity, Members};

/// State of the object that a compare-and-swap names, for instance its resourceVersion. Two are equal or not; they have no
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version(pub String);

/// What the object says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Register {
    /// The newest epoch.
    pub epoch: Epoch,
    /// Whether somebody leads in it.
    pub phase: Phase,
    /// Who votes.
    pub members: Members,
}

/// How far an epoch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Promises are being gathered.
    Electing,
    /// Somebody was elected: this run on this disk, and no other.
    Stable {
        /// Who.
        primary: Identity,
    },
}

impl Register {
    /// A register for disks that are all blank.
    pub fn first(members: Members) -> Self {
        Self { epoch: Epoch::NONE, phase: Phase::Electing, members }
    }

    /// The elected one, if there is one.
    pub fn primary(&self) -> Option<Identity> {
        match self.phase {
            Phase::Electing => None,
            Phase::Stable { primary } => Some(primary),
        }
    }
}
