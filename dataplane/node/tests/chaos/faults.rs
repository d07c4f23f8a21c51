//! What is done to the replicas: one fault a round, drawn from the run's seed.

use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::cluster::{Cluster, PATIENCE, in_time};
use crate::disk::Syncs;
use crate::processes;
use crate::proxy::Condition;
use shoal_e2e::history::CutOff;
use shoal_e2e::history::figures::Injected;

/// Writes that a follower misses that is away for long: several segments are made of them.
const MISSED: u64 = 10 * processes::FLUSH_POINTS;

/// What is done in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillPrimary,
    KillFollower,
    /// It is away until others do not have all that it missed in their logs.
    KillFollowerForLong,
    /// The primary and one more: no quorum is left.
    KillTwo,
    KillAll,
    /// SIGSTOP until another leads, then SIGCONT.
    PausePrimary,
    PauseFollower,
    /// No other replica reaches it, nor it them; clients do.
    CutPrimary,
    CutFollower,
    /// What it sends to others is lost, but it hears them.
    MutePrimary,
    /// The other way around.
    DeafPrimary,
    CutClients,
    SlowLines,
    FullDisk,
    /// Each sync of the primary takes up to seconds.
    SlowDisk,
    /// Those of all take some fifty milliseconds.
    SlowDisks,
    /// No sync of the primary works any more, as where its disk was pulled out; later it comes back with what was on it.
    FailDisk,
    /// Nobody reaches the register: whoever leads goes on.
    HoldRegister,
    LoseRegister,
    /// It is what it was some rounds before.
    SetBackRegister,
    /// A follower comes back with an empty disk.
    WipeFollower,
    /// The primary's disk fails, and is replaced by an empty one.
    LoseDisk,
}

use Fault::*;

/// How often each is drawn. The target is a number of kills of primaries, so these are more.
const OF_REPLICAS: &[(Fault, u32)] = &[
    (KillPrimary, 10),
    (KillFollower, 2),
    (KillFollowerForLong, 1),
    (KillTwo, 2),
    (KillAll, 2),
    (PausePrimary, 3),
    (PauseFollower, 1),
    (CutPrimary, 3),
    (CutFollower, 1),
    (MutePrimary, 2),
    (DeafPrimary, 2),
    (CutClients, 1),
    (SlowLines, 1),
    (FullDisk, 2),
    (SlowDisk, 2),
    (SlowDisks, 1),
    (FailDisk, 2),
    (HoldRegister, 1),
    (LoseRegister, 1),
    (SetBackRegister, 1),
];
const OF_ONE: &[(Fault, u32)] = &[
    (KillPrimary, 4),
    (PausePrimary, 1),
    (CutClients, 1),
    (FullDisk, 1),
    (SlowDisk, 1),
    (FailDisk, 1),
];

impl Fault {
    /// The next of a run.
    pub(crate) fn draw(rng: &mut StdRng, replicas: usize, wipes: bool) -> Self {
        let faults = if replicas > 1 { OF_REPLICAS } else { OF_ONE };
        if wipes && replicas > 1 && rng.random_bool(0.1) {
            return if rng.random() { WipeFollower } else { LoseDisk };
        }
        faults.choose_weighted(rng, |(_, weight)| *weight).unwrap().0
    }

    /// The fault of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let drawn = OF_REPLICAS.iter().map(|(fault, _)| *fault);
        drawn.chain([WipeFollower, LoseDisk]).find(|fault| format!("{fault:?}") == name)
    }

    /// Whether writes go on under it, with another primary.
    fn goes_on(self) -> bool {
        !matches!(self, KillTwo | KillAll | CutClients | FullDisk)
    }
}

/// How a round went.
pub(crate) struct Round {
    pub(crate) fault: Fault,
    /// When it was done, in the history's time.
    pub(crate) at: u64,
    /// What did not come about.
    pub(crate) stalled: Option<String>,
}

impl Round {
    /// As figures take it.
    pub(crate) fn injected(&self) -> Injected {
        Injected { what: format!("{:?}", self.fault), at: self.at }
    }
}

