//! Graphs built over real shapes of data find what a plain loop finds.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;
use shoal_vector::codes::Rotation;
use shoal_vector::{Datatype, Elements, Metric, Quantization};

use super::*;
use crate::api::QuantizationParams;

pub(super) const METRICS: [Metric; 4] =
    [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

/// Roughly normal.
fn noise(rng: &mut StdRng) -> f32 {
    (0..6).map(|_| rng.random::<f32>() - 0.5).sum()
}

/// Vectors around a few centres, of lengths that differ.
pub(super) fn vectors(
    rng: &mut StdRng,
    count: usize,
    dimensions: usize,
    metric: Metric,
) -> Vec<Vec<f32>> {
    let mut random = || (0..dimensions).map(|_| noise(rng)).collect::<Vec<f32>>();
    let centres: Vec<Vec<f32>> = (0..40).map(|_| random()).collect();
    let mut made = Vec::new();
    for i in 0..count {
        let own = random();
        let pairs = centres[i * 7 % 40].iter().zip(own);
        let length = 1.0 + (i % 5) as f32 * 0.3;
        let vector = pairs.map(|(centre, own)| (centre + 0.6 * own) * length).collect();
        made.push(metric.preprocess(vector));
    }
    made
}

fn options(metric: Metric, dimensions: usize, quantization: Quantization) -> BuildOptions {
    let datatype = Datatype::default();
    BuildOptions {
        metric,
        dimensions,
        datatype,
        ef: 60,
        refine_ef: 100,
        max_links: 32,
        quantization,
    }
}

/// A built graph with its vectors by node.
struct World {
    metric: Metric,
    built: Built,
    by_node: Vec<f32>,
    dimensions: usize,
    rotation: Rotation,
    /// `None` to search without.
    sketches: Option<Pages>,
    residency: Residency,
}

impl World {
    fn new(vectors: &[Vec<f32>], metric: Metric, quantization: Quantization) -> Self {
        let dimensions = vectors.first().map_or(1, Vec::len);
        let slices: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let built = build(&slices, &options(metric, dimensions, quantization)).unwrap();
        let by_node =
            built.order.iter().flat_map(|&row| slices[row as usize].iter().copied()).collect();
        let rotation = Rotation::new(dimensions);
        let mut world = Self {
            metric,
            built,
            by_node,
            dimensions,
            rotation,
            sketches: None,
            residency: Residency::default(),
        };
        world.sketches = sketches(world.graph().blocks, world.built.coder.as_ref()).unwrap();
        world
    }

    fn nodes(&self) -> usize {
        self.built.order.len()
    }

    fn graph(&self) -> GraphRef<'_> {
        let Built { blocks, own, code_bytes, slots, coder, .. } = &self.built;
        let blocks = Blocks::new(bytes_of(blocks), own, self.nodes(), *code_bytes, *slots).unwrap();
        GraphRef {
            blocks,
            coder: coder.as_ref(),
            vectors: Elements::Float32(&self.by_node),
            sketches: self.sketches.as_ref().map(Pages::bytes).unwrap_or_default(),
            residency: &self.residency,
            metric: self.metric,
        }
    }

    fn search(&self, query: &[f32], k: usize, ef: usize, accepted: Accepted<'_>) -> Vec<Near> {
        self.search_with(QuantizationParams::default(), query, k, ef, accepted)
    }

    fn search_with(
        &self,
        params: QuantizationParams,
        query: &[f32],
        k: usize,
        ef: usize,
        accepted: Accepted<'_>,
    ) -> Vec<Near> {
        search(self.graph(), &Target::new(query, &self.rotation, params), k, ef, accepted)
    }

    /// The true nearest of those that are accepted.
    fn truth(&self, query: &[f32], k: usize, accepts: impl Fn(u32) -> bool) -> Vec<Near> {
        let vectors = self.by_node.chunks_exact(self.dimensions);
        let mut all: Vec<Near> = (0..)
            .zip(vectors)
            .filter(|(node, _)| accepts(*node))
            .map(|(node, vector)| Near { distance: self.metric.distance(query, vector), node })
            .collect();
        all.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.node.cmp(&b.node)));
        all.truncate(k);
        all
    }
}

