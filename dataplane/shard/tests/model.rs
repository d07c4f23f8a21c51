//! Random ops against a plain model: whatever was flushed, reopened or copied in between, a shard answers as the model.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::path::Path;

use common::*;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde_json::json;
use shoal_shard::Shard;
use shoal_shard::api::{
    Identity, Parts, QuantizationParams, Record, ScrollRequest, SearchRequest, Want, WantVectors,
};
use shoal_vector::op::Selector;
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{
    Datatype, Filter, Metric, Op, PointId, PointVectors, PointWithSparse, Quantization,
    SparseVector, SparseVectorConfig, VectorConfig,
};

const METRICS: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

fn random_id(rng: &mut StdRng) -> PointId {
    match rng.random_ratio(1, 5) {
        true => PointId::Uuid(uuid::Uuid::from_u128(rng.random_range(0..8))),
        false => PointId::Num(rng.random_range(0..40)),
    }
}

fn random_ids(rng: &mut StdRng) -> Vec<PointId> {
    (0..rng.random_range(1..5)).map(|_| random_id(rng)).collect()
}

fn random_vector(size: usize, rng: &mut StdRng) -> Vec<f32> {
    // Few values, so that ties and zero vectors are frequent; some are rounded where halves are stored.
    let scale = if rng.random_ratio(1, 3) { 1.0 / 3.0 } else { 1.0 };
    (0..size).map(|_| scale * f32::from(rng.random_range(-2i8..3))).collect()
}

/// One unnamed vector, as most collections have, or some with names.
fn random_configs(rng: &mut StdRng) -> Vec<VectorConfig> {
    let names = match rng.random_range(0..3) {
        0 => &[""][..],
        1 => &["a", "b"],
        _ => &["b", "", "a"],
    };
    let config = |name: &&str| {
        let vector =
            VectorConfig::new(*name, rng.random_range(1..4), *METRICS.choose(rng).unwrap());
        VectorConfig { datatype: *Datatype::ALL.choose(rng).unwrap(), ..vector }
    };
    names.iter().map(config).collect()
}

/// The names of the sparse vectors of every collection here, in another order than the model's.
const SPARSE: [&str; 2] = ["t", "s"];

fn identity_with_sparse(configs: &[VectorConfig]) -> Identity {
    let sparse = SPARSE.map(|name| SparseVectorConfig { name: name.to_owned() });
    Identity { sparse: sparse.to_vec(), ..identity_of(configs.to_vec()) }
}

/// Few dimensions and values that add up without rounding, so that shared ones and ties are frequent.
fn random_sparse_vector(rng: &mut StdRng) -> SparseVector {
    let mut indices: Vec<u32> = vec![0, 1, 2, 70, 5000, u32::MAX];
    indices.retain(|_| rng.random_ratio(1, 3));
    let values = indices.iter().map(|_| f32::from(rng.random_range(-2i8..4))).collect();
    SparseVector::new(indices, values).unwrap()
}

fn random_sparse(rng: &mut StdRng) -> Vec<(String, SparseVector)> {
    let mut vectors = Vec::new();
    for name in SPARSE {
        if rng.random_ratio(2, 3) {
            vectors.push((name.to_owned(), random_sparse_vector(rng)));
        }
    }
    vectors
}

/// Some of a point's vectors, in any order.
fn random_vectors(configs: &[VectorConfig], rng: &mut StdRng) -> Vec<(String, Vec<f32>)> {
    let mut vectors = Vec::new();
    for config in configs {
        if rng.random_ratio(2, 3) {
            vectors.push((config.name.clone(), random_vector(config.size, rng)));
        }
    }
    vectors.shuffle(rng);
    vectors
}

fn random_payload(rng: &mut StdRng) -> Vec<u8> {
    let payload = match rng.random_range(0..5) {
        0 => return Vec::new(),
        1 => json!({"kind": rng.random_range(0..3)}),
        2 => json!({"kind": rng.random_range(0..3), "tags": ["x", "y"]}),
        3 => {
            let (n, on) = (rng.random_range(0..4), rng.random_bool(0.5));
            json!({"at": {"lon": n, "lat": 1}, "on": "2024-01-03", "items": [{"n": n, "on": on}, {"n": 1}]})
        }
        _ => json!({"tags": [], "deep": {"n": rng.random_range(0..10)}}),
    };
    payload.to_string().into_bytes()
}

