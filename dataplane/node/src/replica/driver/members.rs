//! Keeping those who follow and vote what they are to be, on the primary.

use std::collections::BTreeMap;

use shoal_consensus::{Config, Input};

use super::Driver;
use crate::replica::membership::{Known, plan};

impl Driver {
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