fn share(found: &[Near], truth: &[Near]) -> f64 {
    let hits = found.iter().filter(|near| truth.iter().any(|t| t.node == near.node)).count();
    hits as f64 / truth.len().max(1) as f64
}

/// Mean recall@10 of searches for vectors like those in the graph, each checked to be well-formed.
fn recall<'a>(
    world: &World,
    queries: &[Vec<f32>],
    ef: usize,
    accepted: Accepted<'a>,
    accepts: impl Fn(u32) -> bool,
) -> f64 {
    let mut sum = 0.0;
    for query in queries {
        let truth = world.truth(query, 10, &accepts);
        let found = world.search(query, 10, ef, accepted);
        assert_eq!(found.len(), truth.len());
        assert!(found.iter().all(|near| accepts(near.node)));
        assert!(found.is_sorted_by(|a, b| a.distance <= b.distance && a.node != b.node));
        sum += share(&found, &truth);
    }
    sum / queries.len() as f64
}

fn bitset(nodes: usize, accepts: impl Fn(u32) -> bool) -> (Vec<u64>, usize) {
    let mut bits = vec![0; nodes.div_ceil(64)];
    let mut len = 0;
    for node in (0..nodes as u32).filter(|&node| accepts(node)) {
        bits[node as usize / 64] |= 1u64 << (node % 64);
        len += 1;
    }
    (bits, len)
}

#[test]
fn a_walk_finds_nearly_all_by_every_metric_and_every_kind_of_code() {
    for metric in METRICS {
        for quantization in Quantization::ALL {
            let mut rng = StdRng::seed_from_u64(5);
            let mut all = vectors(&mut rng, 3_050, 48, metric);
            let queries = all.split_off(3_000);
            let world = World::new(&all, metric, quantization);
            let none = RoaringBitmap::new();
            let found = recall(&world, &queries, 64, Accepted::Living { dead: &none }, |_| true);
            assert!(found >= 0.95, "{metric:?} by {quantization}: recall@10 {found}");
        }
    }
}

/// Whatever a graph's codes are, a walk that ignores them is that of a graph which has none.
#[test]
fn codes_that_are_ignored_change_nothing() {
    let none = RoaringBitmap::new();
    let ignored = QuantizationParams { ignore: true, ..QuantizationParams::default() };
    for metric in METRICS {
        for quantization in [Quantization::Bits4, Quantization::Int8] {
            let mut rng = StdRng::seed_from_u64(15);
            let mut all = vectors(&mut rng, 2_010, 400, metric);
            let queries = all.split_off(2_000);
            let mut world = World::new(&all, metric, quantization);
            let (bits, len) = bitset(world.nodes(), |node| node % 3 == 0);
            let all = Accepted::Living { dead: &none };
            let searches = [(all, 20), (Accepted::Set { bits: &bits, len }, 1)];
            let found = |world: &World, params| -> Vec<Vec<Near>> {
                let both = queries.iter().flat_map(|query| searches.map(|s| (query, s)));
                both.map(|(query, (accepted, ef))| {
                    world.search_with(params, query, 5, ef, accepted)
                })
                .collect()
            };
            let without = found(&world, ignored);
            world.built.coder = None;
            world.sketches = None;
            assert_eq!(without, found(&world, QuantizationParams::default()), "{metric:?}");
        }
    }
}

