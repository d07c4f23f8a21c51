//! The loop that owns a replica: events go in, and what the rules say is to be done is done, in that order.
//!
//! One thread per replica. It reads all events that wait, carries out what comes of them, and then writes, syncs and applies
//! once for all of them: that is the group commit. What is to be said only once it is durable is held back by the rules
//! themselves; messages for which nothing has to be durable leave at once, so the other replicas write while this one does.
//!
//! Invariant: it never waits for the network or the register; only its own disk holds it up.

mod capture;
mod clients;
mod install;
mod members;
mod register;
mod show;

use std::time::Instant;

use shoal_consensus::{Answer, Body, DiskId, Effect, Input, Message, Millis, Replica, Seq, Ticket};
use shoal_replica::{Disk, ReadBackError};
use shoal_shard::Shard;
use shoal_shard::api::ShardError;
use shoal_shard::journal::{JournalError, Sync};
use tokio::sync::mpsc;

use self::capture::Captures;
pub(crate) use self::capture::{Capture, Captured, Mend, NotCaptured};
use self::clients::{Clients, Wording};
pub(crate) use self::members::{Peer, Peers};
use self::register::Reading;
use super::handle::{Board, Event, Write};
use super::lateness::Lateness;
use super::register::Seen;
use super::register::founding::{Holds, may_be_founded_on};
use super::start::{Home, Outside};
use super::succession::Succession;
use super::transport::Offer;
use crate::clock;

/// Events that are taken before their writes begin: enough for a sync to be shared, few enough for it to begin soon.
const TURN: usize = 1024;

/// Bytes of entries that may wait to be applied before further ones are not taken: they are sent again. More than a primary
/// lets be on their way, so that only flushes that fell behind get there.
const MAX_UNAPPLIED: u64 = 128 << 20;

/// Bytes of entries that one read of the log gives.
const READ_BACK: usize = 1 << 20;

