//! A replica whose disk is a whole shard: what its rules want is written, synced, applied and answered, as a node's driver
//! does it, each at its moment in simulated time.

use rand::Rng;
use shoal_consensus::{Answer, Effect, Epoch, Input, Restored, Seq, What};
use shoal_replica::{Installed, convert};
use shoal_shard::OpenError;
use shoal_shard::by_hand::ByHand;
use shoal_shard::journal::JournalError;
use shoal_shard::snapshot;

use super::points::IDS;
use super::{Running, Syncing, Whole, disk_uuid, identity};
use crate::check::{Broken, Check};
use crate::world::{Event, World};

/// Bytes of entries that one read of a log gives.
const READ_BACK: usize = 600;

fn broken<T>(check: Check, node: usize, detail: &dyn std::fmt::Display) -> Result<T, Broken> {
    Err(Broken { check, detail: format!("replica {node}: {detail}") })
}

impl World {
    pub(super) fn running(&mut self, node: usize) -> Option<&mut Running> {
        self.nodes[node].whole.as_mut().and_then(|whole| whole.running.as_mut())
    }

    /// Whether the process crashed at a fail point; it is stopped then.
    pub(super) fn crashed(&mut self, node: usize) -> Result<bool, Broken> {
        let (Some(site), Some(whole)) = (&self.site, &self.nodes[node].whole) else {
            return Ok(false);
        };
        if !site.crashed(&whole.dir) {
            return Ok(false);
        }
        self.outcome.crashed_midway += 1;
        let back = self.between(5, 300);
        self.stop(node, back).map(|()| true)
    }

    /// The process is gone, and what it leaves on the disk is what the next one finds.
    pub(crate) fn crash_whole(&mut self, node: usize) -> Result<(), Broken> {
        let (Some(site), Some(whole)) = (&self.site, &mut self.nodes[node].whole) else {
            return Ok(());
        };
        whole.running = None;
        match site.crash(&whole.dir) {
            Ok(dir) => whole.dir = dir,
            Err(error) => return broken(Check::Opens, node, &error),
        }
        Ok(())
    }

    /// Opens the disk; `None` if the process crashed while it did.
    pub(crate) fn open_whole(&mut self, node: usize) -> Result<Option<(Epoch, Restored)>, Broken> {
        let uuid = disk_uuid(self.nodes[node].disk.id);
        let Some(site) = &self.site else { return Ok(None) };
        let whole = self.nodes[node].whole.get_or_insert_with(|| Whole::new(site.new_dir()));
        let set_up = match whole.dir.join("identity").exists() {
            true => Ok(()),
            false => ByHand::set_up(&whole.dir, &identity(), uuid),
        };
        let opened = match set_up {
            Ok(()) if site.crashed(&whole.dir) => None,
            Ok(()) => Some(whole.open()),
            Err(error) => return broken(Check::Opens, node, &error),
        };
        let (shard, journal, recovered, hand) = match opened {
            None => return self.crashed(node).map(|_| None),
            Some(Ok(opened)) => opened,
            Some(Err(error)) => return broken(Check::Opens, node, &error),
        };
        let promised = convert::epoch_from_disk(recovered.promised);
        let restored = match convert::restored(recovered) {
            Ok(restored) => restored,
            Err(error) => return broken(Check::Opens, node, &error),
        };
        whole.running = Some(Running::new(shard, hand, journal, restored.base.seq));
        if self.crashed(node)? {
            return Ok(None);
        }
        // What was known to be committed is applied by now.
        let applied = self.running(node).map_or(0, |running| running.disk.journal().applied());
        self.history.remembers(node, &restored)?;
        self.tell_applied(node, applied)?;
        Ok(Some((promised, restored)))
    }

