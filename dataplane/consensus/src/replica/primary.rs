//! Leading: appending ops, sending them, and finding out what is committed.

use std::collections::{BTreeMap, VecDeque};

use super::members::Change;
use super::peers::{IN_FLIGHT, Peer};
use super::reads::Reads;
use super::{Replica, State};
use crate::{
    Body, Config, DiskId, Effect, Entry, Epoch, Members, Millis, Mistake, Position, ProposalId,
    ReadId, Seq, What,
};

/// What only a primary knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Primary {
    pub(super) epoch: Epoch,
    /// Its first entry (R5).
    pub(super) no_op: Seq,
    pub(super) peers: BTreeMap<DiskId, Peer>,
    /// Messages with entries, or none, that were sent to anybody.
    round: u64,
    /// Proposals without an answer, by seq; several may wait for one.
    pub(super) waiting: VecDeque<(Seq, ProposalId)>,
    pub(super) reads: Reads,
    pub(super) change: Option<Change>,
    /// Who is to take over, and since when.
    pub(super) aside: Option<(DiskId, Millis)>,
    /// Since when its own log is durable up to here and no further, while more is committed.
    stuck: Option<(Seq, Millis)>,
    /// Since when the register is known to be at a later epoch.
    passed: Option<Millis>,
    /// A watch told less than is known.
    suspects: bool,
    /// When the register was last read for that.
    asked: Millis,
}

impl Primary {
    /// Up to where each of the others has its log.
    pub(super) fn matched(&self) -> Vec<(DiskId, Seq)> {
        self.peers.iter().map(|(&disk, peer)| (disk, peer.matched)).collect()
    }

    /// Whether the register knows less than that it leads.
    pub(super) fn is_ahead_of(&self, registered: Epoch, seated: bool) -> bool {
        registered.number <= self.epoch.number && !(registered == self.epoch && seated)
    }

    /// What waits, when it leads no more.
    pub(super) fn stop(&mut self) -> (Vec<ProposalId>, Vec<ReadId>) {
        let waiting = self.waiting.drain(..).map(|(_, id)| id).collect();
        (waiting, self.reads.stop())
    }
}

impl Replica {
    pub(super) fn leading(&mut self) -> Option<&mut Primary> {
        match &mut self.state {
            State::Primary(primary) => Some(primary),
            _ => None,
        }
    }

    /// R5: begins with a no-op, by which all before it is committed.
    pub(super) fn lead(&mut self, epoch: Epoch) {
        self.led = Some(epoch.number);
        let config = self.config();
        let (first, now) = (self.log.last().seq + 1, self.now);
        self.state = State::Primary(Box::new(Primary {
            epoch,
            no_op: first,
            peers: BTreeMap::new(),
            round: 0,
            waiting: VecDeque::new(),
            reads: Reads::default(),
            change: None,
            aside: None,
            stuck: None,
            passed: None,
            suspects: false,
            asked: now,
        }));
        self.append_own(What::NoOp);
        match (self.log.config(), config) {
            // The first primary writes down who the first members are.
            (None, Some(config)) => {
                self.append_own(What::Config(config));
            }
            _ => self.resume_change(),
        }
        self.update_peers();
    }

    /// Appends an entry of the own epoch; returns its seq.
    pub(super) fn append_own(&mut self, what: What) -> Seq {
        let seq = self.log.last().seq + 1;
        let epoch = match &self.state {
            State::Primary(primary) => primary.epoch,
            _ => self.promised,
        };
        self.extend(vec![Entry { at: Position { epoch, seq }, what }]);
        seq
    }

