//! Compares a shard with the model, by every kind of read.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use shoal_shard::Shard;
use shoal_shard::api::{
    Parts, QuantizationParams, Record, ScrollRequest, SearchRequest, Want, WantVectors,
};
use shoal_vector::PointId;

use crate::common::{Model, everything};
use crate::random::*;

/// Compares all that can be read.
pub(crate) fn compare(shard: &Shard, model: &Model, rng: &mut StdRng, context: &str) {
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
pub(crate) fn compare_walked(
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
pub(crate) fn compare_sparse(shard: &Shard, model: &Model, rng: &mut StdRng, context: &str) {
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
