//! Snapshots: what is restored is the shard at the snapshot's seq, whatever goes on meanwhile; what is damaged, cut short
//! or crashed never opens.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::api::{Identity, ScrollRequest, ShardError};
use shoal_shard::snapshot::{Restore, RestoreError, Restored, Snapshot};
use shoal_shard::{Limits, OpenError, Shard, WantedIndexes};
use shoal_vector::op::Selector;
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{
    Metric, Op, Payload, Point, PointId, PointWithSparse, SparseVector, SparseVectorConfig,
    VectorConfig,
};

fn own() -> Identity {
    identity(2, Metric::Dot)
}

type Points = BTreeMap<PointId, (Vec<(String, Vec<f32>)>, Payload)>;

/// All that a shard holds.
fn points(shard: &Shard) -> Points {
    let all = ScrollRequest { filter: None, from: None, limit: 1_000_000, want: everything() };
    let records = shard.scroll(&all).unwrap().into_iter();
    records
        .map(|record| (record.id, (record.parts.vectors.unwrap(), record.parts.payload.unwrap())))
        .collect()
}

fn random_op(rng: &mut StdRng) -> Op {
    let id = rng.random_range(0..60);
    let one = Selector::Ids(vec![PointId::Num(id)]);
    match rng.random_range(0..8) {
        0 => Op::Delete(one),
        1 | 2 => {
            let payload = format!("{{\"n\":{}}}", rng.random_range(0..100)).into_bytes();
            Op::SetPayload { payload, key: None, points: one }
        }
        _ => {
            let vector = [id as f32, rng.random_range(0..100) as f32];
            Op::Upsert(vec![point(id, &vector, &format!("{{\"id\":{id}}}"))])
        }
    }
}

fn stream(snapshot: &Snapshot, from: u32) -> Vec<Vec<u8>> {
    snapshot.stream(from).map(Result::unwrap).collect()
}

fn restore(dir: &Path, blocks: &[Vec<u8>]) -> Result<Restored, RestoreError> {
    let mut restore = Restore::begin(dir, own())?;
    blocks.iter().try_for_each(|block| restore.push(block))?;
    restore.finish()
}

fn open_restored(dir: &Path) -> Shard {
    Shard::open_existing(dir, own(), tuning(), small_limits(10)).unwrap()
}

/// Opens what was restored, and compares it.
fn assert_holds(dir: &Path, expected: &Points) {
    let copy = open_restored(dir);
    assert_eq!(points(&copy), *expected, "{}", dir.display());
    copy.close();
}

/// A shard of some segments and a log, and what it holds.
fn loaded(dir: &Path) -> (Shard, Points) {
    let shard = open(dir, own(), small_limits(12));
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..70 {
        write(&shard, &random_op(&mut rng)).unwrap();
    }
    wait_until("a segment", || shard.info().unwrap().segments > 0);
    let points = points(&shard);
    (shard, points)
}

#[test]
fn a_restored_shard_is_the_first_one_at_the_snapshots_seq_and_goes_on_by_itself() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut model = Model::new(own().vectors);
        let shard = open(&dir.path().join("a"), own(), small_limits(rng.random_range(4..40)));
        let ops = rng.random_range(0..120);
        for _ in 0..ops {
            let op = random_op(&mut rng);
            write(&shard, &op).unwrap();
            model.apply(&op);
        }
        let snapshot = shard.snapshot().unwrap();
        assert_eq!(snapshot.seq(), ops, "seed {seed}");
        // What comes later is not in it, whatever becomes of the files meanwhile.
        for _ in 0..60 {
            write(&shard, &random_op(&mut rng)).unwrap();
        }
        let to = dir.path().join("b");
        let restored = restore(&to, &stream(&snapshot, 0)).unwrap();
        assert_eq!(restored.seq, ops);
        shard.close();
        let copy = open_restored(&to);
        assert_eq!(points(&copy), model.points, "seed {seed}");
        assert_eq!(copy.info().unwrap().last_seq, ops);
        for _ in 0..40 {
            let op = random_op(&mut rng);
            write(&copy, &op).unwrap();
            model.apply(&op);
        }
        copy.close();
        let copy = open_restored(&to);
        assert_eq!(points(&copy), model.points, "seed {seed}, opened again");
        // A snapshot of what was restored is as good.
        let again = dir.path().join("c");
        let second = restore(&again, &stream(&copy.snapshot().unwrap(), 0)).unwrap();
        assert_ne!(second.disk_id, restored.disk_id, "each disk has an id of its own");
        copy.close();
        assert_holds(&again, &model.points);
    }
}

