//! The graph finds what a scan finds, nearly always, also among points that were deleted or replaced.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::collections::HashSet;

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::api::{QuantizationParams, SearchRequest, Want};
use shoal_shard::{Limits, Shard};
use shoal_vector::op::Selector;
use shoal_vector::{Datatype, Metric, Op, Point, PointId, Quantization, VectorConfig};

const DIMENSIONS: usize = 32;
const POINTS: u64 = 6_000;

/// Roughly normal.
fn noise(rng: &mut StdRng) -> f32 {
    (0..6).map(|_| rng.random::<f32>() - 0.5).sum()
}

struct Clusters {
    centres: Vec<Vec<f32>>,
}

impl Clusters {
    fn new(rng: &mut StdRng) -> Self {
        Self {
            centres: (0..60).map(|_| (0..DIMENSIONS).map(|_| 2.0 * noise(rng)).collect()).collect(),
        }
    }

    fn vector(&self, rng: &mut StdRng) -> Vec<f32> {
        let centre = &self.centres[rng.random_range(0..self.centres.len())];
        centre.iter().map(|x| x + noise(rng)).collect()
    }
}

fn load(shard: &Shard, clusters: &Clusters, ids: impl Iterator<Item = u64>, rng: &mut StdRng) {
    let ids: Vec<u64> = ids.collect();
    for batch in ids.chunks(500) {
        let points: Vec<Point> =
            batch.iter().map(|id| point(*id, &clusters.vector(rng), "")).collect();
        write(shard, &Op::Upsert(points)).unwrap();
    }
}

/// Mean share of the exact ten that a walk finds.
fn recall(shard: &Shard, using: &str, clusters: &Clusters, rng: &mut StdRng) -> f64 {
    let queries = 200;
    let mut found = 0;
    for _ in 0..queries {
        let mut request = SearchRequest {
            using: using.to_owned(),
            vector: clusters.vector(rng),
            sparse: None,
            filter: None,
            k: 10,
            ef: None,
            exact: true,
            quantization: QuantizationParams::default(),
            score_threshold: None,
            want: Want::default(),
        };
        let exact: HashSet<PointId> =
            shard.search(&request).unwrap().iter().map(|found| found.hit.id).collect();
        request.exact = false;
        let walked = shard.search(&request).unwrap();
        assert_eq!(walked.len(), 10);
        let metric = shard.identity().vectors.iter().find(|vector| vector.name == using);
        let metric = metric.unwrap().distance;
        assert!(walked.is_sorted_by(|a, b| a.hit.order(&b.hit, metric).is_lt()));
        found += walked.iter().filter(|found| exact.contains(&found.hit.id)).count();
    }
    found as f64 / (10 * queries) as f64
}

fn check(metric: Metric, quantization: Quantization) {
    let mut rng = StdRng::seed_from_u64(11);
    let clusters = Clusters::new(&mut rng);
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { mutable_entries: 3_000, ..Limits::default() };
    let shard = open_with(dir.path(), identity(DIMENSIONS, metric), quantization, limits);
    load(&shard, &clusters, 0..POINTS, &mut rng);
    wait_until("all points are in segments", || shard.info().unwrap().indexed_points == POINTS);
    let whole = recall(&shard, "", &clusters, &mut rng);
    assert!(whole >= 0.95, "{metric:?}: recall@10 {whole}");
    // A third deleted, a third moved elsewhere.
    let third: Vec<PointId> = (0..POINTS).step_by(3).map(PointId::Num).collect();
    write(&shard, &Op::Delete(Selector::Ids(third))).unwrap();
    load(&shard, &clusters, (1..POINTS).step_by(3), &mut rng);
    let thinned = recall(&shard, "", &clusters, &mut rng);
    assert!(thinned >= 0.95, "{metric:?}: recall@10 {thinned} with two thirds of the graph dead");
    println!("{metric:?}: recall@10 {whole}, with two thirds dead {thinned}");
    shard.close();
}

#[test]
fn a_walk_finds_nearly_all_that_a_scan_finds_by_cosine() {
    check(Metric::Cosine, Quantization::Bits4);
}

#[test]
fn a_walk_finds_nearly_all_that_a_scan_finds_by_euclid() {
    check(Metric::Euclid, Quantization::Bits4);
}

#[test]
fn a_walk_finds_nearly_all_that_a_scan_finds_by_manhattan() {
    check(Metric::Manhattan, Quantization::Bits4);
}

#[test]
fn a_walk_finds_nearly_all_that_a_scan_finds_by_dot_product() {
    check(Metric::Dot, Quantization::Bits4);
}

#[test]
fn a_walk_by_8_bit_codes_finds_nearly_all_that_a_scan_finds() {
    check(Metric::Cosine, Quantization::Int8);
    check(Metric::Dot, Quantization::Int8);
}

#[test]
fn a_walk_by_vectors_finds_nearly_all_that_a_scan_finds() {
    check(Metric::Euclid, Quantization::None);
    check(Metric::Dot, Quantization::None);
}

#[test]
fn many_equal_vectors_do_not_hide_others() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { mutable_entries: 3_000, ..Limits::default() };
    let shard = open(dir.path(), identity(DIMENSIONS, Metric::Euclid), limits);
    let mut rng = StdRng::seed_from_u64(12);
    let clusters = Clusters::new(&mut rng);
    let same = clusters.vector(&mut rng);
    let equal: Vec<Point> = (10_000..11_500).map(|id| point(id, &same, "")).collect();
    write(&shard, &Op::Upsert(equal)).unwrap();
    load(&shard, &clusters, 0..1_500, &mut rng);
    wait_until("all points are in segments", || shard.info().unwrap().indexed_points == 3_000);
    let recall = recall(&shard, "", &clusters, &mut rng);
    assert!(recall >= 0.95, "recall@10 {recall}");
    shard.close();
}

#[test]
fn every_vector_of_a_point_has_a_graph_of_its_own_and_points_may_lack_it() {
    let mut rng = StdRng::seed_from_u64(13);
    let clusters = Clusters::new(&mut rng);
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { mutable_entries: 3_000, ..Limits::default() };
    let vector = |name: &str, distance| VectorConfig::new(name, DIMENSIONS, distance);
    // As near to each other as halves are, they are found as well as floats.
    let halves = VectorConfig { datatype: Datatype::Float16, ..vector("b", Metric::Euclid) };
    let vectors = vec![vector("a", Metric::Cosine), halves];
    let shard = open(dir.path(), identity_of(vectors), limits);
    // A third has both, a third the first, a third the second.
    let mut load = |ids: std::ops::Range<u64>| {
        let points = ids.map(|id| {
            let mut vectors = Vec::new();
            for (name, lacking) in [("a", 1), ("b", 2)] {
                if id % 3 != lacking {
                    vectors.push((name.to_owned(), clusters.vector(&mut rng)));
                }
            }
            Point { id: PointId::Num(id), vectors, payload: Vec::new() }
        });
        write(&shard, &Op::Upsert(points.collect())).unwrap();
    };
    load(0..3_000);
    load(3_000..POINTS);
    wait_until("all points are in segments", || shard.info().unwrap().indexed_points == POINTS);
    // Some are replaced, and are in memory.
    load(0..1_000);
    let last: Vec<PointId> = (5_000..POINTS).map(PointId::Num).collect();
    write(&shard, &Op::Delete(Selector::Ids(last))).unwrap();
    for using in ["a", "b"] {
        let recall = recall(&shard, using, &clusters, &mut rng);
        assert!(recall >= 0.95, "{using}: recall@10 {recall}");
    }
    shard.close();
}
