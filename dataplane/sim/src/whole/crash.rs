//! What a crash leaves of a folder.
//!
//! Every fail point that a shard passes comes here. So it is known what was synced: a file that was synced and renamed is
//! durable as it was then, the log up to where the last sync that was made began. Anything else may be there, or in part, or as
//! it was before, or not at all. A crash comes at a fail point by chance, or when the world says so; what it leaves is a copy.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::fail::{FailPoint, observe};

/// The folders of all simulations of this process, since observers are one for all.
static SITES: Mutex<Vec<(PathBuf, Arc<Mutex<Crashes>>)>> = Mutex::new(Vec::new());
static OBSERVE: Once = Once::new();

/// The end of the log when a sync begins.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    file: PathBuf,
    len: u64,
    dir: PathBuf,
    cuts: u64,
}

/// Where the disks of a simulation are.
pub(crate) struct Site {
    root: tempfile::TempDir,
    crashes: Arc<Mutex<Crashes>>,
}

struct Crashes {
    random: StdRng,
    /// How often one comes at a fail point.
    odds: f64,
    /// Files that are durable, as they were then.
    durable: BTreeMap<PathBuf, Vec<u8>>,
    /// Lengths up to which files of the log are.
    synced: BTreeMap<PathBuf, u64>,
    /// A sync is told that was noted when it was made.
    noted: bool,
    /// The folder that crashed at a fail point, and what it left.
    image: Option<(PathBuf, PathBuf)>,
    copies: u64,
    /// Cuts of the log in a folder.
    cuts: BTreeMap<PathBuf, u64>,
}

impl Site {
    pub(crate) fn new(seed: u64) -> io::Result<Self> {
        OBSERVE.call_once(|| observe(reached));
        // In memory where that can be had: nothing here outlives the process.
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        let crashes = Arc::new(Mutex::new(Crashes {
            random: StdRng::seed_from_u64(seed),
            odds: 0.0,
            durable: BTreeMap::new(),
            synced: BTreeMap::new(),
            noted: false,
            image: None,
            copies: 0,
            cuts: BTreeMap::new(),
        }));
        lock(&SITES).push((root.path().to_owned(), crashes.clone()));
        Ok(Self { root, crashes })
    }

    /// A folder for a new disk.
    pub(crate) fn new_dir(&self) -> PathBuf {
        let mut crashes = lock(&self.crashes);
        crashes.copies += 1;
        self.root.path().join(crashes.copies.to_string())
    }

    /// How often a fail point is a crash.
    pub(crate) fn odds(&self, odds: f64) {
        lock(&self.crashes).odds = odds;
    }

    /// Whether the process that has this folder has crashed at a fail point.
    pub(crate) fn crashed(&self, dir: &Path) -> bool {
        lock(&self.crashes).image.as_ref().is_some_and(|(of, _)| of == dir)
    }

    /// The folder that a crash leaves, at the fail point where it came or here and now. The old one is gone.
    pub(crate) fn crash(&self, dir: &Path) -> io::Result<PathBuf> {
        let mut crashes = lock(&self.crashes);
        let image = match crashes.image.take_if(|(of, _)| of == dir) {
            Some((_, image)) => image,
            None => crashes.copy(dir, None)?,
        };
        crashes.durable.retain(|path, _| !path.starts_with(dir));
        crashes.synced.retain(|path, _| !path.starts_with(dir));
        crashes.adopt(&image)?;
        drop(crashes);
        fs::remove_dir_all(dir)?;
        Ok(image)
    }

    /// A sync of the log begins.
    pub(crate) fn mark(&self, dir: &Path) -> Mark {
        let (file, len) = last_log(dir).unwrap_or_default();
        Mark { file, len, dir: dir.to_owned(), cuts: lock(&self.crashes).cuts_of(dir) }
    }

    /// It was made.
    pub(crate) fn synced(&self, mark: &Mark) {
        let mut crashes = lock(&self.crashes);
        // Of what took the place of bytes that were cut it says nothing.
        if crashes.cuts_of(&mark.dir) == mark.cuts {
            crashes.synced_to(&mark.file, mark.len);
        }
    }

    /// Whether all of the log was synced.
    pub(crate) fn is_synced(&self, dir: &Path) -> bool {
        let Some((file, len)) = last_log(dir) else { return false };
        lock(&self.crashes).synced.get(&file).is_some_and(|&synced| synced >= len)
    }