#[test]
fn what_was_compacted_and_trimmed_away_meanwhile_is_still_in_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, points_then) = loaded(&dir.path().join("a"));
    let snapshot = shard.snapshot().unwrap();
    let half: Vec<Vec<u8>> = snapshot.stream(0).take(2).map(Result::unwrap).collect();
    let names = || {
        let names = |folder: &str| std::fs::read_dir(dir.path().join("a").join(folder)).unwrap();
        let names = names("segments").chain(names("wal"));
        names.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    let before = names();
    let mut rng = StdRng::seed_from_u64(6);
    wait_until("every file that was there is gone", || {
        for _ in 0..20 {
            write(&shard, &random_op(&mut rng)).unwrap();
        }
        let now = names();
        before.iter().all(|name| !now.contains(name))
    });
    shard.close();
    let blocks = stream(&snapshot, 0);
    assert_eq!(blocks[..2], half);
    let to = dir.path().join("b");
    restore(&to, &blocks).unwrap();
    assert_holds(&to, &points_then);
}

#[test]
fn snapshots_of_a_shard_that_is_written_to_flushed_and_compacted_are_each_of_one_seq() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { wal_file_bytes: 1_500, ..small_limits(15) };
    let shard = open(&dir.path().join("a"), own(), limits);
    let log: Mutex<BTreeMap<u64, Op>> = Mutex::default();
    let done = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|seed| {
                let (shard, log) = (&shard, &log);
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(seed);
                    for _ in 0..150 {
                        let op = random_op(&mut rng);
                        let seq = write(shard, &op).unwrap().seq;
                        log.lock().unwrap().insert(seq, op);
                    }
                })
            })
            .collect();
        let taker = scope.spawn(|| {
            let mut taken = Vec::new();
            while !done.load(Ordering::SeqCst) || taken.is_empty() {
                let snapshot = shard.snapshot().unwrap();
                let to = dir.path().join(format!("copy-{}", taken.len()));
                assert_eq!(restore(&to, &stream(&snapshot, 0)).unwrap().seq, snapshot.seq());
                taken.push((to, snapshot.seq()));
            }
            taken
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::SeqCst);
        taker.join().unwrap()
    });
    shard.close();
    let log = log.into_inner().unwrap();
    assert_eq!(log.len(), 600);
    for (to, seq) in taken {
        let mut model = Model::new(own().vectors);
        log.range(..=seq).for_each(|(_, op)| model.apply(op));
        assert_holds(&to, &model.points);
    }
}

/// Checks that a folder holds nothing that opens, and says so by the right name.
fn assert_half(dir: &Path, began: bool) {
    let opened = [
        Shard::open_existing(dir, own(), tuning(), small_limits(10)).map(drop),
        if began {
            Shard::open(dir, own(), tuning(), small_limits(10)).map(drop)
        } else {
            Err(OpenError::Missing(dir.to_owned()))
        },
        if began { Shard::set_up(dir, &own()) } else { Err(OpenError::Missing(dir.to_owned())) },
    ];
    for result in opened {
        match (result, began) {
            (Err(error @ OpenError::HalfRestored(_)), true) => {
                assert!(error.to_string().contains("restore it again"), "{error}")
            }
            (Err(OpenError::Missing(_)), false) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_restore_that_crashes_anywhere_never_opens_and_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, points_then) = loaded(&dir.path().join("a"));
    let snapshot = shard.snapshot().unwrap();
    let blocks = stream(&snapshot, 0);
    let to = dir.path().join("b");
    let mut restoring = Restore::begin(&to, own()).unwrap();
    let pieces: Vec<&[u8]> =
        blocks.iter().flat_map(|block| block.chunks(block.len().div_ceil(2))).collect();
    let mut resumed_from = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let crashed = dir.path().join(format!("crashed-{at}"));
        crash_copy(&to, &crashed);
        let mut again = Restore::begin(&crashed, own()).unwrap();
        let held = again.held();
        let from = held.map_or(0, |held| held.files);
        resumed_from.push(from);
        assert!(held.is_none_or(|held| held.snapshot == snapshot.id()));
        drop(again);
        assert_half(&crashed, held.is_some());
        if held.is_none() {
            // Opening it made nothing: it is still empty enough to restore into.
            assert!(!crashed.join("identity").exists());
        }
        again = Restore::begin(&crashed, own()).unwrap();
        for block in snapshot.stream(from) {
            again.push(&block.unwrap()).unwrap();
        }
        again.finish().unwrap();
        assert_holds(&crashed, &points_then);
        restoring.push(piece).unwrap();
    }
    assert!(resumed_from.is_sorted() && resumed_from.last() > Some(&2), "{resumed_from:?}");
    restoring.finish().unwrap();
    assert_holds(&to, &points_then);
    shard.close();
}

