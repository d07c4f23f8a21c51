//! The loop: events in order of time, what replicas make of them, and what comes of that.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_consensus::{DiskId, Entry, Epoch, Input, Members, Message, Recent, Register, Version};
use shoal_shard::fail;

use crate::aim::{Trick, Twice};
use crate::check::{Broken, Check, History};
use crate::network::Network;
use crate::people::Clients;
use crate::plan::{Aim, Outcome, Plan};
use crate::process::Node;
use crate::register::Store;
use crate::routers::{ROUTERS, RouterEvent, Routers};
use crate::whole::{Parcel, Points, Site};

/// Simulated ms without faults at the end, in which all has to recover.
const GOOD_MS: u64 = 40_000;

/// The same with whole shards.
const WHOLE_GOOD_MS: u64 = 16_000;

/// Of fail points that are passed, how many are crashes.
const ODDS: f64 = 0.003;
const STORM_ODDS: f64 = 0.01;

/// Simulated ms at its end in which nobody writes to them.
const QUIET_MS: u64 = 5_000;

#[derive(Debug)]
pub(crate) enum Event {
    /// For one run of a process alone.
    Step(usize, u64, Input),
    Deliver(DiskId, Message),
    Sync(usize, u64),
    Tick(usize, u64),
    ReadRegister(usize, u64),
    Swap(usize, u64, Version, Register),
    Watch(usize, u64),
    Snapshot {
        from: DiskId,
        epoch: Epoch,
        to: DiskId,
        entries: Vec<Entry>,
        recent: Vec<Recent>,
    },
    Create(usize, u64, Register),
    Client,
    Operate,
    Fault,
    Start(usize),
    Crash(usize, u64),
    Join,
    Trim,
    Calm,
    Trick(Trick),
    /// Of whole shards: what waits is written and applied.
    Work(usize, u64),
    Flush(usize, u64),
    Parcel {
        from: DiskId,
        to: DiskId,
        parcel: Parcel,
    },
    SendBlock(usize, u64, u64),
    Patience(usize, u64, u64, u64),
    Router(RouterEvent),
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: StdRng,
    pub(crate) now: u64,
    pub(crate) order: u64,
    pub(crate) events: BTreeMap<(u64, u64), Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) store: Store,
    pub(crate) history: History,
    pub(crate) clients: Clients,
    pub(crate) reads: u64,
    /// See [`Aim::Twice`](crate::plan::Aim).
    pub(crate) twice: Option<Twice>,
    pub(crate) disks: u128,
    /// A disk that was lost, and the one that takes its place.
    pub(crate) lost: Option<(DiskId, DiskId)>,
    pub(crate) calm: bool,
    pub(crate) outcome: Outcome,
    /// Where disks are, if they are real.
    pub(crate) site: Option<Site>,
    pub(crate) points: Points,
    /// Streams of snapshots.
    pub(crate) streams: u64,
    pub(crate) routers: Routers,
    trace: DefaultHasher,
}

/// Runs one simulation to its end, or to the first check that fails.
pub fn run(plan: Plan) -> Result<Outcome, Broken> {
    let disks: Vec<DiskId> = (1..=plan.replicas as u128).map(DiskId).collect();
    let members = Members::majority(1, disks.clone())
        .map_err(|error| Broken { check: Check::Progress, detail: error.to_string() })?;
    let mut random = StdRng::seed_from_u64(plan.seed);
    let network = Network {
        lost: random.random_range(0..if plan.storm { 40 } else { 10 }),
        doubled: random.random_range(0..10),
        late: *[2, 20, 200].get(random.random_range(0..3)).unwrap_or(&2),
        ..Network::default()
    };
    let mut store = Store::new(Register::first(members));
    store.lost = random.random_range(0..30);
    let mut world = World {
        plan,
        random,
        now: 0,
        order: 0,
        events: BTreeMap::new(),
        nodes: disks.into_iter().map(Node::blank).collect(),
        network,
        store,
        history: History::default(),
        clients: Clients::default(),
        reads: 0,
        twice: None,
        disks: plan.replicas as u128,
        lost: None,
        calm: false,
        outcome: Outcome::default(),
        site: None,
        points: Points::default(),
        streams: 0,
        routers: Routers::new(plan.replicas),
        trace: DefaultHasher::new(),
    };
    if plan.whole {
        let site = Site::new(plan.seed);
        let site = site.map_err(|e| Broken { check: Check::Opens, detail: e.to_string() })?;
        site.odds(match plan.aim {
            Aim::OneReaches => 0.0,
            _ if plan.storm => STORM_ODDS,
            _ => ODDS,
        });
        world.site = Some(site);
    }
    fail::make(plan.disk_mistake);
    for node in 0..plan.replicas {
        world.after(0, Event::Start(node));
    }
    for event in [Event::Client, Event::Operate, Event::Fault, Event::Trim] {
        world.after(500, event);
    }
    if plan.routed {
        world.after(500, Event::Router(RouterEvent::Fault));
    }
    world.after(plan.bad_ms, Event::Calm);
    world.run()
}