    /// What is told meanwhile of the log being synced was noted when it was.
    pub(crate) fn telling<T>(&self, tell: impl FnOnce() -> T) -> T {
        lock(&self.crashes).noted = true;
        let told = tell();
        lock(&self.crashes).noted = false;
        told
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        lock(&SITES).retain(|(root, _)| root != self.root.path());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reached(point: FailPoint, path: &Path) {
    let found = lock(&SITES).iter().find(|(root, _)| path.starts_with(root)).cloned();
    let Some((root, crashes)) = found else { return };
    let first = path.strip_prefix(&root).ok().and_then(|inside| inside.components().next());
    if let Some(first) = first {
        lock(&crashes).reached(point, path, &root.join(first));
    }
}

impl Crashes {
    /// A number from 0 to below `n`. One draw, so that what is drawn next does not depend on lengths of files that hold hashes.
    fn below(&mut self, n: u64) -> u64 {
        self.random.random::<u64>() % n.max(1)
    }

    fn cuts_of(&self, dir: &Path) -> u64 {
        self.cuts.get(dir).copied().unwrap_or(0)
    }

    fn reached(&mut self, point: FailPoint, path: &Path, dir: &Path) {
        let renamed = (point == FailPoint::FileRenamed).then_some(path);
        let noted = self.note(point, path, dir).is_ok();
        // Installs are few.
        let more = if point == FailPoint::InstallMoved { 20.0 } else { 1.0 };
        let crashes = self.random.random_bool((self.odds * more).min(1.0));
        if self.image.is_none() && crashes && noted {
            // The copy of a folder in memory.
            if let Ok(image) = self.copy(dir, renamed) {
                self.image = Some((dir.to_owned(), image));
            }
        }
        if renamed.is_some() {
            let _ = self.adopt(path);
        }
    }

    fn note(&mut self, point: FailPoint, path: &Path, dir: &Path) -> io::Result<()> {
        match point {
            FailPoint::LogSynced if !self.noted => {
                if let Some((file, len)) = last_log(dir) {
                    self.synced_to(&file, len);
                }
            }
            // What is left is synced at once.
            FailPoint::LogCut => {
                *self.cuts.entry(dir.to_owned()).or_default() += 1;
                if let Some((file, len)) = last_log(dir) {
                    self.synced.insert(file, len);
                }
            }
            FailPoint::InstallMoved => self.adopt(path)?,
            _ => {}
        }
        Ok(())
    }

    fn synced_to(&mut self, file: &Path, len: u64) {
        let synced = self.synced.entry(file.to_owned()).or_default();
        *synced = len.max(*synced);
    }

    /// A file, or all in a folder, is durable as it is.
    fn adopt(&mut self, path: &Path) -> io::Result<()> {
        for file in files(path)? {
            match is_log(&file) {
                true => drop(self.synced.insert(file.clone(), fs::metadata(&file)?.len())),
                false => drop(self.durable.insert(file.clone(), fs::read(&file)?)),
            }
        }
        Ok(())
    }

    /// A copy of a folder as a crash leaves it; `renamed` is synced, and its name is not.
    fn copy(&mut self, dir: &Path, renamed: Option<&Path>) -> io::Result<PathBuf> {
        self.copies += 1;
        let to = dir.with_file_name(self.copies.to_string());
        fs::create_dir_all(&to)?;
        for folder in folders(dir)? {
            fs::create_dir_all(to.join(folder.strip_prefix(dir).unwrap_or(&folder)))?;
        }
        for file in files(dir)? {
            let bytes = fs::read(&file)?;
            let renamed = renamed == Some(&file);
            let left = match is_log(&file) && !renamed {
                true => Some(self.torn(&file, bytes)),
                false => self.left(&file, bytes, renamed),
            };
            if let Some(left) = left {
                fs::write(to.join(file.strip_prefix(dir).unwrap_or(&file)), left)?;
            }
        }
        Ok(to)
    }

    /// A file of the log: any part of what was not synced may be missing.
    fn torn(&mut self, file: &Path, mut bytes: Vec<u8>) -> Vec<u8> {
        let len = bytes.len() as u64;
        let synced = self.synced.get(file).copied().unwrap_or(0).min(len);
        if synced == len {
            return bytes;
        }
        let at = (synced + self.below(len - synced)) as usize;
        match self.below(6) {
            0 | 1 => bytes.truncate(at),
            2 => bytes[at..].fill(0),
            3 => bytes[at] ^= 1 << self.below(8),
            4 => {
                let more = self.below(len - at as u64) as usize;
                bytes[at..at + more].fill(0);
            }
            _ => {}
        }
        bytes
    }

    /// Any other file.
    fn left(&mut self, file: &Path, bytes: Vec<u8>, renamed: bool) -> Option<Vec<u8>> {
        let before = self.durable.get(file).cloned();
        if before.as_ref() == Some(&bytes) {
            return before;
        }
        match self.below(3) {
            0 => Some(bytes),
            1 if !renamed => {
                let kept = self.below(bytes.len() as u64) as usize;
                Some(bytes.get(..kept).unwrap_or_default().to_vec())
            }
            _ => before,
        }
    }
}

fn is_log(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "wal")
}

/// The log's last file and its length.
fn last_log(dir: &Path) -> Option<(PathBuf, u64)> {
    let logs = files(&dir.join("wal")).ok()?;
    let last = logs.into_iter().rfind(|file| is_log(file))?;
    let len = fs::metadata(&last).ok()?.len();
    Some((last, len))
}

/// Files under a path, or the file there, in order; not the one by which a process has the folder.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false if path.file_name().is_some_and(|name| name == "lock") => {}
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(folders(&path)?);
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
