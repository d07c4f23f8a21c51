//! What the model test does to a shard, drawn at random: few ids, values and fields, so that they meet often.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::json;
use shoal_shard::api::Identity;
use shoal_vector::op::Selector;
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{
    Datatype, Filter, Metric, Op, PointId, PointVectors, PointWithSparse, SparseVector,
    SparseVectorConfig, VectorConfig,
};

use crate::common::identity_of;

pub(crate) const METRICS: [Metric; 4] =
    [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

pub(crate) fn random_id(rng: &mut StdRng) -> PointId {
    match rng.random_ratio(1, 5) {
        true => PointId::Uuid(uuid::Uuid::from_u128(rng.random_range(0..8))),
        false => PointId::Num(rng.random_range(0..40)),
    }
}

pub(crate) fn random_ids(rng: &mut StdRng) -> Vec<PointId> {
    (0..rng.random_range(1..5)).map(|_| random_id(rng)).collect()
}

pub(crate) fn random_vector(size: usize, rng: &mut StdRng) -> Vec<f32> {
    // Few values, so that ties and zero vectors are frequent; some are rounded where halves are stored.
    let scale = if rng.random_ratio(1, 3) { 1.0 / 3.0 } else { 1.0 };
    (0..size).map(|_| scale * f32::from(rng.random_range(-2i8..3))).collect()
}

/// One unnamed vector, as most collections have, or some with names.
pub(crate) fn random_configs(rng: &mut StdRng) -> Vec<VectorConfig> {
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
pub(crate) const SPARSE: [&str; 2] = ["t", "s"];

pub(crate) fn identity_with_sparse(configs: &[VectorConfig]) -> Identity {
    let sparse = SPARSE.map(|name| SparseVectorConfig { name: name.to_owned() });
    Identity { sparse: sparse.to_vec(), ..identity_of(configs.to_vec()) }
}

/// Few dimensions and values that add up without rounding, so that shared ones and ties are frequent.
pub(crate) fn random_sparse_vector(rng: &mut StdRng) -> SparseVector {
    let mut indices: Vec<u32> = vec![0, 1, 2, 70, 5000, u32::MAX];
    indices.retain(|_| rng.random_ratio(1, 3));
    let values = indices.iter().map(|_| f32::from(rng.random_range(-2i8..4))).collect();
    SparseVector::new(indices, values).unwrap()
}

pub(crate) fn random_sparse(rng: &mut StdRng) -> Vec<(String, SparseVector)> {
    let mut vectors = Vec::new();
    for name in SPARSE {
        if rng.random_ratio(2, 3) {
            vectors.push((name.to_owned(), random_sparse_vector(rng)));
        }
    }
    vectors
}

/// Some of a point's vectors, in any order.
pub(crate) fn random_vectors(
    configs: &[VectorConfig],
    rng: &mut StdRng,
) -> Vec<(String, Vec<f32>)> {
    let mut vectors = Vec::new();
    for config in configs {
        if rng.random_ratio(2, 3) {
            vectors.push((config.name.clone(), random_vector(config.size, rng)));
        }
    }
    vectors.shuffle(rng);
    vectors
}

pub(crate) fn random_payload(rng: &mut StdRng) -> Vec<u8> {
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
pub(crate) fn random_indexes(rng: &mut StdRng) -> Vec<PayloadIndex> {
    let fields = ["kind", "tags", "deep.n", "deep", "none", "at", "on", "items[].n", "items[].on"];
    let chosen = fields.iter().filter(|_| rng.random_ratio(2, 3)).collect::<Vec<_>>();
    chosen
        .into_iter()
        .map(|field| PayloadIndex::new(field, *IndexKind::ALL.choose(rng).unwrap()).unwrap())
        .collect()
}

pub(crate) fn random_filter(rng: &mut StdRng) -> Filter {
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

pub(crate) fn random_selector(rng: &mut StdRng) -> Selector {
    match rng.random_ratio(1, 4) {
        true => Selector::Filter(random_filter(rng)),
        false => Selector::Ids(random_ids(rng)),
    }
}

pub(crate) fn random_op(configs: &[VectorConfig], rng: &mut StdRng) -> Op {
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
