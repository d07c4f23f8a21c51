//! How snapshots travel: a primary offers one, the replica asks for it and restores what comes. A stream is in order, and breaks
//! off where the line is cut or either side ends; what is whole by then is kept, and the next stream goes on behind it. Some
//! streams are cut short, doubled or damaged.

use rand::Rng;
use shoal_consensus::{DiskId, Epoch, Input};
use shoal_replica::convert;
use shoal_shard::snapshot::{Held, Restore, RestoreError, SnapshotStream};

use super::{disk_uuid, identity};
use crate::check::{Broken, Check};
use crate::world::{Event, World};

/// Streams that a replica asks for before it waits for another offer.
const ATTEMPTS: u32 = 6;

/// How long it waits for what comes next.
const PATIENCE_MS: u64 = 400;

/// Snapshots that are held to be asked for again.
const HELD: usize = 2;

/// A fetch under way.
pub(crate) struct Fetch {
    from: DiskId,
    /// Names the stream; of others nothing is taken.
    stream: u64,
    attempts: u32,
    /// Counts what came.
    came: u64,
    epoch: Epoch,
    /// Something of this stream was spoilt on the way.
    spoilt: bool,
    restore: Option<Restore>,
}

/// A stream under way.
pub(crate) struct Sending {
    to: DiskId,
    epoch: Epoch,
    blocks: SnapshotStream,
    /// When the last block arrives: none comes before it.
    arrives: u64,
}

/// What travels.
pub(crate) enum Parcel {
    /// A primary has a snapshot.
    Offer,
    /// It is asked for, by whom and under which name; this much is there.
    Ask(DiskId, u64, Option<Held>),
    /// It is not to be had.
    Refusal(u64),
    /// A block of a stream, or its end, from the primary of an epoch.
    Block { stream: u64, epoch: Epoch, block: Option<Vec<u8>>, spoilt: bool },
}

impl std::fmt::Debug for Parcel {
    /// Without what a run draws anew: ids of snapshots, and what is in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Parcel::Offer => write!(f, "Offer"),
            Parcel::Ask(by, stream, held) => {
                write!(f, "Ask({by:?}, {stream}, {:?})", held.map(|held| held.files))
            }
            Parcel::Refusal(stream) => write!(f, "Refusal({stream})"),
            Parcel::Block { stream, epoch, block, spoilt } => {
                write!(f, "Block({stream}, {epoch:?}, {}, {spoilt})", block.is_some())
            }
        }
    }
}

impl World {
    /// Sends something to a disk, from another one; how often it arrives.
    fn send_parcel(&mut self, node: usize, to: DiskId, parcel: Parcel) -> bool {
        let Some(receiver) = self.node_of(to) else { return false };
        let from = self.nodes[node].disk.id;
        let delays = self.network.delays(node, receiver, &mut self.random);
        match delays.first() {
            Some(&ms) => {
                self.after(ms, Event::Parcel { from, to, parcel });
                true
            }
            None => false,
        }
    }

    pub(super) fn offer_whole(&mut self, node: usize, to: DiskId, _led: Epoch) {
        self.send_parcel(node, to, Parcel::Offer);
    }

    pub(crate) fn parcel(
        &mut self,
        from: DiskId,
        to: DiskId,
        parcel: Parcel,
    ) -> Result<(), Broken> {
        let Some(node) = self.node_of(to) else { return Ok(()) };
        if self.nodes[node].paused > self.now {
            let ms = self.nodes[node].paused - self.now;
            self.after(ms, Event::Parcel { from, to, parcel });
            return Ok(());
        }
        match parcel {
            Parcel::Offer => match self.running(node) {
                Some(running) if running.fetch.is_none() => self.ask(node, from, 0),
                _ => Ok(()),
            },
            Parcel::Ask(by, stream, held) => self.begin_sending(node, by, stream, held),
            Parcel::Refusal(stream) => {
                if let Some(running) = self.running(node) {
                    running.fetch.take_if(|fetch| fetch.stream == stream);
                }
                Ok(())
            }
            Parcel::Block { stream, epoch, block, spoilt } => {
                self.take_block(node, stream, epoch, block, spoilt)
            }
        }
    }

