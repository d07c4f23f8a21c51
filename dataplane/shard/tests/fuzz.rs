//! A short run of the fuzz targets: mutations of real files, from a seed.
//!
//! `SHOAL_FUZZ_CASES` makes it longer (cases a target), `SHOAL_SEED` repeats one. `SHOAL_FUZZ_CORPUS` names a folder to
//! which the real files are written for `dataplane/shard/fuzz`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::api::Identity;
use shoal_shard::snapshot::Restore;
use shoal_shard::{Shard, encode_op, fuzz};
use shoal_vector::op::Selector;
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{
    Datatype, Filter, Metric, Op, PointId, PointWithSparse, SparseVector, SparseVectorConfig,
    VectorConfig,
};

const CASES: u64 = 400;

/// Valid inputs of each target; where their first byte says how to take the rest, its bit 0 is clear.
type Corpus = BTreeMap<&'static str, Vec<Vec<u8>>>;

const FILTERS: [&str; 5] = [
    r#"{"must":[{"key":"n","match":{"value":"x y"}},{"key":"t[]","match":{"any":["x","y"]}},{"has_id":[7,"f47ac10b-58cc-4372-a567-0e02b2c3d479"]}]}"#,
    r#"{"should":{"key":"a","range":{"gte":-1.5,"lt":3e9}},"must_not":[{"is_empty":{"key":"o.b"}},{"is_null":{"key":"z"}}]}"#,
    r#"{"min_should":{"conditions":[{"key":"o.b[].c","values_count":{"gt":0}},{"has_vector":""}],"min_count":1}}"#,
    r#"{"must":{"nested":{"key":"o.b","filter":{"must":{"key":"c","match":{"except":[2]}}}}}}"#,
    r#"{"must":[{"key":"g","geo_radius":{"center":{"lon":1,"lat":2},"radius":10}},{"key":"d","range":{"gt":"2024-01-02T03:04:05Z"}},{"key":"n","match":{"text_any":"x z"}},{"key":"g","geo_polygon":{"exterior":{"points":[{"lon":0,"lat":0},{"lon":9,"lat":0},{"lon":9,"lat":9},{"lon":0,"lat":0}]}}},{"key":"g","geo_bounding_box":{"top_left":{"lon":0,"lat":9},"bottom_right":{"lon":9,"lat":0}}}]}"#,
];

fn ops() -> Vec<Op> {
    let ids = |ids: &[u64]| Selector::Ids(ids.iter().copied().map(PointId::Num).collect());
    let filter = |text: &str| Filter::parse(&serde_json::from_str(text).unwrap()).unwrap();
    let payload = || b"{\"n\":\"x y\",\"m\":[1,2]}".to_vec();
    let mut ops: Vec<Op> = (0..40)
        .map(|id| Op::Upsert(vec![point(id, &[id as f32, 1.5], "{\"n\":\"x y\",\"a\":1}")]))
        .collect();
    ops.push(Op::SetPayload {
        payload: payload(),
        key: Some("o.b[]".into()),
        points: ids(&[1, 2]),
    });
    ops.push(Op::OverwritePayload { payload: payload(), points: ids(&[3]) });
    ops.push(Op::DeletePayload { keys: vec!["n".into()], points: ids(&[4]) });
    ops.push(Op::ClearPayload(ids(&[5])));
    ops.push(Op::Delete(ids(&[6, 7])));
    ops.extend(FILTERS.map(|text| Op::ClearPayload(Selector::Filter(filter(text)))));
    ops.push(Op::Upsert((50..60).map(|id| point(id, &[1.0, 2.0], "")).collect()));
    ops
}

fn own() -> Identity {
    Identity { collection: "c".into(), shard: "c-0".into(), ..identity(2, Metric::Dot) }
}

/// Opens the first of a corpus's shards, or the second, which has another and a sparse vector.
fn open_one(dir: &Path, second: bool) -> Shard {
    let mut own = own();
    if second {
        own.vectors.push(VectorConfig {
            datatype: Datatype::Float16,
            ..VectorConfig::new("b", 1, Metric::Euclid)
        });
        own.sparse.push(SparseVectorConfig { name: "s".into() });
    }
    open(dir, own, small_limits(20))
}

/// The files of a folder, behind this byte.
fn files(folder: &Path, first: u8) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| behind(first, fs::read(entry.unwrap().path()).unwrap())).collect()
}

fn behind(first: u8, bytes: Vec<u8>) -> Vec<u8> {
    [vec![first], bytes].concat()
}

