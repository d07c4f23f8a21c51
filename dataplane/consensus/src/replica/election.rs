//! Having a primary elected: is it really missed, claim an epoch, gather promises, seat whose log goes furthest.
//!
//! Any voter may do it, and whoever does may seat another. Each stage that gets no answer is begun anew after a while.

use std::collections::BTreeMap;

use super::{Replica, State};
use crate::{
    Body, CasOutcome, Config, DiskId, Effect, Epoch, Identity, Members, Millis, Mistake, Phase,
    Promise, Register, Version,
};

/// An election that was begun here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Election {
    stage: Stage,
    /// When the stage began, or was last begun anew.
    since: Millis,
    /// Whether the primary asked for it.
    asked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Asking the others whether they miss the primary too. Those that do.
    Probing(Vec<DiskId>),
    /// Reading the register.
    Reading,
    /// Swapping it to this epoch.
    Claiming(Epoch),
    /// Asking for promises.
    Gathering { epoch: Epoch, promises: BTreeMap<DiskId, (Identity, Promise)> },
    /// Swapping the register to what was elected.
    Seating(Register),
}

impl Election {
    fn new(stage: Stage, since: Millis, asked: bool) -> Self {
        Self { stage, since, asked }
    }

    /// Whether it asks for promises of this epoch.
    pub(super) fn gathers(&self, epoch: Epoch) -> bool {
        matches!(&self.stage, Stage::Gathering { epoch: own, .. } if *own == epoch)
    }
}

impl Replica {
    /// The primary was not heard of for too long.
    pub(super) fn miss_primary(&mut self, random: u64) {
        if !self.votes() {
            // Perhaps it votes by now and has not heard of it.
            self.follow(None, random);
            return self.outbox.push(Effect::ReadRegister);
        }
        let me = self.me.disk;
        let others: Vec<DiskId> =
            self.config().iter().flat_map(Config::members).filter(|&disk| disk != me).collect();
        for &disk in &others {
            self.send(disk, Body::Probe);
        }
        self.enter(Stage::Probing(vec![me]), false);
        self.count_silence();
    }

    /// The primary asks to be succeeded.
    pub(super) fn take_over(&mut self, epoch: Epoch) {
        if self.promised == epoch && matches!(self.state, State::Follower(_)) && self.votes() {
            self.read_register(true);
        }
    }

    fn enter(&mut self, stage: Stage, asked: bool) {
        self.state = State::Electing(Election::new(stage, self.now, asked));
    }

    fn read_register(&mut self, asked: bool) {
        self.outbox.push(Effect::ReadRegister);
        self.enter(Stage::Reading, asked);
    }

    fn election(&self) -> Option<&Election> {
        match &self.state {
            State::Electing(election) => Some(election),
            _ => None,
        }
    }

    pub(super) fn heard(&mut self, from: DiskId, silent: bool, promised: Epoch) {
        self.see(promised.number);
        let State::Electing(Election { stage: Stage::Probing(missing), .. }) = &mut self.state
        else {
            return;
        };
        if silent && !missing.contains(&from) {
            missing.push(from);
        }
        self.count_silence();
    }

    /// Begins once as many miss the primary as have to promise.
    fn count_silence(&mut self) {
        let (Some(config), Some(election)) = (self.config(), self.election()) else { return };
        let Stage::Probing(missing) = &election.stage else { return };
        let enough = |members: &Members| {
            members.count(|disk| missing.contains(&disk)) >= members.promise_quorum()
        };
        let registered = self.register.as_ref().map_or(0, |(_, r)| r.members.generation());
        let all = match &config {
            Config::Joint { new, .. } if registered >= new.generation() => enough(new),
            config => config.sets().all(enough),
        };
        if all {
            self.read_register(false);
        }
    }

    pub(super) fn tick_election(&mut self, random: u64) {
        let Some(election) = self.election() else { return };
        let (since, asked) = (election.since, election.asked);
        let waited = self.now.saturating_sub(since);
        match &election.stage {
            // Somebody hears of the primary, or too few can be asked.
            Stage::Probing(_) if waited > self.settings.timing.election => {
                self.follow(None, random)
            }
            Stage::Reading if waited > self.settings.timing.election => self.read_register(asked),
            Stage::Gathering { epoch, promises } if waited > self.settings.timing.resend => {
                let epoch = *epoch;
                let given: Vec<DiskId> = promises.keys().copied().collect();
                let promised_another =
                    self.promised != epoch && self.promised.number >= epoch.number;
                if promised_another || self.log.last().epoch.number >= epoch.number {
                    return self.follow(None, random);
                }
                self.ask_for_promises(epoch, &given, random);
                // Perhaps it is all over, or the register was gone when the last promise came.
                self.outbox.push(Effect::ReadRegister);
                self.wait_on();
            }
            // Whether it was swapped, only the register can tell.
            Stage::Claiming(_) | Stage::Seating(_) if waited > self.settings.timing.election => {
                self.outbox.push(Effect::ReadRegister);
                self.wait_on();
            }
            _ => {}
        }
    }

    fn wait_on(&mut self) {
        if let State::Electing(election) = &mut self.state {
            election.since = self.now;
        }
    }

