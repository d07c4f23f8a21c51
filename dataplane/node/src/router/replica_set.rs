//! The replicas of a shard, as a router asks them.
//!
//! Writes go to the primary: whoever was it last, then whoever the others say it is. A write whose outcome is not known is
//! repeated under the same ids, by which the shard knows it again, so it is done once. Reads are spread over the replicas, and a
//! replica that has not seen what this router was acknowledged waits for it or leaves the read to another; one that is slow
//! has a second one beside it.
//!
//! A replica that may show what was so too long ago leaves the read to another as well. Where none is better the read is
//! answered with what there is, and the answer says how stale it is.
//!
//! Invariant: a read fails only when no replica answers it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use shoal_shard::api::{OpOrigin, ShardError, WriteAck};

use super::api::{Consistency, Read, ReadOptions};
use super::call::CallError;
use super::remote::{Must, RemoteShard};
use crate::clock;

/// How long a read waits before a second replica is asked too: far above what a search takes, far below what people notice.
const HEDGE: Duration = Duration::from_millis(50);

/// Of so many reads one may be asked twice, so that replicas which are all slow are not made slower.
const HEDGED: u64 = 10;

/// Second askings that may be saved up.
const SAVED: u64 = 20 * HEDGED;

/// How long a replica that did not answer is asked last.
const SHUNNED: Duration = Duration::from_secs(1);

/// How long one attempt at a write may take at first; twice as long each further time. A primary that hangs answers nothing,
/// and another one leads within seconds.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long a write is tried again after a primary said that its disk is full: it steps aside at once if another replica can
/// lead, and that one has room, or says the same.
const ROOM: Duration = Duration::from_secs(2);

/// Pauses between attempts at a write, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// See the file's comment. Clones share what was learnt.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    name: String,
    replicas: Arc<[RemoteShard]>,
    learnt: Arc<Learnt>,
}

/// What is known of the replicas.
#[derive(Debug, Default)]
struct Learnt {
    /// Position of the primary, as far as it is known.
    primary: AtomicUsize,
    next: AtomicUsize,
    /// The greatest seq that was acknowledged as visible.
    acked: AtomicU64,
    /// Second askings that may be made, times [`HEDGED`].
    hedges: AtomicU64,
    /// When each did not answer last.
    shunned: Mutex<Vec<Option<Instant>>>,
}

impl ReplicaSet {
    /// The replicas of the shard of this name; there is at least one. Knows what `before`, of the same shard, had learnt.
    pub fn new(name: String, replicas: Vec<RemoteShard>, before: Option<&ReplicaSet>) -> Self {
        let acked = before.map_or(0, |before| before.learnt.acked.load(Ordering::Relaxed));
        let learnt = Learnt {
            acked: AtomicU64::new(acked),
            shunned: Mutex::new(vec![None; replicas.len()]),
            hedges: AtomicU64::new(SAVED),
            ..Learnt::default()
        };
        Self { name, replicas: replicas.into(), learnt: Arc::new(learnt) }
    }

    /// The shard's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The replicas, in their order.
    pub fn replicas(&self) -> &[RemoteShard] {
        &self.replicas
    }

