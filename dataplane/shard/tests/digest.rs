//! Digests: the same for the same live points, however they lie on the disk, and different for any other.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::path::Path;

use common::*;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::api::{Identity, ShardError};
use shoal_shard::digest::Digest;
use shoal_shard::snapshot::Restore;
use shoal_shard::{Cancel, Shard};
use shoal_vector::op::Selector;
use shoal_vector::{Filter, Metric, Op, PointId};

fn own() -> Identity {
    identity(2, Metric::Euclid)
}

fn random_op(rng: &mut StdRng) -> Op {
    let id = rng.random_range(0..50);
    let one = Selector::Ids(vec![PointId::Num(id)]);
    match rng.random_range(0..9) {
        0 => Op::Delete(one),
        1 => {
            let filter = serde_json::json!({"must": {"key": "n", "match": {"value": id % 4}}});
            Op::Delete(Selector::Filter(Filter::parse(&filter).unwrap()))
        }
        2 | 3 => Op::SetPayload { payload: b"{\"m\":1}".to_vec(), key: None, points: one },
        _ => Op::Upsert(vec![point(id, &[id as f32, 1.0], &format!("{{\"n\":{}}}", id % 4))]),
    }
}

fn write_all(shard: &Shard, ops: &[Op]) {
    for op in ops {
        write(shard, op).unwrap();
    }
}

fn shard_of(dir: &Path, ops: &[Op], entries: usize) -> Shard {
    let shard = open(dir, own(), small_limits(entries));
    write_all(&shard, ops);
    shard
}

fn ops(seed: u64, count: usize) -> Vec<Op> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| random_op(&mut rng)).collect()
}

fn restored(shard: &Shard, dir: &Path) -> Shard {
    let mut restore = Restore::begin(dir, own()).unwrap();
    shard.snapshot().unwrap().stream(0).for_each(|block| restore.push(&block.unwrap()).unwrap());
    restore.finish().unwrap();
    open(dir, own(), small_limits(9))
}

#[test]
fn flushes_compactions_restarts_and_restores_do_not_change_a_digest() {
    for seed in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let ops = ops(seed, 150);
        let memory = shard_of(&dir.path().join("memory"), &ops, 10_000);
        let expected = memory.digest().unwrap();
        assert_eq!((expected.seq, expected.points()), (150, memory.count(None).unwrap()));
        for entries in [3, 11, 25] {
            let path = dir.path().join(format!("{entries}"));
            let shard = shard_of(&path, &ops, entries);
            assert_eq!(shard.digest().unwrap(), expected, "seed {seed}, {entries} entries");
            wait_until("much is flushed", || shard.info().unwrap().flushed_seq > 0);
            assert_eq!(shard.digest().unwrap(), expected, "seed {seed}, flushed");
            let copy = restored(&shard, &dir.path().join(format!("{entries}-copy")));
            assert_eq!(copy.digest().unwrap(), expected, "seed {seed}, restored");
            copy.close();
            shard.close();
            let shard = open(&path, own(), small_limits(entries));
            assert_eq!(shard.digest().unwrap(), expected, "seed {seed}, opened again");
            shard.close();
        }
        memory.close();
    }
}

#[test]
fn a_digest_is_of_one_moment_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let ops = ops(77, 300);
    let shard = open(&dir.path().join("a"), own(), small_limits(10));
    let seen: Vec<Digest> = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_all(&shard, &ops));
        let mut seen = vec![shard.digest().unwrap()];
        while !writer.is_finished() {
            let digest = shard.digest().unwrap();
            if seen.last() != Some(&digest) {
                seen.push(digest);
            }
        }
        seen
    });
    assert!(seen.is_sorted_by_key(|digest| digest.seq));
    let again = open(&dir.path().join("b"), own(), small_limits(1_000));
    let mut done = 0;
    for digest in seen {
        while (done as u64) < digest.seq {
            write(&again, &ops[done]).unwrap();
            done += 1;
        }
        assert_eq!(again.digest().unwrap(), digest);
    }
    again.close();
    shard.close();
}

#[test]
fn a_digest_that_nobody_waits_for_ends() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard_of(dir.path(), &ops(1, 20), 100);
    let cancel = Cancel::default();
    cancel.cancel();
    let ended = shard.with_cancel(cancel).digest();
    assert!(matches!(ended, Err(ShardError::Cancelled { .. })), "{ended:?}");
    shard.close();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// Two shards take the same ops but for one, which concerns one point.
    #[test]
    fn a_point_that_is_missing_more_or_older_shows_in_its_bucket_and_in_no_other(
        seed in any::<u64>(), at in 0usize..60, how in 0..3, a in 2usize..40, b in 2usize..40
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut first = ops(seed, 60);
        let changed = 1_000;
        let upsert = Op::Upsert(vec![point(changed, &[1.0, 2.0], "")]);
        // The point is there from the beginning, the first time without any effect on the others.
        first.insert(0, if how == 0 { Op::Delete(Selector::Ids(vec![])) } else { upsert.clone() });
        let mut second = first.clone();
        let nothing = Op::ClearPayload(Selector::Ids(vec![PointId::Num(5_000)]));
        first.insert(at + 1, nothing);
        second.insert(at + 1, match how {
            0 | 1 => upsert,
            _ => Op::Delete(Selector::Ids(vec![PointId::Num(changed)])),
        });
        let (one, other) = (
            shard_of(&dir.path().join("a"), &first, a),
            shard_of(&dir.path().join("b"), &second, b),
        );
        let (one_digest, other_digest) = (one.digest().unwrap(), other.digest().unwrap());
        prop_assert_eq!(one_digest.seq, other_digest.seq);
        let differing = one_digest.differing(&other_digest);
        // A delete by filter may have taken the point out of both before or after; then they are alike.
        let holds = |shard: &Shard| shard.retrieve(&[PointId::Num(changed)], &Default::default()).unwrap().len();
        prop_assert!(holds(&one) + holds(&other) > 0);
        prop_assert_eq!(differing, [Digest::bucket_of(PointId::Num(changed))]);
        one.close();
        other.close();
    }
}