/// Fields that filters ask for, each as something that it is, or is not.
fn random_indexes(rng: &mut StdRng) -> Vec<PayloadIndex> {
    let fields = ["kind", "tags", "deep.n", "deep", "none", "at", "on", "items[].n", "items[].on"];
    let chosen = fields.iter().filter(|_| rng.random_ratio(2, 3)).collect::<Vec<_>>();
    chosen
        .into_iter()
        .map(|field| PayloadIndex::new(field, *IndexKind::ALL.choose(rng).unwrap()).unwrap())
        .collect()
}

fn random_filter(rng: &mut StdRng) -> Filter {
    let filter = match rng.random_range(0..15) {
        10 => json!({"must": [
            {"key": "kind", "match": {"except": [rng.random_range(0..3)]}},
            {"key": "deep.n", "values_count": {"lt": 1}},
        ]}),
        11 => json!({"must": {"key": "deep.n", "range": {"gte": 2, "lt": rng.random_range(2..9)}}}),
        12 => json!({"must": [
            {"key": "kind", "match": {"value": rng.random_range(0..3)}},
            {"key": "tags", "match": {"value": "x"}},
            {"key": "not.indexed", "is_empty": true},
        ]}),
        13 => json!({"min_should": {"conditions": [
            {"key": "kind", "match": {"any": [0, 1]}}, {"key": "tags", "is_empty": false}, {"has_id": [1, 2, 30]},
        ], "min_count": 2}}),
        0 => json!({"must": {"key": "kind", "match": {"value": rng.random_range(0..3)}}}),
        1 => json!({"must": {"key": "tags", "match": {"any": ["y"]}}}),
        2 => json!({"must_not": {"is_empty": {"key": "tags"}}}),
        3 => {
            json!({"should": [{"key": "deep.n", "range": {"gte": 5}}, {"is_null": {"key": "kind"}}]})
        }
        4 => json!({"must": [{"has_id": [1, 2, 3, 30, 31]}, {"is_empty": {"key": "deep"}}]}),
        5 => json!({"must_not": {"has_id": [1, 2, 3]}}),
        6 => {
            let (n, on) = (rng.random_range(0..4), rng.random_bool(0.5));
            let both =
                json!([{"key": "n", "match": {"value": n}}, {"key": "on", "match": {"value": on}}]);
            json!({"must": {"nested": {"key": "items", "filter": {"must": both}}}})
        }
        7 => {
            let center = json!({"lon": rng.random_range(0..4), "lat": 1});
            json!({"must_not": {"key": "at", "geo_radius": {"center": center, "radius": 150_000}}})
        }
        8 => {
            let conditions = json!([
                {"key": "on", "range": {"gt": "2024-01-02", "lte": "2024-01-03T00:00:00Z"}},
                {"key": "tags", "match": {"text_any": "z y"}},
                {"key": "kind", "is_null": false},
            ]);
            let min_count = rng.random_range(0..4);
            json!({"min_should": {"conditions": conditions, "min_count": min_count}})
        }
        9 => {
            let name = *["a", "b", "s"].choose(rng).unwrap();
            json!({"must": {"has_vector": name}})
        }
        _ => json!({"must": [{"has_vector": ""}, {"key": "tags", "values_count": {"lt": 2}}]}),
    };
    Filter::parse(&filter).unwrap()
}

fn random_selector(rng: &mut StdRng) -> Selector {
    match rng.random_ratio(1, 4) {
        true => Selector::Filter(random_filter(rng)),
        false => Selector::Ids(random_ids(rng)),
    }
}

fn random_op(configs: &[VectorConfig], rng: &mut StdRng) -> Op {
    match rng.random_range(0..13) {
        0..5 => {
            let ids = random_ids(rng);
            let points = ids.into_iter().map(|id| shoal_vector::Point {
                id,
                vectors: random_vectors(configs, rng),
                payload: random_payload(rng),
            });
            let points: Vec<_> = points.collect();
            if rng.random_ratio(1, 3) {
                return Op::Upsert(points);
            }
            let points = points.into_iter();
            let points = points.map(|point| PointWithSparse { point, sparse: random_sparse(rng) });
            Op::UpsertWithSparse(points.collect())
        }
        5 => Op::Delete(random_selector(rng)),
        6 => Op::SetPayload {
            payload: json!({"kind": rng.random_range(0..3), "tags": null}).to_string().into_bytes(),
            key: [None, Some("deep".to_owned()), Some("deep.er[]".to_owned())]
                .choose(rng)
                .unwrap()
                .clone(),
            points: random_selector(rng),
        },
        7 => Op::OverwritePayload { payload: random_payload(rng), points: random_selector(rng) },
        8 => Op::DeletePayload {
            keys: vec!["kind".into(), "deep.n".into()],
            points: random_selector(rng),
        },
        9 => Op::ClearPayload(random_selector(rng)),
        10..12 => {
            let points = random_ids(rng).into_iter();
            let points = points.map(|id| {
                let vectors = random_vectors(configs, rng);
                PointVectors { id, vectors, sparse: random_sparse(rng) }
            });
            Op::UpdateVectors(points.collect())
        }
        _ => Op::DeleteVectors {
            names: match rng.random_ratio(1, 2) {
                true => vec![configs.choose(rng).unwrap().name.clone()],
                false => vec![(*SPARSE.choose(rng).unwrap()).to_owned()],
            },
            points: random_selector(rng),
        },
    }
}

