//! Mending: a copy that missed some ops becomes that of another replica, and stays it across what happens to both later.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::api::{Identity, Record, ScrollRequest};
use shoal_shard::by_hand::ByHand;
use shoal_shard::digest::{BucketSet, Digest};
use shoal_shard::fail::{FailPoint, observe};
use shoal_shard::journal::{Entry, Epoch, Journal, Position, What};
use shoal_shard::mend::{Comparison, Fixes, MendError, Mended};
use shoal_shard::moment::Block;
use shoal_shard::{Cancel, Shard, decode_op, encode_op};
use shoal_vector::op::Selector;
use shoal_vector::{
    Datatype, Filter, Metric, Op, PointId, PointVectors, PointWithSparse, SparseVector,
    SparseVectorConfig, VectorConfig,
};

fn own() -> Identity {
    let half =
        VectorConfig { datatype: Datatype::Float16, ..VectorConfig::new("h", 2, Metric::Dot) };
    let sparse = vec![SparseVectorConfig { name: "s".into() }];
    Identity { sparse, ..identity_of(vec![VectorConfig::new("", 3, Metric::Cosine), half]) }
}

fn random_op(rng: &mut StdRng) -> Op {
    let id = rng.random_range(0..40);
    let by_filter = serde_json::json!({"must": {"key": "n", "match": {"value": id % 5}}});
    let points = match rng.random_ratio(1, 3) {
        true => Selector::Filter(Filter::parse(&by_filter).unwrap()),
        false => Selector::Ids(vec![PointId::Num(id), PointId::Num((id + 7) % 40)]),
    };
    let half = ("h".to_owned(), vec![rng.random_range(0.0..9.0), 0.3]);
    match rng.random_range(0..10) {
        0 => Op::Delete(points),
        1 => Op::DeleteVectors { names: vec!["h".into(), "s".into()], points },
        2 => Op::UpdateVectors(vec![PointVectors {
            id: PointId::Num(id),
            vectors: vec![half],
            sparse: vec![("s".into(), SparseVector::new(vec![3], vec![0.5]).unwrap())],
        }]),
        3 | 4 => Op::SetPayload {
            payload: format!("{{\"n\":{},\"m\":{id}}}", rng.random_range(0..5)).into(),
            key: None,
            points,
        },
        _ => {
            let vector: Vec<f32> = (0..3).map(|_| rng.random_range(0.1..1.0)).collect();
            let mut point = point(id, &vector, &format!("{{\"n\":{}}}", rng.random_range(0..5)));
            point.vectors.push(half);
            let sparse = vec![("s".into(), SparseVector::new(vec![1, 9], vec![1.5, 2.5]).unwrap())];
            Op::UpsertWithSparse(vec![PointWithSparse { point, sparse }])
        }
    }
}

fn entries(rng: &mut StdRng, count: u64) -> Vec<Entry> {
    let entry = |seq| Entry {
        at: Position { epoch: Epoch { number: 1, nonce: 1 }, seq },
        what: What::Op { client_id: 1, op_id: seq, body: encode_op(&random_op(rng)).into() },
    };
    (1..=count).map(entry).collect()
}

/// A replica that nothing moves but this.
struct Copy {
    shard: Shard,
    journal: Journal,
    hand: ByHand,
}

impl Copy {
    fn open(dir: &Path, entries: usize) -> Self {
        ByHand::set_up(dir, &own(), uuid::Uuid::from_u128(7)).unwrap();
        let (shard, journal, _, hand) =
            ByHand::open(dir, own(), tuning(), small_limits(entries)).unwrap();
        Self { shard, journal, hand }
    }

    /// Takes entries up to a seq, with a flush or a merging of segments now and then.
    fn take(&mut self, entries: &[Entry], to: u64, rng: &mut StdRng) {
        let from = self.journal.last() as usize;
        if from < to as usize {
            self.journal.append(&entries[from..to as usize]).unwrap();
            self.journal.sync();
        }
        while self.journal.applied() < to {
            let next = (self.journal.applied() + rng.random_range(1..6)).min(to);
            self.journal.apply(next).unwrap();
            if self.journal.applied() < next || rng.random_ratio(1, 3) {
                self.hand.flush().unwrap();
            }
            if rng.random_ratio(1, 3) {
                self.hand.compact().unwrap();
            }
        }
    }

    fn digest(&self) -> Digest {
        self.journal.moment().digest(&Cancel::default()).unwrap()
    }

    fn points(&self) -> Vec<Record> {
        let all = ScrollRequest { filter: None, from: None, limit: 1_000, want: everything() };
        let points = self.shard.scroll(&all).unwrap();
        assert_eq!(points.len() as u64, self.shard.info().unwrap().points);
        points
    }

