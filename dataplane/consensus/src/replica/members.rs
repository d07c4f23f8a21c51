//! Changing the members (R11): a joint configuration in the log, then the register, then the new one in the log.

use super::{Replica, State};
use crate::{CasOutcome, Config, Effect, Members, Millis, Mistake, Phase, Register, Seq, What};

/// A change under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Change {
    new: Members,
    step: Step,
    since: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// The joint configuration is in the log and has to be committed.
    Joint(Seq),
    /// The register is to get the new members.
    Swapping,
    /// The new configuration is in the log and has to be committed.
    New(Seq),
}

impl Replica {
    /// Begins a change, if none is under way and what came before is committed.
    pub(super) fn change(&mut self, wanted: Members) {
        let (now, commit) = (self.now, self.commit);
        let Some(Config::New(old)) = self.config() else { return };
        let Some(primary) = self.leading() else { return };
        let same = old.voters() == wanted.voters() && old.write_quorum() == wanted.write_quorum();
        if primary.change.is_some() || commit < primary.no_op || same {
            return;
        }
        let new = wanted.of_generation(old.generation() + 1);
        let joint = self.append_own(What::Config(Config::Joint { old, new: new.clone() }));
        if let Some(primary) = self.leading() {
            primary.change = Some(Change { new, step: Step::Joint(joint), since: now });
        }
        self.update_peers();
        if self.mistakes(Mistake::SwapBeforeJoint) {
            self.swap_members();
        }
    }

    /// A new primary whose log ends in a joint configuration finishes what another one began.
    pub(super) fn resume_change(&mut self) {
        let (now, joint) = (self.now, self.log.config_seq());
        let Some(Config::Joint { new, .. }) = self.log.config().cloned() else { return };
        let registered = self.register.as_ref().map(|(_, register)| register.members.clone());
        if self.mistakes(Mistake::IgnoreJoint) {
            if let Some(members) = registered {
                self.append_own(What::Config(Config::New(members)));
            }
            return;
        }
        let step = match registered.as_ref() == Some(&new) {
            true => Step::New(self.append_own(What::Config(Config::New(new.clone())))),
            false => Step::Joint(joint.unwrap_or(0)),
        };
        if let Some(primary) = self.leading() {
            primary.change = Some(Change { new, step, since: now });
        }
    }

    fn change_under_way(&self) -> Option<&Change> {
        match &self.state {
            State::Primary(primary) => primary.change.as_ref(),
            _ => None,
        }
    }

    /// Goes on once the log has been committed far enough.
    pub(super) fn advance_change(&mut self) {
        let Some(Change { step, .. }) = self.change_under_way().cloned() else {
            return self.leave_if_removed();
        };
        match step {
            Step::Joint(seq) if self.committed_here(seq) => self.swap_members(),
            Step::New(seq) if self.committed_here(seq) => {
                if let Some(primary) = self.leading() {
                    primary.change = None;
                }
                self.update_peers();
                self.leave_if_removed();
            }
            Step::Joint(_) | Step::Swapping | Step::New(_) => {}
        }
    }

    /// A removed primary counts nowhere: once all it knows is committed, the others elect one of them.
    fn leave_if_removed(&mut self) {
        let removed = self.config().is_some_and(|config| !config.contains(self.me.disk));
        if removed && self.committed_here(0) {
            self.beat(true);
            self.follow(None, 0);
        }
    }

    /// Whether an entry is committed and so is one of the own epoch.
    fn committed_here(&self, seq: Seq) -> bool {
        let no_op = match &self.state {
            State::Primary(primary) => primary.no_op,
            _ => Seq::MAX,
        };
        self.commit >= seq.max(no_op)
    }

    fn swap_members(&mut self) {
        let now = self.now;
        let Some(change) = self.leading().and_then(|primary| primary.change.as_mut()) else {
            return;
        };
        (change.step, change.since) = (Step::Swapping, now);
        self.try_swap();
    }

    /// From a register that is as this primary knows it, and from no other.
    fn try_swap(&mut self) {
        let Some(new) = self.change_under_way().map(|change| change.new.clone()) else { return };
        let Some((version, register)) = self.register.clone() else {
            return self.outbox.push(Effect::ReadRegister);
        };
        let State::Primary(primary) = &self.state else { return };
        let (epoch, phase) = (primary.epoch, Phase::Stable { primary: self.me });
        match (register.epoch, register.phase) == (epoch, phase) {
            true => {
                let wanted = Register { epoch, phase, members: new };
                self.outbox.push(Effect::Swap(version, wanted));
            }
            false => self.outbox.push(Effect::ReadRegister),
        }
    }

    fn is_swapping(&self) -> bool {
        self.change_under_way().is_some_and(|change| change.step == Step::Swapping)
    }

    /// The register was read live.
    pub(super) fn change_sees(&mut self) {
        if !self.is_swapping() {
            return;
        }
        let State::Primary(primary) = &self.state else { return };
        let Some((_, register)) = &self.register else { return };
        let own = register.epoch == primary.epoch;
        let new = self.change_under_way().map(|change| &change.new);
        if own && new == Some(&register.members) {
            self.members_swapped();
        } else if own {
            self.try_swap();
        }
        // Of another epoch: somebody is elecing, and a fence is on its way.
    }

    pub(super) fn change_swapped(&mut self, wanted: &Register, outcome: CasOutcome) {
        let expected = self.change_under_way().is_some_and(|change| change.new == wanted.members)
            && matches!(&self.state, State::Primary(primary) if primary.epoch == wanted.epoch);
        if !self.is_swapping() || !expected {
            return;
        }
        match outcome {
            CasOutcome::Done(version) => {
                self.register = Some((version, wanted.clone()));
                self.members_swapped();
            }
            CasOutcome::Unknown if self.mistakes(Mistake::UnknownIsDone) => self.members_swapped(),
            CasOutcome::Unknown if self.mistakes(Mistake::UnknownIsFailed) => self.give_up(),
            CasOutcome::Conflict => self.outbox.push(Effect::ReadRegister),
            // Stays joint until it is known: it is read after a while.
            CasOutcome::Unknown => {}
        }
    }

    fn members_swapped(&mut self) {
        let Some(new) = self.change_under_way().map(|change| change.new.clone()) else { return };
        let seq = self.append_own(What::Config(Config::New(new)));
        if let Some(change) = self.leading().and_then(|primary| primary.change.as_mut()) {
            change.step = Step::New(seq);
        }
    }

    /// A mistake: goes back to the old members.
    fn give_up(&mut self) {
        if let Some(Config::Joint { old, .. }) = self.log.config().cloned() {
            self.append_own(What::Config(Config::New(old)));
        }
        if let Some(primary) = self.leading() {
            primary.change = None;
        }
    }

    /// Asks the register again if it did not answer.
    pub(super) fn tick_change(&mut self) {
        let (now, patience) = (self.now, self.settings.timing.election);
        let swapping = self.is_swapping();
        let Some(change) = self.leading().and_then(|primary| primary.change.as_mut()) else {
            return;
        };
        if swapping && now.saturating_sub(change.since) > patience {
            change.since = now;
            self.outbox.push(Effect::ReadRegister);
        }
    }
}