/// Compares all that can be read.
fn compare(shard: &Shard, model: &Model, rng: &mut StdRng, context: &str) {
    compare_sparse(shard, model, rng, context);
    let all = ScrollRequest { filter: None, from: None, limit: 1000, want: everything() };
    let records = shard.scroll(&all).unwrap();
    let mut found: Vec<_> =
        records.iter().map(|record| (record.id, record.parts.clone())).collect();
    found.iter_mut().for_each(|(_, parts)| parts.sparse.sort_by(|(a, _), (b, _)| a.cmp(b)));
    let expected = model.points.iter().map(|(id, (vectors, payload))| {
        let (payload, vectors) = (Some(payload.clone()), Some(vectors.clone()));
        let sparse = model.sparse.get(id).cloned().unwrap_or_default();
        (*id, Parts { payload, vectors, sparse })
    });
    assert_eq!(found, expected.collect::<Vec<_>>(), "scroll, {context}");
    assert_eq!(shard.count(None).unwrap(), model.points.len() as u64, "count, {context}");

    let filter = random_filter(rng);
    let matching: Vec<PointId> = model.matching(&filter).collect();
    assert_eq!(
        shard.count(Some(&filter)).unwrap(),
        matching.len() as u64,
        "count of {filter:?}, {context}"
    );
    let from = random_id(rng);
    let page = ScrollRequest {
        filter: Some(filter.clone()),
        from: Some(from),
        limit: 5,
        want: Want::default(),
    };
    let page: Vec<PointId> =
        shard.scroll(&page).unwrap().into_iter().map(|record| record.id).collect();
    let expected: Vec<PointId> =
        matching.iter().copied().filter(|id| *id >= from).take(5).collect();
    assert_eq!(page, expected, "page from {from} of {filter:?}, {context}");

    let ids = random_ids(rng);
    let using = model.vectors.choose(rng).unwrap();
    let want = Want { vectors: WantVectors::Named(vec![using.name.clone()]), ..Want::default() };
    let got = shard.retrieve(&ids, &want).unwrap();
    let expected = ids.into_iter().filter_map(|id| {
        let mut vectors = model.points.get(&id)?.0.clone();
        vectors.retain(|(name, _)| *name == using.name);
        Some(Record { id, parts: Parts { vectors: Some(vectors), ..Parts::default() } })
    });
    assert_eq!(got, expected.collect::<Vec<_>>(), "retrieve, {context}");

    let vector = random_vector(using.size, rng);
    let k = rng.random_range(1..12);
    for filter in [None, Some(filter)] {
        let request = SearchRequest {
            using: using.name.clone(),
            vector: vector.clone(),
            sparse: None,
            filter: filter.clone(),
            k,
            ef: None,
            // So few points are compared one by one either way.
            exact: rng.random_ratio(1, 2),
            quantization: QuantizationParams::default(),
            score_threshold: None,
            want: Want::default(),
        };
        let found = shard.search(&request).unwrap();
        let found: Vec<_> = found.iter().map(|found| (found.hit.id, found.hit.score)).collect();
        let ids: Vec<PointId> = match &filter {
            Some(filter) => model.matching(filter).collect(),
            None => model.points.keys().copied().collect(),
        };
        let all = model.nearest(using, &vector, usize::MAX, ids.into_iter());
        assert_eq!(found, all[..k.min(all.len())], "search, {context}");
        compare_walked(shard, &SearchRequest { ef: Some(1), exact: false, ..request }, &all, rng);
    }
}