#[test]
fn what_is_compared_exactly_is_as_much_as_was_asked_for() {
    let mut rng = StdRng::seed_from_u64(16);
    // Few dimensions and many points, so that codes mislead.
    let mut all = vectors(&mut rng, 4_100, 8, Metric::Cosine);
    let queries = all.split_off(4_000);
    let world = World::new(&all, Metric::Cosine, Quantization::Bits4);
    let none = RoaringBitmap::new();
    let recall = |params: QuantizationParams| {
        let mut sum = 0.0;
        for query in &queries {
            let accepted = Accepted::Living { dead: &none };
            let found = world.search_with(params, query, 10, 200, accepted);
            for near in &found {
                let exact = &world.by_node[near.node as usize * 8..][..8];
                assert_eq!(near.distance, world.metric.distance(query, exact));
            }
            assert!(found.is_sorted_by(|a, b| a.distance <= b.distance));
            sum += share(&found, &world.truth(query, 10, |_| true));
        }
        sum / queries.len() as f64
    };
    let rescored = QuantizationParams::default();
    let plain = recall(QuantizationParams { rescore: false, ..rescored });
    let [rescored, wide] =
        [1.0, 20.0].map(|oversampling| recall(QuantizationParams { oversampling, ..rescored }));
    assert!(plain < rescored && rescored <= wide, "{plain}, {rescored}, {wide}");
    assert!(wide >= 0.99, "{wide}");
}

#[test]
fn sketches_change_little_of_what_is_found() {
    let mut rng = StdRng::seed_from_u64(11);
    // Manhattan has no codes, and so no sketches.
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid] {
        let mut all = vectors(&mut rng, 4_100, 400, metric);
        let queries = all.split_off(4_000);
        let mut world = World::new(&all, metric, Quantization::Bits4);
        assert!(world.sketches.is_some());
        let none = RoaringBitmap::new();
        let (bits, len) = bitset(world.nodes(), |node| node % 3 == 0);
        let found = |world: &World| {
            let set = Accepted::Set { bits: &bits, len };
            let plain = recall(world, &queries, 48, Accepted::Living { dead: &none }, |_| true);
            [plain, recall(world, &queries, 16, set, |node| node % 3 == 0)]
        };
        let with = found(&world);
        world.sketches = None;
        let without = found(&world);
        let lost = without[0] - with[0] + without[1] - with[1];
        assert!(lost <= 0.01, "{metric:?}: {with:?}, without sketches {without:?}");
    }
}

#[test]
fn a_filter_of_any_share_gives_nearly_all_that_match_and_nothing_else() {
    for metric in [Metric::Cosine, Metric::Euclid] {
        let mut rng = StdRng::seed_from_u64(6);
        let mut all = vectors(&mut rng, 20_030, 32, metric);
        let queries = all.split_off(20_000);
        let world = World::new(&all, metric, Quantization::Bits4);
        for every in [1, 2, 3, 5, 10, 50, 700, 9_000] {
            let accepts = |node: u32| world.built.order[node as usize].is_multiple_of(every);
            let (bits, len) = bitset(world.nodes(), accepts);
            let found = recall(&world, &queries, 100, Accepted::Set { bits: &bits, len }, accepts);
            assert!(found >= 0.95, "{metric:?}, one in {every}: recall@10 {found}");
        }
    }
}

#[test]
fn dead_points_are_never_found_and_hide_nothing() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut all = vectors(&mut rng, 8_030, 32, Metric::Euclid);
    let queries = all.split_off(8_000);
    let world = World::new(&all, Metric::Euclid, Quantization::Bits4);
    for (of_ten, least) in [(1, 0.95), (5, 0.95), (9, 0.95)] {
        let dead: RoaringBitmap = (0..8_000).filter(|node| node % 10 < of_ten).collect();
        let accepted = Accepted::Living { dead: &dead };
        let found = recall(&world, &queries, 64, accepted, |node| !dead.contains(node));
        assert!(found >= least, "{of_ten} of ten dead: recall@10 {found}");
    }
}

#[test]
fn as_many_as_are_asked_for_come_back_if_there_are_as_many() {
    let mut rng = StdRng::seed_from_u64(8);
    let mut all = vectors(&mut rng, 1_500, 16, Metric::Cosine);
    // Half are the same: a graph's links can all lead from one of them to another.
    let same = all[0].clone();
    all[..750].fill(same.clone());
    let world = World::new(&all, Metric::Cosine, Quantization::Bits4);
    let none = RoaringBitmap::new();
    for k in [1, 10, 100, 740, 760, 1_000, 1_500, 5_000] {
        let found = world.search(&same, k, 10, Accepted::Living { dead: &none });
        assert_eq!(found.len(), k.min(1_500), "k {k}");
        assert!(found[..k.min(750)].iter().all(|near| near.distance < -0.9999), "k {k}");
    }
    // One island of what is accepted, far from where a walk begins.
    let (bits, len) = bitset(1_500, |node| world.built.order[node as usize] < 750);
    assert_eq!(world.search(&all[900], 100, 10, Accepted::Set { bits: &bits, len }).len(), 100);
}

