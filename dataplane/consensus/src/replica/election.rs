//! Having a primary elected: is it really missed, claim an epoch, gather promises (`promises.rs`), seat whose log goes furthest.
//!
//! Any voter may do it, and whoever does may seat another. Each stage that gets no answer is begun anew after a while.

use std::collections::BTreeMap;

use super::{Replica, State};
use crate::{
    Body, CasOutcome, Config, DiskId, Effect, Epoch, Identity, Millis, Mistake, Phase, Promise,
    Register, Version,
};

/// An election that was begun here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Election {
    pub(super) stage: Stage,
    /// When the stage began, or was last begun anew.
    since: Millis,
    /// When the stage began.
    began: Millis,
    /// Whether the primary asked for it, or begins it itself.
    asked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Asking the others whether they miss the primary too: those that do, and those that do not.
    Probing { silent: Vec<DiskId>, content: Vec<DiskId> },
    /// Reading the register.
    Reading,
    /// Swapping it to this: an epoch of its own, in which nobody is elected yet.
    Claiming(Register),
    /// Asking for promises.
    Gathering { epoch: Epoch, promises: BTreeMap<DiskId, (Identity, Promise)> },
    /// Swapping the register to what was elected.
    Seating(Register),
}

impl Election {
    fn new(stage: Stage, since: Millis, asked: bool) -> Self {
        Self { stage, since, began: since, asked }
    }

    /// Whether nobody was asked for a promise yet.
    fn is_early(&self) -> bool {
        matches!(&self.stage, Stage::Probing { .. } | Stage::Reading | Stage::Claiming(_))
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
        self.enter(Stage::Probing { silent: vec![me], content: Vec::new() }, false);
        self.count_silence();
    }

    /// The primary asks to be succeeded.
    pub(super) fn take_over(&mut self, epoch: Epoch) {
        if self.promised == epoch && matches!(self.state, State::Follower(_)) && self.votes() {
            self.read_register(true);
        }
    }

    /// Whether it goes on though the primary of an epoch is heard of: that one asked for it, and leads until another does. If that
    /// takes too long, it leads on.
    pub(super) fn was_asked_by(&self, epoch: Epoch) -> bool {
        let patience = self.settings.timing.election;
        self.promised == epoch
            && self.election().is_some_and(|election| {
                let waited = self.now.saturating_sub(election.began);
                election.asked && election.is_early() && waited <= patience
            })
    }

    pub(super) fn enter(&mut self, stage: Stage, asked: bool) {
        self.state = State::Electing(Election::new(stage, self.now, asked));
    }

    /// Has somebody elected from the register as it was just read.
    pub(super) fn elect_over(&mut self, before: Option<(Version, Register)>, random: u64) {
        self.enter(Stage::Reading, true);
        self.election_sees(before, random);
    }

    fn read_register(&mut self, asked: bool) {
        self.outbox.push(Effect::ReadRegister);
        self.enter(Stage::Reading, asked);
    }

    pub(super) fn election(&self) -> Option<&Election> {
        match &self.state {
            State::Electing(election) => Some(election),
            _ => None,
        }
    }

    pub(super) fn heard(&mut self, from: DiskId, silent: bool, promised: Epoch) {
        self.see(promised.number);
        let State::Electing(Election {
            stage: Stage::Probing { silent: missing, content }, ..
        }) = &mut self.state
        else {
            return;
        };
        let answers = if silent { missing } else { content };
        if !answers.contains(&from) {
            answers.push(from);
        }
        self.count_silence();
    }

    /// Begins once as many miss the primary as have to promise.
    fn count_silence(&mut self) {
        let Some(Election { stage: Stage::Probing { silent, .. }, .. }) = self.election() else {
            return;
        };
        if self.could_elect(|disk| silent.contains(&disk)) {
            self.read_register(false);
        }
    }

    pub(super) fn tick_election(&mut self, random: u64) {
        let Some(election) = self.election() else { return };
        let (since, began) = (election.since, election.began);
        let waited = self.now.saturating_sub(since);
        match &election.stage {
            // Somebody hears of the primary, or too few can be asked.
            Stage::Probing { silent, content } if waited > self.settings.timing.election => {
                let answered = |disk| silent.contains(&disk) || content.contains(&disk);
                self.short = !self.could_elect(answered);
                self.follow(None, random);
            }
            Stage::Gathering { epoch, promises } if waited > self.settings.timing.resend => {
                let epoch = *epoch;
                let given: Vec<DiskId> = promises.keys().copied().collect();
                let promised_another =
                    self.promised != epoch && self.promised.number >= epoch.number;
                if promised_another || self.log.last().epoch.number >= epoch.number {
                    return self.follow(None, random);
                }
                self.short = self.now.saturating_sub(began) > self.settings.timing.step_down;
                self.ask_for_promises(epoch, &given, random);
                // Perhaps it is all over, or the register was gone when the last promise came.
                self.outbox.push(Effect::ReadRegister);
                self.wait_on();
            }
            // Whether it was swapped, only the register can tell.
            Stage::Reading | Stage::Claiming(_) | Stage::Seating(_)
                if waited > self.settings.timing.election =>
            {
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
            Stage::Probing { .. } => {}
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
            Stage::Claiming(wanted) => match register.epoch == wanted.epoch {
                true => self.gather(wanted.epoch, random),
                false if register.epoch.number >= wanted.epoch.number => self.follow(None, random),
                // Not done yet, and perhaps never: the version tells.
                false => self.claim(version, register, random),
            },
            Stage::Gathering { epoch, .. } => {
                if register.epoch == epoch && register.phase == Phase::Electing {
                    self.seat(epoch);
                } else if register.epoch.is_before(epoch) {
                    // R14: it was set back, or created anew.
                    self.claim(version, register, random);
                } else {
                    self.follow(None, random);
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
                } else if register.epoch.is_before(wanted.epoch) {
                    self.claim(version, register, random);
                } else {
                    self.follow(None, random);
                }
            }
        }
    }

    /// R1: swaps the register to a new epoch. R14: above all that anybody is known to have promised. What may have been claimed
    /// already is claimed again as it was, so that it does not matter which of the two is done.
    fn claim(&mut self, version: Version, register: Register, random: u64) {
        let Some(election) = self.election() else { return };
        let asked = election.asked;
        let number =
            self.seen.max(register.epoch.number).max(self.promised.number).saturating_add(1);
        if let Stage::Claiming(before) = election.stage.clone()
            && before.epoch.number >= number
            && before.members == register.members
        {
            self.outbox.push(Effect::Swap(version, before));
            return self.wait_on();
        }
        let epoch = Epoch { number, nonce: random };
        let wanted = Register { epoch, phase: Phase::Electing, members: register.members };
        self.outbox.push(Effect::Swap(version, wanted.clone()));
        self.enter(Stage::Claiming(wanted), asked);
    }

    pub(super) fn election_swapped(&mut self, wanted: &Register, outcome: CasOutcome, random: u64) {
        let expected = match self.election().map(|election| &election.stage) {
            Some(Stage::Claiming(register) | Stage::Seating(register)) => wanted == register,
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
            CasOutcome::Conflict => None,
            // It is read after a while: were it at once, and swapped again, one that fails would be asked ever more.
            CasOutcome::Unknown => return,
        };
        let Some(version) = done else { return self.outbox.push(Effect::ReadRegister) };
        self.register = Some((version, wanted.clone()));
        match wanted.phase {
            Phase::Electing => self.gather(wanted.epoch, random),
            Phase::Stable { .. } => self.seated(wanted, random),
        }
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