/// Files of real shards.
fn corpus() -> Corpus {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let shard = open_one(&one, false);
    set_indexes(&shard, &[PayloadIndex::new("a", IndexKind::Integer).unwrap()]);
    let ops = ops();
    for op in &ops {
        write(&shard, op).unwrap();
    }
    wait_until("segments", || shard.info().unwrap().flushed_seq > 30);
    let snapshot: Vec<Vec<u8>> = shard.snapshot().unwrap().stream(0).map(Result::unwrap).collect();
    shard.close();
    let half = dir.path().join("half");
    let mut restore = Restore::begin(&half, own()).unwrap();
    snapshot[..snapshot.len() / 2].iter().for_each(|block| restore.push(block).unwrap());
    drop(restore);
    let shard = open_one(&two, true);
    for id in 0..25 {
        let mut point = point(id, &[id as f32, 1.0], "");
        point.vectors.push(("b".into(), vec![0.5]));
        let sparse =
            vec![("s".into(), SparseVector::new(vec![1, 7], vec![1.0, id as f32]).unwrap())];
        write(&shard, &Op::UpsertWithSparse(vec![PointWithSparse { point, sparse }])).unwrap();
    }
    wait_until("a segment", || shard.info().unwrap().segments > 0);
    shard.close();
    let small = [(one.join("identity"), 0), (one.join("indexes"), 2), (half.join("restoring"), 4)];
    BTreeMap::from([
        ("wal", files(&one.join("wal"), 0)),
        ("segment", [files(&one.join("segments"), 0), files(&two.join("segments"), 2)].concat()),
        ("manifest", vec![behind(0, fs::read(one.join("manifest")).unwrap())]),
        ("snapshot", vec![behind(0, snapshot.concat())]),
        ("small", small.map(|(path, first)| behind(first, fs::read(path).unwrap())).to_vec()),
        ("filter", FILTERS.map(|text| text.as_bytes().to_vec()).to_vec()),
        ("op", ops.iter().map(encode_op).collect()),
    ])
}

/// Whether a target's first byte says how to take the rest.
fn has_switch(target: &str) -> bool {
    !matches!(target, "filter" | "op")
}

fn interesting(rng: &mut StdRng) -> u64 {
    let near = [
        0,
        1,
        0x7f,
        0xff,
        0x7fff,
        0xffff,
        0x7fff_ffff,
        0xffff_ffff,
        1 << 40,
        i64::MAX as u64,
        u64::MAX,
    ];
    near[rng.random_range(0..near.len())].wrapping_add(rng.random_range(0..3)).wrapping_sub(1)
}

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut StdRng) {
    if bytes.is_empty() {
        bytes.push(rng.random());
        return;
    }
    // Small things stand at the beginning and at the end.
    let mut at = rng.random_range(0..bytes.len());
    match rng.random_range(0..4) {
        0 => at = at.min(rng.random_range(0..160)),
        1 => at = bytes.len() - 1 - (bytes.len() - 1 - at).min(rng.random_range(0..400)),
        _ => {}
    }
    let end = (at + rng.random_range(1..80)).min(bytes.len());
    match rng.random_range(0..9) {
        0..3 => bytes[at] ^= 1 << rng.random_range(0..8),
        3 => bytes[at] = rng.random(),
        4 => {
            let width = [1, 2, 4, 8][rng.random_range(0..4)].min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&interesting(rng).to_le_bytes()[..width]);
        }
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..end)),
        7 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => {
            let other = &others[rng.random_range(0..others.len())];
            let from = rng.random_range(0..other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn input(target: &str, valid: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bytes = valid[rng.random_range(0..valid.len())].clone();
    (0..rng.random_range(1..4)).for_each(|_| mutate(&mut bytes, valid, &mut rng));
    if let (true, Some(first)) = (has_switch(target), bytes.first_mut()) {
        *first ^= rng.random_range(0..2);
    }
    bytes
}

fn write_corpus(corpus: &Corpus, folder: &Path) {
    for (target, valid) in corpus {
        let folder = folder.join(target);
        fs::create_dir_all(&folder).unwrap();
        for (number, bytes) in valid.iter().enumerate() {
            for how in 0..=u8::from(has_switch(target)) {
                let mut bytes = bytes.clone();
                bytes[0] |= how;
                fs::write(folder.join(format!("{number}-{how}")), bytes).unwrap();
            }
        }
    }
}

#[test]
fn no_mutation_of_a_real_file_makes_a_reader_panic() {
    let corpus = corpus();
    if let Some(folder) = std::env::var_os("SHOAL_FUZZ_CORPUS") {
        write_corpus(&corpus, Path::new(&folder));
    }
    let scratch = tempfile::tempdir().unwrap();
    let cases = number("SHOAL_FUZZ_CASES").unwrap_or(CASES);
    let seeds = match number("SHOAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..cases,
    };
    let mut failed = Vec::new();
    for (target, run) in fuzz::TARGETS {
        let valid = &corpus[target];
        for bytes in valid {
            run(scratch.path(), bytes);
        }
        for seed in seeds.clone() {
            let bytes = input(target, valid, seed);
            if catch_unwind(AssertUnwindSafe(|| run(scratch.path(), &bytes))).is_err() {
                let kept = std::env::temp_dir().join(format!("shoal-fuzz-{target}-{seed}"));
                fs::write(&kept, &bytes).unwrap();
                failed.push(format!("target {target}, SHOAL_SEED={seed}: {}", kept.display()));
            }
        }
    }
    assert!(failed.is_empty(), "these inputs panicked:\n{}", failed.join("\n"));
}
