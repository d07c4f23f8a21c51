//! Keeping those who follow and vote what they are to be, on the primary.

use std::collections::BTreeMap;

use shoal_consensus::{Config, DiskId, Input};
use tonic::Status;

use super::Driver;
use crate::replica::membership::{Known, plan};

/// The other replicas, as a primary knows them.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    /// How many vote, this one among them.
    pub(crate) voters: usize,
    pub(crate) others: Vec<Peer>,
}

/// Another replica.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) disk: DiskId,
    pub(crate) votes: bool,
    name: Option<String>,
    address: Option<String>,
}

impl Peer {
    /// Where it is reached.
    pub(crate) fn address(&self) -> Result<&str, Status> {
        let unknown = || Status::unavailable("nobody said where it is");
        self.address.as_deref().ok_or_else(unknown)
    }

    /// Its name among the shard's replicas, or its disk.
    pub(crate) fn name(&self) -> String {
        let disk = || uuid::Uuid::from_u128(self.disk.0).to_string();
        self.name.clone().unwrap_or_else(disk)
    }
}

impl Peers {
    /// What a replica is called.
    pub(crate) fn name(&self, disk: DiskId) -> String {
        self.others.iter().find(|peer| peer.disk == disk).map(Peer::name).unwrap_or_default()
    }
}

impl Driver {
    /// The others, if this replica leads and no change of them is under way.
    pub(super) fn peers(&self) -> Option<Peers> {
        let status = self.replica.status();
        if status.leads.is_none() || status.changing {
            return None;
        }
        let Some(Config::New(members)) = self.replica.log().config() else { return None };
        let peer = |&(disk, _): &(DiskId, _)| Peer {
            disk,
            votes: members.contains(disk),
            name: self.seen.announced.iter().find(|a| a.disk == disk).map(|a| a.name.clone()),
            address: self.outside.address(&self.seen, disk),
        };
        let others = status.matched.iter().map(peer).collect();
        Some(Peers { voters: members.voters().len(), others })
    }

    /// Does the next of what is missing, if this replica leads and no change is under way.
    pub(super) fn reconcile_members(&mut self) {
        let status = self.replica.status();
        if status.leads.is_none() || status.changing {
            return;
        }
        let Some(Config::New(members)) = self.replica.log().config() else { return };
        let disks = self.seen.announced.iter().map(|a| (a.name.clone(), a.disk)).collect();
        let matched: BTreeMap<_, _> = status.matched.iter().copied().collect();
        let known =
            Known { own: self.home.disk, members, matched: &matched, commit: status.commit };
        let plan = plan(&self.outside.replicas.borrow(), &disks, known);
        let learners: Vec<_> = plan.learners;
        if learners.iter().any(|disk| !matched.contains_key(disk)) || plan.change.is_some() {
            tracing::info!(shard = self.home.shard, ?learners, change = ?plan.change, "members change");
        }
        self.step(Input::Learners(learners));
        if let Some(members) = plan.change {
            self.step(Input::Change(members));
        }
    }
}
