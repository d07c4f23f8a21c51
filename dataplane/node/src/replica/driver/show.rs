//! Telling what this replica is, and how it came to lead.

use shoal_consensus::{DiskId, Role, Seq, Status};

use super::Driver;
use crate::clock;
use crate::replica::handle::ReplicaStatus;
use crate::replica::succession::{Now, Observed};

impl Driver {
    /// Notes who leads.
    fn succeed(&mut self, status: &Status) {
        let log = self.replica.log();
        let committed = status.leads.filter(|&epoch| log.epoch_at(status.commit) == Some(epoch));
        // Where an epoch is news it has few entries.
        let former = committed.filter(|&epoch| self.succession.is_news(epoch)).and_then(|epoch| {
            let mut before = (0..status.commit).rev().map(|seq| log.epoch_at(seq));
            before.find(|&at| at != Some(epoch)).flatten()
        });
        let before = |number: u64| status.leads.is_none_or(|epoch| number < epoch.number);
        let mut earlier = self.registered.map(|led| led.filter(|(number, _)| before(*number)));
        earlier.sort_unstable_by_key(|led| std::cmp::Reverse(led.map(|(number, _)| number)));
        let observed = Observed {
            primary: status.primary,
            leads: status.leads,
            committed: committed.is_some(),
            former,
            registered: earlier,
        };
        self.succession.observe(now(), observed);
    }

    /// Tells what this replica is.
    pub(super) fn show(&mut self) {
        let status = self.replica.status();
        let behind =
            |&(disk, matched): &(DiskId, Seq)| (disk, status.commit.saturating_sub(matched));
        let applied = self.disk.journal().applied();
        self.succeed(&status);
        if applied >= status.commit {
            let fresh = if status.leads.is_some() { clock::now() } else { self.heard };
            // One that led heard of nobody meanwhile.
            self.fresh = self.fresh.max(fresh);
        }
        // What is cut is told no later than what came in its place.
        if self.disk.is_idle() {
            self.last_epoch = self.replica.log().last().epoch.number;
        }
        let journal = self.disk.journal();
        let (cut, cut_ops) = (journal.cut_off(), self.cut_before + journal.cut_since_open());
        let cut_is_partial = journal.cut_off_is_partial();
        self.lateness.look(clock::now(), self.fresh);
        let shown = ReplicaStatus {
            disk: self.home.disk,
            role: if self.ended.is_some() { Role::Quarantined } else { status.role },
            leads: status.leads,
            primary: status.primary.and_then(|disk| self.seen.address(disk)).map(str::to_owned),
            commit: status.commit,
            applied,
            short: status.short,
            behind: status.matched.iter().map(behind).collect(),
            fresh: self.fresh,
            late: self.lateness.total(),
            fetching: self.fetching,
            failover: self.succession.last().cloned(),
            last_epoch: self.last_epoch,
            cut,
            cut_is_partial,
            cut_ops,
            ended: self.ended.clone(),
        };
        let (role, leads, commit) = (shown.role, shown.leads, shown.commit);
        if self.board.show(shown) {
            let (shard, epoch) = (&self.home.shard, leads.map(|epoch| epoch.number));
            tracing::info!(shard, ?role, epoch, commit, "what this replica is");
        }
    }
}

pub(super) fn now() -> Now {
    Now { instant: clock::now(), unix_ms: clock::unix_ms() }
}
