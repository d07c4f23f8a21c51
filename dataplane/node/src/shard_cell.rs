//! Where a shard is while it is open. A replica that takes over a snapshot closes it and opens another in its place.
//!
//! Invariant: nobody keeps the shard for longer than one read, so that its folder becomes free.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use shoal_shard::Shard;
use shoal_shard::api::ShardError;

/// See the file's comment.
#[derive(Debug)]
pub struct ShardCell {
    name: String,
    shard: ArcSwapOption<Shard>,
    /// Why there is none.
    why: Mutex<String>,
}

impl ShardCell {
    /// Holds an open shard.
    pub fn new(name: String, shard: Shard) -> Self {
        Self { name, shard: ArcSwapOption::from_pointee(shard), why: Mutex::default() }
    }

    /// The shard's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shard, for one read or write.
    pub fn get(&self) -> Result<Arc<Shard>, ShardError> {
        self.shard.load_full().ok_or_else(|| ShardError::NotReady {
            shard: self.name.clone(),
            detail: self.why.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }

    /// Puts an open shard in its place.
    pub(crate) fn set(&self, shard: Shard) {
        self.shard.store(Some(Arc::new(shard)));
    }

    /// Takes the shard out; others are told why.
    pub(crate) fn take(&self, why: &str) -> Option<Arc<Shard>> {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why.to_owned();
        self.shard.swap(None)
    }
}
