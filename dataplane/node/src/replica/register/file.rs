//! The register in a file that all replicas of a shard reach: those of one machine, or on a disk that they share.
//!
//! A change is made under a lock (the file beside it, `.lock`): read, write another file, sync it, rename it over the first,
//! sync the folder. So the file is always whole. Its version counts swaps of the register and not announcements, and has
//! something drawn at random besides, so that none comes twice when the file was lost or an older one was put back.
//!
//! The watch reads without the lock: what it sees may be lost yet if the machine loses power, which is the same as a
//! register that was set back, and a process that is frozen while it reads delays nobody.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shoal_consensus::{CasOutcome, Register, Version};
use shoal_crds::shard::{ShardRegister, ShardReplica};
use tokio::sync::watch;

use super::{Announced, RegisterError, RegisterStore, Seen, Stored, text};
use crate::clock;

/// Version of the file.
const FORMAT: u32 = 1;
/// How often the watch looks: the delay that it adds to hearing of an epoch, well below a heartbeat.
const POLL: Duration = Duration::from_millis(100);
/// How long the lock may be held by another, who syncs twice under it. One that holds it longer is frozen.
const LOCK: Duration = Duration::from_secs(2);
/// Pause between attempts to get it.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// See the file's comment.
#[derive(Debug)]
pub struct FileRegister {
    place: Arc<Place>,
    seen: Arc<watch::Sender<Seen>>,
    polling: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Place {
    file: PathBuf,
    lock: PathBuf,
    new: PathBuf,
}

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Content {
    format: u32,
    /// How often the register was changed.
    swaps: u64,
    /// Drawn with each change.
    nonce: String,
    register: Option<ShardRegister>,
    replicas: Vec<ShardReplica>,
}

#[derive(Deserialize)]
struct OnlyFormat {
    format: u32,
}

impl Content {
    fn empty() -> Self {
        let (nonce, replicas) = (String::new(), Vec::new());
        Self { format: FORMAT, swaps: 0, nonce, register: None, replicas }
    }

    fn version(&self) -> Version {
        Version(format!("{}-{}", self.swaps, self.nonce))
    }

    fn seen(&self) -> Result<Seen, text::TextError> {
        let stored = |register: &ShardRegister| {
            text::to_register(register).map(|register| Stored { version: self.version(), register })
        };
        Ok(Seen {
            stored: self.register.as_ref().map(stored).transpose()?,
            announced: self.replicas.iter().map(text::to_announced).collect::<Result<_, _>>()?,
        })
    }
}

impl FileRegister {
    /// The register in a file, which need not be there yet; its folder must. Begins to watch it; needs a tokio runtime.
    pub fn open(file: &Path) -> Self {
        let beside = |suffix: &str| {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(suffix);
            file.with_file_name(name)
        };
        let place = Place { file: file.to_owned(), lock: beside(".lock"), new: beside(".new") };
        let (place, seen) = (Arc::new(place), Arc::new(watch::Sender::new(Seen::default())));
        let polling = tokio::spawn(poll_for_ever(place.clone(), seen.clone()));
        Self { place, seen, polling }
    }

    /// Does something under the lock, where blocking is allowed.
    async fn locked<T: Send + 'static>(
        &self,
        exclusive: bool,
        work: impl FnOnce(&Place) -> Result<T, RegisterError> + Send + 'static,
    ) -> Result<T, RegisterError> {
        let start = clock::now();
        let lock = loop {
            let place = self.place.clone();
            match blocking(&self.place, move || place.try_lock(exclusive)).await? {
                Some(lock) => break lock,
                None if start.elapsed() < LOCK => clock::sleep(LOCK_PAUSE).await,
                None => {
                    let error = io::Error::new(
                        io::ErrorKind::WouldBlock,
                        "another process holds its lock for too long",
                    );
                    return Err(RegisterError::File { file: self.place.lock.clone(), error });
                }
            }
        };
        let place = self.place.clone();
        blocking(&self.place, move || {
            let done = work(&place);
            drop(lock);
            done
        })
        .await
    }
}

impl Drop for FileRegister {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

#[async_trait]
impl RegisterStore for FileRegister {
    async fn read(&self) -> Result<Seen, RegisterError> {
        self.locked(false, |place| place.seen(&place.read()?)).await
    }