/// See the module's comment.
pub(super) struct Driver {
    home: Home,
    outside: Outside,
    events: mpsc::Receiver<Event>,
    board: Board,
    replica: Replica,
    disk: Disk,
    clients: Clients,
    captures: Captures,
    start: Instant,
    commit: Seq,
    /// Ops that wait for room.
    held: Vec<Write>,
    /// Whether it was said that the disk is not blank any more. Nothing is written before.
    founded: Founded,
    reading: Reading,
    /// The newest that was heard of the register and the other replicas.
    seen: Seen,
    /// The snapshot that is fetched, or was and is whole.
    fetching: bool,
    /// When a primary was heard of last.
    heard: Instant,
    /// See [`ReplicaStatus::fresh`](super::handle::ReplicaStatus).
    fresh: Instant,
    lateness: Lateness,
    succession: Succession,
    /// Who led last and who before, as the register said, with the numbers of their epochs.
    registered: [Option<(u64, DiskId)>; 2],
    /// See [`ReplicaStatus::last_epoch`].
    last_epoch: u64,
    /// Ops that were cut off the logs that snapshots took the place of.
    cut_before: u64,
    ended: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Founded {
    /// The disk is blank, and others may believe it.
    Blank,
    /// It is that of a lone shard, and nobody was told otherwise; see `founding.rs`.
    Alone,
    /// They are being told otherwise.
    Telling,
    Told,
}

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "called once, where a replica is started")]
    pub(super) fn new(
        home: Home,
        outside: Outside,
        events: mpsc::Receiver<Event>,
        board: Board,
        replica: Replica,
        journal: shoal_shard::journal::Journal,
        syncer: std::sync::mpsc::Sender<(Ticket, Sync)>,
        start: Instant,
        holds: Holds,
    ) -> Self {
        let succession = Succession::new(home.quorum_acks);
        let lateness = Lateness::new(home.visibility_sla, start);
        Self {
            home,
            outside,
            events,
            board,
            replica,
            disk: Disk::new(journal, syncer),
            clients: Clients::default(),
            captures: Captures::default(),
            start,
            commit: 0,
            held: Vec::new(),
            founded: match holds {
                Holds::Nothing => Founded::Blank,
                Holds::LoneShard => Founded::Alone,
                Holds::Replica => Founded::Told,
            },
            reading: Reading::default(),
            seen: Seen::default(),
            fetching: false,
            heard: start,
            fresh: start,
            lateness,
            succession,
            registered: [None; 2],
            last_epoch: 0,
            cut_before: 0,
            ended: None,
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        // What a replica wants first is told with the first step.
        self.step(Input::Tick);
        while let Some(first) = self.events.blocking_recv() {
            let mut next = Some(first);
            for _ in 0..TURN {
                match next {
                    None => break,
                    Some(Event::Stop) => return,
                    Some(event) => self.take(event),
                }
                next = self.events.try_recv().ok();
            }
            if let Some(event) = next {
                self.take(event);
            }
            self.admit();
            self.work();
            self.show();
        }
    }

    fn now(&self) -> Millis {
        u64::try_from(clock::now().duration_since(self.start).as_millis()).unwrap_or(Millis::MAX)
    }

    fn take(&mut self, event: Event) {
        if let Some(why) = &self.ended {
            let shard = self.home.shard.clone();
            let ended = ShardError::Unavailable { shard, detail: why.clone() };
            return refuse(event, ended);
        }
        match event {
            Event::Tick => self.tick(),
            // Entries of before there were epochs look like those of any other lone shard, so none are taken behind them.
            Event::Received(_) | Event::Offered(_) if self.founded == Founded::Alone => {}
            Event::Received(message) => self.received(message),
            Event::Offered(offer) => self.offered(offer),
            Event::Fetched { from, epoch, at } => {
                self.fetching = false;
                self.step(Input::Offered { from, epoch, at });
            }
            Event::NotFetched => self.fetching = false,
            Event::Synced(ticket, synced) => {
                let durable = self.disk.synced(ticket, synced);
                self.step(Input::Durable(durable));
            }
            Event::Register(seen) => self.register_read(Some(seen)),
            Event::NoRegister => self.register_read(None),
            Event::Watched(seen) => {
                self.look(&seen);
                let found = seen.stored.map(|stored| (stored.version, stored.register));
                self.step(Input::Register { found, live: false });
            }
            Event::Swapped(wanted, outcome) => self.step(Input::Swapped { wanted, outcome }),
            Event::Announced => self.founded = Founded::Told,
            Event::Write(write) => self.held.push(write),
            Event::Read(reply) => {
                let id = self.clients.reading(reply);
                self.step(Input::Read(id));
            }
            Event::Capture(capture) => self.capture(capture),
            Event::Mend(mend) => self.mend(mend),
            Event::Peers(reply) => drop(reply.send(self.peers())),
            Event::StepAside => self.step_aside(),
            Event::Stop => {}
        }
    }

    /// Steps the rules, and carries out what they say.
    fn step(&mut self, input: Input) {
        let (now, random) = (self.now(), clock::random_u64());
        for effect in self.replica.step(now, random, input) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Write(ticket, write) => self.disk.push(ticket, write),
            Effect::Send(to, message) => self.outside.transport.send(to, message),
            Effect::ReadLog { peer, from } => self.read_log(peer, from),
            Effect::SendSnapshot { to, epoch } => {
                self.outside.transport.offer(to, Offer { from: self.home.disk, epoch });
            }
            Effect::Install => self.install(),
            Effect::ReadRegister => self.read_register(),
            Effect::Swap(version, register) => self.outside.swap(Some(version), register),
            Effect::Create(register) => self.outside.swap(None, register),
            Effect::Commit(seq) => self.commit = self.commit.max(seq),
            Effect::Answer(id, answer) => {
                let refused = matches!(answer, Answer::Refused(_));
                let primary = if refused { self.primary() } else { None };
                let wording = Wording { shard: &self.home.shard, primary };
                self.clients.answered(id, answer, &wording);
            }
            Effect::ReadAt(id, outcome) => {
                let primary = if outcome.is_err() { self.primary() } else { None };
                let wording = Wording { shard: &self.home.shard, primary };
                self.clients.confirmed(id, outcome, &wording);
            }
            Effect::Quarantine(why) => {
                self.disk.journal().quarantine(&why);
                self.end(format!("its log contradicts what was committed: {why}"));
            }
        }
    }

    fn tick(&mut self) {
        self.step(Input::Tick);
        self.reconcile_members();
        self.disk.journal().note_commit();
        if let Some(trimmed) = self.disk.newly_trimmed(self.replica.log()) {
            self.step(Input::Trimmed(trimmed));
        }
    }

    /// What the disk holds, as far as founding goes.
    fn holds(&self) -> Holds {
        match self.founded {
            Founded::Blank if self.disk.is_idle() => Holds::Nothing,
            Founded::Alone if self.disk.is_idle() => Holds::LoneShard,
            _ => Holds::Replica,
        }
    }

    /// Entries for which there is no room are lost on their way: they are sent again.
    fn received(&mut self, message: Message) {
        let carries = match &message.body {
            Body::Append { entries, .. } => {
                self.heard = clock::now();
                self.succession.heard(self.heard);
                !entries.is_empty()
            }
            Body::TakeOver(_) => {
                self.succession.asked(show::now());
                false
            }
            _ => false,
        };
        if carries && self.disk.journal().waiting_bytes() > MAX_UNAPPLIED {
            return;
        }
        self.step(Input::Received(message));
    }

    fn read_log(&mut self, peer: DiskId, from: Seq) {
        match self.disk.read_back(from, READ_BACK) {
            Ok(entries) => self.step(Input::LogRead { peer, entries }),
            // What is not in a file yet is asked for again.
            Err(ReadBackError::Io(error)) => {
                tracing::warn!(shard = self.home.shard, from, %error, "the log cannot be read back");
                self.step(Input::LogRead { peer, entries: Vec::new() });
            }
            Err(error @ ReadBackError::Config(_)) => {
                tracing::error!(shard = self.home.shard, %error, "the log cannot be read");
            }
        }
    }

    /// Proposes the ops that wait, if there is room for what comes of them.
    fn admit(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let full = self.disk.full().map(|detail| ShardError::DiskFull {
            shard: self.home.shard.clone(),
            detail: detail.to_owned(),
        });
        let room = match full {
            Some(error) => Err(error),
            None => self.disk.journal().has_room(),
        };
        let leads = self.replica.status().leads.is_some();
        match room {
            // One that does not lead says so, whatever its disk is like.
            Err(error) if leads => {
                for write in self.held.drain(..) {
                    let _ = write.reply.send(Err(error.clone()));
                }
            }
            Ok(false) if leads => {}
            Ok(_) | Err(_) => {
                for write in std::mem::take(&mut self.held) {
                    let (body, origin) = (write.body.clone(), write.origin);
                    let id = self.clients.proposed(write);
                    let (client_id, op_id) = (origin.client_id, origin.op_id);
                    self.step(Input::Propose { id, client_id, op_id, body });
                }
            }
        }
    }

    /// Writes what is to be written, and applies what is committed.
    fn work(&mut self) {
        match self.founded {
            _ if self.disk.is_idle() => {}
            Founded::Blank => {
                self.founded = Founded::Telling;
                self.outside.announce_not_blank();
            }
            // That it holds something was never a secret.
            Founded::Alone => self.founded = Founded::Told,
            Founded::Telling | Founded::Told => {}
        }
        if matches!(self.founded, Founded::Blank | Founded::Telling) || self.ended.is_some() {
            return;
        }
        // What becomes durable may let go of more to be written, on one voter alone.
        loop {
            match self.disk.work() {
                Ok(Some(durable)) => self.step(Input::Durable(durable)),
                Ok(None) => break,
                Err(error) => return self.fail(error),
            }
        }
        let was_full = self.disk.full().is_some();
        if was_full && self.replica.status().leads.is_some() {
            self.step_aside();
        }
        self.apply();
    }

    fn fail(&mut self, error: JournalError) {
        if let JournalError::Contradiction(why) = &error {
            self.disk.journal().quarantine(why);
        }
        self.end(error.to_string());
    }

    /// Serves nothing any more. Others go on.
    fn end(&mut self, why: String) {
        tracing::error!(shard = self.home.shard, why, "this replica ends");
        // Whoever starts this replica anew finds that nobody has its folder.
        if let Some(shard) = self.home.slot.take(&why) {
            Shard::clone(&shard).close();
        }
        self.ended = Some(why);
    }

    /// What a watch, or a look at the register, says of the others.
    fn look(&mut self, seen: &Seen) {
        if self.seen.announced != seen.announced {
            self.outside.reach(seen);
        }
        let news = self.seen != *seen;
        self.seen = seen.clone();
        match &seen.stored {
            _ if self.founded != Founded::Alone => {}
            // Somebody was heard of: perhaps there is nothing more to wait for.
            None if news => self.read_register(),
            None => {}
            Some(stored) => {
                if let Err(why) = may_be_founded_on(&stored.register, self.home.disk) {
                    return self.end(why);
                }
            }
        }
        let register = seen.stored.as_ref().map(|stored| &stored.register);
        // A watch may tell of an epoch before who leads it knows that it does: then it is who led before that counts.
        if let Some((register, primary)) = register.and_then(|r| r.primary().map(|p| (r, p))) {
            let (newest, number) = (self.registered[0], register.epoch.number);
            let before = if newest.is_some_and(|(known, _)| known == number) {
                self.registered[1]
            } else {
                newest
            };
            self.registered = [Some((number, primary.disk)), before];
        }
    }

    /// Where whoever leads is reached, as far as that is known.
    fn primary(&self) -> Option<String> {
        let disk = self.replica.status().primary?;
        self.seen.address(disk).map(str::to_owned)
    }

    /// Has the one that goes furthest lead.
    fn step_aside(&mut self) {
        let status = self.replica.status();
        let config = self.replica.log().config();
        let votes = |disk: &DiskId| config.is_some_and(|config| config.contains(*disk));
        let others = status.matched.iter().filter(|(disk, _)| votes(disk));
        if let Some((disk, _)) = others.max_by_key(|(_, matched)| *matched) {
            self.step(Input::StepAside(*disk));
        }
    }
}