    /// Sends to those who belong to it now, and to none else.
    pub(super) fn update_peers(&mut self) {
        let me = self.me.disk;
        let voters =
            self.config().into_iter().flat_map(|config| config.members().collect::<Vec<_>>());
        let all: Vec<DiskId> =
            voters.chain(self.learners.iter().copied()).filter(|&disk| disk != me).collect();
        let (now, next, base) = (self.now, self.log.last().seq + 1, self.log.base().seq);
        let Some(primary) = self.leading() else { return };
        primary.peers.retain(|disk, _| all.contains(disk));
        // The no-op is sent too, so what comes before it is what has to match.
        let next = next.min(primary.no_op).max(base + 1);
        let round = primary.round;
        for disk in all {
            primary.peers.entry(disk).or_insert_with(|| Peer::new(next, round, now));
        }
    }

    pub(super) fn set_learners(&mut self, mut learners: Vec<DiskId>) {
        learners.sort_unstable();
        learners.dedup();
        self.learners = learners;
        self.update_peers();
    }

    /// R6: an answer counts for the epoch it was given for and up to what was sent.
    pub(super) fn appended(&mut self, from: DiskId, epoch: Epoch, matched: Seq, round: u64) {
        let (now, last) = (self.now, self.log.last().seq);
        let same = self.leading().map(|primary| primary.epoch);
        let Some(peer) = self.peer(from).filter(|_| same == Some(epoch)) else { return };
        if !peer.answered(round, now) {
            return;
        }
        (peer.fetching, peer.lacks_base) = (None, false);
        peer.matches(matched.min(last));
    }

    pub(super) fn mismatch(&mut self, from: DiskId, epoch: Epoch, hint: Seq, round: u64) {
        let (now, last, base) = (self.now, self.log.last().seq, self.log.base().seq);
        let same = self.leading().map(|primary| primary.epoch);
        let Some(peer) = self.peer(from).filter(|_| same == Some(epoch)) else { return };
        // An answer to something that was sent before what was answered since says nothing new.
        let news = round > peer.answered;
        if peer.answered(round, now) && news {
            peer.rewind(hint, last);
            peer.lacks_base = round == peer.at_base;
            if peer.next > base {
                peer.fetching = None;
            }
        }
    }

    fn peer(&mut self, disk: DiskId) -> Option<&mut Peer> {
        self.leading()?.peers.get_mut(&disk)
    }

    /// R5, R7: committed is what is durable on a write quorum, once that holds an entry of the own epoch.
    pub(super) fn advance(&mut self) {
        let (Some(config), me, durable) = (self.config(), self.me.disk, self.durable) else {
            return;
        };
        let config = match config {
            Config::Joint { new, .. } if self.mistakes(Mistake::CommitByNew) => Config::New(new),
            config => config,
        };
        let barrier = !self.mistakes(Mistake::NoBarrier);
        let Some(primary) = self.leading() else { return };
        let reached = config.reached(Members::write_quorum, |disk| match disk == me {
            true => durable,
            false => primary.peers.get(&disk).map_or(0, |peer| peer.matched),
        });
        if reached >= primary.no_op || !barrier {
            self.commit = self.commit.max(reached);
        }
        self.advance_change();
    }

    /// Sends each of the others what it does not have.
    pub(super) fn feed_peers(&mut self) {
        let disks: Vec<DiskId> = self
            .leading()
            .map(|primary| primary.peers.keys().copied().collect())
            .unwrap_or_default();
        for disk in disks {
            while self.feed(disk) {}
        }
    }

    /// Sends one message with entries; false if there is nothing to send or no room for it.
    fn feed(&mut self, disk: DiskId) -> bool {
        let (last, base, now) = (self.log.last().seq, self.log.base().seq, self.now);
        let resend = self.settings.timing.resend;
        let Some(peer) = self.peer(disk) else { return false };
        let (next, full) = (peer.next, peer.in_flight.len() >= IN_FLIGHT);
        // Until something matched, one message at a time finds out where it does, and whether anybody is there.
        let silent = now.saturating_sub(peer.heard) > resend;
        let unsure = (peer.matched == 0 || silent) && !peer.in_flight.is_empty();
        if next > last || full || unsure || peer.fetching.is_some() {
            return false;
        }
        if next <= base && !peer.lacks_base {
            // Where its log ends is not where it stops being this one, so it is asked before it is sent all of a snapshot.
            let asked = peer.at_base > peer.answered && now.saturating_sub(peer.sent) <= resend;
            if !asked {
                self.beat_one(disk);
            }
            return false;
        }
        if next <= base {
            peer.fetching = Some(now);
            if let Some(epoch) = self.leading().map(|primary| primary.epoch) {
                self.outbox.push(Effect::SendSnapshot { to: disk, epoch });
            }
            return false;
        }
        let Some(entries) = self.log.entries(next, self.settings.message_bytes) else {
            if let Some(peer) = self.peer(disk) {
                peer.fetching = Some(now);
            }
            self.outbox.push(Effect::ReadLog { peer: disk, from: next });
            return false;
        };
        self.send_entries(disk, entries);
        true
    }

