//! One replica: what it knows, and what it makes of what happens.
//!
//! `follower.rs` takes entries and gives promises, `election.rs` has somebody elected by what `promises.rs`
//! gathers, `primary.rs` leads,
//! `peers.rs` is what a primary knows of the others, `proposals.rs` takes ops and answers them, `members.rs` changes who votes,
//! `reads.rs` answers strong reads, `register.rs` makes sense of the register.

mod election;
mod follower;
mod members;
mod peers;
mod primary;
mod promises;
mod proposals;
mod reads;
mod register;
mod settings;
mod status;
#[cfg(test)]
mod tests;

use self::election::Election;
use self::primary::Primary;
pub use self::settings::{Acks, Settings};
pub use self::status::{Role, Status};
use crate::effects::{Held, Outbox};
use crate::log::{Log, Restored};
use crate::{
    Answer, Body, Config, DiskId, Effect, Epoch, Identity, Input, Message, Millis, Mistake,
    Refusal, Register, Seq, Timing, Version,
};

/// Greatest number of an epoch that is believed: one election a microsecond for nine years.
const MAX_NUMBER: u64 = 1 << 48;

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    me: Identity,
    settings: Settings,
    log: Log,
    /// Takes nothing of an epoch before this one. As far as was written, not as far as is durable.
    promised: Epoch,
    /// Greatest number of an epoch that anybody named.
    seen: u64,
    /// Number of the last epoch that was led here; none is led twice (R4).
    led: Option<u64>,
    /// Number of the last epoch that promises were asked for here. None is asked for twice, or two could be seated in it.
    gathered: u64,
    durable: Seq,
    commit: Seq,
    /// What was told to be applied: committed, and durable here.
    told: Seq,
    /// The register as it was last seen.
    register: Option<(Version, Register)>,
    /// A version that was read live and says less than is known: an answer that was late, unless it is read again.
    doubted: Option<Version>,
    /// The register was read live and there was none.
    missing: bool,
    /// See [`Status::short`].
    short: bool,
    learners: Vec<DiskId>,
    state: State,
    now: Millis,
    outbox: Outbox,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Follower(Following),
    Electing(Election),
    Primary(Box<Primary>),
    Quarantined,
}

/// What one that does not lead knows of who does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Following {
    primary: Option<DiskId>,
    /// When the primary was last heard of, or it was decided to wait for one.
    heard: Millis,
    /// How long it may be silent.
    patience: Millis,
}

impl Replica {
    /// A replica as it was found on its disk: what it promised, and its log. What is not in the log any more is flushed, so it is
    /// committed; of the rest it is not known.
    pub fn new(
        me: Identity,
        settings: Settings,
        promised: Epoch,
        restored: Restored,
        now: Millis,
        random: u64,
    ) -> Self {
        let log = Log::restore(restored);
        let (base, last) = (log.base().seq, log.last());
        let patience = patience(&settings.timing, random);
        let mut replica = Self {
            me,
            settings,
            promised,
            seen: promised.number.max(last.epoch.number),
            led: None,
            gathered: 0,
            doubted: None,
            missing: false,
            short: false,
            durable: last.seq,
            commit: base,
            told: base,
            register: None,
            learners: Vec::new(),
            state: State::Follower(Following { primary: None, heard: now, patience }),
            now,
            outbox: Outbox::default(),
            log,
        };
        replica.outbox.push(Effect::ReadRegister);
        replica
    }

    /// Takes note of what happened and says what is to be done, in this order. `now` must not go back; `random` must differ
    /// from step to step.
    pub fn step(&mut self, now: Millis, random: u64, input: Input) -> Vec<Effect> {
        self.now = now;
        match input {
            _ if matches!(self.state, State::Quarantined) => self.refuse(input),
            Input::Tick => self.tick(random),
            Input::Received(message) => self.receive(message, random),
            Input::Durable(ticket) => {
                self.outbox.durable(ticket);
            }
            Input::Register { found, live } => self.register_seen(found, live, random),
            // Who waits for it asks again after a while.
            Input::NoRegister => {}
            Input::Swapped { wanted, outcome } => self.swapped(&wanted, outcome, random),
            Input::Propose { id, client_id, op_id, body } => {
                self.propose(id, client_id, op_id, body);
            }
            Input::Read(id) => self.read(id),
            Input::LogRead { peer, entries } => self.log_read(peer, entries),
            Input::Trimmed(to) => {
                if to.seq <= self.told {
                    self.log.trim(to);
                }
            }
            Input::Offered { from, epoch, at } => self.offered(from, epoch, at, random),
            Input::Installed { at, config, recent } => self.installed(at, config, recent),
            Input::Change(members) => self.change(members),
            Input::Learners(learners) => self.set_learners(learners),
            Input::StepAside(target) => self.step_aside(target),
        }
        self.settle(random);
        self.outbox.take()
    }

    /// Its log, as far as it was written.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The members that count: those that the log says or, where it says nothing, the register.
    fn config(&self) -> Option<Config> {
        let registered = || Some(Config::New(self.register.as_ref()?.1.members.clone()));
        self.log.config().cloned().or_else(registered)
    }

