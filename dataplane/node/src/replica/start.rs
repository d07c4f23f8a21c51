//! Starting a replica: its disk is opened, then its driver and what brings it events.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use shoal_consensus::{Acks, DiskId, Epoch, Identity, Incarnation, Replica, Settings};
use shoal_replica::{convert, sync_for_ever};
use shoal_shard::api::{self, ShardError, Tunings};
use shoal_shard::journal::{Journal, Recovered};
use shoal_shard::snapshot::Snapshot;
use shoal_shard::{Limits, OpenError, Shard};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::digests::Watch;
use super::driver::Driver;
use super::fetch::{self, Destination, FetchError, Fetched, Source};
use super::handle::{Board, Event, QUEUE, ReplicaHandle, ReplicaStatus};
use super::receive::{Incoming, Local};
use super::register::founding::{Founder, Holds, found};
use super::register::{Announced, RegisterError, RegisterStore, Seen, keep_announced};
use super::transport::Transport;
use crate::clock;
use crate::shard_cell::ShardCell;
use crate::status::to_status;
use crate::target::Addressee;
use crate::token::SharedToken;

/// Longest time between two ticks, in ms: after the last op of a burst, other replicas show it this much later.
const TICK_MS: u64 = 20;

/// The shard on this disk.
pub(super) struct Home {
    pub(super) shard: String,
    pub(super) dir: PathBuf,
    pub(super) disk: DiskId,
    pub(super) slot: Arc<ShardCell>,
    identity: api::Identity,
    tunings: Tunings,
    limits: Limits,
    /// Whether writes are acknowledged only once no failover loses them.
    pub(super) quorum_acks: bool,
    /// Within what time it is to show what was acknowledged.
    pub(super) visibility_sla: Duration,
}

impl Home {
    /// Opens it again.
    pub(super) fn open(&self) -> Result<(Shard, Journal, Recovered), OpenError> {
        let (identity, tunings) = (self.identity.clone(), self.tunings.clone());
        Shard::open_replica(&self.dir, identity, tunings, self.limits.clone())
    }
}

/// What a driver reaches of the rest of the world.
pub(super) struct Outside {
    pub(super) transport: Transport,
    pub(super) register: Arc<dyn RegisterStore>,
    pub(super) runtime: Handle,
    pub(super) events: mpsc::Sender<Event>,
    /// What is announced of this replica.
    pub(super) own: watch::Sender<Announced>,
    /// Replicas, by name, that are reached elsewhere than they say.
    pub(super) via: BTreeMap<String, String>,
    /// Names of all replicas that the shard is to have.
    pub(super) replicas: watch::Receiver<Vec<String>>,
    addressee: Addressee,
    token: SharedToken,
}

impl Outside {
    /// For a replica whose disk holds, by now, this.
    pub(super) fn founding(&self, holds: Holds) -> Founding {
        Founding { own: self.own.borrow().clone(), holds, replicas: self.replicas.borrow().clone() }
    }

    /// Where a disk is reached.
    pub(super) fn address(&self, seen: &Seen, disk: DiskId) -> Option<String> {
        let other = seen.announced.iter().find(|other| other.disk == disk)?;
        Some(self.via.get(&other.name).unwrap_or(&other.address).clone())
    }

    /// Fetches a snapshot to be installed.
    pub(super) fn fetch(
        &self,
        address: String,
        home: &Home,
    ) -> impl Future<Output = Result<Fetched, FetchError>> + use<> {
        let source =
            Source { address, addressee: self.addressee.clone(), token: self.token.clone() };
        let to = Destination {
            dir: home.dir.clone(),
            identity: home.identity.clone(),
            disk: uuid::Uuid::from_u128(home.disk.0),
        };
        async move { fetch::fetch(&source, &to).await }
    }
}

/// What it takes to know whether this replica creates the first register.
pub(super) struct Founding {
    own: Announced,
    holds: Holds,
    replicas: Vec<String>,
}