    /// Entries that were read back, if they are still what the log holds there and what comes next.
    pub(super) fn log_read(&mut self, disk: DiskId, entries: Vec<Entry>) {
        let ours =
            entries.iter().all(|entry| self.log.epoch_at(entry.at.seq) == Some(entry.at.epoch));
        let Some(peer) = self.peer(disk) else { return };
        let fits = entries.first().is_some_and(|entry| entry.at.seq == peer.next);
        // None: they are gone or not durable yet, which is asked again after a while.
        if !entries.is_empty() && peer.fetching.take().is_some() && fits && ours {
            self.send_entries(disk, entries);
        }
    }

    fn send_entries(&mut self, disk: DiskId, entries: Vec<Entry>) {
        let (now, commit, base) = (self.now, self.commit, self.log.base().seq);
        let Some(primary) = self.leading() else { return };
        let epoch = primary.epoch;
        let Some(peer) = primary.peers.get_mut(&disk) else { return };
        primary.round += 1;
        let (before, round) = (peer.next - 1, primary.round);
        (peer.round, peer.sent, peer.told) = (round, now, commit);
        if before == base {
            peer.at_base = round;
        }
        if !entries.is_empty() {
            peer.next += entries.len() as u64;
            peer.in_flight.push(round);
        }
        let Some(known) = self.log.epoch_at(before) else { return };
        let prev = Position { epoch: known, seq: before };
        self.send(disk, Body::Append { epoch, prev, entries, commit, round });
    }

    /// A sign of life to each, which also tells what is committed: nobody waits for that much longer than a tick when no
    /// further op comes that would tell it.
    pub(super) fn beat(&mut self, all: bool) {
        let (now, heartbeat) = (self.now, self.settings.timing.heartbeat);
        let (commit, last) = (self.commit, self.log.last().seq);
        let Some(primary) = self.leading() else { return };
        let due = |peer: &Peer| {
            all || now.saturating_sub(peer.sent) >= heartbeat || peer.waits_for(commit, last)
        };
        let disks: Vec<DiskId> =
            primary.peers.iter().filter(|(_, peer)| due(peer)).map(|(&disk, _)| disk).collect();
        for disk in disks {
            self.beat_one(disk);
        }
    }

    /// One that gets a snapshot, or may need one, is told of a place that the log still has.
    fn beat_one(&mut self, disk: DiskId) {
        let base = self.log.base().seq;
        let Some(peer) = self.peer(disk) else { return };
        let next = peer.next;
        peer.next = next.max(base + 1);
        self.send_entries(disk, Vec::new());
        if let Some(peer) = self.peer(disk) {
            peer.next = next;
        }
    }

    /// A watch tells of an older register than is known: it is behind, or the register was set back.
    pub(super) fn suspect_register(&mut self) {
        let (now, patience) = (self.now, self.settings.timing.step_down);
        let Some(primary) = self.leading() else { return };
        primary.suspects = true;
        if now.saturating_sub(primary.asked) > patience {
            (primary.asked, primary.suspects) = (now, false);
            self.outbox.push(Effect::ReadRegister);
        }
    }

