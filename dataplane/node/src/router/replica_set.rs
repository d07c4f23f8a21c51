//! The replicas of a shard, as a router asks them.
//!
//! Whom it asks, and what it does about failures, is decided in `shoal_consensus::client`, which the simulation runs too; here the
//! calls are made. Writes go to the primary: whoever was it last, whom the register seats, or whoever the others say it is. A
//! write whose outcome is not known is repeated under the same ids, by which the shard knows it again, so it is done once. Reads
//! are spread over the replicas, and a replica that has not seen what this router was acknowledged waits for it or leaves the
//! read to another; one that is slow has a second one beside it.
//!
//! A replica that may show what was so too long ago leaves the read to another as well. Where none is better the read is
//! answered with what there is, and the answer says how stale it is.
//!
//! Invariant: a read fails only when no replica answers it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use shoal_consensus::Millis;
use shoal_consensus::client::{Ask, Failure, Known, Leading, Next, Reading, Round, Then};
use shoal_shard::api::{OpOrigin, ShardError, WriteAck};
use tokio::sync::watch;

use super::api::{Consistency, Read, ReadOptions};
use super::call::CallError;
use super::remote::{Must, RemoteShard};
use crate::clock;

/// See the file's comment. Clones share what was learnt.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    name: String,
    replicas: Arc<[RemoteShard]>,
    learnt: Arc<Learnt>,
}

#[derive(Debug)]
struct Learnt {
    known: Mutex<Known>,
    /// Times are counted from here.
    start: Instant,
    /// Changes when the register seats another primary.
    seated: watch::Sender<()>,
}

impl ReplicaSet {
    /// The replicas of the shard of this name; there is at least one. Knows what `before`, of the same shard, had learnt.
    pub fn new(name: String, replicas: Vec<RemoteShard>, before: Option<&ReplicaSet>) -> Self {
        let acked = before.map_or(0, |before| before.learn(|known| known.acked()));
        let learnt = Learnt {
            known: Mutex::new(Known::new(replicas.len(), acked)),
            start: clock::now(),
            seated: watch::Sender::new(()),
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

    /// The register says who leads an epoch, by its number. Calls that wait for who led before turn to that one.
    pub fn is_seated(&self, at: usize, epoch: u64) {
        if self.learn(|known| known.is_seated(at, epoch)) {
            self.learnt.seated.send_replace(());
        }
    }

    /// Writes an encoded op, through whoever leads.
    pub async fn write(
        &self,
        op: Bytes,
        origin: OpOrigin,
        wait: bool,
        deadline: Duration,
    ) -> Result<WriteAck, CallError> {
        let call = |replica: &RemoteShard, within| {
            let (replica, op) = (replica.clone(), op.clone());
            async move { replica.write_once(op, origin, wait, within).await }
        };
        let ack = self.lead(deadline, failed_write, call).await?;
        if ack.visible {
            self.learn(|known| known.is_acked(ack.seq));
        }
        Ok(ack)
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
                Consistency::Strong => {
                    let call = |replica: &RemoteShard, within| {
                        // What it was asked for may take longer than it says itself.
                        let asking = call(replica.reading(Must::All), within);
                        async move {
                            let outcome = tokio::time::timeout(within, asking).await;
                            outcome.unwrap_or_else(|_| Err(self.late()))
                        }
                    };
                    self.lead(options.deadline, failed_read, call).await
                }
            }
        };
        tokio::time::timeout(options.deadline, reading).await.unwrap_or_else(|_| Err(self.late()))
    }

