//! Gathering promises: from whom, how many, and who is elected by them (R3).

use std::collections::BTreeMap;

use super::election::{Election, Stage};
use super::{Replica, State};
use crate::{
    Body, Config, DiskId, Effect, Epoch, Identity, Members, Mistake, Phase, Promise, Register,
};

impl Replica {
    pub(super) fn gather(&mut self, epoch: Epoch, random: u64) {
        self.gathered = epoch.number;
        self.enter(Stage::Gathering { epoch, promises: BTreeMap::new() }, false);
        self.ask_for_promises(epoch, &[], random);
    }

    /// Asks all that may count: those of the register, of the own log, and of the logs that were told of.
    pub(super) fn ask_for_promises(&mut self, epoch: Epoch, given: &[DiskId], random: u64) {
        let mut all: Vec<DiskId> = self
            .register
            .iter()
            .flat_map(|(_, register)| register.members.voters())
            .copied()
            .collect();
        all.extend(self.log.config().iter().flat_map(|config| config.members()));
        if let Some(Election { stage: Stage::Gathering { promises, .. }, .. }) = self.election() {
            let told = promises.values().filter_map(|(_, promise)| promise.config.as_ref());
            all.extend(told.flat_map(Config::members));
        }
        all.sort_unstable();
        all.dedup();
        for disk in all {
            if disk == self.me.disk && !given.contains(&disk) {
                self.fence(disk, epoch, random);
            } else if !given.contains(&disk) {
                self.send(disk, Body::Fence(epoch));
            }
        }
    }

    pub(super) fn promise(&mut self, from: Identity, promise: Promise) {
        let State::Electing(Election { stage: Stage::Gathering { epoch, promises }, .. }) =
            &mut self.state
        else {
            return;
        };
        if promise.epoch != *epoch {
            return;
        }
        let epoch = *epoch;
        let new = promise.config.clone();
        promises.insert(from.disk, (from, promise));
        let given: Vec<DiskId> = promises.keys().copied().collect();
        if let (false, Some(config)) = (self.seat(epoch), new) {
            // It may name some that were not asked yet.
            let registered = |disk: DiskId| {
                self.register.as_ref().is_some_and(|(_, r)| r.members.contains(disk))
            };
            let unasked: Vec<DiskId> = config
                .members()
                .filter(|disk| !registered(*disk) && !given.contains(disk))
                .filter(|&disk| disk != self.me.disk)
                .collect();
            for disk in unasked {
                self.send(disk, Body::Fence(epoch));
            }
        }
    }

    /// R4: swaps the register to who is elected, if somebody is. Only from a register that still asks for this epoch's.
    pub(super) fn seat(&mut self, epoch: Epoch) -> bool {
        let (Some(wanted), Some((version, register))) = (self.elected(epoch), &self.register)
        else {
            return false;
        };
        if register.epoch != epoch || register.phase != Phase::Electing {
            self.outbox.push(Effect::ReadRegister);
            return true;
        }
        self.outbox.push(Effect::Swap(version.clone(), wanted.clone()));
        self.short = false;
        self.enter(Stage::Seating(wanted), false);
        true
    }

    /// R3: who is elected, once enough have promised.
    fn elected(&self, epoch: Epoch) -> Option<Register> {
        let Stage::Gathering { promises, .. } = &self.election()?.stage else { return None };
        let registered = &self.register.as_ref()?.1.members;
        // Of those that go equally far, this one: it is known to live.
        let rank =
            |(from, promise): &&(Identity, Promise)| (promise.last.reach(), *from == self.me);
        let (winner, promise) = promises.values().max_by_key(rank)?;
        let config = promise.config.clone().filter(|_| !self.mistakes(Mistake::TrustRegister));
        let config = config.unwrap_or_else(|| Config::New(registered.clone()));
        let enough = self.is_enough(&config, |disk| promises.contains_key(&disk));
        let (Config::New(members) | Config::Joint { old: members, .. }) = &config;
        // R14: a register that was restored learns its members anew.
        let members =
            if members.generation() > registered.generation() { members } else { registered };
        let phase = Phase::Stable { primary: *winner };
        enough.then(|| Register { epoch, phase, members: members.clone() })
    }

    /// R3: whether these are enough, if this is the newest configuration that counts. The register has the new members of a change
    /// if it has exactly these: others of their generation show that this change was cut and another one made.
    fn is_enough(&self, config: &Config, these: impl Fn(DiskId) -> bool) -> bool {
        let enough = |members: &Members| {
            let needed = match self.mistakes(Mistake::OnePromise) {
                true => 1,
                false => members.promise_quorum(),
            };
            members.count(&these) >= needed
        };
        let registered = self.register.as_ref().map(|(_, register)| &register.members);
        match config {
            Config::New(members) => enough(members),
            Config::Joint { new, .. } if registered == Some(new) => enough(new),
            Config::Joint { .. } if self.mistakes(Mistake::IgnoreJoint) => {
                registered.is_some_and(enough)
            }
            Config::Joint { new, .. } if self.mistakes(Mistake::PromiseByNew) => enough(new),
            Config::Joint { old, .. } if self.mistakes(Mistake::PromiseByOld) => enough(old),
            Config::Joint { old, new } => enough(old) && enough(new),
        }
    }

    /// Whether these are enough to elect somebody, as far as the own log tells.
    pub(super) fn could_elect(&self, these: impl Fn(DiskId) -> bool) -> bool {
        self.config().is_some_and(|config| self.is_enough(&config, these))
    }
}