    /// Asks for a snapshot, or for the rest of one.
    fn ask(&mut self, node: usize, from: DiskId, attempts: u32) -> Result<(), Broken> {
        let (disk, run) = (self.nodes[node].disk.id, self.nodes[node].run);
        let Some(whole) = &mut self.nodes[node].whole else { return Ok(()) };
        let begun = Restore::begin_replica(&whole.dir, identity(), disk_uuid(disk));
        let Some(running) = whole.running.as_mut().filter(|_| attempts < ATTEMPTS) else {
            return self.crashed(node).map(drop);
        };
        let restore = match begun {
            Ok(restore) => restore,
            Err(error) => return self.refused_snapshot(node, &error),
        };
        self.streams += 1;
        let (stream, held) = (self.streams, restore.held());
        self.outcome.resumed += u64::from(held.is_some_and(|held| held.files > 0));
        let (epoch, restore) = (Epoch::NONE, Some(restore));
        running.fetch =
            Some(Fetch { from, stream, attempts, came: 0, epoch, spoilt: false, restore });
        if self.crashed(node)? {
            return Ok(());
        }
        self.send_parcel(node, from, Parcel::Ask(disk, stream, held));
        self.after(PATIENCE_MS, Event::Patience(node, run, stream, 0));
        Ok(())
    }

    /// Nothing came for a while, or something did.
    pub(crate) fn patience(
        &mut self,
        node: usize,
        run: u64,
        stream: u64,
        came: u64,
    ) -> Result<(), Broken> {
        if self.nodes[node].run != run {
            return Ok(());
        }
        let Some(running) = self.running(node) else { return Ok(()) };
        let Some(fetch) = running.fetch.as_mut().filter(|fetch| fetch.stream == stream) else {
            return Ok(());
        };
        if fetch.came > came {
            let came = fetch.came;
            self.after(PATIENCE_MS, Event::Patience(node, run, stream, came));
            return Ok(());
        }
        let (from, attempts) = (fetch.from, fetch.attempts + 1);
        running.fetch = None;
        self.ask(node, from, attempts)
    }

    fn begin_sending(
        &mut self,
        node: usize,
        by: DiskId,
        stream: u64,
        held: Option<Held>,
    ) -> Result<(), Broken> {
        // Before it is taken: what was committed by then is in it.
        let leads = self.nodes[node].replica.as_ref().and_then(|replica| replica.status().leads);
        let run = self.nodes[node].run;
        let Some(running) = self.running(node) else { return Ok(()) };
        let known = held.and_then(|held| {
            let same = running.held.iter().find(|snapshot| snapshot.id() == held.snapshot)?;
            Some((same.clone(), held.files))
        });
        let taken = match (&running.shard, known) {
            (_, Some(known)) => Some(known),
            (Some((shard, _)), None) => shard.snapshot().ok().map(|snapshot| (snapshot, 0)),
            (None, None) => None,
        };
        let (Some(epoch), Some((snapshot, files))) = (leads, taken) else {
            self.send_parcel(node, by, Parcel::Refusal(stream));
            return Ok(());
        };
        running.held.retain(|held| held.id() != snapshot.id());
        if running.held.len() >= HELD {
            running.held.remove(0);
        }
        let blocks = snapshot.stream(files);
        running.held.push(snapshot);
        running.sending.insert(stream, Sending { to: by, epoch, blocks, arrives: 0 });
        self.after(1, Event::SendBlock(node, run, stream));
        Ok(())
    }