impl World {
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + ms, self.order), event);
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.random.random_range(least..=most)
    }

    /// Most answers of the register come soon, and some very late.
    pub(crate) fn answer_takes(&mut self, soon: u64, late: u64) -> u64 {
        let is_late = !self.calm && self.random.random_bool(0.2);
        self.between(1, if is_late { late } else { soon })
    }

    fn end(&self) -> u64 {
        self.plan.bad_ms + if self.plan.whole { WHOLE_GOOD_MS } else { GOOD_MS }
    }

    /// From then on all should have recovered.
    pub(crate) fn settled(&self) -> u64 {
        self.plan.bad_ms + (self.end() - self.plan.bad_ms) / 2
    }

    /// Whether nobody writes any more.
    pub(crate) fn is_quiet(&self) -> bool {
        self.plan.whole && self.now + QUIET_MS > self.end()
    }

    fn run(mut self) -> Result<Outcome, Broken> {
        let (end, settled) = (self.end(), self.settled());
        let mut acked_late = 0;
        while let Some(((now, _), event)) = self.events.pop_first() {
            if now > end {
                break;
            }
            if now < settled {
                acked_late = self.acked();
            }
            self.now = now;
            if self.plan.whole {
                self.trace.write(format!("{now} {event:?}").as_bytes());
            }
            self.happen(event)?;
        }
        self.recovered(acked_late)?;
        if self.plan.whole {
            self.ends_whole()?;
            self.outcome.trace = self.trace.finish();
        }
        self.history.sum_up(&mut self.outcome);
        Ok(self.outcome)
    }

    /// Writes that clients were told to be done.
    pub(crate) fn acked(&self) -> u64 {
        if self.plan.routed { self.routers.acked } else { self.history.answered() }
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Step(node, run, input) => self.step(node, run, input),
            Event::Deliver(to, message) => match self.node_of(to) {
                Some(node) => self.step(node, self.nodes[node].run, Input::Received(message)),
                None => Ok(()),
            },
            Event::Sync(node, run) if self.nodes[node].hung > self.now => {
                let ms = self.nodes[node].hung - self.now;
                self.after(ms, Event::Sync(node, run));
                Ok(())
            }
            Event::Sync(node, run) if self.plan.whole => self.synced_whole(node, run),
            Event::Sync(node, run) => {
                if self.nodes[node].run != run {
                    return Ok(());
                }
                self.nodes[node].syncing = false;
                match self.nodes[node].disk.sync() {
                    Some(ticket) => self.step(node, run, Input::Durable(ticket)),
                    None => Ok(()),
                }
            }
            Event::Tick(node, run) => {
                if self.nodes[node].run == run {
                    let next = self.between(20, 60);
                    self.after(next, Event::Tick(node, run));
                }
                self.step(node, run, Input::Tick)?;
                self.tick_whole(node, run)
            }
            Event::ReadRegister(node, run) => self.read_register(node, run),
            Event::Swap(node, run, version, wanted) => {
                self.swap_register(node, run, Some(&version), wanted)
            }
            Event::Create(node, run, wanted) => self.swap_register(node, run, None, wanted),
            Event::Watch(node, _) if !self.reaches_register(node) => Ok(()),
            Event::Watch(node, run) => {
                let found = self.store.stale(&mut self.random);
                self.step(node, run, Input::Register { found, live: false })
            }
            Event::Trick(trick) => self.trick(trick),
            Event::Snapshot { from, epoch, to, entries, recent } => {
                self.offer(from, epoch, to, &entries, recent)
            }
            Event::Client => self.client(),
            Event::Operate => self.operate(),
            Event::Fault => self.fault(),
            Event::Crash(node, run) => match self.nodes[node].run == run && !self.calm {
                true => self.stop(node, 5),
                false => Ok(()),
            },
            Event::Start(node) => self.start(node),
            Event::Join => {
                self.network.join();
                Ok(())
            }
            Event::Trim => self.trim(),
            Event::Calm => {
                self.calm = true;
                self.network.mend();
                self.store.lost = 0;
                if let Some(site) = &self.site {
                    site.odds(0.0);
                }
                Ok(())
            }
            Event::Work(node, run) => self.work(node, run),
            Event::Flush(node, run) => self.flush_whole(node, run),
            Event::Parcel { from, to, parcel } => self.parcel(from, to, parcel),
            Event::SendBlock(node, run, stream) => self.send_block(node, run, stream),
            Event::Patience(node, run, stream, came) => self.patience(node, run, stream, came),
            Event::Router(event) => self.router(event),
        }
    }

    pub(crate) fn node_of(&self, disk: DiskId) -> Option<usize> {
        self.nodes.iter().position(|node| node.disk.id == disk)
    }

    pub(crate) fn watches(&mut self) {
        for node in 0..self.nodes.len() {
            let ms = self.between(1, 300);
            self.after(ms, Event::Watch(node, self.nodes[node].run));
        }
        if self.plan.routed {
            for router in 0..ROUTERS {
                let ms = self.between(1, 300);
                self.after(ms, Event::Router(RouterEvent::Watch { router }));
            }
        }
    }
}
