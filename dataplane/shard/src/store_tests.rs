//! The store is only a cache: whatever happens to its files, reads are right and it is there again.

use std::fs;

use crate::api::{Identity, OpOrigin, Parts, Tuning, Want, WantPayload};
use crate::limits::Limits;
use crate::{Shard, WantedIndexes, encode_op};
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{Metric, Op, Point, PointId, Quantization, VectorConfig};

use super::*;

const POINTS: u64 = 50;

fn open(dir: &Path) -> Shard {
    let vectors = vec![VectorConfig::new("", 2, Metric::Dot)];
    let identity =
        Identity { collection: "c".into(), shard: "s".into(), vectors, sparse: Vec::new() };
    let limits = Limits { mutable_entries: 10, ..Limits::default() };
    Shard::open(
        dir,
        identity,
        Tuning { ef_construct: 20, ef: 20, quantization: Quantization::default() },
        limits,
    )
    .unwrap()
}

fn load(shard: &Shard) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for id in 0..POINTS {
        let payload = format!("{{\"n\":{id}}}").into_bytes();
        let point = Point {
            id: PointId::Num(id),
            vectors: vec![(String::new(), vec![1.0, id as f32])],
            payload,
        };
        let op = encode_op(&Op::Upsert(vec![point]));
        runtime.block_on(shard.write(op.into(), OpOrigin::default(), true)).unwrap();
    }
}

fn check_payloads(shard: &Shard) {
    let ids: Vec<PointId> = (0..POINTS).map(PointId::Num).collect();
    let records =
        shard.retrieve(&ids, &Want { payload: WantPayload::All, ..Want::default() }).unwrap();
    for (id, record) in (0..POINTS).zip(&records) {
        let payload = serde_json::json!({"n": id}).as_object().cloned();
        assert_eq!(record.parts, Parts { payload, ..Parts::default() });
    }
}

fn wait_until_stored(shard: &Shard) {
    for _ in 0..6_000 {
        let mut numbers: Vec<u64> =
            shard.view().segments.iter().map(|placed| placed.segment.number).collect();
        numbers.sort_unstable();
        // Five flushes, of which compaction leaves one or two segments.
        if shard.info().unwrap().indexed_points == POINTS
            && numbers.len() <= 2
            && shard.store().stored_segments() == numbers
        {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the store does not hold all segments after a minute");
}

#[test]
fn look_ups_are_answered_from_the_store_once_a_segment_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open(dir.path());
    load(&shard);
    wait_until_stored(&shard);
    for placed in &shard.view().segments {
        let (segment, mut cache) = (&placed.segment, PayloadCache::default());
        for item in 0..segment.len() {
            let held = segment.payload(&mut cache, item).unwrap();
            assert_eq!(shard.store().payload(segment.number, item).as_deref(), Some(held));
        }
    }
    // Merged away, and not there yet.
    assert_eq!(shard.store().payload(1, 0), None);
    assert_eq!(shard.store().payload(99, 0), None);
    check_payloads(&shard);
    shard.close();
}

#[test]
fn files_of_the_store_that_are_damaged_gone_or_from_elsewhere_are_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join(files::DIR);
    let shard = open(dir.path());
    load(&shard);
    wait_until_stored(&shard);
    shard.close();

    let other = tempfile::tempdir().unwrap();
    let another = open(other.path());
    load(&another);
    another.close();

    let garbage = || {
        for (_, file) in disk::list(&store).unwrap() {
            if file.is_file() {
                let len = fs::metadata(&file).unwrap().len() as usize;
                fs::write(&file, vec![0xa5; len]).unwrap();
            }
        }
    };
    let gone = || fs::remove_dir_all(&store).unwrap();
    let foreign = || {
        fs::remove_dir_all(&store).unwrap();
        fs::rename(other.path().join(files::DIR), &store).unwrap();
    };
    let half_a_snapshot = || fs::write(store.join("snap.0000.generating"), b"half").unwrap();
    for spoil in [&garbage as &dyn Fn(), &gone, &foreign, &half_a_snapshot] {
        spoil();
        let shard = open(dir.path());
        check_payloads(&shard);
        wait_until_stored(&shard);
        check_payloads(&shard);
        shard.close();
    }
}

#[test]
fn indexes_are_stored_and_loaded_and_those_that_are_damaged_or_gone_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = |field: &str| WantedIndexes {
        fields: vec![PayloadIndex::new(field, IndexKind::Integer).unwrap()],
        ..WantedIndexes::default()
    };
    let shard = open(dir.path());
    shard.set_payload_indexes(wanted("n")).unwrap();
    load(&shard);
    wait_until_stored(&shard);
    let name = crate::encode_index(&wanted("n").fields[0]);
    let wait_until_indexed = |shard: &Shard| {
        for _ in 0..6_000 {
            let view = shard.view();
            let mut numbers = view.segments.iter().map(|placed| placed.segment.number);
            if shard.info().unwrap().filters.pending == 0
                && numbers.all(|number| shard.store().index(number, &name).is_some())
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("not all indexes are stored after a minute");
    };
    let filter = |n: u64| {
        let json = serde_json::json!({"must": {"key": "n", "range": {"lt": n}}});
        shoal_vector::Filter::parse(&json).unwrap()
    };
    let check = |shard: &Shard| {
        wait_until_indexed(shard);
        assert_eq!(shard.info().unwrap().filters.fields, [(wanted("n").fields[0].clone(), POINTS)]);
        assert_eq!(shard.count(Some(&filter(7))).unwrap(), 7);
    };
    check(&shard);
    let view = shard.view();
    let number = view.segments[0].segment.number;
    drop(view);
    let stored = shard.store().index(number, &name).unwrap();
    // Another one under the same name, of another version.
    let broken: Vec<u8> = [99].into_iter().chain(stored[1..].iter().copied()).collect();
    shard.store().keep_index(number, name.clone(), broken.clone());
    for _ in 0..6_000 {
        if shard.store().index(number, &name).as_ref() == Some(&broken) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    shard.close();
    // What to index is remembered.
    let shard = open(dir.path());
    check(&shard);
    for _ in 0..6_000 {
        if shard.store().index(number, &name).as_ref() == Some(&stored) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(shard.store().index(number, &name), Some(stored));
    shard.close();
    fs::remove_dir_all(dir.path().join(files::DIR)).unwrap();
    let shard = open(dir.path());
    check(&shard);
    // And forgotten.
    shard.set_payload_indexes(wanted("m")).unwrap();
    for _ in 0..6_000 {
        if shard.store().index(number, &name).is_none() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(shard.store().index(number, &name), None);
    assert_eq!(shard.count(Some(&filter(7))).unwrap(), 7);
    shard.close();
}
