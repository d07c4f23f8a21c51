//! What a replica says of itself.

use super::{Replica, State};
use crate::{DiskId, Epoch, Seq};

/// What a replica is to its shard, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Gets the log, and does not vote.
    Learner,
    /// Follows a primary, or waits for one.
    Follower,
    /// Has somebody elected.
    Electing,
    /// Leads.
    Primary,
    /// Promised an epoch whose primary it has not heard of yet.
    Fenced,
    /// Its log contradicts what was committed.
    Quarantined,
}

/// What a replica knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// See [`Role`].
    pub role: Role,
    /// The epoch that it promised.
    pub promised: Epoch,
    /// On a primary: the epoch that it leads.
    pub leads: Option<Epoch>,
    /// Nobody can be elected, because too few of the members answer (R3): unless some come back, somebody has to decide.
    pub short: bool,
    /// On a primary: whether members are being changed.
    pub changing: bool,
    /// Who leads, as far as it knows.
    pub primary: Option<DiskId>,
    /// The last entry of the log.
    pub last: Seq,
    /// Durable up to here.
    pub durable: Seq,
    /// Committed up to here, as far as it knows.
    pub commit: Seq,
    /// On a primary: up to where each of the others has its log.
    pub matched: Vec<(DiskId, Seq)>,
}

impl Replica {
    /// What it knows of itself.
    pub fn status(&self) -> Status {
        let (leads, changing, matched) = match &self.state {
            State::Primary(primary) => {
                (Some(primary.epoch), primary.change.is_some(), primary.matched())
            }
            _ => (None, false, Vec::new()),
        };
        Status {
            role: self.role(),
            promised: self.promised,
            leads,
            short: self.short,
            changing,
            primary: self.primary(),
            last: self.log.last().seq,
            durable: self.durable,
            commit: self.commit,
            matched,
        }
    }

    fn role(&self) -> Role {
        match &self.state {
            State::Quarantined => Role::Quarantined,
            State::Primary(_) => Role::Primary,
            State::Electing(_) => Role::Electing,
            State::Follower(_) if !self.votes() => Role::Learner,
            State::Follower(following) => match following.primary {
                None if self.promised.number > self.log.last().epoch.number => Role::Fenced,
                _ => Role::Follower,
            },
        }
    }

    pub(super) fn primary(&self) -> Option<DiskId> {
        match &self.state {
            State::Primary(_) => Some(self.me.disk),
            State::Follower(following) => following.primary,
            State::Electing(_) | State::Quarantined => None,
        }
    }
}
