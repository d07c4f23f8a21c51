//! What many states have in common, with its hash, which is reckoned once.

use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Nothing of it changes, except through [`Shared::change`]. Two are the same if their hashes are, as it is with whole states.
#[derive(Clone, Debug)]
pub(crate) struct Shared<T> {
    inside: Arc<T>,
    hash: u64,
}

/// A hash that is the same in every process.
pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    foldhash::quality::FixedState::with_seed(0x5a0a1).hash_one(value)
}

impl<T: Hash + Clone> Shared<T> {
    pub(crate) fn new(inside: T) -> Self {
        let hash = hash_of(&inside);
        Self { inside: Arc::new(inside), hash }
    }

    pub(crate) fn change<R>(&mut self, how: impl FnOnce(&mut T) -> R) -> R {
        let inside = Arc::make_mut(&mut self.inside);
        let result = how(inside);
        self.hash = hash_of(inside);
        result
    }
}

impl<T> Shared<T> {
    pub(crate) fn fingerprint(&self) -> u64 {
        self.hash
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inside
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}