    /// Asks whoever leads until one does.
    async fn lead<T, F>(
        &self,
        deadline: Duration,
        failure: impl Fn(&ReplicaSet, &CallError) -> Failure,
        call: impl Fn(&RemoteShard, Duration) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut leading = Leading::new(self.now().saturating_add(millis(deadline)));
        // What to say in the end: that it may be done weighs more than that a replica was not the one.
        let mut last: Option<CallError> = None;
        loop {
            let asked = self.learn(|known| leading.ask(known, self.now()));
            let Some((asked, replica)) = asked.and_then(|ask| Some((ask, self.at(ask.replica)?)))
            else {
                return Err(last.unwrap_or_else(|| self.unanswered()));
            };
            let within = Duration::from_millis(asked.within);
            let outcome = tokio::select! {
                outcome = call(replica, within) => outcome,
                // A write may be done or not, and is found out where it is asked again.
                () = self.is_succeeded(asked) => {
                    worse(&mut last, self.late());
                    continue;
                }
            };
            let error = match outcome {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let failure = failure(self, &error);
            match self.learn(|known| leading.failed(known, self.now(), asked, failure)) {
                Then::GiveUp => return Err(error),
                Then::AskIn(pause) => {
                    worse(&mut last, error);
                    clock::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }

    /// Returns once the register seated another one since that was asked.
    async fn is_succeeded(&self, asked: Ask) {
        let mut seated = self.learnt.seated.subscribe();
        while !self.learn(|known| Leading::is_succeeded(known, asked)) {
            if seated.changed().await.is_err() {
                // The sender lives as long as this.
                return std::future::pending().await;
            }
        }
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
        let deadline = self.now().saturating_add(millis(options.deadline));
        let (mut reading, min_seq) =
            self.learn(|known| (Reading::new(known, self.now(), deadline), known.acked()));
        let newer = Must::Newer { min_seq, max_staleness: options.allowed() };
        let ask = |at: usize, round: Round| {
            let must = if round == Round::Newer { newer } else { Must::Nothing };
            let replica = self.at(at).map(|replica| replica.reading(must));
            async move {
                let outcome = match replica {
                    Some(replica) => call(replica, options.deadline).await,
                    None => Err(self.unanswered()),
                };
                (at, round, outcome)
            }
        };
        let mut asked = FuturesUnordered::new();
        let mut worst: Option<CallError> = None;
        let mut next = self.learn(|known| reading.begin(known, self.now()));
        loop {
            match next {
                Next::Ask(at) => asked.push(ask(at, reading.round())),
                Next::Wait if !asked.is_empty() => {}
                Next::Wait | Next::GiveUp => {
                    return Err(worst.unwrap_or_else(|| self.unanswered()));
                }
            }
            let slow_in = reading.slow_at().map(|at| at.saturating_sub(self.now()));
            let slow = async {
                match slow_in {
                    Some(ms) => clock::sleep(Duration::from_millis(ms)).await,
                    None => std::future::pending().await,
                }
            };
            let (at, round, outcome) = tokio::select! {
                Some(outcome) = asked.next() => outcome,
                () = slow => {
                    next = self.learn(|known| reading.slow(known, self.now()));
                    continue;
                }
            };
            match outcome {
                Ok(read) => {
                    self.learn(|known| reading.answered(known, self.now(), at));
                    // What this router was told is not there: that it is so for a moment only is nothing to rely on.
                    let beyond = options.allowed() + Duration::from_millis(1);
                    let least = if round == Round::Any { beyond } else { Duration::ZERO };
                    return Ok(Read { staleness: read.staleness.max(least), ..read });
                }
                Err(error) if error.is_invalid() => return Err(error),
                Err(error) => {
                    worse(&mut worst, error);
                    next = self.learn(|known| reading.failed(known, self.now(), at));
                }
            }
        }
    }

    fn at(&self, at: usize) -> Option<&RemoteShard> {
        self.replicas.get(at)
    }

    fn learn<T>(&self, how: impl FnOnce(&mut Known) -> T) -> T {
        how(&mut self.learnt.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Millis {
        millis(self.learnt.start.elapsed())
    }

    fn late(&self) -> CallError {
        CallError::Timeout { shard: self.name.clone() }
    }

    /// Nobody was asked: the deadline passed before, or there is nobody.
    fn unanswered(&self) -> CallError {
        if !self.replicas.is_empty() {
            return self.late();
        }
        let detail = "it has no replicas".to_owned();
        ShardError::Unavailable { shard: self.name.clone(), detail }.into()
    }

    /// Position of the replica that is reached there.
    fn named(&self, primary: Option<&String>) -> Option<usize> {
        self.replicas.iter().position(|replica| Some(replica.address()) == primary.map(|p| &**p))
    }
}

/// Keeps the failure that is to be told.
fn worse(kept: &mut Option<CallError>, error: CallError) {
    if kept.as_ref().is_none_or(|kept| kept.severity() <= error.severity()) {
        *kept = Some(error);
    }
}

fn millis(time: Duration) -> Millis {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn failed_write(set: &ReplicaSet, error: &CallError) -> Failure {
    match error {
        CallError::Shard(ShardError::NotPrimary { primary, .. }) => {
            Failure::NotPrimary { primary: set.named(primary.as_ref()) }
        }
        CallError::NotReady { .. } | CallError::Shard(ShardError::NotReady { .. }) => {
            Failure::NotReady
        }
        CallError::Timeout { .. } => Failure::Silent,
        CallError::NotSent { .. }
        | CallError::Broken { .. }
        | CallError::Shard(ShardError::Unavailable { .. } | ShardError::Uncertain { .. }) => {
            Failure::Away
        }
        CallError::Shard(ShardError::DiskFull { .. }) => Failure::Full,
        CallError::Shard(
            ShardError::Invalid(_) | ShardError::Corrupt { .. } | ShardError::Cancelled { .. },
        )
        | CallError::Internal { .. } => Failure::Final,
    }
}

/// A strong read that one replica's disk spoils may do on another, once that leads.
fn failed_read(set: &ReplicaSet, error: &CallError) -> Failure {
    match failed_write(set, error) {
        Failure::Final if !error.is_invalid() => Failure::Away,
        Failure::Full => Failure::Away,
        failure => failure,
    }
}
