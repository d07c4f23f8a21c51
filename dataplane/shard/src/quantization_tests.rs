//! A changed quantization is that of graphs that are made from then on; those there are stay, and are walked as what they
//! are.

use std::path::Path;

use shoal_vector::codes::CodeBits;
use shoal_vector::{Metric, Op, Point, PointId, Quantization, VectorConfig};

use crate::api::{Identity, OpOrigin, QuantizationParams, SearchRequest, Tuning, Tunings, Want};
use crate::limits::Limits;
use crate::snapshot::Restore;
use crate::{Shard, encode_op};

/// Points of a flush.
const FLUSH: u64 = 40;
const DIMENSIONS: usize = 8;

fn identity() -> Identity {
    let vector = |name: &str| VectorConfig::new(name, DIMENSIONS, Metric::Euclid);
    let vectors = vec![vector("changes"), vector("stays")];
    Identity { collection: "c".into(), shard: "s".into(), vectors, sparse: Vec::new() }
}

fn open(dir: &Path, quantization: Quantization) -> Shard {
    let tuning = |quantization| Tuning { ef_construct: 20, ef: 8, quantization };
    let named = vec![("changes".to_owned(), tuning(quantization))];
    let tuning = Tunings { default: tuning(Quantization::Int8), named };
    let limits = Limits { mutable_entries: FLUSH as usize, ..Limits::default() };
    Shard::open(dir, identity(), tuning, limits).unwrap()
}

fn vector(id: u64) -> Vec<f32> {
    (1..=DIMENSIONS).map(|i| (id as f32 * 1.7 * i as f32).sin()).collect()
}

fn write(shard: &Shard, ids: std::ops::Range<u64>) {
    let point = |id| {
        let vectors = ["changes", "stays"].map(|name| (name.to_owned(), vector(id)));
        Point { id: PointId::Num(id), vectors: vectors.to_vec(), payload: Vec::new() }
    };
    let op = encode_op(&Op::Upsert(ids.map(point).collect()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(shard.write(op.into(), OpOrigin::default(), true)).unwrap();
}

/// By what the graphs of a vector are walked, segment by segment.
fn kinds(shard: &Shard, number: usize) -> Vec<Quantization> {
    let kind = |segment: &crate::segment::Segment| {
        let coder = segment.graph(number, Metric::Euclid).unwrap().coder;
        match coder.map(|coder| coder.bits()) {
            Some(CodeBits::Four) => Quantization::Bits4,
            Some(CodeBits::Eight) => Quantization::Int8,
            None => Quantization::None,
        }
    };
    shard.view().segments.iter().map(|placed| kind(&placed.segment)).collect()
}

fn wait_for_segments(shard: &Shard, count: usize, points: u64) {
    for _ in 0..6_000 {
        let info = shard.info().unwrap();
        if info.segments == count as u64 && info.indexed_points == points {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no {count} segments after a minute: {:?}", shard.info());
}

/// Each of the points finds itself first. Segments have so many that they are walked.
fn check_searches(shard: &Shard, points: u64) {
    let lax = QuantizationParams { rescore: false, ..QuantizationParams::default() };
    let ignoring = QuantizationParams { ignore: true, ..QuantizationParams::default() };
    for (id, quantization) in
        (0..points).flat_map(|id| [QuantizationParams::default(), lax, ignoring].map(|p| (id, p)))
    {
        for using in ["changes", "stays"] {
            let request = SearchRequest {
                using: using.to_owned(),
                vector: vector(id),
                sparse: None,
                filter: None,
                k: 2,
                ef: None,
                exact: false,
                quantization,
                score_threshold: None,
                want: Want::default(),
            };
            let found = shard.search(&request).unwrap();
            assert_eq!(found.len(), 2);
            // Codes alone may mistake a neighbour for it.
            let nearest = (found[0].hit.id, found[0].hit.score);
            assert!(nearest == (PointId::Num(id), 0.0) || !quantization.rescore, "{nearest:?}");
        }
    }
}

#[test]
fn a_changed_quantization_is_that_of_segments_made_from_then_on() {
    use Quantization::{Bits4, Int8, None};
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for (quantization, flush) in [Bits4, Int8, None].into_iter().zip(0..) {
        let shard = open(dir.path(), quantization);
        assert_eq!(kinds(&shard, 0), expected, "what is there stays");
        write(&shard, flush * FLUSH..(flush + 1) * FLUSH);
        expected.push(quantization);
        wait_for_segments(&shard, expected.len(), (flush + 1) * FLUSH);
        assert_eq!(kinds(&shard, 0), expected);
        assert_eq!(kinds(&shard, 1), vec![Int8; expected.len()]);
        // Some in memory too, so few that no segment is written anew for them.
        write(&shard, 0..5);
        check_searches(&shard, (flush + 1) * FLUSH);
        shard.close();
    }
}

#[test]
fn a_merged_segment_is_what_the_setting_says_and_a_restored_one_what_it_was() {
    use Quantization::{Bits4, Int8, None};
    for (first, then) in [(Bits4, None), (None, Bits4), (Bits4, Int8)] {
        let dir = tempfile::tempdir().unwrap();
        let shard = open(&dir.path().join("a"), first);
        (0..3).for_each(|flush| write(&shard, flush * FLUSH..(flush + 1) * FLUSH));
        wait_for_segments(&shard, 3, 3 * FLUSH);
        assert_eq!(kinds(&shard, 0), [first; 3]);
        shard.close();
        // Four neighbours become one.
        let shard = open(&dir.path().join("a"), then);
        write(&shard, 3 * FLUSH..4 * FLUSH);
        wait_for_segments(&shard, 1, 4 * FLUSH);
        assert_eq!(kinds(&shard, 0), [then]);
        check_searches(&shard, 4 * FLUSH);

        let mut restore = Restore::begin(&dir.path().join("b"), identity()).unwrap();
        for block in shard.snapshot().unwrap().stream(0) {
            restore.push(&block.unwrap()).unwrap();
        }
        restore.finish().unwrap();
        shard.close();
        let copy = open(&dir.path().join("b"), first);
        assert_eq!(kinds(&copy, 0), [then]);
        check_searches(&copy, 4 * FLUSH);
        copy.close();
    }
}
