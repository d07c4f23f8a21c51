//! Giving up a read that nobody waits for any more.
//!
//! A scan over all payloads can take minutes, its caller seconds. Who drops a call says so here, and the read looks
//! before each point: a plain load of one byte, which costs nothing beside reading the point.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a read is still wanted. Clones are the same; by default it is, for ever.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// A read ended early, because it was no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

impl Cancel {
    /// Ends the read soon.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the read is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<(), Cancelled> {
        match self.is_cancelled() {
            true => Err(Cancelled),
            false => Ok(()),
        }
    }
}
