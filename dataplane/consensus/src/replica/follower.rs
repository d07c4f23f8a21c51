//! Promises, and entries that a primary sends.

use super::{MAX_NUMBER, Replica, State};
use crate::effects::Held;
use crate::log::{Log, Restored};
use crate::{
    Body, Config, DiskId, Effect, Entry, Epoch, Mistake, Position, Promise, Recent, Seq, Write,
};

impl Replica {
    /// R2: promises to take nothing of an earlier epoch, once that is durable and so is all that was taken before.
    pub(super) fn fence(&mut self, from: DiskId, epoch: Epoch, random: u64) {
        if epoch.number > MAX_NUMBER {
            return;
        }
        self.see(epoch.number);
        let again = self.same(epoch, self.promised);
        let refused = !(again || self.promised.is_before(epoch))
            // An entry of that epoch or a later one says that the election is over.
            || self.log.last().epoch.number >= epoch.number
            || (again && self.mistakes(Mistake::RefuseSamePromise));
        if refused {
            let promised = self.promised;
            return self.send(from, Body::Refused { epoch, promised });
        }
        if !again {
            self.raise(epoch);
            let own = matches!(&self.state, State::Electing(election) if election.gathers(epoch));
            if !own {
                self.follow(None, random);
            }
        }
        let promise = Promise { epoch, last: self.log.last(), config: self.log.config().cloned() };
        match self.mistakes(Mistake::UnsyncedPromise) && from != self.me.disk {
            true => self.send(from, Body::Promise(promise)),
            false => self.outbox.hold(Held::Send(from, Body::Promise(promise))),
        }
    }

    fn raise(&mut self, epoch: Epoch) {
        self.promised = epoch;
        self.see(epoch.number);
        self.outbox.write(Write::Promise(epoch));
    }

    /// R6: takes entries of the promised epoch or a later one.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
    pub(super) fn append(
        &mut self,
        from: DiskId,
        epoch: Epoch,
        prev: Position,
        entries: Vec<Entry>,
        commit: Seq,
        round: u64,
        random: u64,
    ) {
        if epoch.number > MAX_NUMBER || !is_well_formed(epoch, prev, &entries) {
            return;
        }
        self.see(epoch.number);
        let old = epoch.number < self.promised.number && !self.mistakes(Mistake::AckAfterFence);
        let other = epoch.number == self.promised.number && !self.same(epoch, self.promised);
        if old || other {
            let promised = self.promised;
            return self.send(from, Body::Refused { epoch, promised });
        }
        let asked = self.was_asked_by(epoch);
        if self.promised.is_before(epoch) && !self.mistakes(Mistake::AppendKeepsPromise) {
            self.raise(epoch);
        }
        match &mut self.state {
            State::Electing(_) if asked => self.short = false,
            State::Primary(primary) if primary.epoch == epoch => {
                let why = format!("replica {:x} leads epoch {} too", from.0, epoch.number);
                return self.quarantine(why, random);
            }
            State::Follower(following) if following.primary == Some(from) => {
                self.short = false;
                following.heard = self.now;
            }
            _ => {
                self.short = false;
                self.follow(Some(from), random);
            }
        }
        if prev.seq > self.log.last().seq {
            let hint = self.log.last().seq;
            return self.send(from, Body::Mismatch { epoch, hint, round });
        }
        // What is before the log is flushed, so it is committed, so it is the same in every log.
        if prev.seq >= self.log.base().seq && self.log.epoch_at(prev.seq) != Some(prev.epoch) {
            if prev.seq <= self.commit {
                let why = format!(
                    "entry {} is committed, and another one is in its place at the primary",
                    prev.seq
                );
                return self.quarantine(why, random);
            }
            let hint = self.log.run_start(prev.seq).saturating_sub(1).max(self.commit);
            return self.send(from, Body::Mismatch { epoch, hint, round });
        }
        let matched = prev.seq + entries.len() as u64;
        if !self.take(entries, random) {
            return;
        }
        if self.mistakes(Mistake::CutLongerMatch) && matched < self.log.last().seq {
            self.cut(matched.max(self.log.base().seq));
        }
        self.commit = self.commit.max(commit.min(matched).min(self.log.last().seq));
        let matched = match self.mistakes(Mistake::AckOwnLast) {
            true => self.log.last().seq,
            false => matched,
        };
        // Held even if nothing was written: an earlier append of the same may not be durable yet.
        self.outbox.hold(Held::Send(from, Body::Appended { epoch, matched, round }));
    }

