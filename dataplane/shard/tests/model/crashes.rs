//! Crashes at fail points: a copy of the shard's folder, made while the thread that got there waits.
//!
//! What was not synced by then may be missing: the log's tail and files under unfinished names are cut or spoilt. The
//! ops that a copy may hold are all that were acknowledged when it was begun, and none that was begun after its end.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::fail::{FailPoint, observe};

use crate::common::crash_copy;

/// Of this many passes of a fail point one crashes, after the first few.
const ONE_IN: u32 = 30;
/// Of crashes, and of crashes while a shard recovers from one, and so on.
const DEPTH: u32 = 3;

/// What a crash left.
#[derive(Clone)]
pub(crate) struct Crash {
    /// At which fail point, of which kind of file.
    place: String,
    pub(crate) dir: PathBuf,
    /// What the last op may be.
    pub(crate) seqs: RangeInclusive<u64>,
    depth: u32,
    /// Whether the store's files were spoilt.
    spoilt: bool,
    /// The folder was being restored into.
    pub(crate) restoring: bool,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = if self.spoilt { ", the store spoilt" } else { "" };
        write!(f, "crash {} at {}{store}, seq in {:?}", self.depth, self.place, self.seqs)
    }
}

/// The crashes of this process.
#[derive(Clone)]
pub(crate) struct Crashes(Arc<Mutex<Inner>>);

struct Inner {
    rng: StdRng,
    /// Where copies go.
    root: PathBuf,
    /// The shard that ops are written to.
    data: PathBuf,
    acked: u64,
    begun: u64,
    /// Where a snapshot is restored.
    restoring: Option<PathBuf>,
    /// The shard that is opened after a crash.
    watched: Option<Crash>,
    /// Lengths of the log's files up to which they are synced; of those that are not named, all is.
    synced: BTreeMap<PathBuf, u64>,
    taken: Vec<Crash>,
    copies: u64,
    counts: BTreeMap<String, u64>,
}

impl Crashes {
    /// Sees all fail points of the process from now on.
    pub(crate) fn observe() -> Self {
        let inner = Inner {
            rng: StdRng::seed_from_u64(0),
            root: PathBuf::new(),
            data: PathBuf::new(),
            acked: 0,
            begun: 0,
            restoring: None,
            watched: None,
            synced: BTreeMap::new(),
            taken: Vec::new(),
            copies: 0,
            counts: BTreeMap::new(),
        };
        let crashes = Self(Arc::new(Mutex::new(inner)));
        let seen = crashes.clone();
        // Whoever comes to another fail point meanwhile waits too, which makes the copy quick.
        observe(move |point, path| seen.lock().reached(point, path));
        crashes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in here has failed the test already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, seed: u64, root: &Path, data: &Path) {
        let mut inner = self.lock();
        inner.rng = StdRng::seed_from_u64(seed);
        (inner.root, inner.data) = (root.to_owned(), data.to_owned());
        (inner.acked, inner.begun) = (0, 0);
        (inner.watched, inner.restoring) = (None, None);
        inner.synced.clear();
        inner.taken.clear();
    }

    pub(crate) fn writing(&self, ops: u64) {
        self.lock().begun += ops;
    }

    pub(crate) fn wrote(&self, seq: u64) {
        self.lock().acked = seq;
    }

    /// The run goes on with this folder, which holds ops up to a seq.
    pub(crate) fn go_on_in(&self, data: &Path, seq: u64) {
        let mut inner = self.lock();
        inner.data = data.to_owned();
        (inner.acked, inner.begun) = (seq, seq);
    }

    /// A snapshot is restored into this folder, or not any more.
    pub(crate) fn restores(&self, into: Option<&Path>) {
        self.lock().restoring = into.map(Path::to_owned);
    }

    /// The next crash to look at, if there is one.
    pub(crate) fn next(&self) -> Option<Crash> {
        self.lock().taken.pop()
    }

    /// Drops those that are of a future which the run left.
    pub(crate) fn forget_rest(&self) {
        self.lock().taken.clear();
    }

    /// The shard that this crash left is about to be opened, and may crash again.
    pub(crate) fn watch(&self, crash: &Crash) {
        self.lock().watched = (crash.depth < DEPTH).then(|| crash.clone());
    }

    pub(crate) fn unwatch(&self) {
        self.lock().watched = None;
    }

    /// Where no run crashed.
    pub(crate) fn never(&self) -> Vec<String> {
        let inner = self.lock();
        let mut places = places();
        places.retain(|place| !inner.counts.contains_key(place));
        places
    }

    pub(crate) fn summary(&self) -> String {
        let counts = &self.lock().counts;
        let all = counts.iter().map(|(place, count)| format!("{place} {count}"));
        let all: Vec<String> = all.collect();
        format!("{} crashes: {}", counts.values().sum::<u64>(), all.join(", "))
    }
}

