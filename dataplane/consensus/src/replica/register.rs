//! What a replica makes of the register: whether to believe what it says, whether it is named in it, whether there is one.

use super::{Replica, State};
use crate::{CasOutcome, Config, Effect, Epoch, Mistake, Phase, Register, Version};

impl Replica {
    /// What the register says, read live or told by a watch.
    pub(super) fn register_seen(
        &mut self,
        found: Option<(Version, Register)>,
        live: bool,
        random: u64,
    ) {
        let Some((version, register)) = found else {
            return self.register_missing(live);
        };
        self.missing = false;
        self.see(register.epoch.number);
        if self.is_doubtful(&register) {
            if !live {
                return self.suspect_register();
            }
            if self.doubted.as_ref() != Some(&version) {
                self.doubted = Some(version);
                return self.outbox.push(Effect::ReadRegister);
            }
        }
        self.doubted = None;
        let (epoch, seated) = (register.epoch, register.primary() == Some(self.me));
        let before = self.register.replace((version, register));
        match &self.state {
            State::Electing(_) if live => self.election_sees(before, random),
            // R14: it was set back, so nobody finds the primary through it. To be elected anew sets it right.
            State::Primary(primary) if live && primary.is_ahead_of(epoch, seated) => {
                self.follow(None, random);
                self.elect_over(before, random);
            }
            State::Primary(_) if live => self.change_sees(),
            _ => {}
        }
        self.lead_if_named();
    }

    /// R14: whoever has to elect somebody, or leads, creates the register from what its own log says. One live answer may be late;
    /// two are not, and if they are, there is a register and this does nothing to it.
    fn register_missing(&mut self, live: bool) {
        self.register = None;
        if !live {
            return self.suspect_register();
        }
        let concerned = matches!(self.state, State::Electing(_) | State::Primary(_));
        if !concerned || !self.votes() {
            return;
        }
        if !std::mem::replace(&mut self.missing, true) {
            return self.outbox.push(Effect::ReadRegister);
        }
        self.missing = false;
        let members = match self.log.config() {
            Some(Config::New(members)) => members.clone(),
            Some(Config::Joint { old, .. }) => old.clone(),
            // Disks that were never used: theirs is created by whoever set them up.
            None => return,
        };
        self.outbox.push(Effect::Create(Register::first(members)));
    }

    /// How a creation ended: if not well, somebody else's is read.
    fn created(&mut self, wanted: &Register, outcome: CasOutcome, random: u64) {
        match outcome {
            CasOutcome::Done(version) => {
                self.register_seen(Some((version, wanted.clone())), true, random);
            }
            CasOutcome::Conflict => self.outbox.push(Effect::ReadRegister),
            // Whoever elects reads it after a while.
            CasOutcome::Unknown => self.suspect_register(),
        }
    }

    /// Whether a register says less than is known, or something else of the same epoch. A watch may be behind, and an answer late;
    /// or the register was set back.
    fn is_doubtful(&self, register: &Register) -> bool {
        let rank = |register: &Register| (register.epoch.number, register.members.generation());
        self.register.as_ref().is_some_and(|(_, known)| {
            let other =
                known.epoch.number == register.epoch.number && known.epoch != register.epoch;
            other || rank(known) > rank(register)
        })
    }

    /// Whether the register is not known to be at a later epoch.
    fn is_newest(&self, epoch: Epoch) -> bool {
        self.register.as_ref().is_none_or(|(_, known)| known.epoch.number <= epoch.number)
    }

    pub(super) fn swapped(&mut self, wanted: &Register, outcome: CasOutcome, random: u64) {
        if *wanted == Register::first(wanted.members.clone()) {
            return self.created(wanted, outcome, random);
        }
        let claimed = wanted.phase == Phase::Electing
            && self.gathered < wanted.epoch.number
            && self.seen <= wanted.epoch.number
            && self.is_newest(wanted.epoch);
        match (&self.state, outcome) {
            // An epoch was claimed here, so promises are asked for here, also if that was given up or begun anew meanwhile.
            (State::Follower(_) | State::Electing(_), CasOutcome::Done(version)) if claimed => {
                self.register = Some((version, wanted.clone()));
                self.gather(wanted.epoch, random);
            }
            (State::Electing(_), outcome) => self.election_swapped(wanted, outcome, random),
            (State::Primary(_), outcome) => self.change_swapped(wanted, outcome),
            // Whatever was swapped, it is read again before anything rests on it.
            (State::Follower(_) | State::Quarantined, _) => {}
        }
        self.lead_if_named();
    }

    /// Acts on being elected, only if named exactly and if nothing was promised since (R4).
    fn lead_if_named(&mut self) {
        let Some((_, register)) = &self.register else { return };
        let (epoch, primary) = (register.epoch, register.primary());
        let named = primary == Some(self.me)
            || (self.mistakes(Mistake::LeadAfterRestart)
                && primary.is_some_and(|primary| primary.disk == self.me.disk));
        let promised = self.same(self.promised, epoch) || self.mistakes(Mistake::LeadAfterPromise);
        let new = self.led.is_none_or(|led| led < epoch.number);
        if named && promised && new && !matches!(self.state, State::Primary(_)) {
            self.lead(epoch);
        }
    }
}