    /// What makes this copy the other in the buckets that differ.
    fn fixes(&self, other: &Copy) -> Fixes {
        let differing = BucketSet::of(self.digest().differing(&other.digest()));
        let (theirs, cancel) = (other.journal.moment(), Cancel::default());
        let mut comparison = Comparison::new(self.journal.moment(), differing.clone()).unwrap();
        let mut ids = &theirs.ids_in(&differing, &cancel).unwrap()[..];
        while !ids.is_empty() {
            // Blocks of few points, which are otherwise of many bytes.
            let some = &ids[..ids.len().min(3)];
            let (block, taken) = theirs.block(some).unwrap();
            comparison.take(&block).unwrap();
            ids = &ids[taken..];
        }
        comparison.finish(&cancel).unwrap()
    }

    fn mend(&mut self, other: &Copy) -> Mended {
        let fixes = self.fixes(other);
        // As the driver waits for.
        while !self.journal.has_room().unwrap() {
            self.hand.flush().unwrap();
        }
        self.journal.mend(fixes).unwrap()
    }

    fn flush(&self) {
        while self.hand.flush().unwrap() {}
    }

    /// An op that edits a point which should not be what it is gives both the same seq: digests do not show that.
    fn shows_all_that_differs(&self, other: &Copy) -> bool {
        let shown = BucketSet::of(self.digest().differing(&other.digest()));
        let (own, theirs) = (self.points(), other.points());
        let of = |points: &[Record], others: &[Record]| {
            points.iter().all(|point| others.contains(point) || shown.contains(point.id))
        };
        of(&own, &theirs) && of(&theirs, &own)
    }

    fn assert_is(&self, other: &Copy, when: &str) {
        assert_eq!(self.digest(), other.digest(), "{when}");
        assert_eq!(self.points(), other.points(), "{when}");
    }
}

/// The log of a replica that some ops had no effect on.
fn missing_some(entries: &[Entry], until: u64, rng: &mut StdRng) -> Vec<Entry> {
    let mut damaged = entries.to_vec();
    for _ in 0..rng.random_range(1..7) {
        damaged[rng.random_range(0..until as usize)].what = What::NoOp;
    }
    damaged
}

#[test]
fn a_copy_that_missed_ops_is_mended_and_stays_as_the_other_is() {
    let (mut mended, mut removed, mut empty) = (0, 0, 0);
    for seed in 0..50 {
        let (dir, mut rng) = (tempfile::tempdir().unwrap(), StdRng::seed_from_u64(seed));
        let all = entries(&mut rng, 120);
        let at = rng.random_range(20..100);
        let damaged = missing_some(&all, at, &mut rng);
        let sizes: [usize; 2] = [rng.random_range(3..30), rng.random_range(3..30)];
        let mut good = Copy::open(&dir.path().join("good"), sizes[0]);
        let mut bad = Copy::open(&dir.path().join("bad"), sizes[1]);
        good.take(&all, at, &mut rng);
        bad.take(&damaged, at, &mut rng);
        if rng.random_bool(0.3) {
            bad.flush();
            // Nothing is in memory then, and nothing newer than the last segment.
            empty += usize::from(bad.shard.info().unwrap().flushed_seq == at);
        }
        if !bad.shows_all_that_differs(&good) {
            continue;
        }
        let done = bad.mend(&good);
        (mended, removed) = (mended + done.put, removed + done.removed);
        bad.assert_is(&good, &format!("seed {seed}, mended"));
        assert!(bad.fixes(&good).is_empty(), "seed {seed}");
        assert!(!done.is_durable());
        if rng.random_bool(0.5) {
            bad.flush();
            assert!(done.is_durable() && bad.shard.info().unwrap().flushed_seq >= at);
            while bad.hand.compact().unwrap() {}
            bad.assert_is(&good, &format!("seed {seed}, flushed"));
        }
        good.take(&all, 120, &mut rng);
        bad.take(&all, 120, &mut rng);
        bad.assert_is(&good, &format!("seed {seed}, all taken"));
        bad.flush();
        assert!(done.is_durable());
        let Copy { shard, journal, hand } = bad;
        drop((shard, journal, hand));
        let mut bad = Copy::open(&dir.path().join("bad"), sizes[1]);
        bad.take(&all, 120, &mut rng);
        bad.assert_is(&good, &format!("seed {seed}, opened again"));
        bad.hand.verify().unwrap();
    }
    assert!(mended > 40 && removed > 8 && empty > 0, "{mended} {removed} {empty}");
}

