//! Many writers and readers at once, while segments are flushed: what was answered is seen by whoever asks next.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, reason = "these are tests, though not inside of a test function")]

mod common;

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::api::{QuantizationParams, ScrollRequest, SearchRequest, Want};
use shoal_shard::{Limits, Shard};
use shoal_vector::op::Selector;
use shoal_vector::{Filter, Metric, Op, PointId};

const WRITERS: u64 = 6;
const IDS: u64 = 30;
const ROUNDS: usize = 80;

/// Writes ids of its own, and looks at each at once. Returns the versions it left.
fn writer(shard: &Shard, number: u64) -> Vec<(u64, u64)> {
    let mut rng = StdRng::seed_from_u64(number);
    let mut left = std::collections::BTreeMap::new();
    for version in 1..=ROUNDS as u64 {
        let id = number * IDS + rng.random_range(0..IDS);
        let one = Selector::Ids(vec![PointId::Num(id)]);
        let expected = match (rng.random_range(0..6), left.contains_key(&id)) {
            (0, _) => {
                write(shard, &Op::Delete(one)).unwrap();
                left.remove(&id);
                None
            }
            (1 | 2, true) => {
                let payload = format!("{{\"version\":{version}}}").into_bytes();
                write(shard, &Op::SetPayload { payload, key: None, points: one }).unwrap();
                left.insert(id, version);
                Some(version)
            }
            _ => {
                let vector = [id as f32, version as f32];
                write(
                    shard,
                    &Op::Upsert(vec![point(id, &vector, &format!("{{\"version\":{version}}}"))]),
                )
                .unwrap();
                left.insert(id, version);
                Some(version)
            }
        };
        let seen = shard.retrieve(&[PointId::Num(id)], &everything()).unwrap();
        let seen =
            seen.first().and_then(|record| record.parts.payload.as_ref()?.get("version")?.as_u64());
        assert_eq!(seen, expected, "writer {number}, id {id}");
    }
    left.into_iter().collect()
}

/// Every answer must be consistent in itself.
fn reader(shard: &Shard) {
    let filter =
        Filter::parse(&serde_json::json!({"must": {"key": "version", "range": {"gte": 1}}}))
            .unwrap();
    for round in 0..60 {
        let all = ScrollRequest { filter: None, from: None, limit: 10_000, want: everything() };
        let records = shard.scroll(&all).unwrap();
        assert!(records.is_sorted_by(|a, b| a.id < b.id));
        assert!(records.iter().all(|record| {
            record.parts.payload.as_ref().is_some_and(|p| p.contains_key("version"))
        }));
        let request = SearchRequest {
            using: String::new(),
            vector: vec![90.0, 40.0],
            sparse: None,
            filter: (round % 2 == 0).then(|| filter.clone()),
            k: 50,
            ef: None,
            exact: round % 3 == 0,
            quantization: QuantizationParams::default(),
            score_threshold: None,
            want: Want::default(),
        };
        let found = shard.search(&request).unwrap();
        assert!(
            found.is_sorted_by(|a, b| a.hit.order(&b.hit, Metric::Euclid).is_lt()),
            "an id twice, or out of order"
        );
        let info = shard.info().unwrap();
        assert!(info.flushed_seq <= info.applied_seq && info.applied_seq <= info.durable_seq);
    }
}

#[test]
fn writers_see_their_writes_and_readers_see_whole_points_while_segments_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { mutable_entries: 25, wal_file_bytes: 4_000, ..Limits::default() };
    let shard = open(dir.path(), identity(2, Metric::Euclid), limits.clone());
    let left = std::thread::scope(|scope| {
        let shard = &shard;
        let writers: Vec<_> =
            (0..WRITERS).map(|number| scope.spawn(move || writer(shard, number))).collect();
        (0..2).for_each(|_| drop(scope.spawn(|| reader(shard))));
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    // Of segments there may be few, since neighbours are merged; what was flushed stays flushed.
    wait_until("most is flushed", || shard.info().unwrap().flushed_seq > 240);
    shard.close();
    let shard = open(dir.path(), identity(2, Metric::Euclid), limits);
    let all = ScrollRequest { filter: None, from: None, limit: 10_000, want: everything() };
    let records = shard.scroll(&all).unwrap().into_iter().map(|record| {
        let PointId::Num(id) = record.id else { unreachable!("only numbers were written") };
        (id, record.parts.payload.unwrap()["version"].as_u64().unwrap())
    });
    assert_eq!(records.collect::<Vec<_>>(), left);
    shard.close();
}