impl Outside {
    fn reach(&self, seen: &Seen) {
        let own = self.own.borrow().disk;
        let others = seen.announced.iter().filter(|other| other.disk != own);
        let address = |name: &str, announced: &str| {
            self.via.get(name).cloned().unwrap_or_else(|| announced.to_owned())
        };
        let addresses =
            others.map(|other| (other.disk, address(&other.name, &other.address))).collect();
        let _runtime = self.runtime.enter();
        self.transport.addresses(addresses);
    }

    /// Returns at once; the event says when it is done.
    fn announce_not_blank(&self) {
        self.own.send_modify(|own| own.blank = false);
        let (register, events, own) =
            (self.register.clone(), self.events.clone(), self.own.borrow().clone());
        self.runtime.spawn(async move {
            while let Err(error) = register.announce(&own).await {
                tracing::warn!(%error, "nothing is written before the others know of this disk; trying again");
                clock::sleep(std::time::Duration::from_millis(500)).await;
            }
            let _ = events.send(Event::Announced).await;
        });
    }
}

/// What one that has ended answers.
fn refuse(event: Event, ended: ShardError) {
    match event {
        Event::Write(write) => drop(write.reply.send(Err(ended))),
        Event::Read(reply) => drop(reply.send(Err(ended))),
        _ => {}
    }
}