    pub(super) fn tick_primary(&mut self, random: u64) {
        let (now, timing, me) = (self.now, self.settings.timing, self.me.disk);
        let (config, last) = (self.config(), self.log.last().seq);
        let registered = self.register.as_ref().map_or(0, |(_, register)| register.epoch.number);
        let Some(primary) = self.leading() else { return };
        // Somebody claimed a later epoch and then did nothing: no members can be changed any more in this one.
        match (registered > primary.epoch.number, primary.passed) {
            (false, _) => primary.passed = None,
            (true, None) => primary.passed = Some(now),
            (true, Some(since)) if now.saturating_sub(since) > timing.step_down => {
                return self.follow(None, random);
            }
            (true, Some(_)) => {}
        }
        for peer in primary.peers.values_mut() {
            if now.saturating_sub(peer.heard) > timing.resend
                && !peer.in_flight.is_empty()
                && now.saturating_sub(peer.sent) >= timing.heartbeat
            {
                peer.lost(last);
            }
            if peer.fetching.is_some_and(|since| now.saturating_sub(since) > timing.step_down) {
                peer.fetching = None;
            }
        }
        let heard = |disk: DiskId| match disk == me {
            true => now,
            false => primary.peers.get(&disk).map_or(0, |peer| peer.heard),
        };
        // R8: without a write quorum for too long it steps down, so that clients look elsewhere.
        let quorum = config.map_or(now, |config| config.reached(Members::write_quorum, heard));
        if now.saturating_sub(quorum) > timing.step_down {
            return self.follow(None, random);
        }
        match self.stuck_for() {
            stuck if stuck > timing.step_down => return self.follow(None, random),
            stuck if stuck > timing.election => self.give_way(),
            _ => {}
        }
        let Some(primary) = self.leading() else { return };
        let suspects = primary.suspects;
        self.beat(false);
        self.tick_change();
        self.tick_aside();
        if suspects {
            self.suspect_register();
        }
    }

    /// For how long others have had what its own disk has not: it shows and answers only what that has too, so a disk that
    /// hangs holds up everybody.
    fn stuck_for(&mut self) -> Millis {
        let (now, durable, commit) = (self.now, self.durable, self.commit);
        let Some(primary) = self.leading() else { return 0 };
        primary.stuck = match primary.stuck {
            _ if commit <= durable => None,
            Some((at, since)) if at == durable => Some((at, since)),
            _ => Some((durable, now)),
        };
        primary.stuck.map_or(0, |(_, since)| now.saturating_sub(since))
    }

    /// Has whoever has most take over, if nobody was asked yet.
    fn give_way(&mut self) {
        let config = self.config();
        let votes = |disk| config.as_ref().is_some_and(|config| config.contains(disk));
        let Some(primary) = self.leading().filter(|primary| primary.aside.is_none()) else {
            return;
        };
        let others = primary.peers.iter().filter(|(disk, _)| votes(**disk));
        let most = others.max_by_key(|(_, peer)| peer.matched).map(|(&disk, _)| disk);
        if let Some(disk) = most {
            self.step_aside(disk);
        }
    }

    /// Takes no more ops until another one takes over, or does not.
    pub(super) fn step_aside(&mut self, target: DiskId) {
        let (now, votes) = (self.now, self.config().is_some_and(|config| config.contains(target)));
        let other = target != self.me.disk;
        if let Some(primary) = self.leading().filter(|_| votes && other) {
            primary.aside = Some((target, now));
        }
        self.tick_aside();
    }

    fn tick_aside(&mut self) {
        let (now, last, commit, patience) =
            (self.now, self.log.last().seq, self.commit, self.settings.timing.election);
        let Some(primary) = self.leading() else { return };
        let Some((target, since)) = primary.aside else { return };
        let epoch = primary.epoch;
        let caught_up = primary.peers.get(&target).is_some_and(|peer| peer.matched == last);
        if now.saturating_sub(since) > patience {
            primary.aside = None;
        } else if caught_up && commit == last {
            self.send(target, Body::TakeOver(epoch));
        }
    }
}