    /// Writes an encoded op, through whoever leads.
    pub async fn write(
        &self,
        op: Bytes,
        origin: OpOrigin,
        wait: bool,
        deadline: Duration,
    ) -> Result<WriteAck, CallError> {
        let start = clock::now();
        let (mut attempt, mut pause) = (ATTEMPT, PAUSES.0);
        // What to say in the end: that it may be done weighs more than that a replica was not the one.
        let mut last: Option<CallError> = None;
        let mut full: Option<Instant> = None;
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(last.unwrap_or_else(|| self.late()));
            }
            let at = self.learnt.primary.load(Ordering::Relaxed) % self.replicas.len().max(1);
            let Some(replica) = self.replicas.get(at) else { return Err(self.none()) };
            let outcome = replica.write_once(op.clone(), origin, wait, left.min(attempt)).await;
            let error = match outcome {
                Ok(ack) => {
                    if ack.visible {
                        self.learnt.acked.fetch_max(ack.seq, Ordering::Relaxed);
                    }
                    return Ok(ack);
                }
                Err(error) => error,
            };
            match &error {
                CallError::Shard(ShardError::NotPrimary { primary, .. }) => {
                    self.look_elsewhere(at, primary.as_deref());
                    if primary.is_some() && pause == PAUSES.0 {
                        pause *= 2;
                        continue;
                    }
                }
                CallError::Timeout { .. } => {
                    attempt *= 2;
                    self.look_elsewhere(at, None);
                }
                CallError::NotSent { .. }
                | CallError::Broken { .. }
                | CallError::Shard(
                    ShardError::Unavailable { .. }
                    | ShardError::NotReady { .. }
                    | ShardError::Uncertain { .. },
                ) => self.look_elsewhere(at, None),
                CallError::Shard(ShardError::DiskFull { .. })
                    if full.get_or_insert_with(clock::now).elapsed() < ROOM => {}
                // What it says of the op, or of its own disk, another one says too or makes worse.
                _ => return Err(error),
            }
            if last.as_ref().is_none_or(|last| last.severity() <= error.severity()) {
                last = Some(error);
            }
            clock::sleep(pause.min(deadline.saturating_sub(start.elapsed()))).await;
            pause = (2 * pause).min(PAUSES.1);
        }
    }

    /// Reads from some replica: `call` asks one.
    pub async fn read<T, F>(
        &self,
        options: ReadOptions,
        call: impl Fn(RemoteShard, Duration) -> F,
    ) -> Result<Read<T>, CallError>
    where
        F: Future<Output = Result<Read<T>, CallError>>,
    {
        let reading = async {
            match options.consistency {
                Consistency::Any => self.read_any(options, &call).await,
                Consistency::Strong => self.read_strong(options.deadline, &call).await,
            }
        };
        tokio::time::timeout(options.deadline, reading).await.unwrap_or_else(|_| Err(self.late()))
    }

    /// Reads from one that is not behind, else from one that answers at all.
    async fn read_any<T, F>(
        &self,
        options: ReadOptions,
        call: &impl Fn(RemoteShard, Duration) -> F,
    ) -> Result<Read<T>, CallError>
    where
        F: Future<Output = Result<Read<T>, CallError>>,
    {
        let min_seq = self.learnt.acked.load(Ordering::Relaxed);
        let newer = Must::Newer { min_seq, max_staleness: options.allowed() };
        match self.read_one(newer, options.deadline, call).await {
            // One that is behind may be all that is left.
            Err(error) if !error.is_invalid() => {
                let read = self.read_one(Must::Nothing, options.deadline, call).await?;
                // What this router was told is not there: that it is so for a moment only is nothing to rely on.
                let staleness = read.staleness.max(options.allowed() + Duration::from_millis(1));
                Ok(Read { staleness, ..read })
            }
            other => other,
        }
    }

    /// Asks one after the other, and a second one beside one that is slow.
    async fn read_one<T, F>(
        &self,
        must: Must,
        deadline: Duration,
        call: &impl Fn(RemoteShard, Duration) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut order = self.order().into_iter();
        let mut asked = FuturesUnordered::new();
        let ask = |at: usize| {
            let replica = self.replicas.get(at).map(|r| r.reading(must));
            async move {
                match replica {
                    Some(replica) => (at, call(replica, deadline).await),
                    None => (at, Err(self.none())),
                }
            }
        };
        let Some(first) = order.next() else { return Err(self.none()) };
        asked.push(ask(first));
        self.save_hedge();
        let (mut waiting, mut may_hedge) = (vec![first], true);
        let mut worst: Option<CallError> = None;
        loop {
            let hedges = may_hedge && order.len() > 0;
            let hedge = async {
                match hedges {
                    true => clock::sleep(HEDGE).await,
                    false => std::future::pending().await,
                }
            };
            let (at, outcome) = tokio::select! {
                Some(outcome) = asked.next() => outcome,
                () = hedge => {
                    // One that is slow has one other beside it.
                    may_hedge = false;
                    if self.spend_hedge()
                        && let Some(next) = order.next()
                    {
                        waiting.push(next);
                        asked.push(ask(next));
                    }
                    continue;
                }
            };
            match outcome {
                Ok(value) => {
                    // What was asked before this one is slow or hangs.
                    let slow = waiting.into_iter().take_while(|&other| other != at);
                    slow.for_each(|slow| self.shun(slow));
                    return Ok(value);
                }
                Err(error) if error.is_invalid() => return Err(error),
                Err(error) => {
                    self.shun(at);
                    waiting.retain(|&other| other != at);
                    if worst.as_ref().is_none_or(|worst| worst.severity() <= error.severity()) {
                        worst = Some(error);
                    }
                    if let Some(next) = order.next() {
                        waiting.push(next);
                        asked.push(ask(next));
                    }
                }
            }
            if asked.is_empty() {
                return Err(worst.unwrap_or_else(|| self.none()));
            }
        }
    }

    /// Asks whoever leads until one does.
    async fn read_strong<T, F>(
        &self,
        deadline: Duration,
        call: &impl Fn(RemoteShard, Duration) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let (start, mut pause) = (clock::now(), PAUSES.0);
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            let at = self.learnt.primary.load(Ordering::Relaxed) % self.replicas.len().max(1);
            let Some(replica) = self.replicas.get(at) else { return Err(self.none()) };
            let attempt = left.min(ATTEMPT);
            let asking = call(replica.reading(Must::All), attempt);
            let outcome = tokio::time::timeout(attempt, asking).await;
            let error = match outcome.unwrap_or_else(|_| Err(self.late())) {
                Ok(value) => return Ok(value),
                Err(error) if error.is_invalid() || left.is_zero() => return Err(error),
                Err(error) => error,
            };
            let primary = match &error {
                CallError::Shard(ShardError::NotPrimary { primary, .. }) => primary.as_deref(),
                _ => None,
            };
            self.look_elsewhere(at, primary);
            clock::sleep(pause).await;
            pause = (2 * pause).min(PAUSES.1);
        }
    }

    /// Positions in the order in which they are to be asked: in turns, and those that did not answer last.
    fn order(&self) -> Vec<usize> {
        let count = self.replicas.len();
        let first = self.learnt.next.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..count).map(|n| (first + n) % count.max(1)).collect();
        let now = clock::now();
        let shunned = self.shunned().clone();
        order.sort_by_key(|&at| {
            let since = shunned.get(at).copied().flatten();
            since.is_some_and(|since| now.duration_since(since) < SHUNNED)
        });
        order
    }

    /// The replica at a position did not lead. Unless another call has found that out before, and where to go.
    fn look_elsewhere(&self, from: usize, primary: Option<&str>) {
        let named = primary.and_then(|at| self.replicas.iter().position(|r| r.address() == at));
        let to = named.unwrap_or((from + 1) % self.replicas.len().max(1));
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.learnt.primary.compare_exchange(from, to, success, failure);
    }

    fn shun(&self, at: usize) {
        if let Some(since) = self.shunned().get_mut(at) {
            *since = Some(clock::now());
        }
    }

    fn shunned(&self) -> std::sync::MutexGuard<'_, Vec<Option<Instant>>> {
        self.learnt.shunned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save_hedge(&self) {
        let add = |saved: u64| (saved < SAVED).then_some(saved + 1);
        let _ = self.learnt.hedges.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn spend_hedge(&self) -> bool {
        let take = |saved: u64| saved.checked_sub(HEDGED);
        self.learnt.hedges.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn late(&self) -> CallError {
        CallError::Timeout { shard: self.name.clone() }
    }

    fn none(&self) -> CallError {
        let detail = "it has no replicas".to_owned();
        ShardError::Unavailable { shard: self.name.clone(), detail }.into()
    }
}