impl Founding {
    /// Creates it, if it is to be created here and now; what is there then.
    pub(super) async fn found(
        self,
        register: &dyn RegisterStore,
        seen: Seen,
    ) -> Result<Seen, RegisterError> {
        let (name, disk) = (&self.own.name, self.own.disk);
        match found(&seen, &self.replicas, Founder { name, disk, holds: self.holds }) {
            Ok(first) => {
                tracing::info!(?first, holds = ?self.holds, "the shard is founded");
                // Whatever comes of it, what is there is read.
                let _ = register.swap(None, &first).await;
                register.read().await
            }
            Err(why) => {
                if seen.stored.is_none() {
                    tracing::debug!(%why, "the shard is not founded");
                }
                Ok(seen)
            }
        }
    }
}

/// What a replica is started with.
pub struct ReplicaConfig {
    /// Its name among the shard's replicas.
    pub name: String,
    /// Names of all replicas that the shard is to have.
    pub replicas: watch::Receiver<Vec<String>>,
    /// `HOST:PORT` where the others reach it.
    pub address: String,
    /// Replicas that are reached elsewhere than they say, by name.
    pub via: BTreeMap<String, String>,
    /// How it is to behave.
    pub settings: Settings,
    /// Within what time it is to show what was acknowledged.
    pub visibility_sla: Duration,
    /// How often a primary compares the replicas, roughly; never if it is zero.
    pub compare_every: Duration,
    /// Its folder.
    pub dir: PathBuf,
    /// Whose shard it is.
    pub identity: api::Identity,
    /// How graphs are made.
    pub tunings: Tunings,
    /// Bounds of the shard.
    pub limits: Limits,
    /// Where the register is.
    pub register: Arc<dyn RegisterStore>,
    /// What replicas show each other.
    pub token: SharedToken,
    /// Counts what is lost on the way to others.
    pub telemetry: Arc<crate::telemetry::Telemetry>,
}

