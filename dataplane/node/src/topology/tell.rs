//! Telling shards of a cluster which payload fields to index.
//!
//! Each router tells each shard what the collection's object says: when that changes, and now and then, since a shard whose
//! disk was replaced knows nothing. Shards remember, and take nothing older than they know of the same object, so it does
//! not matter how many routers tell them, or in which order. Searches never wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use shoal_shard::WantedIndexes;
use tokio::sync::watch;

use super::Snapshot;
use crate::clock;
use crate::router::shard_client::ShardClient;

/// Shards told at the same time.
const AT_ONCE: usize = 16;
/// How long a shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// When one that did not answer is told again.
const RETRY: Duration = Duration::from_secs(5);
/// When one that did is told again: a minute without indexes after a disk was replaced is no harm.
const REPEAT: Duration = Duration::from_secs(60);

/// What shards were told last, and when, by name.
type Told = HashMap<String, (WantedIndexes, Instant)>;

/// Tells them for ever, woken by changes of the snapshot.
pub(super) async fn tell_for_ever(
    snapshot: impl Fn() -> Arc<Snapshot>,
    mut changes: watch::Receiver<u64>,
) {
    let mut told = Told::new();
    loop {
        changes.borrow_and_update();
        let snapshot = snapshot();
        told.retain(|name, _| snapshot.values().any(|c| c.shards.iter().any(|s| s.name() == name)));
        let due = due(&snapshot, &told, clock::now());
        let calls = due.into_iter().map(|(shard, wanted)| async move {
            let answer = shard.set_indexes(&wanted, PATIENCE).await;
            (shard, wanted, answer)
        });
        let answers: Vec<_> =
            futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect().await;
        for (shard, wanted, answer) in answers {
            match answer {
                Ok(()) => drop(told.insert(shard.name().to_owned(), (wanted, clock::now()))),
                Err(error) => {
                    tracing::debug!(shard = shard.name(), ?error, "not told yet what to index");
                }
            }
        }
        let woken = tokio::time::timeout(RETRY, changes.changed()).await;
        if matches!(woken, Ok(Err(_))) {
            return;
        }
    }
}

/// Who is to be told what now.
fn due(snapshot: &Snapshot, told: &Told, now: Instant) -> Vec<(ShardClient, WantedIndexes)> {
    let is_due = |shard: &ShardClient, wanted: &WantedIndexes| match told.get(shard.name()) {
        Some((last, at)) => last != wanted || now.saturating_duration_since(*at) >= REPEAT,
        None => true,
    };
    let mut due = Vec::new();
    for collection in snapshot.values() {
        let shards = collection.shards.iter().filter(|shard| is_due(shard, &collection.indexes));
        due.extend(shards.map(|shard| (shard.clone(), collection.indexes.clone())));
    }
    due
}

#[cfg(test)]
mod tests {
    use shoal_proto::routing::RoutingTable;
    use shoal_shard::api::ShardError;

    use super::*;
    use crate::router::Collection;

    fn snapshot(version: u64) -> Snapshot {
        let down = |name: &str| ShardClient::Down {
            name: name.to_owned(),
            error: ShardError::Unavailable { shard: name.to_owned(), detail: String::new() },
        };
        let collection = Collection {
            name: "c".to_owned(),
            vectors: Vec::new(),
            sparse: vec![],
            ef_construct: 10,
            quantization: Default::default(),
            reads: Default::default(),
            indexes: WantedIndexes { version, ..WantedIndexes::default() },
            routing: RoutingTable::initial(["a".to_owned(), "b".to_owned()].into_iter()).unwrap(),
            shards: vec![down("a"), down("b")],
        };
        [("c".to_owned(), Arc::new(collection))].into()
    }

    #[test]
    fn a_shard_is_told_what_it_was_not_told_and_now_and_then_again() {
        let (first, now) = (snapshot(1), clock::now());
        let names = |snapshot: &Snapshot, told: &Told, now| -> Vec<String> {
            due(snapshot, told, now).iter().map(|(shard, _)| shard.name().to_owned()).collect()
        };
        let mut told = Told::new();
        assert_eq!(names(&first, &told, now), ["a", "b"]);
        told.insert("a".to_owned(), (first["c"].indexes.clone(), now));
        assert_eq!(names(&first, &told, now), ["b"]);
        assert_eq!(names(&snapshot(2), &told, now), ["a", "b"]);
        assert_eq!(names(&first, &told, now + REPEAT), ["a", "b"]);
    }
}