/// Lets clients work for a moment, does it, ends it, and waits until writes are acked again.
pub(crate) async fn round(cluster: &mut Cluster, fault: Fault, rng: &mut StdRng) -> Round {
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..500))).await;
    if cluster.count() > 1 {
        cluster.register.remember(rng);
    }
    let primary = cluster.clients.primary();
    let others: Vec<usize> = (0..cluster.count()).filter(|index| *index != primary).collect();
    let follower = others.choose(rng).copied().unwrap_or(primary);
    let line = if rng.random() { Condition::CUT } else { Condition::HELD };
    let replaced = if fault == LoseDisk { primary } else { follower };
    let name = cluster.replicas[replaced].name.clone();
    let disk_before = cluster.register.disk(&name).map(|(disk, _)| disk);
    // From what nobody notices to longer than it takes to elect another.
    let slow = Duration::from_millis(20000);
    inject(cluster, fault, primary, follower, line, slow);
    let at = cluster.clients.history.now();
    let what = format!("{fault:?}: primary {primary}, follower {follower}, {line:?}, {slow:?}");
    cluster.clients.history.fault(at, &what);
    let mut stalled = None;
    // Some come back before anyone has noticed that they were gone.
    if cluster.count() > 1
        && fault.goes_on()
        && rng.random_bool(0.8)
        && !cluster.acks_since(at).await
    {
        stalled = Some(format!("no write was acked while it lasted: {what}"));
    }
    if fault == KillFollowerForLong && !cluster.acks_more(MISSED).await {
        stalled = Some(format!("not enough writes were acked while it lasted: {what}"));
    }
    // A disk is not full for a process before it needs room on it, and a register not missed before it is looked for.
    let least = match fault {
        FullDisk => 500,
        HoldRegister | LoseRegister | SetBackRegister => 2000,
        _ => 0,
    };
    tokio::time::sleep(Duration::from_millis(rng.random_range(least..least + 1000))).await;
    if fault == CutPrimary && cluster.count() > 1 {
        let to = cluster.clients.history.now();
        cluster.clients.history.cut_off(CutOff { replica: primary, from: at, to });
    }
    if matches!(fault, FailDisk | LoseDisk) && !gave_up(cluster, primary).await {
        stalled = Some(format!("it goes on though its disk failed: {what}"));
        cluster.replicas[primary].kill();
    }
    if fault == LoseDisk {
        cluster.replicas[primary].wipe();
    }
    let healed = cluster.clients.history.now();
    cluster.heal();
    if !cluster.acks_since(healed).await {
        stalled = Some(format!("no write was acked after it was over: {what}"));
    }
    // Until another disk votes in its place, no other voter may be missing.
    if matches!(fault, WipeFollower | LoseDisk) {
        let replaced = || {
            let now = cluster.register.disk(&name);
            now.is_some_and(|(disk, votes)| votes && Some(disk) != disk_before)
        };
        if !in_time(replaced).await {
            stalled = Some(format!("the new disk of {name} does not vote: {what}"));
        }
    }
    // Mostly the next comes while some are still catching up.
    if rng.random_bool(0.2) {
        let silent = cluster.silent().await;
        if !silent.is_empty() {
            stalled = Some(format!("replicas {silent:?} do not answer after it was over: {what}"));
        }
    }
    Round { fault, at, stalled }
}

/// Waits until a process whose syncs fail has ended.
async fn gave_up(cluster: &mut Cluster, replica: usize) -> bool {
    let began = Instant::now();
    while !cluster.replicas[replica].gave_up() {
        if began.elapsed() > PATIENCE {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

fn inject(
    cluster: &mut Cluster,
    fault: Fault,
    primary: usize,
    follower: usize,
    line: Condition,
    slow: Duration,
) {
    match fault {
        KillPrimary => cluster.replicas[primary].kill(),
        KillFollower | KillFollowerForLong => cluster.replicas[follower].kill(),
        WipeFollower => {
            cluster.replicas[follower].kill();
            cluster.replicas[follower].wipe();
        }
        KillTwo => [primary, follower].into_iter().for_each(|index| cluster.replicas[index].kill()),
        KillAll => cluster.replicas.iter_mut().for_each(|replica| replica.kill()),
        PausePrimary => cluster.replicas[primary].pause(),
        PauseFollower => cluster.replicas[follower].pause(),
        CutPrimary => {
            cluster.outgoing(primary, line);
            cluster.incoming(primary, line);
        }
        CutFollower => {
            cluster.outgoing(follower, line);
            cluster.incoming(follower, line);
        }
        // Requests of one go over its own connections, and answers to it over the same.
        MutePrimary => {
            cluster.outgoing(primary, Condition { hold_requests: true, ..Condition::default() });
            cluster.incoming(primary, Condition { hold_answers: true, ..Condition::default() });
        }
        DeafPrimary => {
            cluster.outgoing(primary, Condition { hold_answers: true, ..Condition::default() });
            cluster.incoming(primary, Condition { hold_requests: true, ..Condition::default() });
        }
        CutClients => cluster.to_clients[primary].set(line),
        SlowLines => cluster.lines(Condition::slow(Duration::from_millis(50)), |_, _| true),
        FullDisk => cluster.replicas[primary].disk_full(true),
        SlowDisk => cluster.replicas[primary].syncs(Syncs::Take(slow)),
        SlowDisks => {
            let slow = Syncs::Take(Duration::from_millis(50));
            cluster.replicas.iter().for_each(|replica| replica.syncs(slow));
        }
        FailDisk | LoseDisk => cluster.replicas[primary].syncs(Syncs::Fail),
        HoldRegister => cluster.register.hold(),
        LoseRegister => cluster.register.lose(),
        SetBackRegister => cluster.register.set_back(),
    }
}