/// A replica that runs.
pub struct Started {
    /// How it is spoken to.
    pub handle: ReplicaHandle,
    /// Its shard.
    pub cell: Arc<ShardCell>,
    /// For the service that other replicas speak to.
    pub local: Arc<dyn Local>,
    driver: std::thread::JoinHandle<()>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Started {
    /// Ends the driver and closes the shard.
    pub async fn close(self) -> anyhow::Result<()> {
        let _ = self.handle.tell(Event::Stop).await;
        let (driver, cell) = (self.driver, self.cell);
        tokio::task::spawn_blocking(move || {
            let ended = driver.join();
            if let Some(shard) = cell.take("it is stopping") {
                Shard::clone(&shard).close();
            }
            ended.map_err(|_| anyhow::anyhow!("the replica's thread panicked"))
        })
        .await?
    }
}

/// Opens the disk and starts the replica on it.
pub async fn start(config: ReplicaConfig) -> anyhow::Result<Started> {
    let shard_name = config.identity.shard.clone();
    let (dir, identity) = (config.dir.clone(), config.identity.clone());
    let (tunings, limits) = (config.tunings.clone(), config.limits.clone());
    let opening = move || Shard::open_replica(&dir, identity, tunings, limits);
    let opened = tokio::task::spawn_blocking(opening).await?;
    let (shard, journal, recovered) =
        opened.with_context(|| format!("shard {shard_name} cannot be opened"))?;
    let disk = convert::disk_id(recovered.disk_id);
    let holds = match &recovered {
        recovered if recovered.is_blank() => Holds::Nothing,
        recovered if recovered.is_alone() => Holds::LoneShard,
        _ => Holds::Replica,
    };
    let promised = convert::epoch_from_disk(recovered.promised);
    let restored = convert::restored(recovered)?;
    let me = Identity { disk, incarnation: Incarnation(clock::random_u64()) };
    let start = clock::now();
    let replica =
        Replica::new(me, config.settings.clone(), promised, restored, 0, clock::random_u64());

    let blank = holds == Holds::Nothing;
    let announced = Announced { name: config.name, disk, address: config.address, blank };
    let (own, _) = watch::channel(announced);
    let (events, receiver) = mpsc::channel(QUEUE);
    let board = Board::new(ReplicaStatus::new(disk, start));
    let addressee =
        Addressee { collection: config.identity.collection.clone(), shard: shard_name.clone() };
    let cell = Arc::new(ShardCell::new(shard_name.clone(), shard));
    let outside = Outside {
        transport: Transport::new(
            addressee.clone(),
            config.token.clone(),
            config.telemetry.clone(),
        ),
        register: config.register.clone(),
        runtime: Handle::current(),
        events: events.clone(),
        own: own.clone(),
        via: config.via,
        replicas: config.replicas,
        addressee: addressee.clone(),
        token: config.token.clone(),
    };
    let home = Home {
        shard: shard_name.clone(),
        dir: config.dir,
        disk,
        slot: cell.clone(),
        identity: config.identity,
        tunings: config.tunings,
        limits: config.limits,
        quorum_acks: config.settings.acks == Acks::Quorum,
        visibility_sla: config.visibility_sla,
    };
    let tick = Duration::from_millis((config.settings.timing.heartbeat / 3).clamp(5, TICK_MS));
    bring_events(&events, &config.register, own, tick);

    let (syncer, syncs) = std::sync::mpsc::channel();
    let synced = events.clone();
    let done = move |ticket, sync| synced.blocking_send(Event::Synced(ticket, sync)).is_ok();
    clock::spawn_vital("replica-syncer", move || sync_for_ever(&syncs, done))?;
    let handle = ReplicaHandle::new(shard_name, events, &board);
    let driver =
        Driver::new(home, outside, receiver, board, replica, journal, syncer, start, holds);
    let driver = clock::spawn_vital("replica", move || driver.run())?;
    if !config.compare_every.is_zero() {
        let (token, telemetry, every) = (config.token, config.telemetry, config.compare_every);
        tokio::spawn(Watch::new(handle.clone(), addressee, token, telemetry, every).run());
    }
    let local = Arc::new(Here { disk, handle: handle.clone(), cell: cell.clone() });
    Ok(Started { handle, cell, local, driver })
}

/// Ticks, and what the register's watch tells, until the driver is gone.
fn bring_events(
    events: &mpsc::Sender<Event>,
    register: &Arc<dyn RegisterStore>,
    own: watch::Sender<Announced>,
    tick: Duration,
) {
    let ticks = events.clone();
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(tick);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if ticks.send(Event::Tick).await.is_err() {
                return;
            }
        }
    });
    let (watched, store) = (events.clone(), register.clone());
    tokio::spawn(async move {
        let mut seen = store.watch();
        loop {
            let newest = seen.borrow_and_update().clone();
            if watched.send(Event::Watched(newest)).await.is_err() || seen.changed().await.is_err()
            {
                return;
            }
        }
    });
    let (store, closed) = (register.clone(), events.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = keep_announced(store.as_ref(), own.subscribe()) => {}
            () = closed.closed() => {}
        }
    });
}

/// This replica, as the others' messages find it.
struct Here {
    disk: DiskId,
    handle: ReplicaHandle,
    cell: Arc<ShardCell>,
}

#[async_trait]
impl Local for Here {
    fn disk(&self) -> DiskId {
        self.disk
    }

    async fn deliver(&self, incoming: Incoming) -> Result<(), Status> {
        let event = match incoming {
            Incoming::Message(message) => Event::Received(message),
            Incoming::Offer(offer) => Event::Offered(offer),
        };
        self.handle.tell(event).await.map_err(|error| to_status(&error))
    }

    fn leads(&self) -> Option<Epoch> {
        self.handle.status().leads
    }

    fn snapshot(&self) -> Result<Snapshot, ShardError> {
        self.cell.get()?.snapshot()
    }

    fn driver(&self) -> Option<&ReplicaHandle> {
        Some(&self.handle)
    }
}