    /// Carries out what concerns the disk, and gives back what does not.
    pub(crate) fn carry_out_whole(
        &mut self,
        node: usize,
        run: u64,
        effect: Effect,
    ) -> Result<Option<Effect>, Broken> {
        let Some(running) = self.running(node) else { return Ok(None) };
        match effect {
            Effect::Write(ticket, write) => running.disk.push(ticket, write),
            Effect::Commit(to) => running.commit = running.commit.max(to),
            Effect::ReadLog { peer, from } => match running.disk.read_back(from, READ_BACK) {
                Ok(entries) => {
                    let input = Input::LogRead { peer, entries };
                    self.after(2, Event::Step(node, run, input));
                }
                Err(error) => return broken(Check::Contents, node, &error),
            },
            Effect::SendSnapshot { to, epoch } => self.offer_whole(node, to, epoch),
            Effect::Install => self.install_whole(node, run)?,
            Effect::Answer(id, Answer::Committed(seq)) => self.committed(node, id, seq)?,
            Effect::ReadAt(read, Ok(seq)) => {
                running.reads.entry(seq).or_default().push(read);
            }
            other => return Ok(Some(other)),
        }
        self.work_soon(node, run);
        Ok(None)
    }

    /// Some want to see their op, and others only to know that it is committed.
    fn committed(&mut self, node: usize, id: u64, seq: Seq) -> Result<(), Broken> {
        let Some(op) = self.clients.op_of(id) else { return Ok(()) };
        if op % 2 == 0 {
            self.clients.is_done(op);
            self.routed_answer(id, Answer::Committed(seq), false);
            return self.history.ack_unseen(op, seq);
        }
        if let Some(running) = self.running(node) {
            running.answers.entry(seq).or_default().push((op, id));
        }
        Ok(())
    }

    /// Writes share a sync, and what is committed is applied together.
    fn work_soon(&mut self, node: usize, run: u64) {
        let Some(running) = self.running(node) else { return };
        if !std::mem::replace(&mut running.works, true) {
            let ms = self.between(0, 3);
            self.after(ms, Event::Work(node, run));
        }
    }

    pub(crate) fn work(&mut self, node: usize, run: u64) -> Result<(), Broken> {
        if self.nodes[node].run != run {
            return Ok(());
        }
        if self.nodes[node].paused > self.now {
            let ms = self.nodes[node].paused - self.now;
            self.after(ms, Event::Work(node, run));
            return Ok(());
        }
        let Some(running) = self.running(node) else { return Ok(()) };
        running.works = false;
        let durable = running.disk.work();
        if self.crashed(node)? {
            return Ok(());
        }
        self.begin_sync(node, run);
        self.durable_is_synced(node)?;
        match durable {
            Ok(Some(ticket)) => {
                self.work_soon(node, run);
                self.step(node, run, Input::Durable(ticket))
            }
            Ok(None) => self.apply_whole(node, run),
            Err(error) => self.journal_failed(node, &error),
        }
    }

    fn journal_failed(&self, node: usize, error: &JournalError) -> Result<(), Broken> {
        let check = match error {
            JournalError::Contradiction(_) => Check::NoQuarantine,
            _ => Check::Contents,
        };
        broken(check, node, error)
    }

    fn begin_sync(&mut self, node: usize, run: u64) {
        let (Some(site), Some(whole)) = (&self.site, &mut self.nodes[node].whole) else { return };
        let Some(running) = &mut whole.running else { return };
        if let Ok((ticket, sync)) = running.syncs.try_recv() {
            running.syncing = Some(Syncing::Begun(ticket, sync, site.mark(&whole.dir)));
            // A disk is slow now and then.
            let slow = !self.calm && self.random.random_bool(0.05);
            let ms = self.between(1, if slow { 400 } else { 30 });
            self.after(ms, Event::Sync(node, run));
        }
    }

    /// Makes the sync that is under way, if one is.
    fn make_sync(&mut self, node: usize) {
        let (Some(site), Some(whole)) = (&self.site, &mut self.nodes[node].whole) else { return };
        let Some(running) = &mut whole.running else { return };
        running.syncing = match running.syncing.take() {
            Some(Syncing::Begun(ticket, sync, mark)) => {
                let synced = sync.run();
                site.synced(&mark);
                Some(Syncing::Done(ticket, synced))
            }
            other => other,
        };
    }

