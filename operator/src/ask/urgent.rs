//! Which shards are asked out of turn: those in which something changes. Pure.
//!
//! Invariant: one in which nothing changes is asked once a round.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use shoal_crds::shard::ShardRegister;

use crate::samples::Key;
use crate::told::ShardTold;

/// For how long after a change a shard is asked out of turn: until what comes of it can be seen.
const AFTERMATH: Duration = Duration::from_secs(30);

/// What a change shows in: the register, and which pods serve.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) register: Option<ShardRegister>,
    pub(super) ready: Vec<String>,
}

/// What each shard was like, and since when.
#[derive(Debug, Default)]
pub(super) struct Marks(HashMap<Key, (Mark, Instant)>);

impl Marks {
    /// Whether a shard is to be asked out of turn.
    pub(super) fn is_urgent(
        &mut self,
        key: &Key,
        mark: Mark,
        told: &ShardTold,
        now: Instant,
    ) -> bool {
        let known = self.0.get(key).filter(|(known, _)| *known == mark).map(|(_, since)| *since);
        let since = known.unwrap_or(now);
        self.0.insert(key.clone(), (mark, since));
        told.is_unsettled() || now.saturating_duration_since(since) < AFTERMATH
    }

    /// Forgets shards that no longer exist.
    pub(super) fn keep(&mut self, exists: impl Fn(&Key) -> bool) {
        self.0.retain(|key, _| exists(key));
    }
}

#[cfg(test)]
mod tests {
    use shoal_crds::shard::LogState;

    use super::*;
    use crate::told::ReplicaTold;

    fn mark(ready: &str) -> Mark {
        Mark { register: None, ready: vec![ready.to_owned()] }
    }

    #[test]
    fn a_shard_is_asked_out_of_turn_for_a_while_after_a_change_and_while_somebody_catches_up() {
        let (start, key) = (Instant::now(), ("ns".to_owned(), "c-0".to_owned()));
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut marks, settled) = (Marks::default(), ShardTold::default());
        assert!(marks.is_urgent(&key, mark("a"), &settled, at(0)));
        assert!(marks.is_urgent(&key, mark("a"), &settled, at(29)));
        assert!(!marks.is_urgent(&key, mark("a"), &settled, at(30)));
        assert!(marks.is_urgent(&key, mark("b"), &settled, at(31)));
        assert!(!marks.is_urgent(&key, mark("b"), &settled, at(70)));
        let behind = ReplicaTold { log: Some(LogState::Behind), ..ReplicaTold::default() };
        let catching_up = ShardTold { replicas: [(1, behind)].into(), ..ShardTold::default() };
        assert!(marks.is_urgent(&key, mark("b"), &catching_up, at(99)));
    }
}