/// All places, with each kind of file.
fn places() -> Vec<String> {
    let kinds = ["identity", "manifest", "indexes", "wal", "seg", "restoring"];
    let of = |point: FailPoint| match is_of_files(point) {
        true => kinds.iter().map(|kind| format!("{point:?} {kind}")).collect(),
        false => vec![format!("{point:?}")],
    };
    // Installs are of replicas, which the simulation crashes.
    let all = FailPoint::ALL.into_iter().filter(|point| *point != FailPoint::InstallMoved);
    all.flat_map(of).collect()
}

fn is_of_files(point: FailPoint) -> bool {
    use FailPoint::{FileBegun, FileRenamed, FileSynced, FileWritten};
    matches!(point, FileBegun | FileWritten | FileSynced | FileRenamed)
}

fn place(point: FailPoint, path: &Path) -> String {
    let name = path.extension().or(path.file_name()).unwrap_or_default().to_string_lossy();
    if is_of_files(point) { format!("{point:?} {name}") } else { format!("{point:?}") }
}

impl Inner {
    fn reached(&mut self, point: FailPoint, path: &Path) {
        let is_log = path.extension().is_some_and(|ending| ending == "wal");
        match point {
            FailPoint::FileRenamed if is_log => {
                self.synced.insert(path.to_owned(), fs::metadata(path).unwrap().len());
            }
            FailPoint::LogSynced => self.log_is_synced(path),
            _ => {}
        }
        let place = place(point, path);
        // Some are rare.
        let seldom = self.counts.get(&place).is_none_or(|crashed| *crashed < 5);
        if !seldom && !self.rng.random_ratio(1, ONE_IN) {
            return;
        }
        let watched = self.watched.clone().filter(|watched| path.starts_with(&watched.dir));
        let restoring = self.restoring.clone().filter(|dir| path.starts_with(dir));
        let (from, depth) = match (&watched, &restoring) {
            (Some(watched), _) => (watched.dir.clone(), watched.depth + 1),
            (None, Some(restoring)) => (restoring.clone(), DEPTH),
            (None, None) if path.starts_with(&self.data) => (self.data.clone(), 1),
            (None, None) => return,
        };
        let acked = self.acked;
        self.copies += 1;
        let dir = self.root.join(format!("crash-{}", self.copies));
        crash_copy(&from, &dir);
        let seqs = watched.map_or(acked..=self.begun, |watched| watched.seqs);
        self.lose_what_is_not_synced(&from, &dir);
        let spoilt = self.rng.random_ratio(1, 8) && spoil_store(&dir, &mut self.rng);
        let restoring = restoring.is_some();
        *self.counts.entry(place.clone()).or_default() += 1;
        self.taken.push(Crash { place, dir, seqs, depth, spoilt, restoring });
    }

    /// The shard in this folder says that all of its log is durable.
    fn log_is_synced(&mut self, dir: &Path) {
        if let Some((path, len)) = last_log(dir) {
            self.synced.insert(path, len);
        }
    }

    fn lose_what_is_not_synced(&mut self, from: &Path, copy: &Path) {
        if let (Some((path, _)), Some((copied, len))) = (last_log(from), last_log(copy)) {
            let synced = self.synced.get(&path).copied().unwrap_or(len);
            if synced < len {
                let mut bytes = fs::read(&copied).unwrap();
                let at = self.rng.random_range(synced..len) as usize;
                match self.rng.random_range(0..4) {
                    0 => bytes.truncate(at),
                    1 => bytes[at..].fill(0),
                    2 => bytes[at] ^= 1 << self.rng.random_range(0..8),
                    _ => {}
                }
                fs::write(&copied, bytes).unwrap();
            }
        }
        for folder in [copy.to_owned(), copy.join("wal"), copy.join("segments")] {
            for path in files(&folder) {
                if path.extension().is_some_and(|ending| ending == "tmp") {
                    let bytes = fs::read(&path).unwrap();
                    fs::write(&path, &bytes[..self.rng.random_range(0..=bytes.len())]).unwrap();
                }
            }
        }
    }
}

/// The log's last file and its length.
fn last_log(dir: &Path) -> Option<(PathBuf, u64)> {
    let mut logs = files(&dir.join("wal"));
    logs.retain(|path| path.extension().is_some_and(|ending| ending == "wal"));
    let last = logs.pop()?;
    let len = fs::metadata(&last).ok()?.len();
    Some((last, len))
}

/// Files of a folder, in order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// Spoils a file of the store, if there is one: a shard answers from its segments then.
fn spoil_store(dir: &Path, rng: &mut StdRng) -> bool {
    let files = files(&dir.join("store"));
    let Some(path) = files.get(rng.random_range(0..files.len().max(1))) else { return false };
    let mut bytes = fs::read(path).unwrap();
    let len = bytes.len().min(4_096);
    if len == 0 {
        return false;
    }
    // What counts lies at the beginning, before room that was taken in advance.
    for _ in 0..rng.random_range(1..20) {
        bytes[rng.random_range(0..len)] = rng.random();
    }
    fs::write(path, bytes).unwrap();
    true
}
