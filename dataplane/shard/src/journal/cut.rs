//! What is cut off the log is kept aside, in files of its own: it is never replayed, and it is not forgotten either.
//!
//! A primary that answers before others have an op may have acknowledged some of it, so how many ops of which epoch there are is
//! told, also by a later run of the process.
//!
//! Invariants: a file is durable before the log is cut. An op that is in two files, as when a crash came in between, counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::entry::Epoch;
use super::{Journal, Step, Waiting};
use crate::disk;
use crate::limits::KEPT_ASIDE;
use crate::wal::{Kind, Place, Record, Wal};

/// Ending of their names: `000001.after-41.by-7.aside` is what lay behind seq 41 until the primary of epoch 7 had it cut.
const ENDING: &str = ".aside";

/// Ops of one epoch that were cut off the log and are kept aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOps {
    /// Of the primary that took them.
    pub epoch: Epoch,
    /// How many.
    pub ops: u64,
    /// Number of the last epoch in which such were cut; 0 if that is not known.
    pub by: u64,
}

/// An op's place: number and nonce of its epoch, and its seq.
type At = (u64, u64, u64);

/// What is kept aside, file by file, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    kept: Vec<Kept>,
    told: Arc<[CutOps]>,
    /// Ops that were cut since this was opened.
    since_open: u64,
    /// Some that were cut may not be among them.
    partial: bool,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    by: u64,
    ops: BTreeSet<At>,
}

impl Aside {
    /// Reads what an earlier run kept. An op that is in the history all the same was not lost. Files that do not read are
    /// left out: nothing depends on them.
    pub(crate) fn load(dir: &Path, disk: Uuid, in_history: impl Fn(&Record<'_>) -> bool) -> Self {
        let mut aside = Self::default();
        let files = disk::list(dir).unwrap_or_else(|error| {
            tracing::warn!(path = %dir.display(), %error, "what was cut off the log is not known");
            aside.partial = true;
            Vec::new()
        });
        for (name, path) in files.into_iter().filter(|(name, _)| is_aside(name)) {
            let Some((number, by)) = parse(&name) else { continue };
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "what was cut off the log cannot be read");
                    aside.partial = true;
                    continue;
                }
            };
            let (mut ops, mut at) = (BTreeSet::new(), 0);
            while let Some(rest) = bytes.get(at..)
                && let Some((record, len)) = Record::decode(disk, rest)
            {
                if record.kind() == Some(Kind::Op) && !in_history(&record) {
                    ops.insert((record.epoch, record.nonce, record.seq));
                }
                at += len;
            }
            // It was damaged, or there was no room for it.
            aside.partial |= at == 0 || at < bytes.len();
            aside.kept.push(Kept { number, by, ops });
        }
        aside.kept.sort_by_key(|kept| kept.number);
        aside.tell();
        aside
    }

    /// Copies what lies behind a place to a file, durably, and notes which ops it has. Of the files, the oldest go. Without
    /// room for another the ops are noted all the same.
    pub(crate) fn keep(
        &mut self,
        wal: &Wal,
        from: Place,
        after: u64,
        by: u64,
        ops: impl Iterator<Item = (Epoch, u64)>,
    ) -> io::Result<()> {
        let ops: BTreeSet<At> = ops.map(|(at, seq)| (at.number, at.nonce, seq)).collect();
        self.since_open += ops.len() as u64;
        let number = self.kept.last().map_or(1, |kept| kept.number + 1);
        self.kept.push(Kept { number, by, ops });
        self.kept.drain(..self.kept.len().saturating_sub(KEPT_ASIDE));
        self.tell();
        let written = self.write(wal, from, &format!("{number:06}.after-{after}.by-{by}{ENDING}"));
        self.partial |= written.is_err();
        written
    }

    /// Deletes the oldest files, and writes another.
    fn write(&self, wal: &Wal, from: Place, name: &str) -> io::Result<()> {
        let oldest = self.kept.first().map_or(0, |kept| kept.number);
        for (name, path) in disk::list(wal.dir())?.into_iter().filter(|(name, _)| is_aside(name)) {
            if parse(&name).is_some_and(|(number, _)| number < oldest) {
                disk::remove_if_there(&path)?;
            }
        }
        let path = wal.dir().join(name);
        let write = || {
            let bytes = wal.bytes_behind(from)?;
            let mut file = File::create(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        if let Err(error) = write() {
            // Half of it is of no use, and takes room. Its name says that there was something.
            let _ = File::create(&path).and_then(|file| file.sync_all());
            return Err(error);
        }
        disk::sync_dir(wal.dir())
    }

    /// What is there, by epoch.
    pub(crate) fn told(&self) -> Arc<[CutOps]> {
        self.told.clone()
    }

    /// Whether some that were cut may not be among them.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    pub(crate) fn since_open(&self) -> u64 {
        self.since_open
    }

    fn tell(&mut self) {
        let mut all: BTreeMap<At, u64> = BTreeMap::new();
        for Kept { by, ops, .. } in &self.kept {
            all.extend(ops.iter().map(|&at| (at, *by)));
        }
        let mut told: Vec<CutOps> = Vec::new();
        for ((number, nonce, _), by) in all {
            let epoch = Epoch { number, nonce };
            match told.last_mut().filter(|last| last.epoch == epoch) {
                Some(last) => (last.ops, last.by) = (last.ops + 1, last.by.max(by)),
                None => told.push(CutOps { epoch, ops: 1, by }),
            }
        }
        self.told = told.into();
    }
}