#[test]
fn a_restore_that_crashed_before_it_made_its_folders_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, expected) = loaded(&dir.path().join("a"));
    let blocks = stream(&shard.snapshot().unwrap(), 0);
    shard.close();
    let to = dir.path().join("b");
    let mut begun = Restore::begin(&to, own()).unwrap();
    begun.push(&blocks[0]).unwrap();
    drop(begun);
    assert_half(&to, true);
    for folder in ["wal", "segments"] {
        std::fs::remove_dir_all(to.join(folder)).unwrap();
    }
    restore(&to, &blocks).unwrap();
    assert_holds(&to, &expected);
}

#[test]
fn a_crash_between_the_last_steps_of_a_restore_is_no_shard_before_the_very_last() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, points_then) = loaded(&dir.path().join("a"));
    let snapshot = shard.snapshot().unwrap();
    let blocks = stream(&snapshot, 0);
    let to = dir.path().join("b");
    let mut restoring = Restore::begin(&to, own()).unwrap();
    blocks.iter().for_each(|block| restoring.push(block).unwrap());
    let before = dir.path().join("before");
    crash_copy(&to, &before);
    assert_half(&before, true);
    restoring.finish().unwrap();
    // The identity is written, and the file that says it is half there is not gone yet.
    std::fs::copy(to.join("identity"), before.join("identity")).unwrap();
    assert_half(&before, true);
    restore(&before, &stream(&snapshot, snapshot.files())).unwrap();
    assert_holds(&before, &points_then);
    shard.close();
}

#[test]
fn a_restore_goes_on_with_its_own_snapshot_and_begins_anew_with_another() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, points_then) = loaded(&dir.path().join("a"));
    let snapshot = shard.snapshot().unwrap();
    let to = dir.path().join("b");
    let mut restoring = Restore::begin(&to, own()).unwrap();
    let blocks = stream(&snapshot, 0);
    blocks[..blocks.len() - 2].iter().for_each(|block| restoring.push(block).unwrap());
    match restoring.finish() {
        Err(RestoreError::Short { files }) => assert_eq!(files, snapshot.files() - 1),
        other => panic!("{other:?}"),
    }
    // The whole stream again: what is held is checked and passed.
    let from_start = dir.path().join("from-start");
    crash_copy(&to, &from_start);
    restore(&from_start, &blocks).unwrap();
    assert_holds(&from_start, &points_then);
    // Too far on: a file would be missing.
    let too_far = dir.path().join("too-far");
    crash_copy(&to, &too_far);
    let skipped = restore(&too_far, &stream(&snapshot, snapshot.files()));
    assert!(matches!(skipped, Err(RestoreError::Damaged(_))), "{skipped:?}");
    // Another snapshot of the same shard.
    write(&shard, &Op::Upsert(vec![point(999, &[1.0, 2.0], "")])).unwrap();
    let later = shard.snapshot().unwrap();
    let from_later = restore(&to, &stream(&later, snapshot.files() - 1));
    assert!(matches!(from_later, Err(RestoreError::Damaged(_))), "{from_later:?}");
    restore(&to, &stream(&later, 0)).unwrap();
    let copy = open_restored(&to);
    assert_eq!(points(&copy), points(&shard));
    copy.close();
    shard.close();
}