    /// The register was read live.
    pub(super) fn election_sees(&mut self, before: Option<(Version, Register)>, random: u64) {
        let Some(election) = self.election() else { return };
        let Some((version, register)) = self.register.clone() else { return };
        match election.stage.clone() {
            Stage::Probing(_) => {}
            Stage::Reading if !self.votes() => self.follow(None, random),
            Stage::Reading => {
                let known = before.is_some_and(|(_, before)| before.epoch == register.epoch);
                let news = register.primary().is_some() && !known;
                match news && !election.asked && register.epoch.number > self.promised.number {
                    // Somebody was elected meanwhile, and has a while to make itself heard.
                    true => self.follow(None, random),
                    false => self.claim(version, register, random),
                }
            }
            Stage::Claiming(epoch) => match register.epoch == epoch {
                true => self.gather(epoch, random),
                false if register.epoch.number >= epoch.number => self.follow(None, random),
                // Not done yet, and perhaps never: the version tells.
                false => self.claim(version, register, random),
            },
            Stage::Gathering { epoch, .. } => {
                match register.epoch == epoch && register.phase == Phase::Electing {
                    true => {
                        self.seat(epoch);
                    }
                    false => self.follow(None, random),
                }
            }
            Stage::Seating(wanted) => {
                if register == wanted {
                    self.seated(&wanted, random);
                } else if register.epoch == wanted.epoch
                    && register.phase == Phase::Electing
                    && register.members.generation() <= wanted.members.generation()
                {
                    self.outbox.push(Effect::Swap(version, wanted));
                } else {
                    self.follow(None, random);
                }
            }
        }
    }

    /// R1: swaps the register to a new epoch. R14: above all that anybody is known to have promised.
    fn claim(&mut self, version: Version, register: Register, random: u64) {
        let number =
            self.seen.max(register.epoch.number).max(self.promised.number).saturating_add(1);
        let epoch = Epoch { number, nonce: random };
        let wanted = Register { epoch, phase: Phase::Electing, members: register.members };
        self.outbox.push(Effect::Swap(version, wanted));
        let asked = self.election().is_some_and(|election| election.asked);
        self.enter(Stage::Claiming(epoch), asked);
    }

    pub(super) fn election_swapped(&mut self, wanted: &Register, outcome: CasOutcome, random: u64) {
        let expected = match self.election().map(|election| &election.stage) {
            Some(Stage::Claiming(epoch)) => wanted.epoch == *epoch,
            Some(Stage::Seating(register)) => wanted == register,
            _ => false,
        };
        if !expected {
            return;
        }
        let known = self.register.as_ref().map(|(version, _)| version.clone());
        let done = match outcome {
            CasOutcome::Done(version) => Some(version),
            CasOutcome::Unknown if self.mistakes(Mistake::UnknownIsDone) => known,
            CasOutcome::Unknown if self.mistakes(Mistake::UnknownIsFailed) => {
                return self.follow(None, random);
            }
            CasOutcome::Conflict | CasOutcome::Unknown => None,
        };
        let Some(version) = done else { return self.outbox.push(Effect::ReadRegister) };
        self.register = Some((version, wanted.clone()));
        match wanted.phase {
            Phase::Electing => self.gather(wanted.epoch, random),
            Phase::Stable { .. } => self.seated(wanted, random),
        }
    }

    pub(super) fn gather(&mut self, epoch: Epoch, random: u64) {
        self.gathered = epoch.number;
        self.enter(Stage::Gathering { epoch, promises: BTreeMap::new() }, false);
        self.ask_for_promises(epoch, &[], random);
    }

    /// Asks all that may count: those of the register, of the own log, and of the logs that were told of.
    fn ask_for_promises(&mut self, epoch: Epoch, given: &[DiskId], random: u64) {
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
    fn seat(&mut self, epoch: Epoch) -> bool {
        let (Some(wanted), Some((version, register))) = (self.elected(epoch), &self.register)
        else {
            return false;
        };
        if register.epoch != epoch || register.phase != Phase::Electing {
            self.outbox.push(Effect::ReadRegister);
            return true;
        }
        self.outbox.push(Effect::Swap(version.clone(), wanted.clone()));
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
        let enough = |members: &Members| {
            let needed = match self.mistakes(Mistake::OnePromise) {
                true => 1,
                false => members.promise_quorum(),
            };
            members.count(|disk| promises.contains_key(&disk)) >= needed
        };
        let (all, members) = match &config {
            Config::New(members) => (enough(members), members),
            Config::Joint { new, .. } if registered.generation() >= new.generation() => {
                (enough(new), registered)
            }
            Config::Joint { new, .. } if self.mistakes(Mistake::PromiseByNew) => {
                (enough(new), registered)
            }
            Config::Joint { old, .. } if self.mistakes(Mistake::PromiseByOld) => {
                (enough(old), registered)
            }
            Config::Joint { old, new } => (enough(old) && enough(new), old),
        };
        // R14: a register that was restored learns its members anew.
        let members =
            if members.generation() > registered.generation() { members } else { registered };
        let phase = Phase::Stable { primary: *winner };
        all.then(|| Register { epoch, phase, members: members.clone() })
    }

    fn seated(&mut self, register: &Register, random: u64) {
        let winner = register.primary();
        self.follow(None, random);
        if let Some(winner) = winner.filter(|winner| *winner != self.me) {
            self.send(winner.disk, Body::Elected);
        }
    }

    /// Somebody promised a later epoch, or another one.
    pub(super) fn refused(&mut self, epoch: Epoch, promised: Epoch, random: u64) {
        self.see(promised.number);
        let over = match &self.state {
            State::Electing(election) => election.gathers(epoch) && promised.number >= epoch.number,
            State::Primary(primary) => primary.epoch == epoch && promised.number >= epoch.number,
            State::Follower(_) | State::Quarantined => false,
        };
        if over && promised != epoch {
            self.follow(None, random);
        }
    }
}