    /// Whether it votes, as far as it knows: one that was removed may have a log that does not say so.
    fn votes(&self) -> bool {
        let Some(config) = self.config() else { return false };
        let registered = self.register.as_ref().map(|(_, register)| &register.members);
        match registered.filter(|members| members.generation() > config.generation()) {
            Some(members) => members.contains(self.me.disk),
            None => config.contains(self.me.disk),
        }
    }

    fn mistakes(&self, mistake: Mistake) -> bool {
        self.settings.mistakes.make(mistake)
    }

    /// Whether two epochs are one.
    fn same(&self, a: Epoch, b: Epoch) -> bool {
        a == b || (a.number == b.number && self.mistakes(Mistake::NoNonce))
    }

    fn send(&mut self, to: DiskId, body: Body) {
        if to == self.me.disk {
            return;
        }
        let message = Message { from: self.me, body };
        self.outbox.push(Effect::Send(to, message));
    }

    fn receive(&mut self, message: Message, random: u64) {
        let Message { from, body } = message;
        match body {
            Body::Fence(epoch) => self.fence(from.disk, epoch, random),
            Body::Promise(promise) => self.promise(from, promise),
            Body::Refused { epoch, promised } => self.refused(epoch, promised, random),
            Body::Elected => self.outbox.push(Effect::ReadRegister),
            Body::Append { epoch, prev, entries, commit, round } => {
                self.append(from.disk, epoch, prev, entries, commit, round, random);
            }
            Body::Appended { epoch, matched, round } => {
                self.appended(from.disk, epoch, matched, round);
            }
            Body::Mismatch { epoch, hint, round } => self.mismatch(from.disk, epoch, hint, round),
            Body::Probe => self.probed(from.disk),
            Body::Heard { silent, promised } => self.heard(from.disk, silent, promised),
            Body::TakeOver(epoch) => self.take_over(epoch),
        }
    }

    /// Lets go of what need not wait any more, and draws the conclusions.
    fn settle(&mut self, random: u64) {
        while let Some(held) = self.outbox.release() {
            match held {
                // What one tells oneself is not sent.
                Held::Send(to, body) if to == self.me.disk => {
                    self.receive(Message { from: self.me, body }, random);
                }
                Held::Send(to, body) => self.send(to, body),
                Held::Log(seq) => self.durable = seq,
            }
        }
        if let State::Primary(_) = self.state {
            self.advance();
        }
        let told = self.commit.min(self.durable);
        if told > self.told {
            self.told = told;
            self.log.expire_ops(told);
            self.outbox.push(Effect::Commit(told));
        }
        if let State::Primary(_) = self.state {
            self.answer_proposals();
            self.answer_reads();
            self.feed_peers();
        }
        debug_assert!(
            self.log.base().seq <= self.commit || matches!(self.state, State::Quarantined)
        );
        debug_assert!(self.commit <= self.log.last().seq, "nothing committed is missing");
        debug_assert!(self.durable <= self.log.last().seq, "nothing is durable that is not there");
    }

    fn tick(&mut self, random: u64) {
        match &self.state {
            State::Follower(following) => {
                if self.now.saturating_sub(following.heard) > following.patience {
                    self.miss_primary(random);
                }
            }
            State::Electing(_) => self.tick_election(random),
            State::Primary(_) => self.tick_primary(random),
            State::Quarantined => {}
        }
    }

    /// Notes the number of an epoch that somebody named. Numbers that no counting reaches are a mistake of whoever sent them.
    fn see(&mut self, number: u64) {
        if number <= MAX_NUMBER {
            self.seen = self.seen.max(number);
        }
    }

    /// Stops whatever else it did.
    fn follow(&mut self, primary: Option<DiskId>, random: u64) {
        if let State::Primary(primary) = &mut self.state {
            let (waiting, reads) = primary.stop();
            for id in waiting {
                self.outbox.push(Effect::Answer(id, Answer::Unknown));
            }
            for id in reads {
                let refused = Err(Refusal::NotPrimary { primary: None });
                self.outbox.push(Effect::ReadAt(id, refused));
            }
        }
        let patience = patience(&self.settings.timing, random);
        self.state = State::Follower(Following { primary, heard: self.now, patience });
    }

    fn quarantine(&mut self, why: String, random: u64) {
        self.follow(None, random);
        self.state = State::Quarantined;
        self.outbox.push(Effect::Quarantine(why));
    }

    /// All that a quarantined replica answers.
    fn refuse(&mut self, input: Input) {
        let refusal = Refusal::NotPrimary { primary: None };
        match input {
            Input::Propose { id, .. } => {
                self.outbox.push(Effect::Answer(id, Answer::Refused(refusal)));
            }
            Input::Read(id) => self.outbox.push(Effect::ReadAt(id, Err(refusal))),
            _ => {}
        }
    }
}

/// How long a primary may be silent: not all lose patience at once.
fn patience(timing: &Timing, random: u64) -> Millis {
    timing.election + random % timing.election.max(1)
}