    /// Appends what is not here yet and cuts what contradicts it. False if that was committed.
    fn take(&mut self, mut entries: Vec<Entry>, random: u64) -> bool {
        let held = entries.iter().take_while(|entry| {
            entry.at.seq <= self.log.base().seq
                || self.log.epoch_at(entry.at.seq) == Some(entry.at.epoch)
        });
        let new = entries.split_off(held.count());
        let Some(first) = new.first() else { return true };
        let after = first.at.seq.saturating_sub(1);
        if after < self.log.last().seq {
            if after < self.commit {
                let why =
                    format!("entry {} is committed, and the primary has another one", first.at.seq);
                self.quarantine(why, random);
                return false;
            }
            self.cut(after);
        }
        self.extend(new);
        true
    }

    fn cut(&mut self, after: Seq) {
        self.log.cut(after);
        self.durable = self.durable.min(after);
        self.outbox.write(Write::Cut(after));
    }

    /// Appends entries to the log, here and on the disk.
    pub(super) fn extend(&mut self, entries: Vec<Entry>) {
        self.log.append(&entries);
        self.outbox.write(Write::Append(entries));
        self.outbox.hold(Held::Log(self.log.last().seq));
    }

    /// A snapshot is like an append of all that it holds: one of an earlier epoch than was promised is not taken, and who takes
    /// one leads no more. It is taken if the log does not have what it ends with.
    pub(super) fn offered(&mut self, from: DiskId, epoch: Epoch, at: Position, random: u64) {
        if epoch.number > MAX_NUMBER || epoch.is_before(at.epoch) {
            return;
        }
        self.see(epoch.number);
        if !self.promised.is_before(epoch) && !self.same(epoch, self.promised) {
            let promised = self.promised;
            return self.send(from, Body::Refused { epoch, promised });
        }
        if self.promised.is_before(epoch) {
            self.raise(epoch);
        }
        self.follow(Some(from), random);
        if at.seq > self.commit && self.log.epoch_at(at.seq) != Some(at.epoch) {
            self.outbox.push(Effect::Install);
        }
    }

    /// A snapshot took the place of the log.
    pub(super) fn installed(&mut self, at: Position, config: Option<Config>, recent: Vec<Recent>) {
        if at.seq <= self.log.base().seq {
            return;
        }
        let config = config.map(|config| (at.seq, config));
        self.log = Log::restore(Restored { base: at, config, entries: Vec::new(), recent });
        (self.durable, self.commit, self.told) = (at.seq, at.seq, at.seq);
        self.outbox.forget();
    }

    pub(super) fn probed(&mut self, from: DiskId) {
        let silent = match &self.state {
            State::Follower(following) => {
                following.primary.is_none()
                    || self.now.saturating_sub(following.heard) >= self.settings.timing.election
            }
            State::Electing(_) => true,
            State::Primary(_) | State::Quarantined => false,
        };
        let promised = self.promised;
        self.send(from, Body::Heard { silent, promised });
    }
}

/// Whether a primary of an epoch could send entries behind `prev`: consecutive, and of epochs that do not go back. Others are not
/// answered.
fn is_well_formed(epoch: Epoch, prev: Position, entries: &[Entry]) -> bool {
    let mut before = prev;
    for Entry { at, .. } in entries {
        let follows = before.seq.checked_add(1) == Some(at.seq);
        if !follows || at.epoch.is_before(before.epoch) || epoch.is_before(at.epoch) {
            return false;
        }
        before = *at;
    }
    true
}