    /// A sync ends.
    pub(crate) fn synced_whole(&mut self, node: usize, run: u64) -> Result<(), Broken> {
        if self.nodes[node].run != run {
            return Ok(());
        }
        self.make_sync(node);
        if self.nodes[node].paused > self.now {
            let ms = self.nodes[node].paused - self.now;
            self.after(ms, Event::Sync(node, run));
            return Ok(());
        }
        let (Some(site), Some(whole)) = (&self.site, &mut self.nodes[node].whole) else {
            return Ok(());
        };
        let Some(running) = &mut whole.running else { return Ok(()) };
        let Some(Syncing::Done(ticket, synced)) = running.syncing.take() else { return Ok(()) };
        let durable = site.telling(|| running.disk.synced(ticket, synced));
        if self.crashed(node)? {
            return Ok(());
        }
        self.durable_is_synced(node)?;
        self.work_soon(node, run);
        self.step(node, run, Input::Durable(durable))
    }

    /// Checks that all of the log was synced, if it is said to be durable.
    fn durable_is_synced(&mut self, node: usize) -> Result<(), Broken> {
        let (Some(site), Some(whole)) = (&self.site, &mut self.nodes[node].whole) else {
            return Ok(());
        };
        let Some(running) = &mut whole.running else { return Ok(()) };
        let journal = running.disk.journal();
        match journal.durable() < journal.last() || site.is_synced(&whole.dir) {
            true => Ok(()),
            false => {
                let last = journal.last();
                broken(Check::Durable, node, &format!("{last} is told to be durable, and is not"))
            }
        }
    }

    /// Applies what is committed, and answers those who wait for it.
    fn apply_whole(&mut self, node: usize, run: u64) -> Result<(), Broken> {
        let Some(running) = self.running(node) else { return Ok(()) };
        let applied = running.disk.journal().apply(running.commit);
        let to = running.disk.journal().applied();
        match applied {
            Ok(applied) => {
                if let Some((seq, error)) = applied.refused.first() {
                    return broken(Check::Contents, node, &format!("{seq} is refused: {error}"));
                }
            }
            Err(error) => return self.journal_failed(node, &error),
        }
        self.tell_applied(node, to)?;
        if self.crashed(node)? {
            return Ok(());
        }
        let Some(running) = self.running(node) else { return Ok(()) };
        let behind = running.answers.split_off(&(to + 1));
        let answers = std::mem::replace(&mut running.answers, behind);
        let behind = running.reads.split_off(&(to + 1));
        let reads = std::mem::replace(&mut running.reads, behind);
        let lags = to < running.commit;
        for (seq, ops) in answers {
            for (op, id) in ops {
                self.history.ack(op, seq)?;
                self.clients.is_done(op);
                self.routed_answer(id, Answer::Committed(seq), true);
            }
        }
        for (seq, reads) in reads {
            for read in reads {
                self.history.read_ends(read, Some(seq))?;
                self.routed_read(read, Ok(seq));
                self.read_some(node)?;
            }
        }
        if lags
            && let Some(running) = self.running(node)
            && !std::mem::replace(&mut running.works, true)
        {
            // Until a flush makes room.
            self.after(20, Event::Work(node, run));
        }
        Ok(())
    }

    /// Compares what was applied, as it lies in the log, with what others have applied.
    fn tell_applied(&mut self, node: usize, to: Seq) -> Result<(), Broken> {
        self.nodes[node].applied = to;
        while let Some(running) = self.running(node).filter(|running| running.told < to) {
            let entries = match running.disk.read_back(running.told + 1, READ_BACK) {
                Ok(entries) if !entries.is_empty() => entries,
                Ok(_) => return broken(Check::Contents, node, &"its log lacks what it applied"),
                Err(error) => return broken(Check::Contents, node, &error),
            };
            for entry in entries.into_iter().filter(|entry| entry.at.seq <= to) {
                let known = self.history.committed();
                self.history.apply(node, &entry)?;
                if let (What::Op { op_id, .. }, true) =
                    (&entry.what, self.history.committed() > known)
                {
                    self.points.apply(entry.at.seq, *op_id);
                }
                if let Some(running) = self.running(node) {
                    running.told = entry.at.seq;
                }
            }
        }
        Ok(())
    }

    /// Reads some points of a replica: they are what all up to the last applied seq made of them.
    pub(crate) fn read_some(&mut self, node: usize) -> Result<(), Broken> {
        let ids: Vec<u64> = (0..3).map(|_| self.random.random_range(0..IDS)).collect();
        self.read_these(node, &ids)
    }

