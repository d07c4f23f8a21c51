//! How long a search will take is guessed from what it asks for and how much there is, and never too low for what may be long.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::time::Duration;

use common::*;
use shoal_shard::Shard;
use shoal_shard::api::{QuantizationParams, SearchRequest, Want, WantPayload};
use shoal_vector::{Filter, Metric, Op, Point, PointId, SparseVector};

const SIZE: usize = 8;

fn load(shard: &Shard, ids: std::ops::Range<u64>) {
    let vector = |id: u64| (0..SIZE as u64).map(|n| ((id * 31 + n * 17) % 97) as f32).collect();
    let one = |id: u64| Point {
        id: PointId::Num(id),
        vectors: vec![(String::new(), vector(id))],
        payload: String::new().into(),
    };
    write(shard, &Op::Upsert(ids.map(one).collect())).unwrap();
}

fn search(k: usize, ef: usize) -> SearchRequest {
    SearchRequest {
        using: String::new(),
        vector: vec![1.0; SIZE],
        sparse: None,
        filter: None,
        k,
        ef: Some(ef),
        exact: false,
        quantization: QuantizationParams::default(),
        score_threshold: None,
        want: Want::default(),
    }
}

#[test]
fn more_work_is_guessed_to_take_longer() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open(dir.path(), identity(SIZE, Metric::Euclid), small_limits(1_000));
    let empty = shard.guess(&search(1, 16));
    load(&shard, 0..900);
    let few = shard.guess(&search(1, 16));
    assert!(empty < few);
    assert!(few < shard.guess(&search(1, 100)));
    assert!(few < shard.guess(&search(10, 16)));
    let by_vectors = QuantizationParams { ignore: true, ..QuantizationParams::default() };
    assert!(few < shard.guess(&SearchRequest { quantization: by_vectors, ..search(1, 16) }));
    let payloads = Want { payload: WantPayload::All, ..Want::default() };
    assert!(few < shard.guess(&SearchRequest { want: payloads, ..search(1, 16) }));

    // A second part to walk: what was flushed, and what came after it.
    load(&shard, 900..1_100);
    wait_until("a segment", || shard.info().unwrap().segments == 1);
    load(&shard, 1_100..2_000);
    assert!(few < shard.guess(&search(1, 16)));
    shard.close();
}

#[test]
fn what_cannot_be_guessed_may_take_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open(dir.path(), identity(SIZE, Metric::Euclid), small_limits(1_000));
    load(&shard, 0..100);
    let plain = || search(1, 16);
    let sparse = SparseVector::new(vec![1], vec![1.0]).unwrap();
    for long in [
        SearchRequest { exact: true, ..plain() },
        SearchRequest { filter: Some(Filter::default()), ..plain() },
        SearchRequest { sparse: Some(sparse), ..plain() },
        SearchRequest { using: "unknown".into(), ..plain() },
    ] {
        assert_eq!(shard.guess(&long), Duration::MAX, "{long:?}");
    }
    // Whatever is asked for: nothing overflows.
    assert!(shard.guess(&search(usize::MAX, usize::MAX)) > shard.guess(&plain()));
    shard.close();
}