#[test]
fn few_and_strange_vectors_are_found() {
    let strange: Vec<Vec<f32>> = vec![
        vec![0.0; 3],
        vec![f32::MAX; 3],
        vec![-f32::MAX, f32::MAX, 0.0],
        vec![f32::MIN_POSITIVE; 3],
        vec![1e-40, 0.0, 0.0],
    ];
    for metric in METRICS {
        for count in 0..=strange.len() {
            let all: Vec<Vec<f32>> =
                strange[..count].iter().map(|vector| metric.preprocess(vector.clone())).collect();
            let world = World::new(&all, metric, Quantization::Bits4);
            let none = RoaringBitmap::new();
            for query in [[1.0, 2.0, 3.0], [f32::MAX; 3], [0.0; 3]] {
                let query = metric.preprocess(query.to_vec());
                let dimensions = all.first().map_or(1, Vec::len);
                let found =
                    world.search(&query[..dimensions], 5, 10, Accepted::Living { dead: &none });
                assert_eq!(found, world.truth(&query[..dimensions], 5, |_| true), "{metric:?}");
            }
        }
    }
}

#[test]
fn long_vectors_and_odd_sizes_are_found() {
    for dimensions in [1, 7, 127, 129, 513, 1_700, 4_200] {
        let mut rng = StdRng::seed_from_u64(9);
        let mut all = vectors(&mut rng, 410, dimensions, Metric::Cosine);
        let queries = all.split_off(400);
        let world = World::new(&all, Metric::Cosine, Quantization::Bits4);
        let none = RoaringBitmap::new();
        let found = recall(&world, &queries, 100, Accepted::Living { dead: &none }, |_| true);
        // One dimension, normalised, is 1 or -1: all are equally near.
        assert!(found >= 0.9 || dimensions == 1, "{dimensions} dimensions: recall@10 {found}");
    }
}

#[test]
fn a_damaged_graph_gives_a_worse_answer_and_no_more() {
    let mut rng = StdRng::seed_from_u64(10);
    let all = vectors(&mut rng, 600, 20, Metric::Euclid);
    let mut world = World::new(&all, Metric::Euclid, Quantization::Bits4);
    for _ in 0..60 {
        let place = rng.random_range(0..world.built.blocks.len());
        world.built.blocks[place].0.fill(rng.random());
        let none = RoaringBitmap::new();
        let found = world.search(&all[3], 10, 40, Accepted::Living { dead: &none });
        assert_eq!(found.len(), 10);
    }
}

/// Most groups have nobody in the part that instant-distance builds, and some arrive in one round, unseen by each other.
#[test]
fn who_is_of_a_small_group_finds_the_others() {
    let mut rng = StdRng::seed_from_u64(23);
    for of_a_group in [2, 8] {
        let mut all = Vec::new();
        for _ in 0..20_000 / of_a_group {
            let centre: Vec<f32> = (0..32).map(|_| noise(&mut rng)).collect();
            for _ in 0..of_a_group {
                let own = centre.iter().map(|x| x + 0.01 * noise(&mut rng)).collect();
                all.push(Metric::Cosine.preprocess(own));
            }
        }
        let world = World::new(&all, Metric::Cosine, Quantization::Bits4);
        let none = RoaringBitmap::new();
        let (mut found, asked) = (0, 500);
        for row in (0..all.len()).step_by(all.len() / asked).take(asked) {
            let near = world.search(&all[row], of_a_group, 64, Accepted::Living { dead: &none });
            let group = |near: &Near| world.built.order[near.node as usize] as usize / of_a_group;
            found += near.iter().filter(|near| group(near) == row / of_a_group).count();
        }
        let share = found as f64 / (asked * of_a_group) as f64;
        assert!(share >= 0.99, "of groups of {of_a_group}: {share}");
    }
}
