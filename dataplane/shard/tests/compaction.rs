//! Compaction: few segments whatever is written, space that comes back, and answers that stay the same meanwhile.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::path::Path;

use common::*;
use serde_json::json;
use shoal_shard::Shard;
use shoal_shard::api::{QuantizationParams, ScrollRequest, SearchRequest, Want};
use shoal_vector::op::Selector;
use shoal_vector::{Metric, Op, Point, PointId};

const POINTS: u64 = 3_000;
/// Points of a flush, so that there are sixty.
const FLUSH: usize = 50;

fn some(id: u64) -> Point {
    let vector = [id as f32, (id * 7 % 100) as f32];
    point(id, &vector, &json!({"n": id, "text": "x".repeat(200)}).to_string())
}

fn loaded(dir: &Path) -> Shard {
    let shard = open(dir, identity(2, Metric::Euclid), small_limits(FLUSH));
    for first in (0..POINTS).step_by(25) {
        write(&shard, &Op::Upsert((first..first + 25).map(some).collect())).unwrap();
    }
    shard
}

/// Bytes and number of the segments' files.
fn segments_on_disk(dir: &Path) -> (u64, usize) {
    let files = std::fs::read_dir(dir.join("segments")).unwrap().flatten();
    let sizes: Vec<u64> = files.filter_map(|file| file.metadata().ok()).map(|m| m.len()).collect();
    (sizes.iter().sum(), sizes.len())
}

fn wait_until_merged(shard: &Shard, dir: &Path, most: usize) {
    wait_until("few segments, and no file but theirs", || {
        let segments = shard.info().unwrap().segments as usize;
        segments <= most && segments_on_disk(dir).1 == segments
    });
}

fn all(shard: &Shard) -> Vec<(PointId, Option<u64>)> {
    let request = ScrollRequest { filter: None, from: None, limit: 10_000, want: everything() };
    let number = |payload: &shoal_vector::Payload| payload.get("n").and_then(|n| n.as_u64());
    let records = shard.scroll(&request).unwrap();
    records.iter().map(|r| (r.id, r.parts.payload.as_ref().and_then(number))).collect()
}

fn nearest(shard: &Shard, vector: [f32; 2]) -> Vec<PointId> {
    let request = SearchRequest {
        using: String::new(),
        vector: vector.to_vec(),
        sparse: None,
        filter: None,
        k: 5,
        ef: None,
        exact: true,
        quantization: QuantizationParams::default(),
        score_threshold: None,
        want: Want::default(),
    };
    shard.search(&request).unwrap().iter().map(|found| found.hit.id).collect()
}

#[test]
fn many_flushes_end_in_few_segments_that_hold_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let shard = loaded(dir.path());
    let expected: Vec<_> = (0..POINTS).map(|id| (PointId::Num(id), Some(id))).collect();
    let near = nearest(&shard, [100.0, 50.0]);
    assert_eq!(all(&shard), expected);
    // Three of each of three tiers at most: of 60 flushes, 4, 16 and 64 times as large.
    wait_until_merged(&shard, dir.path(), 9);
    assert_eq!(all(&shard), expected);
    assert_eq!(nearest(&shard, [100.0, 50.0]), near);
    shard.close();
    let shard = open(dir.path(), identity(2, Metric::Euclid), small_limits(FLUSH));
    assert_eq!(all(&shard), expected);
    shard.close();
}

#[test]
fn edits_and_deletes_of_merged_points_stay() {
    let dir = tempfile::tempdir().unwrap();
    let shard = loaded(dir.path());
    // While segments are merged: every third deleted, every fifth edited, every seventh written again.
    for id in 0..POINTS {
        let one = || Selector::Ids(vec![PointId::Num(id)]);
        if id % 3 == 0 {
            write(&shard, &Op::Delete(one())).unwrap();
        } else if id % 5 == 0 {
            let payload = json!({"n": id + 10_000}).to_string().into_bytes();
            write(&shard, &Op::OverwritePayload { payload, points: one() }).unwrap();
        } else if id % 7 == 0 {
            write(&shard, &Op::Upsert(vec![some(id)])).unwrap();
        }
    }
    let edited = |id: u64| if id.is_multiple_of(5) { id + 10_000 } else { id };
    let expected: Vec<_> = (0..POINTS)
        .filter(|id| id % 3 != 0)
        .map(|id| (PointId::Num(id), Some(edited(id))))
        .collect();
    assert_eq!(all(&shard), expected);
    wait_until_merged(&shard, dir.path(), 18);
    assert_eq!(all(&shard), expected);
    assert_eq!(shard.count(None).unwrap(), expected.len() as u64);
    shard.close();
    let shard = open(dir.path(), identity(2, Metric::Euclid), small_limits(FLUSH));
    assert_eq!(all(&shard), expected);
    assert_eq!(shard.count(None).unwrap(), expected.len() as u64);
    shard.close();
}

#[test]
fn the_space_of_what_was_deleted_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let shard = loaded(dir.path());
    wait_until_merged(&shard, dir.path(), 9);
    let (before, _) = segments_on_disk(dir.path());
    let most = (0..POINTS).filter(|id| id % 10 != 0).map(PointId::Num).collect();
    write(&shard, &Op::Delete(Selector::Ids(most))).unwrap();
    wait_until("a third of the space", || segments_on_disk(dir.path()).0 < before / 3);
    assert_eq!(shard.count(None).unwrap(), POINTS / 10);
    // And where nothing is left, no segment with points is.
    write(&shard, &Op::Delete(Selector::Ids((0..POINTS).map(PointId::Num).collect()))).unwrap();
    wait_until("hardly any space", || segments_on_disk(dir.path()).0 < before / 10);
    assert_eq!(shard.count(None).unwrap(), 0);
    shard.close();
}

#[test]
fn what_is_dead_in_the_log_alone_is_not_merged_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open(dir.path(), identity(2, Metric::Euclid), small_limits(1_000));
    write(&shard, &Op::Upsert((0..1_000).map(some).collect())).unwrap();
    wait_until("one segment", || shard.info().unwrap().segments == 1);
    // Another flush begins, and before it ends and wakes the compaction nearly all of the first segment die.
    write(&shard, &Op::Upsert((2_000..3_000).map(some).collect())).unwrap();
    write(&shard, &Op::Delete(Selector::Ids((0..900).map(PointId::Num).collect()))).unwrap();
    wait_until("two segments", || shard.info().unwrap().segments == 2);
    let names = || -> Vec<_> {
        let files = std::fs::read_dir(dir.path().join("segments")).unwrap().flatten();
        files.map(|file| file.file_name()).collect()
    };
    let before = names();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(names(), before);
    assert_eq!(shard.count(None).unwrap(), 1_100);
    shard.close();
}
