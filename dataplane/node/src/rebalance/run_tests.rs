//! A Job against Shards in memory, where each read also lets the operator and the primary do their part.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use shoal_crds::shard::ShardReplica;
use shoal_crds::{Shard, labels};

use super::super::step::tests::{disk, shard};
use super::super::{CallFailed, Replacement};
use super::*;

const PACE: Pace = Pace { look: Duration::ZERO, patience: Duration::from_secs(600), failures: 3 };

/// Shards with the calls that changed them; what fails or is changed by others meanwhile comes from the script.
#[derive(Default)]
struct World {
    shards: Mutex<BTreeMap<String, Shard>>,
    replaced: Mutex<Vec<(String, Vec<String>)>>,
    /// The next replacements that find the Shard changed.
    conflicts: Mutex<u32>,
    /// The next replacements that are made, though the answer says that they failed.
    unanswered: Mutex<u32>,
    /// Whether new replicas never come to vote.
    stuck: bool,
    /// Calls that are answered before none is.
    calls_left: Mutex<Option<u32>>,
}

/// Calls that moving both marked replicas takes.
const CALLS: u32 = 14;

fn take(counter: &Mutex<u32>) -> bool {
    let mut left = counter.lock().unwrap_or_else(PoisonError::into_inner);
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}

impl World {
    fn call(&self) -> Result<(), CallFailed> {
        match &mut *self.calls_left.lock().unwrap() {
            Some(0) => Err(CallFailed("ended".into())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn of(shards: &[(&str, Shard)]) -> Self {
        let shards = shards.iter().map(|(name, shard)| ((*name).to_owned(), shard.clone()));
        Self { shards: Mutex::new(shards.collect()), ..Self::default() }
    }

    fn names(&self, shard: &str) -> Vec<String> {
        self.shards.lock().unwrap()[shard].spec.replica_names.clone()
    }

    /// The primary has one more vote, or one less, and the operator forgets those that went.
    fn advance(&self, shard: &mut Shard) {
        let names = shard.spec.replica_names.clone();
        let status = shard.status.as_mut().unwrap();
        status.replica_states.retain(|state| names.contains(&state.name));
        let voters = &mut status.register.as_mut().unwrap().members.voters;
        let wanted: Vec<String> =
            names.iter().map(|name| disk(labels::replica_number(name).unwrap())).collect();
        let moving = |disk: &String| {
            status.replicas.iter().any(|replica| {
                replica.disk_id == *disk
                    && status.replica_states.iter().any(|s| s.moving && s.name == replica.name)
            })
        };
        let missing = wanted.iter().find(|disk| !voters.contains(disk) && !moving(disk)).cloned();
        if let Some(missing) = missing {
            if !self.stuck {
                let at = wanted.iter().position(|disk| *disk == missing).unwrap();
                let name = names[at].clone();
                let disk_id = missing.clone();
                let replica = ShardReplica { name, disk_id, address: "a:1".into(), blank: false };
                status.replicas.push(replica);
                voters.push(missing);
            }
        } else if let Some(gone) = voters.iter().position(|disk| !wanted.contains(disk)) {
            voters.remove(gone);
        }
    }
}

#[async_trait]
impl Shards for World {
    async fn read(&self, name: &str) -> Result<Option<Shard>, CallFailed> {
        self.call()?;
        let mut shards = self.shards.lock().unwrap();
        let Some(shard) = shards.get_mut(name) else { return Ok(None) };
        let read = shard.clone();
        self.advance(shard);
        Ok(Some(read))
    }

    async fn replace(&self, read: &Shard, with: &Replacement) -> Result<bool, CallFailed> {
        self.call()?;
        if take(&self.conflicts) {
            return Ok(false);
        }
        let name = read.metadata.name.clone().unwrap();
        let mut shards = self.shards.lock().unwrap();
        let shard = shards.get_mut(&name).unwrap();
        if shard.spec != read.spec {
            return Ok(false);
        }
        shard.spec.replica_names = with.names.clone();
        shard.spec.next_replica = Some(with.next);
        self.replaced.lock().unwrap().push((name, with.names.clone()));
        match take(&self.unanswered) {
            true => Err(CallFailed("cut off".into())),
            false => Ok(true),
        }
    }
}

fn named(name: &str, mut made: Shard) -> (&str, Shard) {
    made.metadata.name = Some(name.into());
    (name, made)
}

fn both() -> World {
    World::of(&[
        named("c-0", shard(&[0, 1, 2], &[0, 1, 2], Some(0), &[1])),
        named("c-1", shard(&[0, 1, 2], &[0, 1, 2], Some(2), &[0])),
        named("c-2", shard(&[0, 1, 2], &[0, 1, 2], Some(2), &[])),
    ])
}

fn all() -> Vec<String> {
    ["c-0", "c-1", "c-2"].map(str::to_owned).into()
}

#[tokio::test]
async fn shard_after_shard_gets_another_replica_and_what_is_not_marked_stays() {
    let world = both();
    assert_eq!(move_all(&world, &all(), PACE).await, Ok(2));
    assert_eq!(world.names("c-0"), ["r0", "r2", "r3"]);
    assert_eq!(world.names("c-1"), ["r1", "r2", "r3"]);
    assert_eq!(world.names("c-2"), ["r0", "r1", "r2"]);
    let replaced: Vec<String> =
        world.replaced.lock().unwrap().iter().map(|(shard, _)| shard.clone()).collect();
    assert_eq!(replaced, ["c-0", "c-1"]);
    // Whoever comes after it finds nothing to do.
    assert_eq!(move_all(&world, &all(), PACE).await, Ok(0));
}

#[tokio::test]
async fn a_change_that_was_done_though_it_failed_is_not_done_twice() {
    let world = both();
    (*world.unanswered.lock().unwrap(), *world.conflicts.lock().unwrap()) = (1, 2);
    assert!(move_all(&world, &all(), PACE).await.is_ok());
    assert_eq!(world.replaced.lock().unwrap().len(), 2);
    assert_eq!(world.names("c-0"), ["r0", "r2", "r3"]);
}

#[tokio::test]
async fn one_that_is_ended_anywhere_is_gone_on_with_by_the_next() {
    for after in 0..20 {
        let world = both();
        // The first one's calls fail from some call on, and it ends at once.
        *world.calls_left.lock().unwrap() = Some(after);
        let first = move_all(&world, &all(), Pace { failures: 1, ..PACE }).await;
        assert_eq!(first.is_err(), after < CALLS, "{first:?} after {after}");
        *world.calls_left.lock().unwrap() = None;
        assert!(move_all(&world, &all(), PACE).await.is_ok());
        assert_eq!(world.names("c-0"), ["r0", "r2", "r3"], "ended after {after}");
        assert_eq!(world.names("c-1"), ["r1", "r2", "r3"], "ended after {after}");
        assert_eq!(world.replaced.lock().unwrap().len(), 2, "ended after {after}");
    }
}

#[tokio::test]
async fn it_gives_up_on_what_never_comes_and_says_what_that_is() {
    let pace = Pace { patience: Duration::ZERO, ..PACE };
    let world = World { stuck: true, ..both() };
    let error = move_all(&world, &all(), pace).await.expect_err("gives up");
    assert!(error.to_string().contains("c-0: after 0ns still waiting until replica r3"), "{error}");
    assert_eq!(world.names("c-1"), ["r0", "r1", "r2"], "and begins nothing else");

    let unreachable = both();
    *unreachable.unanswered.lock().unwrap() = 9;
    // The first replacement is made all the same; then it waits for it as for any.
    assert!(move_all(&unreachable, &all(), PACE).await.is_ok());
    struct Nobody;
    #[async_trait]
    impl Shards for Nobody {
        async fn read(&self, _: &str) -> Result<Option<Shard>, CallFailed> {
            Err(CallFailed("no way there".into()))
        }
        async fn replace(&self, _: &Shard, _: &Replacement) -> Result<bool, CallFailed> {
            Err(CallFailed("no way there".into()))
        }
    }
    let error = move_all(&Nobody, &all(), PACE).await.expect_err("gives up");
    assert_eq!(error.to_string(), "shard c-0: 3 calls failed, the last one so: no way there");
}
