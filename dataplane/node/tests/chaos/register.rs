//! What can happen to the register that replicas share: nobody reaches it, it is lost, or it is set back to what it was.

use std::fs::File;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;

/// The register's file, beside which lie its lock and, here, what it was at some time.
pub(crate) struct Register {
    pub(crate) file: PathBuf,
    held: Option<File>,
}

impl Register {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { file: folder.join("register"), held: None }
    }

    fn copy(&self) -> PathBuf {
        self.file.with_extension("before")
    }

    /// Keeps a copy now and then, which may be put back later.
    pub(crate) fn remember(&self, rng: &mut StdRng) {
        if !self.copy().exists() || rng.random_bool(0.2) {
            std::fs::copy(&self.file, self.copy()).unwrap();
        }
    }

    /// The disk that a replica announced, and whether it votes; `None` while that cannot be read.
    pub(crate) fn disk(&self, replica: &str) -> Option<(String, bool)> {
        let text = std::fs::read(&self.file).ok()?;
        let content: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let all = content["replicas"].as_array()?;
        let disk = all.iter().find(|other| other["name"] == replica)?["diskId"].as_str()?;
        let voters = content["register"]["members"]["voters"].as_array()?;
        Some((disk.to_owned(), voters.iter().any(|voter| voter == disk)))
    }

    /// From now on nobody can read or change it; the watches still see it.
    pub(crate) fn hold(&mut self) {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.file.with_extension("lock"));
        let lock = lock.unwrap();
        lock.lock().unwrap();
        self.held = Some(lock);
    }

    pub(crate) fn let_go(&mut self) {
        self.held = None;
    }

    /// It is not there any more.
    pub(crate) fn lose(&self) {
        std::fs::remove_file(&self.file).unwrap();
    }

    /// It is what it was.
    pub(crate) fn set_back(&self) {
        let new = self.file.with_extension("back");
        std::fs::copy(self.copy(), &new).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}