    async fn swap(&self, from: Option<&Version>, to: &Register) -> CasOutcome {
        let (from, to) = (from.cloned(), text::from_register(to));
        let swapped = self.locked(true, move |place| {
            let before = place.read()?;
            // Or something that is no register would be taken for one of another version.
            place.seen(&before)?;
            if before.register.is_some().then(|| before.version()) != from {
                return Ok(None);
            }
            let (swaps, nonce) = (before.swaps + 1, format!("{:016x}", clock::random_u64()));
            let after = Content { swaps, nonce, register: Some(to), ..before };
            place.write(&after)?;
            Ok(Some((after.version(), place.seen(&after)?)))
        });
        match swapped.await {
            Ok(Some((version, seen))) => {
                self.seen.send_replace(seen);
                CasOutcome::Done(version)
            }
            Ok(None) => CasOutcome::Conflict,
            Err(error) => {
                tracing::warn!(%error, "the register may or may not have been changed");
                CasOutcome::Unknown
            }
        }
    }

    async fn announce(&self, own: &Announced) -> Result<(), RegisterError> {
        let mut own = text::from_announced(own);
        let announced = self.locked(true, move |place| {
            let mut content = place.read()?;
            let before = content.clone();
            content.replicas.retain(|replica| {
                own.blank &= replica.blank || replica.disk_id != own.disk_id;
                replica.name != own.name
            });
            content.replicas.push(own);
            content.replicas.sort_by(|a, b| a.name.cmp(&b.name));
            let seen = place.seen(&content)?;
            if content != before {
                place.write(&content)?;
            }
            Ok(seen)
        });
        self.seen.send_replace(announced.await?);
        Ok(())
    }

    fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }
}

impl Place {
    /// The lock, if it is to be had now; it is let go of when the file is dropped.
    fn try_lock(&self, exclusive: bool) -> Result<Option<File>, RegisterError> {
        let options = File::options().create(true).truncate(false).write(true).open(&self.lock);
        let lock = options.map_err(|error| self.error(&self.lock, error))?;
        match if exclusive { lock.try_lock() } else { lock.try_lock_shared() } {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.error(&self.lock, error)),
        }
    }

    /// What is in the file; nothing if there is none.
    fn read(&self) -> Result<Content, RegisterError> {
        let bytes = match std::fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::empty()),
            Err(error) => return Err(self.error(&self.file, error)),
        };
        let OnlyFormat { format: found } =
            serde_json::from_slice(&bytes).map_err(|error| self.damaged(&error))?;
        if found > FORMAT {
            return Err(RegisterError::TooNew { place: self.name(), found, known: FORMAT });
        }
        serde_json::from_slice(&bytes).map_err(|error| self.damaged(&error))
    }

    fn write(&self, content: &Content) -> Result<(), RegisterError> {
        let text = serde_json::to_vec_pretty(content).map_err(|error| self.damaged(&error))?;
        let replace = || {
            let mut new = File::create(&self.new)?;
            new.write_all(&text)?;
            new.sync_all()?;
            std::fs::rename(&self.new, &self.file)?;
            let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        replace().map_err(|error| self.error(&self.file, error))
    }

    fn seen(&self, content: &Content) -> Result<Seen, RegisterError> {
        content.seen().map_err(|error| self.damaged(&error))
    }

    fn name(&self) -> String {
        self.file.display().to_string()
    }

    fn error(&self, file: &Path, error: io::Error) -> RegisterError {
        RegisterError::File { file: file.to_owned(), error }
    }

    fn damaged(&self, detail: &dyn std::fmt::Display) -> RegisterError {
        RegisterError::Damaged { place: self.name(), detail: detail.to_string() }
    }
}

/// Runs something where blocking is allowed.
async fn blocking<T: Send + 'static>(
    place: &Place,
    work: impl FnOnce() -> Result<T, RegisterError> + Send + 'static,
) -> Result<T, RegisterError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(place.error(&place.file, io::Error::other(error))))
}

/// Keeps the watch at what is in the file. What cannot be read changes nothing, and is told once.
async fn poll_for_ever(place: Arc<Place>, seen: Arc<watch::Sender<Seen>>) {
    let mut trouble = None;
    loop {
        let here = place.clone();
        match blocking(&place, move || here.seen(&here.read()?)).await {
            Ok(now) => {
                trouble = None;
                seen.send_if_modified(|seen| {
                    let changed = *seen != now;
                    *seen = now;
                    changed
                });
            }
            Err(error) => {
                let text = error.to_string();
                if trouble.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "going on with what was read before");
                    trouble = Some(text);
                }
            }
        }
        clock::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests;