#[test]
fn a_crash_at_any_place_leaves_the_copy_as_it_was_or_mended() {
    let root = tempfile::tempdir().unwrap();
    let taken: Arc<Mutex<Vec<(FailPoint, PathBuf)>>> = Arc::default();
    let (copies, watched) = (root.path().join("copies"), root.path().join("bad"));
    let (seen, data) = (taken.clone(), watched.clone());
    observe(move |point, path| {
        // Of the flush alone; copies that are opened pass other places.
        if path.starts_with(&data) && data.join("watched").exists() {
            let mut seen = seen.lock().unwrap();
            let copy = copies.join(seen.len().to_string());
            crash_copy(&data, &copy);
            seen.push((point, copy));
        }
    });
    let mut rng = StdRng::seed_from_u64(5);
    let all = entries(&mut rng, 60);
    let damaged = missing_some(&all, 50, &mut rng);
    let mut good = Copy::open(&root.path().join("good"), 12);
    let mut bad = Copy::open(&watched, 12);
    good.take(&all, 50, &mut rng);
    bad.take(&damaged, 50, &mut rng);
    let (before, after) = (bad.digest(), good.digest());
    assert_ne!(before, after);
    let done = bad.mend(&good);
    bad.journal.append(&all[50..]).unwrap();
    bad.journal.sync();
    bad.journal.apply(60).unwrap();
    std::fs::write(watched.join("watched"), "").unwrap();
    bad.flush();
    std::fs::remove_file(watched.join("watched")).unwrap();
    assert!(done.is_durable());
    good.take(&all, 60, &mut rng);
    let taken = std::mem::take(&mut *taken.lock().unwrap());
    let (mut as_it_was, mut mended) = (0, 0);
    for (point, dir) in taken {
        let mut copy = Copy::open(&dir, 12);
        let flushed = copy.shard.info().unwrap().flushed_seq;
        copy.take(&all, 60, &mut rng);
        match flushed >= 50 {
            true => copy.assert_is(&good, &format!("{point:?}")),
            false => assert!(point <= FailPoint::FileRenamed, "{point:?}"),
        }
        *if flushed >= 50 { &mut mended } else { &mut as_it_was } += 1;
        if flushed < 50 {
            // It is found and mended the next time.
            copy.mend(&good);
            copy.assert_is(&good, &format!("{point:?}, again"));
        }
    }
    assert!(as_it_was > 3 && mended > 3, "{as_it_was} {mended}");
}

#[test]
fn what_is_not_the_other_replicas_is_refused_and_so_is_another_seq() {
    let (dir, mut rng) = (tempfile::tempdir().unwrap(), StdRng::seed_from_u64(9));
    let all = entries(&mut rng, 40);
    let damaged = missing_some(&all, 30, &mut rng);
    let mut good = Copy::open(&dir.path().join("good"), 100);
    let mut bad = Copy::open(&dir.path().join("bad"), 100);
    good.take(&all, 30, &mut rng);
    bad.take(&damaged, 30, &mut rng);
    let every = BucketSet::of(0..2_000);
    let theirs = good.journal.moment();
    let ids = theirs.ids_in(&every, &Cancel::default()).unwrap();
    let (block, taken) = theirs.block(&ids).unwrap();
    assert_eq!((taken, block.seqs.len()), (ids.len(), ids.len()));
    let begin =
        |buckets: &BucketSet| Comparison::new(bad.journal.moment(), buckets.clone()).unwrap();
    let refused = |comparison: &mut Comparison, block: &Block| {
        let refused = comparison.take(block).unwrap_err();
        assert!(matches!(refused, MendError::Invalid(_)), "{refused}");
    };
    let mut twice = begin(&every);
    twice.take(&block).unwrap();
    refused(&mut twice, &block);
    refused(&mut begin(&BucketSet::of([])), &block);
    let fewer = block.seqs[1..].to_vec();
    refused(&mut begin(&every), &Block { seqs: fewer, ..block.clone() });
    let late = block.seqs.iter().map(|seq| seq + 30).collect();
    refused(&mut begin(&every), &Block { seqs: late, ..block.clone() });
    refused(&mut begin(&every), &Block { points: block.points[1..].to_vec(), ..block.clone() });
    let Op::UpsertWithSparse(mut points) = decode_op(&block.points).unwrap() else { panic!() };
    points[0].point.vectors = vec![(String::new(), vec![1.0])];
    let points = encode_op(&Op::UpsertWithSparse(points));
    refused(&mut begin(&every), &Block { points, ..block.clone() });

    let fixes = bad.fixes(&good);
    let before = bad.digest();
    bad.take(&all, 31, &mut rng);
    let refused = bad.journal.mend(fixes).unwrap_err();
    assert!(refused.to_string().contains("at seq 31"), "{refused}");
    assert_eq!(bad.digest().seq, before.seq + 1);
}