#[test]
fn a_folder_with_a_shard_is_not_restored_into_and_other_vectors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, points_then) = loaded(&dir.path().join("a"));
    let blocks = stream(&shard.snapshot().unwrap(), 0);
    assert!(matches!(
        Restore::begin(&dir.path().join("a"), own()),
        Err(RestoreError::Disk(OpenError::InUse(_)))
    ));
    shard.close();
    assert!(matches!(Restore::begin(&dir.path().join("a"), own()), Err(RestoreError::NotEmpty(_))));
    std::fs::remove_file(dir.path().join("a/identity")).unwrap();
    assert!(matches!(Restore::begin(&dir.path().join("a"), own()), Err(RestoreError::NotEmpty(_))));

    let to = dir.path().join("b");
    let mut others = Restore::begin(&to, identity(2, Metric::Cosine)).unwrap();
    let refused = others.push(&blocks[0]);
    assert!(matches!(refused, Err(RestoreError::WrongVectors { .. })), "{refused:?}");
    assert!(matches!(others.push(&blocks[1]), Err(RestoreError::Refused)));
    drop(others);
    // Another name is no obstacle: a backup under a new name, or a child of a split.
    let named = Identity { shard: "words-7".into(), ..own() };
    let mut restoring = Restore::begin(&to, named.clone()).unwrap();
    blocks.iter().for_each(|block| restoring.push(block).unwrap());
    restoring.finish().unwrap();
    assert!(matches!(
        Shard::open(&to, own(), tuning(), small_limits(10)),
        Err(OpenError::WrongIdentity { .. })
    ));
    let copy = Shard::open(&to, named, tuning(), small_limits(10)).unwrap();
    assert_eq!(points(&copy), points_then);
    copy.close();
}

#[test]
fn a_file_of_many_chunks_and_a_record_longer_than_one_are_restored() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open(&dir.path().join("a"), own(), small_limits(3));
    let mut rng = StdRng::seed_from_u64(1);
    for id in 0..5 {
        let text: String =
            (0..700_000).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
        write(&shard, &Op::Upsert(vec![point(id, &[1.0, 2.0], &format!("{{\"t\":\"{text}\"}}"))]))
            .unwrap();
    }
    wait_until("a segment", || shard.info().unwrap().segments > 0);
    let blocks = stream(&shard.snapshot().unwrap(), 0);
    assert!(blocks.len() > 10 && blocks.iter().all(|block| block.len() < 300_000));
    let to = dir.path().join("b");
    restore(&to, &blocks).unwrap();
    let copy = open_restored(&to);
    assert_eq!(points(&copy), points(&shard));
    copy.close();
    shard.close();
}

#[test]
fn a_long_log_is_restored_as_several_files() {
    let dir = tempfile::tempdir().unwrap();
    let limits = || Limits { mutable_bytes: 1 << 30, ..Limits::default() };
    let shard = open(&dir.path().join("a"), own(), limits());
    let large = format!("{{\"t\":\"{}\"}}", "x".repeat(9 << 20));
    for id in 0..10 {
        write(&shard, &Op::Upsert(vec![point(id, &[1.0, id as f32], &large)])).unwrap();
    }
    let to = dir.path().join("b");
    let mut restoring = Restore::begin(&to, own()).unwrap();
    for block in shard.snapshot().unwrap().stream(0) {
        restoring.push(&block.unwrap()).unwrap();
    }
    restoring.finish().unwrap();
    assert_eq!(std::fs::read_dir(to.join("wal")).unwrap().count(), 2);
    let copy = Shard::open_existing(&to, own(), tuning(), limits()).unwrap();
    assert_eq!(copy.digest().unwrap(), shard.digest().unwrap());
    write(&copy, &Op::Upsert(vec![point(10, &[1.0, 2.0], "")])).unwrap();
    copy.close();
    let copy = Shard::open_existing(&to, own(), tuning(), limits()).unwrap();
    assert_eq!(copy.count(None).unwrap(), 11);
    copy.close();
    shard.close();
}

#[test]
fn snapshots_that_live_at_once_are_counted_and_a_closed_shard_lets_go_of_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, points_then) = loaded(&dir.path().join("a"));
    let mut taken: Vec<Snapshot> = Vec::new();
    let error = loop {
        match shard.snapshot() {
            Ok(snapshot) => taken.push(snapshot),
            Err(error) => break error,
        }
        assert!(taken.len() < 100);
    };
    assert!(matches!(error, ShardError::Unavailable { .. }), "{error}");
    taken.pop();
    let last = shard.snapshot().unwrap();
    shard.close();
    drop(taken);
    let shard = open(&dir.path().join("a"), own(), small_limits(12));
    restore(&dir.path().join("b"), &stream(&last, 0)).unwrap();
    assert_holds(&dir.path().join("b"), &points_then);
    shard.close();
}

