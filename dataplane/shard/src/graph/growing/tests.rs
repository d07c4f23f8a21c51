//! A growing graph finds what a plain loop finds, at every size and while it grows.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::target::Target;
use super::super::tests::{METRICS, vectors};
use super::*;
use crate::api::QuantizationParams;

fn grown(vectors: &[Vec<f32>], metric: Metric, capacity: usize) -> Growing {
    let dimensions = vectors.first().map_or(1, Vec::len);
    let graph =
        Growing::new(metric, Quantization::Bits4, Rotation::new(dimensions), capacity).unwrap();
    grow(&graph, vectors);
    graph
}

/// Adds the vectors that are not in the graph yet.
fn grow(graph: &Growing, vectors: &[Vec<f32>]) {
    for (id, vector) in vectors.iter().enumerate().skip(graph.len()) {
        let member = Member {
            point: PointId::Num(id as u64),
            slot: id as u32,
            vector: vector.as_slice().into(),
        };
        assert_eq!(graph.insert(member), Some(id + 1));
    }
}

/// Rows of the `k` found that are nearest by the vectors themselves.
fn best_of(graph: &Growing, nodes: usize, metric: Metric, query: &[f32], k: usize) -> Vec<u64> {
    let params = QuantizationParams::default();
    let target = Target::new(query, &Rotation::new(query.len()), params);
    let found = graph.seen(nodes).search(&target, 64);
    let mut found: Vec<(f32, PointId)> =
        found.iter().map(|m| (metric.distance(query, &m.vector), m.point)).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let number = |id: PointId| if let PointId::Num(id) = id { id } else { u64::MAX };
    found.into_iter().take(k).map(|(_, id)| number(id)).collect()
}

fn nearest_rows(vectors: &[Vec<f32>], metric: Metric, query: &[f32], k: usize) -> Vec<u64> {
    let mut all: Vec<(f32, u64)> =
        vectors.iter().map(|vector| metric.distance(query, vector)).zip(0..).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all.into_iter().take(k).map(|(_, row)| row).collect()
}

#[test]
fn a_growing_graph_finds_nearly_all_at_every_size_and_by_every_metric() {
    let kinds = [Quantization::Int8, Quantization::None];
    for (metric, quantization) in METRICS.into_iter().flat_map(|m| kinds.map(|kind| (m, kind))) {
        let mut rng = StdRng::seed_from_u64(11);
        let mut all = vectors(&mut rng, 4_050, 40, metric);
        let queries = all.split_off(4_000);
        let graph = Growing::new(metric, quantization, Rotation::new(40), 4_000).unwrap();
        for nodes in [1, 5, 60, 700, 4_000] {
            grow(&graph, &all[..nodes]);
            // As of a little earlier too: what came since is not found.
            for nodes in [nodes, nodes - nodes / 10] {
                let recall = recall_of_grown(&graph, &all[..nodes], metric, &queries);
                assert!(
                    recall >= 0.95,
                    "{metric:?} by {quantization} at {nodes} nodes: recall@10 {recall}"
                );
            }
        }
        assert!(graph.is_full());
    }
}

fn recall_of_grown(
    graph: &Growing,
    vectors: &[Vec<f32>],
    metric: Metric,
    queries: &[Vec<f32>],
) -> f64 {
    let mut sum = 0.0;
    for query in queries {
        let truth = nearest_rows(vectors, metric, query, 10);
        let found = best_of(graph, vectors.len(), metric, query, 10);
        assert!(found.iter().all(|&row| (row as usize) < vectors.len()));
        let hits = found.iter().filter(|row| truth.contains(row)).count();
        sum += hits as f64 / truth.len() as f64;
    }
    sum / queries.len() as f64
}

#[test]
fn points_at_one_place_are_all_found_in_a_growing_graph() {
    let mut rng = StdRng::seed_from_u64(12);
    let mut all = vectors(&mut rng, 1_000, 16, Metric::Cosine);
    let same = all[3].clone();
    (0..1_000).filter(|i| i % 2 == 1).for_each(|i| all[i] = same.clone());
    let graph = grown(&all, Metric::Cosine, 1_000);
    let target = Target::new(&same, &Rotation::new(16), QuantizationParams::default());
    let found = graph.seen(1_000).search(&target, 300);
    assert_eq!(found.iter().filter(|m| *m.vector == *same).count(), 300);
}

#[test]
fn a_growing_graph_is_searched_while_it_grows() {
    let mut rng = StdRng::seed_from_u64(13);
    let all = vectors(&mut rng, 3_000, 32, Metric::Euclid);
    let graph = grown(&all[..1], Metric::Euclid, 3_000);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while graph.len() < 3_000 {
                    let nodes = graph.len();
                    // The last that is there finds itself.
                    let query = &all[nodes - 1];
                    let found = best_of(&graph, nodes, Metric::Euclid, query, 1);
                    assert!((found[0] as usize) < nodes);
                }
            });
        }
        for (id, vector) in (1..).zip(&all[1..]) {
            let member = Member {
                point: PointId::Num(id),
                slot: id as u32,
                vector: vector.as_slice().into(),
            };
            assert!(graph.insert(member).is_some());
        }
    });
    let member = Member { point: PointId::Num(0), slot: 0, vector: all[0].as_slice().into() };
    assert_eq!(graph.insert(member), None, "there is no room");
}

#[test]
fn a_search_that_ignores_codes_compares_vectors_in_a_growing_graph() {
    let ignored = QuantizationParams { ignore: true, ..QuantizationParams::default() };
    for metric in METRICS {
        let mut rng = StdRng::seed_from_u64(14);
        let mut all = vectors(&mut rng, 2_050, 40, metric);
        let queries = all.split_off(2_000);
        let graph = grown(&all, metric, 2_000);
        for query in &queries {
            let target = Target::new(query, &Rotation::new(40), ignored);
            let found = graph.seen(2_000).search(&target, 64);
            let distances: Vec<f32> =
                found.iter().map(|member| metric.distance(query, &member.vector)).collect();
            assert!(distances.is_sorted(), "{metric:?}: {distances:?}");
        }
    }
}
