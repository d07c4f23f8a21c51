//! What replicas last said about themselves and about each other. Pure, and a place to remember it.
//!
//! Invariant: figures are rounded, and those of a look out of turn replace others only where they mean something else; so what
//! is made of them is written at most once a minute but for changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use shoal_crds::shard::LogState;
use shoal_proto::pb;

use crate::samples::{Key, round};

/// Ops that a replica may lack and count as caught up: what is on its way to it under load.
const CLOSE: u64 = 1_000;
/// Ops that one which had caught up may lack before it counts as behind.
const FAR: u64 = 10_000;
/// Milliseconds for which a replica may not have shown all that is committed, and counts as caught up.
const FRESH_MS: u64 = 2_000;
/// The same for one that had caught up.
const STALE_MS: u64 = 10_000;

/// What a replica answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// This.
    Said(Box<pb::ReplicaReply>),
    /// That it does not know the question: its image is older.
    Mute,
}

/// What is known of a replica by what it and the primary said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaTold {
    /// Whether its image is too old to tell.
    pub mute: bool,
    /// Whether it has what the others have.
    pub log: Option<LogState>,
    /// Committed ops that it is not known to have, rounded.
    pub behind_ops: Option<i64>,
    /// Whether it shows what was acknowledged later than it is to.
    pub late: Option<bool>,
    /// Why it serves nothing any more.
    pub ended: Option<String>,
}

/// How answers are taken.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    /// Whether they were asked for out of turn.
    pub hurried: bool,
    /// Milliseconds within which a replica is to show what was acknowledged.
    pub sla_ms: u64,
}

/// What is known of a shard's replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardTold {
    /// By their numbers; those that answered, and those that the primary told of.
    pub replicas: BTreeMap<u32, ReplicaTold>,
    /// Nobody leads, and too few answer each other for anybody to be elected.
    pub short: bool,
    /// How whoever leads came to.
    pub failover: Option<FailoverTold>,
}

/// How a replica came to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the field of the message of the same name.
pub struct FailoverTold {
    pub epoch: u64,
    /// The disk of who led before.
    pub from: String,
    /// The disk of who leads.
    pub to: String,
    pub detected_ms: u64,
    pub promoted_ms: u64,
    pub duration_ms: Option<u64>,
    pub planned: bool,
    /// Number and nonce.
    pub former: Option<(u64, u64)>,
    /// What the winner knows, or else what who led before says of its log.
    pub lost_ops: Option<u64>,
}

impl ShardTold {
    /// Whether more is to be asked soon: somebody is getting what it lacks.
    pub fn is_unsettled(&self) -> bool {
        let mut logs = self.replicas.values().map(|replica| replica.log);
        self.short || logs.any(|log| log.is_some_and(|log| log != LogState::CaughtUp))
    }
}

/// What is made of answers. `disks` tells which disk each replica says it has; `before` is what was known.
pub fn digest(
    answers: &BTreeMap<u32, Answer>,
    disks: &BTreeMap<u32, String>,
    before: &ShardTold,
    taking: Taking,
) -> ShardTold {
    let said = |number: &u32| match answers.get(number) {
        Some(Answer::Said(said)) => Some(said.as_ref()),
        _ => None,
    };
    let primaries = answers.keys().filter_map(|number| said(number).map(|said| (*number, said)));
    // Of two that believe to lead, the one that got further does.
    let primary = primaries
        .filter(|(_, said)| said.role() == pb::ReplicaRole::Primary)
        .max_by_key(|(_, said)| said.commit_seq);
    let numbers = answers.keys().chain(disks.keys());
    let replicas = numbers.map(|number| {
        let known = before.replicas.get(number).cloned().unwrap_or_default();
        let ops = match primary {
            Some((leads, _)) if leads == *number => Some(0),
            Some((_, said)) => disks.get(number).and_then(|disk| behind(said, disk)),
            None => None,
        };
        let mute = matches!(answers.get(number), Some(Answer::Mute));
        let told = replica(said(number), ops, primary.is_some(), &known, taking);
        (*number, ReplicaTold { mute, ..told })
    });
    let replicas: BTreeMap<u32, ReplicaTold> = replicas.collect();
    let short = primary.is_none() && answers.keys().filter_map(said).any(|said| said.short);
    let failover = primary.and_then(|(_, said)| failover(said)).or_else(|| before.failover.clone());
    let failover = failover.map(|failover| {
        let known = before.failover.iter().filter(|known| known.epoch == failover.epoch);
        let lost_ops = failover
            .lost_ops
            .or_else(|| lost(&failover, answers.keys().filter_map(said)))
            .or_else(|| known.filter_map(|known| known.lost_ops).next());
        FailoverTold { lost_ops, ..failover }
    });
    ShardTold { replicas, short, failover }
}