    /// The next block of a stream leaves.
    pub(crate) fn send_block(&mut self, node: usize, run: u64, stream: u64) -> Result<(), Broken> {
        if self.nodes[node].run != run {
            return Ok(());
        }
        if self.nodes[node].paused > self.now {
            let ms = self.nodes[node].paused - self.now;
            self.after(ms, Event::SendBlock(node, run, stream));
            return Ok(());
        }
        let luck = self.random.random_range(0..1_000);
        let luck = if self.calm { 999 } else { luck };
        let Some(running) = self.running(node) else { return Ok(()) };
        let Some(mut sending) = running.sending.remove(&stream) else { return Ok(()) };
        let block = match sending.blocks.next() {
            Some(Ok(block)) if luck >= 5 => Some(block),
            Some(Err(error)) => {
                let detail = format!("replica {node} cannot read its snapshot: {error}");
                return Err(Broken { check: Check::Snapshots, detail });
            }
            // Its end, or one before its time.
            _ => None,
        };
        let (to, epoch, ends) = (sending.to, sending.epoch, block.is_none());
        let (block, copies, spoilt) = match luck {
            5..10 => (self.damage(block), 1, true),
            10..15 => (block, 2, true),
            _ => (block, 1, false),
        };
        for _ in 0..copies {
            let block = block.clone();
            let parcel = Parcel::Block { stream, epoch, block, spoilt };
            match self.send_in_order(node, to, sending.arrives, parcel) {
                Some(arrives) => sending.arrives = arrives,
                None => return Ok(()),
            }
        }
        if !ends && let Some(running) = self.running(node) {
            running.sending.insert(stream, sending);
            let ms = self.between(1, 30);
            self.after(ms, Event::SendBlock(node, run, stream));
        }
        Ok(())
    }

    /// When it arrives, which is not before what was sent before it; `None` where the line is cut, by which the stream breaks.
    fn send_in_order(
        &mut self,
        node: usize,
        to: DiskId,
        before: u64,
        parcel: Parcel,
    ) -> Option<u64> {
        let receiver = self.node_of(to)?;
        if self.network.lines_cut.contains(&(node, receiver)) {
            return None;
        }
        let from = self.nodes[node].disk.id;
        let arrives = self.now + 1 + self.random.random_range(0..=self.network.late);
        let arrives = arrives.max(before + 1);
        self.after(arrives - self.now, Event::Parcel { from, to, parcel });
        Some(arrives)
    }

    fn damage(&mut self, block: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let at = self.random.random::<u64>() as usize;
        let mut block = block?;
        let at = at % block.len().max(1);
        if let Some(byte) = block.get_mut(at) {
            *byte ^= 1 << (at % 8);
        }
        Some(block)
    }

    fn take_block(
        &mut self,
        node: usize,
        stream: u64,
        epoch: Epoch,
        block: Option<Vec<u8>>,
        spoilt: bool,
    ) -> Result<(), Broken> {
        let run = self.nodes[node].run;
        let Some(running) = self.running(node) else { return Ok(()) };
        let Some(mut fetch) = running.fetch.take_if(|fetch| fetch.stream == stream) else {
            return Ok(());
        };
        let Some(mut restore) = fetch.restore.take() else { return Ok(()) };
        (fetch.came, fetch.epoch) = (fetch.came + 1, epoch);
        fetch.spoilt |= spoilt;
        let Some(block) = block else {
            let finished = restore.finish();
            if self.crashed(node)? {
                return Ok(());
            }
            return match finished {
                Ok(restored) => {
                    let at = convert::position_from_disk(restored.position());
                    let from = fetch.from;
                    self.step(node, run, Input::Offered { from, epoch: fetch.epoch, at })
                }
                Err(RestoreError::Short { .. }) => self.ask(node, fetch.from, fetch.attempts + 1),
                Err(_) if fetch.spoilt => Ok(()),
                Err(error) => self.refused_snapshot(node, &error),
            };
        };
        let pushed = restore.push(&block);
        if self.crashed(node)? {
            return Ok(());
        }
        match pushed {
            Ok(()) => {
                fetch.restore = Some(restore);
                if let Some(running) = self.running(node) {
                    running.fetch = Some(fetch);
                }
                Ok(())
            }
            Err(_) if fetch.spoilt => Ok(()),
            Err(error) => self.refused_snapshot(node, &error),
        }
    }

    fn refused_snapshot(&self, node: usize, error: &RestoreError) -> Result<(), Broken> {
        let detail = format!("replica {node} refuses a snapshot that nobody spoilt: {error}");
        Err(Broken { check: Check::Snapshots, detail })
    }
}