/// Segments know vectors by their places in the order of the first disk, whatever order the restoring side names them in.
#[test]
fn several_vectors_are_restored_whatever_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let vector = |name: &str, size| VectorConfig::new(name, size, Metric::Dot);
    let sparse = |name: &str| SparseVectorConfig { name: name.into() };
    let first = Identity {
        vectors: vec![vector("a", 2), vector("b", 3)],
        sparse: vec![sparse("s"), sparse("t")],
        ..own()
    };
    let turned = Identity {
        vectors: vec![vector("b", 3), vector("a", 2)],
        sparse: vec![sparse("t"), sparse("s")],
        ..own()
    };
    let shard = open(&dir.path().join("a"), first, small_limits(8));
    for id in 0..30u64 {
        let values = |n: usize| (0..n).map(|i| id as f32 + i as f32 / 4.0).collect::<Vec<f32>>();
        let mut vectors = vec![("a".to_owned(), values(2)), ("b".to_owned(), values(3))];
        vectors.truncate(1 + id as usize % 2);
        let value = SparseVector::new(vec![id as u32, 100], vec![1.0, 2.0]).unwrap();
        let point = Point { id: PointId::Num(id), vectors, payload: Vec::new() };
        let name = if id % 3 == 0 { "s" } else { "t" };
        let point = PointWithSparse { point, sparse: vec![(name.to_owned(), value)] };
        write(&shard, &Op::UpsertWithSparse(vec![point])).unwrap();
    }
    wait_until("a segment", || shard.info().unwrap().segments > 0);
    let all = |shard: &Shard| {
        let all = ScrollRequest { filter: None, from: None, limit: 1_000, want: everything() };
        let mut records = shard.scroll(&all).unwrap();
        for record in &mut records {
            // Their order is each disk's own.
            record.parts.vectors.iter_mut().for_each(|all| all.sort_by(|a, b| a.0.cmp(&b.0)));
            record.parts.sparse.sort_by(|a, b| a.0.cmp(&b.0));
        }
        records
    };
    let blocks = stream(&shard.snapshot().unwrap(), 0);
    let to = dir.path().join("b");
    let mut restoring = Restore::begin(&to, turned.clone()).unwrap();
    blocks.iter().for_each(|block| restoring.push(block).unwrap());
    restoring.finish().unwrap();
    let copy = Shard::open_existing(&to, turned, tuning(), small_limits(8)).unwrap();
    assert_eq!(all(&copy), all(&shard));
    assert_eq!(copy.digest().unwrap().buckets, shard.digest().unwrap().buckets);
    copy.close();
    shard.close();
}

/// Fields that are indexed, and of how many points.
fn indexed(shard: &Shard) -> Vec<(PayloadIndex, u64)> {
    shard.info().unwrap().filters.fields
}

#[test]
fn a_restored_shard_indexes_the_same_fields_without_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, _) = loaded(&dir.path().join("a"));
    let fields = ["n", "id"].map(|field| PayloadIndex::new(field, IndexKind::Integer).unwrap());
    let wanted = WantedIndexes { owner: "first".into(), version: 7, fields: fields.to_vec() };
    shard.set_payload_indexes(wanted).unwrap();
    let to = dir.path().join("b");
    restore(&to, &stream(&shard.snapshot().unwrap(), 0)).unwrap();
    let copy = open_restored(&to);
    let ready = |shard: &Shard| shard.info().unwrap().filters.pending == 0;
    wait_until("all is indexed", || ready(&copy) && ready(&shard));
    // A point that was written again counts twice until both of its layers are flushed.
    wait_until("the same is indexed", || indexed(&copy) == indexed(&shard));
    // And it knows who said so: an earlier word of the same owner changes nothing.
    let earlier = WantedIndexes { owner: "first".into(), version: 6, fields: Vec::new() };
    copy.set_payload_indexes(earlier).unwrap();
    assert_eq!(indexed(&copy).len(), 2);
    copy.close();
    shard.close();
}

/// Written by version 1, for shard `c-0` of collection `c`: what the fuzz targets begin with.
const SNAPSHOT_1: &[u8] = include_bytes!("fixtures/version-1.snapshot");

#[test]
fn a_snapshot_of_version_1_is_one_that_says_nothing_of_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let restored = restore(dir.path(), &[SNAPSHOT_1.to_vec()]).unwrap();
    let copy = open_restored(dir.path());
    assert_eq!(restored.seq, copy.info().unwrap().last_seq);
    assert_eq!(copy.count(None).unwrap(), 48);
    assert_eq!(indexed(&copy), []);
    copy.close();
    // Nor does one of this version pass without them.
    let (shard, _) = loaded(&dir.path().join("a"));
    let mut blocks = stream(&shard.snapshot().unwrap(), 0);
    shard.close();
    let end = blocks.len() - 1;
    let begins = |block: &Vec<u8>| block[0] == 2;
    let last = blocks.iter().rposition(begins).unwrap();
    blocks.drain(last..end);
    let refused = restore(&dir.path().join("b"), &blocks);
    assert!(matches!(refused, Err(RestoreError::Damaged(_))), "{refused:?}");
}