/// Ops of the former primary that a failover left out of the history, as that one says itself: those that were cut off its log,
/// which it knows once it took an entry of the new one's epoch or a later one. What was cut of other epochs was lost by other
/// failovers.
fn lost<'a>(
    failover: &FailoverTold,
    mut said: impl Iterator<Item = &'a pb::ReplicaReply>,
) -> Option<u64> {
    // One that succeeded itself is not the one to ask: it told already what it knows.
    let former = failover.former.filter(|_| failover.from != failover.to)?;
    let from = said.find(|said| disk_name(&said.disk).as_ref() == Some(&failover.from))?;
    let of_former =
        |cut: &&pb::CutOps| cut.epoch.as_ref().map(|at| (at.number, at.nonce)) == Some(former);
    (from.last_epoch >= failover.epoch && !from.cut_is_partial)
        .then(|| from.cut.iter().filter(of_former).map(|cut| cut.ops).sum())
}

fn replica(
    said: Option<&pb::ReplicaReply>,
    ops: Option<u64>,
    is_led: bool,
    before: &ReplicaTold,
    taking: Taking,
) -> ReplicaTold {
    let caught_up = before.log == Some(LogState::CaughtUp);
    let (most, oldest) = if caught_up { (FAR, STALE_MS) } else { (CLOSE, FRESH_MS) };
    let stale = is_led && said.is_some_and(|said| said.stale_ms > oldest);
    let log = match (said.is_some_and(|said| said.fetching), ops) {
        (true, _) => Some(LogState::Resyncing),
        (false, Some(ops)) if ops >= most || stale => Some(LogState::Behind),
        (false, Some(_)) => Some(LogState::CaughtUp),
        (false, None) => None,
    };
    let figure =
        ops.map(|ops| if ops < CLOSE { 0 } else { round(ops.try_into().unwrap_or(i64::MAX)) });
    let hurried = taking.hurried && log == before.log;
    let behind_ops = if hurried { before.behind_ops } else { figure };
    // While nobody leads nothing is acknowledged.
    let late = said.filter(|_| is_led).map(|said| said.stale_ms > taking.sla_ms);
    let late = if hurried && before.late.is_some() { before.late } else { late };
    let ended = said.and_then(|said| said.ended.clone());
    ReplicaTold { mute: false, log, behind_ops, late, ended }
}

fn behind(primary: &pb::ReplicaReply, disk: &str) -> Option<u64> {
    let of_disk = |behind: &&pb::Behind| disk_name(&behind.disk).as_deref() == Some(disk);
    primary.behind.iter().find(of_disk).map(|behind| behind.ops)
}

fn failover(primary: &pb::ReplicaReply) -> Option<FailoverTold> {
    let told = primary.failover.as_ref()?;
    Some(FailoverTold {
        epoch: told.epoch.as_ref()?.number,
        from: disk_name(&told.from)?,
        to: disk_name(&primary.disk)?,
        detected_ms: told.detected_ms,
        promoted_ms: told.promoted_ms,
        duration_ms: told.duration_ms,
        planned: told.planned,
        former: told.former.as_ref().map(|former| (former.number, former.nonce)),
        lost_ops: told.lost_ops,
    })
}

/// A disk's id as Shards tell it: a UUID.
pub fn disk_name(bytes: &[u8]) -> Option<String> {
    if bytes.len() != 16 {
        return None;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts =
        [hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..)?];
    Some(parts.join("-"))
}

/// What replicas last said, by shard.
#[derive(Debug, Default)]
pub struct Heard {
    last: Mutex<HashMap<Key, ShardTold>>,
}

impl Heard {
    /// What is known of a shard's replicas.
    pub fn get(&self, namespace: &str, shard: &str) -> ShardTold {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&(namespace.to_owned(), shard.to_owned())).cloned().unwrap_or_default()
    }

    /// Notes what is known; whether that is news.
    pub fn set(&self, key: Key, told: ShardTold) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(key, told.clone()).unwrap_or_default() != told
    }

    /// Forgets shards that no longer exist.
    pub fn keep(&self, exists: impl Fn(&Key) -> bool) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| exists(key));
    }
}

#[cfg(test)]
#[path = "told_tests.rs"]
mod tests;
