//! A search with a filter finds what a scan finds, nearly always: whatever share of the points passes, and also where the
//! filter has to do with where the query is.

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
use serde_json::{Value, json};
use shoal_shard::api::{QuantizationParams, SearchRequest, Want};
use shoal_shard::{Limits, Shard};
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{Filter, Metric, Op, PointId};

const DIMENSIONS: usize = 24;
const CLUSTERS: usize = 40;
const POINTS: u64 = 12_000;
const QUERIES: usize = 60;
/// So short a beam that few points are scanned, and walks have to find the rest.
const EF: usize = 12;

/// Roughly normal.
fn noise(rng: &mut StdRng) -> f32 {
    (0..6).map(|_| rng.random::<f32>() - 0.5).sum()
}

struct Data {
    centres: Vec<Vec<f32>>,
}

impl Data {
    fn new(rng: &mut StdRng) -> Self {
        let centre = |rng: &mut StdRng| (0..DIMENSIONS).map(|_| 1.5 * noise(rng)).collect();
        Self { centres: (0..CLUSTERS).map(|_| centre(rng)).collect() }
    }

    fn near(&self, cluster: usize, rng: &mut StdRng) -> Vec<f32> {
        self.centres[cluster].iter().map(|x| x + noise(rng)).collect()
    }

    fn load(&self, shard: &Shard, rng: &mut StdRng) {
        for first in (0..POINTS).step_by(500) {
            let points = (first..first + 500).map(|id| {
                let cluster = rng.random_range(0..CLUSTERS);
                let payload = json!({"cluster": cluster, "n": rng.random_range(0..1_000), "m": rng.random_range(0..1_000)});
                point(id, &self.near(cluster, rng), &payload.to_string())
            });
            write(shard, &Op::Upsert(points.collect())).unwrap();
        }
    }
}

fn below(key: &str, share: f64) -> Value {
    json!({"key": key, "range": {"lt": 1_000.0 * share}})
}

/// Mean share of the exact ten that are found, over queries and the filter of each query's cluster.
fn recall(
    shard: &Shard,
    data: &Data,
    ef: usize,
    rng: &mut StdRng,
    filter: impl Fn(usize) -> Value,
) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for query in 0..QUERIES {
        let cluster = query % CLUSTERS;
        let mut request = SearchRequest {
            using: String::new(),
            sparse: None,
            vector: data.near(cluster, rng),
            filter: Some(Filter::parse(&filter(cluster)).unwrap()),
            k: 10,
            ef: Some(ef),
            exact: true,
            quantization: QuantizationParams::default(),
            score_threshold: None,
            want: Want::default(),
        };
        let ids = |request: &SearchRequest| -> HashSet<PointId> {
            shard.search(request).unwrap().iter().map(|found| found.hit.id).collect()
        };
        let exact = ids(&request);
        request.exact = false;
        let walked = ids(&request);
        assert_eq!(walked.len(), exact.len());
        found += walked.intersection(&exact).count();
        wanted += exact.len();
    }
    found as f64 / wanted as f64
}

fn check(shard: &Shard, data: &Data, what: &str, rng: &mut StdRng) {
    for share in [0.5f64, 0.2, 0.1, 0.04, 0.01, 0.001] {
        let root = share.sqrt();
        for filter in [
            json!({"must": [below("n", share)]}),
            json!({"must": [below("n", root), below("m", root)]}),
        ] {
            let recall = recall(shard, data, 64, rng, |_| filter.clone());
            assert!(recall >= 0.99, "{what}: recall@10 {recall} of {filter}");
        }
    }
    let clusters = |cluster: usize, from: usize, to: usize| -> Vec<usize> {
        (from..to).map(|n| (cluster + n) % CLUSTERS).collect()
    };
    // The query's own cluster and some more, all but those, and a few that have nothing to do with it.
    for (from, to) in [(0, 12), (12, 40), (20, 30), (20, 21)] {
        let filter = |cluster| json!({"must": {"key": "cluster", "match": {"any": clusters(cluster, from, to)}}});
        let usual = recall(shard, data, 64, rng, filter);
        assert!(usual >= 0.99, "{what}: recall@10 {usual} of clusters {from} to {to}");
        let short = recall(shard, data, EF, rng, filter);
        println!("{what}, clusters {from} to {to}: {usual}, with a short beam {short}");
        assert!(short >= 0.9, "{what}: recall@10 {short} of clusters {from} to {to}");
    }
}

fn fields() -> Vec<PayloadIndex> {
    let index = |field, kind| PayloadIndex::new(field, kind).unwrap();
    vec![
        index("cluster", IndexKind::Integer),
        index("n", IndexKind::Integer),
        index("m", IndexKind::Float),
    ]
}

#[test]
fn filtered_searches_find_nearly_all_in_segments_and_in_memory() {
    for (place, entries) in [("a segment", POINTS as usize), ("memory", 1 << 20)] {
        let mut rng = StdRng::seed_from_u64(5);
        let data = Data::new(&mut rng);
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { mutable_entries: entries, ..Limits::default() };
        let shard = open(dir.path(), identity(DIMENSIONS, Metric::Euclid), limits);
        set_indexes(&shard, &fields());
        data.load(&shard, &mut rng);
        if place == "a segment" {
            wait_until("all are in segments", || shard.info().unwrap().indexed_points == POINTS);
        }
        wait_until("indexed", || shard.info().unwrap().filters.pending == 0);
        let before = shard.info().unwrap().filters.counts;
        check(&shard, &data, place, &mut rng);
        let after = shard.info().unwrap().filters.counts;
        assert!(after.walks > before.walks && after.scans > before.scans, "{after:?}");
        assert_eq!(after.payloads, before.payloads, "no payload was looked at");
        // Without indexes the same is found, by looking at the payloads of what is near.
        set_indexes(&shard, &[]);
        for share in [0.5, 0.04] {
            let recall =
                recall(&shard, &data, 64, &mut rng, |_| json!({"must": [below("n", share)]}));
            assert!(recall >= 0.99, "{place}, not indexed: recall@10 {recall} of {share}");
        }
        assert!(shard.info().unwrap().filters.counts.payloads > after.payloads);
        shard.close();
    }
}