impl Journal {
    /// Keeps aside what another log, that of a later primary, is about to take the place of: nobody knows of the entries that
    /// are not applied whether it has them.
    pub fn keep_tail_aside(&mut self) {
        let newest = self.waiting.back().map(|last| last.epoch.number);
        if newest.is_some_and(|newest| newest < self.promised.number) {
            self.keep_aside(0);
        }
    }

    /// Keeps aside all that waits, but so many of the first.
    pub(super) fn keep_aside(&mut self, but: usize) {
        let Some(first) = self.waiting.get(but) else { return };
        let (place, after, by) = (first.place, first.seq - 1, self.promised.number);
        let is_op = |entry: &&Waiting| matches!(entry.step, Step::Op(_) | Step::Encoded(_));
        let ops = self.waiting.range(but..).filter(is_op).map(|entry| (entry.epoch, entry.seq));
        let cut = ops.clone().count();
        let shard = &self.shared.identity.shard;
        match self.aside.keep(&self.wal, place, after, by, ops) {
            Ok(()) => tracing::warn!(
                shard,
                after,
                ops = cut,
                epoch = by,
                "the tail of the log leaves it for what the primary has, and is kept aside"
            ),
            Err(error) => {
                tracing::warn!(shard, after, ops = cut, %error, "what is cut off the log is not kept aside");
            }
        }
    }

    /// Ops that were cut off the log and are kept aside, by epoch: those of earlier runs of the process too.
    pub fn cut_off(&self) -> Arc<[CutOps]> {
        self.aside.told()
    }

    /// Whether more may have been cut than that: a file of it does not read, or there was no room for one.
    pub fn cut_off_is_partial(&self) -> bool {
        self.aside.is_partial()
    }

    /// Ops that were cut off the log since it was opened.
    pub fn cut_since_open(&self) -> u64 {
        self.aside.since_open()
    }
}

/// Whether a file of the log's folder was kept aside.
pub(crate) fn is_aside(name: &str) -> bool {
    name.ends_with(ENDING)
}

/// A file's number, and that of the epoch that had it cut: 0 in names of before that was noted.
fn parse(name: &str) -> Option<(u64, u64)> {
    let mut parts = name.strip_suffix(ENDING)?.split('.');
    let number = parts.next()?.parse().ok()?;
    let by = parts.find_map(|part| part.strip_prefix("by-")?.parse().ok());
    Some((number, by.unwrap_or_default()))
}