    pub(super) fn read_these(&mut self, node: usize, ids: &[u64]) -> Result<(), Broken> {
        let whole = self.nodes[node].whole.as_mut();
        let Some(running) = whole.and_then(|whole| whole.running.as_mut()) else { return Ok(()) };
        // Before what was applied when the disk was opened is told, it is not known what must be read.
        let applied = running.disk.journal().applied();
        let Some((shard, _)) = running.shard.as_ref().filter(|_| running.told == applied) else {
            return Ok(());
        };
        match self.points.compare(shard, ids, applied) {
            Ok(()) => Ok(()),
            Err(detail) => broken(Check::Contents, node, &detail),
        }
    }

    /// Now and then a replica flushes, compacts, and notes what is committed.
    pub(crate) fn flush_whole(&mut self, node: usize, run: u64) -> Result<(), Broken> {
        if self.nodes[node].run != run {
            return Ok(());
        }
        let next = if self.plan.storm { self.between(10, 300) } else { self.between(20, 500) };
        self.after(next, Event::Flush(node, run));
        if self.nodes[node].paused > self.now {
            return Ok(());
        }
        let (compacts, notes) = (self.random.random_bool(0.3), self.random.random_bool(0.3));
        let Some(running) = self.running(node) else { return Ok(()) };
        if notes {
            running.disk.journal().note_commit_now();
        }
        let Some((_, hand)) = &running.shard else { return Ok(()) };
        let mut done = Ok(true);
        while matches!(done, Ok(true)) {
            done = hand.flush();
        }
        if compacts && done.is_ok() {
            done = hand.compact();
        }
        if self.crashed(node)? {
            return Ok(());
        }
        match done {
            Ok(_) => Ok(()),
            Err(error) => broken(Check::Contents, node, &error),
        }
    }

    /// Tells the rules what is trimmed.
    pub(crate) fn tick_whole(&mut self, node: usize, run: u64) -> Result<(), Broken> {
        let own = &mut self.nodes[node];
        if own.run != run || own.paused > self.now {
            return Ok(());
        }
        let running = own.whole.as_mut().and_then(|whole| whole.running.as_mut());
        let (Some(running), Some(replica)) = (running, &own.replica) else { return Ok(()) };
        match running.disk.newly_trimmed(replica.log()) {
            Some(trimmed) => self.step(node, run, Input::Trimmed(trimmed)),
            None => Ok(()),
        }
    }

    /// The snapshot that was fetched takes the place of what is there.
    fn install_whole(&mut self, node: usize, run: u64) -> Result<(), Broken> {
        // Or its folder would still be held.
        self.make_sync(node);
        let Some(running) = self.running(node) else { return Ok(()) };
        let durable = match running.disk.drain() {
            Ok(Some(durable)) => durable,
            Ok(None) => return Ok(()),
            Err(error) => return self.journal_failed(node, &error),
        };
        running.disk.close();
        running.shard = None;
        if self.crashed(node)? {
            return Ok(());
        }
        let Some(whole) = &mut self.nodes[node].whole else { return Ok(()) };
        let opened: Result<_, OpenError> =
            snapshot::install(&whole.dir).and_then(|()| whole.open());
        if self.crashed(node)? {
            return Ok(());
        }
        let (shard, journal, recovered, hand) = match opened {
            Ok(opened) => opened,
            Err(error) => return broken(Check::Snapshots, node, &error),
        };
        let restored = match convert::restored(recovered) {
            Ok(restored) => restored,
            Err(error) => return broken(Check::Snapshots, node, &error),
        };
        self.history.remembers(node, &restored)?;
        let installed = Installed::from(restored);
        let Some(running) = self.running(node) else { return Ok(()) };
        running.disk.open(journal);
        running.shard = Some((shard, hand));
        running.told = running.told.max(installed.at.seq);
        self.nodes[node].applied = installed.at.seq;
        self.outcome.snapshots += 1;
        self.step(node, run, Input::Durable(durable))?;
        self.step(node, run, installed.input())
    }
}