fn bytes_of(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn damage_that_the_first_disk_has_is_found_before_anything_is_restored_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, points_then) = loaded(&dir.path().join("a"));
    let snapshot = shard.snapshot().unwrap();
    // A bit of a vector, which is not verified when a segment is opened.
    let mut damaged = false;
    for entry in std::fs::read_dir(dir.path().join("a/segments")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let mut vectors = points_then.values().map(|(vectors, _)| bytes_of(&vectors[0].1));
        let Some(at) = vectors.find_map(|v| bytes.windows(8).position(|window| window == v)) else {
            continue;
        };
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        damaged = true;
    }
    assert!(damaged);
    let to = dir.path().join("b");
    for _ in 0..2 {
        let held = Restore::begin(&to, own()).unwrap().held().map_or(0, |held| held.files);
        assert_eq!(held, 0, "an attempt that failed so is not gone on with");
        match restore(&to, &stream(&snapshot, 0)) {
            Err(RestoreError::Disk(OpenError::Corrupt { detail, .. })) => {
                assert!(detail.contains("Vectors"), "{detail}")
            }
            other => panic!("{other:?}"),
        }
        assert_half(&to, true);
    }
    shard.close();
}

#[test]
fn damage_in_the_log_of_the_first_disk_ends_the_stream_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open(&dir.path().join("a"), own(), small_limits(100));
    for id in 0..20 {
        write(&shard, &Op::Upsert(vec![point(id, &[1.0, 2.0], "")])).unwrap();
    }
    let snapshot = shard.snapshot().unwrap();
    let path = dir.path().join("a/wal/00000000000000000001.wal");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xee], 200).unwrap();
    let results: Vec<_> = snapshot.stream(0).collect();
    match results.last() {
        Some(Err(ShardError::Corrupt { shard, detail })) => {
            assert!(shard == "words-0" && detail.contains("00000000000000000001.wal"), "{detail}")
        }
        other => panic!("{other:?}"),
    }
    shard.close();
}

/// The stream of one small shard, made once.
fn sample() -> &'static [Vec<u8>] {
    static SAMPLE: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (shard, _) = loaded(dir.path());
        let blocks = stream(&shard.snapshot().unwrap(), 0);
        shard.close();
        blocks
    })
}

/// Restores bytes in pieces, and checks that they are refused and that nothing opens.
fn assert_refused(bytes: &[u8], piece: usize) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let mut restoring = Restore::begin(dir.path(), own()).unwrap();
    let pushed = bytes.chunks(piece).try_for_each(|piece| restoring.push(piece));
    let result = pushed.and_then(|()| restoring.finish().map(drop));
    let refused = matches!(
        result,
        Err(RestoreError::Damaged(_) | RestoreError::Short { .. } | RestoreError::TooNew { .. })
    );
    prop_assert!(refused, "{:?}", result);
    prop_assert!(!dir.path().join("identity").exists());
    let opened = Shard::open_existing(dir.path(), own(), tuning(), small_limits(10));
    prop_assert!(matches!(opened, Err(OpenError::HalfRestored(_) | OpenError::Missing(_))));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    #[test]
    fn a_stream_with_any_bit_flipped_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8, piece in 1usize..5000) {
        let mut bytes = sample().concat();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        assert_refused(&bytes, piece)?;
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_refused(at in any::<prop::sample::Index>(), piece in 1usize..5000) {
        let bytes = sample().concat();
        assert_refused(&bytes[..at.index(bytes.len())], piece)?;
    }

    #[test]
    fn a_stream_whose_blocks_are_exchanged_doubled_or_lost_is_refused(
        a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), how in 0..3
    ) {
        let mut blocks = sample().to_vec();
        let (a, b) = (a.index(blocks.len()), b.index(blocks.len()));
        match how {
            0 => {
                prop_assume!(a != b);
                blocks.swap(a, b);
            }
            1 => blocks.insert(a, blocks[a].clone()),
            _ => drop(blocks.remove(a)),
        }
        assert_refused(&blocks.concat(), 4096)?;
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), start in any::<bool>()) {
        let start: &[u8] = if start { &sample()[0] } else { &[] };
        assert_refused(&[start, &bytes].concat(), 100)?;
    }
}