/// Checks a search that walks, where there is enough to walk over: it may miss some, and what it finds is right.
fn compare_walked(
    shard: &Shard,
    request: &SearchRequest,
    all: &[(PointId, f32)],
    rng: &mut StdRng,
) {
    let k = rng.random_range(1..4);
    let (ignore, rescore) = (rng.random_bool(0.3), rng.random_bool(0.7));
    let oversampling = *[1.0, 1.5, 3.0].choose(rng).unwrap();
    let quantization = QuantizationParams { ignore, rescore, oversampling };
    let request = SearchRequest { k, quantization, ..request.clone() };
    let found = shard.search(&request).unwrap();
    assert_eq!(found.len(), k.min(all.len()), "{request:?}");
    let places = found.iter().map(|found| {
        let hit = (found.hit.id, found.hit.score);
        all.iter().position(|one| *one == hit).unwrap_or_else(|| panic!("{hit:?} of {all:?}"))
    });
    assert!(places.is_sorted_by(|a, b| a < b), "{request:?}: {found:?}");
}

/// Compares what is found by sparse vectors.
fn compare_sparse(shard: &Shard, model: &Model, rng: &mut StdRng, context: &str) {
    let using = *SPARSE.choose(rng).unwrap();
    let query = random_sparse_vector(rng);
    let k = rng.random_range(1..12);
    for filter in [None, Some(random_filter(rng))] {
        let request = SearchRequest {
            using: using.to_owned(),
            vector: Vec::new(),
            sparse: Some(query.clone()),
            filter: filter.clone(),
            k,
            ef: None,
            exact: false,
            quantization: QuantizationParams::default(),
            score_threshold: None,
            want: Want::default(),
        };
        let found = shard.search(&request).unwrap();
        let found: Vec<_> = found.iter().map(|found| (found.hit.id, found.hit.score)).collect();
        let ids: Vec<PointId> = match &filter {
            Some(filter) => model.matching(filter).collect(),
            None => model.points.keys().copied().collect(),
        };
        let expected = model.nearest_sparse(using, &query, k, ids.into_iter());
        assert_eq!(found, expected, "sparse search of {query:?}, {context}");
    }
}

fn run(seed: u64, dir: &Path) {
    let mut rng = StdRng::seed_from_u64(seed);
    let configs = random_configs(&mut rng);
    let limits = small_limits(rng.random_range(3..30));
    let mut model = Model::new(configs.clone());
    let data = dir.join("data");
    let mut indexes = random_indexes(&mut rng);
    let open = |dir: &Path, indexes: &[PayloadIndex], rng: &mut StdRng| {
        // Each start has its own, so that segments of all kinds lie beside each other and are merged.
        let quantization = *Quantization::ALL.choose(rng).unwrap();
        let identity = identity_with_sparse(&configs);
        let shard = open_with(dir, identity, quantization, limits.clone());
        set_indexes(&shard, indexes);
        shard
    };
    let mut shard = open(&data, &indexes, &mut rng);
    for step in 0..rng.random_range(20..90) {
        let context = format!("seed {seed}, step {step}");
        match rng.random_range(0..20) {
            0 => {
                shard.close();
                shard = open(&data, &indexes, &mut rng);
            }
            // The disk as a crash at this moment would leave it, whatever the flusher is at.
            1 => {
                let copy = dir.join(format!("copy-{step}"));
                crash_copy(&data, &copy);
                let crashed = open(&copy, &indexes, &mut rng);
                compare(&crashed, &model, &mut rng, &format!("a copy, {context}"));
                crashed.close();
            }
            2 => {
                indexes = random_indexes(&mut rng);
                set_indexes(&shard, &indexes);
            }
            3..6 => compare(&shard, &model, &mut rng, &context),
            _ => {
                let op = random_op(&configs, &mut rng);
                write(&shard, &op).unwrap_or_else(|error| panic!("{context}: {error}"));
                model.apply(&op);
            }
        }
    }
    compare(&shard, &model, &mut rng, &format!("seed {seed}, at the end"));
    shard.close();
    let shard = open(&data, &indexes, &mut rng);
    if rng.random_ratio(1, 3) {
        wait_until("all indexes are ready", || shard.info().unwrap().filters.pending == 0);
    }
    compare(&shard, &model, &mut rng, &format!("seed {seed}, opened again"));
    shard.close();
}

#[test]
fn a_shard_answers_as_a_plain_model_does() {
    let seeds = match std::env::var("SHOAL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..60u64,
    };
    for seed in seeds {
        println!("seed {seed}");
        let dir = tempfile::tempdir().unwrap();
        run(seed, dir.path());
    }
}
