//! A segment reads back as it was written, and damage anywhere in its file is seen.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use shoal_vector::codes::{CodeBits, Rotation};
use shoal_vector::sparse::dot;
use shoal_vector::{Datatype, Elements, Metric, PointId, Quantization, SparseVector, VectorConfig};
use uuid::Uuid;

use super::*;
use crate::api::QuantizationParams;
use crate::error::OpenError;
use crate::graph::{self, Accepted, BuildOptions, Target};
use crate::mutable::Put;
use crate::vectors::{Dense, Vectors};

const DISK: Uuid = Uuid::from_u128(3);
const DIMENSIONS: usize = 5;
/// Every collection here has as many sparse vectors.
const SPARSE: usize = 2;
/// Of a collection with three vectors, the first of which has those above.
const SEVERAL: [usize; 3] = [DIMENSIONS, 3, 8];

/// Vectors of these dimensions. What the tests write of them are small whole numbers, which any datatype holds.
fn configs(dimensions: &[usize], datatype: Datatype) -> Vec<VectorConfig> {
    let config = |(number, &size): (usize, &usize)| {
        let distance = [Metric::Euclid, Metric::Manhattan, Metric::Cosine][number];
        VectorConfig { datatype, ..VectorConfig::new(format!("v{number}"), size, distance) }
    };
    dimensions.iter().enumerate().map(config).collect()
}

fn id(n: u64) -> PointId {
    match n % 3 {
        0 => PointId::Uuid(Uuid::from_u128(u128::from(n) << 60)),
        _ => PointId::Num(n * 7),
    }
}

fn vector(n: u64, dimensions: usize) -> Dense {
    (0..dimensions).map(|i| ((n * 31 + i as u64 * 17) % 101) as f32).collect()
}

/// Ids below `puts` are points, then come edits, then tombstones.
fn content(
    puts: u64,
    edits: u64,
    tombstones: u64,
    payload: impl Fn(u64) -> Vec<u8>,
) -> SegmentContent {
    let put = |n: u64| {
        let vectors = [(0, vector(n, DIMENSIONS))].into_iter().collect();
        (id(n), Arc::new(Put { seq: n + 1, vectors, payload: payload(n).into() }))
    };
    let mut content = SegmentContent {
        puts: (0..puts).map(put).collect(),
        edits: (puts..puts + edits).map(|n| (id(n), n + 1, payload(n).into())).collect(),
        tombstones: (puts + edits..puts + edits + tombstones).map(|n| (id(n), n + 1)).collect(),
        last_seq: puts + edits + tombstones,
    };
    content.puts.sort_by_key(|(id, _)| *id);
    content.edits.sort_by_key(|(id, ..)| *id);
    content.tombstones.sort();
    content
}

fn write(path: &Path, content: &SegmentContent) {
    write_with(path, content, &[DIMENSIONS]);
}

fn write_with(path: &Path, content: &SegmentContent, dimensions: &[usize]) {
    write_as(path, content, &configs(dimensions, Datatype::Float32));
}

fn write_as(path: &Path, content: &SegmentContent, configs: &[VectorConfig]) {
    let options = |(number, config): (usize, &VectorConfig)| BuildOptions {
        metric: config.distance,
        dimensions: config.size,
        datatype: config.datatype,
        ef: 20,
        refine_ef: 20,
        max_links: 16,
        quantization: [Quantization::Bits4, Quantization::None, Quantization::Int8][number],
    };
    let options: Vec<BuildOptions> = configs.iter().enumerate().map(options).collect();
    write_segment(path, DISK, content, &options, SPARSE).unwrap();
}

fn open(path: &Path) -> Result<Segment, OpenError> {
    open_with(path, &[DIMENSIONS])
}

fn open_with(path: &Path, dimensions: &[usize]) -> Result<Segment, OpenError> {
    open_as(path, &configs(dimensions, Datatype::Float32))
}

fn open_as(path: &Path, configs: &[VectorConfig]) -> Result<Segment, OpenError> {
    Segment::open(path, 1, DISK, Kinds { dense: configs, sparse: SPARSE })
}

fn check(segment: &Segment, content: &SegmentContent) {
    segment.verify().unwrap();
    assert_eq!(segment.len() as usize, content.puts.len());
    assert_eq!(segment.edits() as usize, content.edits.len());
    assert_eq!(segment.last_seq(), content.last_seq);
    let mut cache = PayloadCache::default();
    for (place, (id, put)) in content.puts.iter().enumerate() {
        let spot = segment.find(*id).unwrap();
        assert_eq!(spot.place as usize, place);
        assert_eq!(segment.lower_bound(*id), spot.place);
        assert_eq!(segment.id(spot.ordinal), *id);
        assert_eq!(segment.seq(spot.ordinal), put.seq);
        for number in 0..segment.vectors() {
            let vector = put.vectors.get(number);
            let found = segment.vector(number, spot.ordinal).map(Elements::to_vec);
            assert_eq!(found.as_deref(), vector.map(|vector| &**vector));
            let row = segment.row(number, spot.ordinal);
            assert_eq!(row.is_some(), vector.is_some());
            assert!(row.is_none_or(|row| segment.ordinal_of(number, row) == spot.ordinal));
        }
        let copied = segment.vectors_of(spot.ordinal);
        assert!(copied.iter().eq(put.vectors.iter()));
        assert!(copied.iter_sparse().eq(put.vectors.iter_sparse()));
        for number in 0..SPARSE {
            let pairs = segment.sparse_pairs(number, spot.ordinal);
            assert_eq!(pairs.is_some(), put.vectors.sparse(number).is_some());
        }
        assert_eq!(segment.payload(&mut cache, spot.place).unwrap(), &*put.payload);
        assert!(segment.edit(*id).is_none() && !segment.has_tombstone(*id));
    }
    for (id, seq, payload) in &content.edits {
        let (found_seq, item) = segment.edit(*id).unwrap();
        assert_eq!(found_seq, *seq);
        assert_eq!(segment.payload(&mut PayloadCache::default(), item).unwrap(), &**payload);
        assert!(segment.find(*id).is_none());
    }
    for (id, _) in &content.tombstones {
        assert!(
            segment.has_tombstone(*id)
                && segment.find(*id).is_none()
                && segment.edit(*id).is_none()
        );
    }
    assert!(segment.find(PointId::Num(5)).is_none());
}

#[test]
fn a_segment_of_any_parts_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let payload = |n: u64| vec![n as u8; (n as usize * 701) % 40_000];
    for (puts, edits, tombstones) in [(0, 1, 0), (0, 0, 1), (1, 0, 0), (2, 3, 4), (300, 20, 20)] {
        let path = dir.path().join("segment");
        let content = content(puts, edits, tombstones, payload);
        write(&path, &content);
        check(&open(&path).unwrap(), &content);
    }
}

/// Sometimes empty.
fn sparse_vector(n: u64) -> Arc<SparseVector> {
    let mut indices = vec![n as u32 % 3, 20 + n as u32 % 2, 1000 + n as u32];
    indices.truncate(n as usize % 4);
    let values = indices.iter().map(|index| *index as f32 * 0.25).collect();
    Arc::new(SparseVector::new(indices, values).unwrap())
}

/// Points of which each has those of three vectors, and then of two sparse ones, whose bits are set in `which`.
fn lacking(puts: u64, which: impl Fn(u64) -> u64) -> SegmentContent {
    let mut content = content(puts, 5, 5, |n| format!("{{\"n\":{n}}}").into_bytes());
    for (place, (_, put)) in content.puts.iter_mut().enumerate() {
        let has = which(place as u64);
        let own = SEVERAL.into_iter().enumerate().filter(|(number, _)| has >> number & 1 == 1);
        let vectors = own.map(|(number, dimensions)| (number, vector(put.seq, dimensions)));
        let vectors: Vectors = vectors.collect();
        let sparse = (0..SPARSE).filter(|number| has >> (3 + number) & 1 == 1);
        let vectors = vectors.with_sparse(sparse.map(|number| (number, sparse_vector(put.seq))));
        let (seq, payload) = (put.seq, put.payload.clone());
        *put = Arc::new(Put { seq, vectors, payload });
    }
    content
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn points_that_lack_any_of_several_vectors_read_back(which in prop::collection::vec(0u64..32, 0..60)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let content = lacking(which.len() as u64, |n| which[n as usize]);
        write_with(&path, &content, &SEVERAL);
        let segment = open_with(&path, &SEVERAL).unwrap();
        check(&segment, &content);
        for number in 0..3 {
            let have = which.iter().filter(|has| **has >> number & 1 == 1).count();
            prop_assert_eq!(segment.rows(number) as usize, have);
        }
        for number in 0..SPARSE {
            let query = SparseVector::new(vec![1, 20, 999], vec![2.0, 0.5, 1.0]).unwrap();
            let expected = content.puts.iter().filter_map(|(id, put)| {
                let vector = put.vectors.sparse(number)?;
                Some((segment.find(*id)?.ordinal, dot(query.pairs(), vector.pairs())?))
            });
            let mut expected: Vec<(u32, f32)> = expected.collect();
            expected.sort_by_key(|(ordinal, _)| *ordinal);
            let sums = segment.products(number, &query);
            prop_assert_eq!(sums.scores().collect::<Vec<_>>(), expected);
        }
        prop_assert_eq!(read_all(&path, &SEVERAL), Ok(()));
    }
}

/// What reading everything comes to: `Err` if damage was seen at any point.
fn read_all(path: &Path, dimensions: &[usize]) -> Result<(), String> {
    let segment = open_with(path, dimensions).map_err(|error| error.to_string())?;
    // Readers meet damage before the background check does: they must survive it.
    let mut cache = PayloadCache::default();
    for item in 0..segment.len() + segment.edits() {
        segment.payload(&mut cache, item).map_err(|damage| damage.to_string())?;
    }
    let dead = roaring::RoaringBitmap::new();
    for (number, dimensions) in dimensions.iter().copied().enumerate() {
        let query = vector(3, dimensions);
        let metric = [Metric::Euclid, Metric::Manhattan, Metric::Cosine][number];
        let graph = segment.graph(number, metric).ok_or("no graph")?;
        let target = Target::new(&query, &Rotation::new(dimensions), QuantizationParams::default());
        for near in graph::search(graph, &target, 10, 10, Accepted::Living { dead: &dead }) {
            segment.id(segment.ordinal_of(number, near.node));
        }
    }
    for number in 0..SPARSE {
        let query =
            SparseVector::new(vec![1, 20, 1003], vec![1.0; 3]).map_err(|e| e.to_string())?;
        for (ordinal, _) in segment.products(number, &query).scores() {
            segment.id(ordinal);
        }
        (0..segment.len()).for_each(|ordinal| drop(segment.sparse(number, ordinal)));
    }
    segment.verify().map_err(|damage| damage.to_string())
}

#[test]
fn any_flipped_byte_and_any_cut_is_seen_and_nothing_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    write_with(&path, &lacking(24, |n| n), &SEVERAL);
    let good = fs::read(&path).unwrap();
    assert_eq!(read_all(&path, &SEVERAL), Ok(()));
    let padding = padding_bytes(&good);
    assert!(padding.len() < good.len() / 8);
    // Every byte of what is small, and some of the links.
    let bytes = (0..good.len()).filter(|byte| byte % 7 == 0 || !(1024..15_000).contains(byte));
    for byte in bytes.filter(|byte| !padding.contains(byte)) {
        let mut bad = good.clone();
        bad[byte] ^= 1 << (byte % 8);
        fs::write(&path, &bad).unwrap();
        assert!(read_all(&path, &SEVERAL).is_err(), "byte {byte}");
    }
    for len in (0..good.len()).step_by(97) {
        fs::write(&path, &good[..len]).unwrap();
        assert!(read_all(&path, &SEVERAL).is_err(), "cut at {len}");
    }
}

#[test]
fn a_summary_of_more_points_than_there_can_be_is_damage_and_no_overflow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    write(&path, &content(3, 1, 1, |_| vec![]));
    let good = fs::read(&path).unwrap();
    let entries = layout::decode_directory(&good).unwrap();
    let summary = entries.iter().find(|entry| entry.number == layout::SectionKind::Summary as u32);
    let at = summary.unwrap().offset as usize;
    for number in [0, 2, 3] {
        let mut bad = good.clone();
        bad[at + 8 * number..][..8].fill(0xff);
        reseal(&mut bad);
        fs::write(&path, &bad).unwrap();
        let opened = open(&path).map(drop);
        assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "number {number}: {opened:?}");
    }
}

/// Bytes between sections, which hold nothing.
fn padding_bytes(file: &[u8]) -> std::collections::HashSet<usize> {
    let entries = layout::decode_directory(file).unwrap();
    let directory = entries.len() * layout::ENTRY_BYTES + layout::FOOTER_BYTES;
    let mut unused: std::collections::HashSet<usize> = (64..file.len() - directory).collect();
    for entry in &entries {
        let bytes = entry.offset as usize..(entry.offset + entry.len) as usize;
        unused.retain(|byte| !bytes.contains(byte));
    }
    unused
}

#[test]
fn a_segment_of_another_disk_or_dimension_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    write(&path, &content(10, 0, 0, |_| vec![]));
    let kinds = Kinds { dense: &configs(&[DIMENSIONS], Datatype::Float32), sparse: SPARSE };
    assert!(Segment::open(&path, 1, Uuid::from_u128(4), kinds).is_err());
    let more = Kinds { sparse: SPARSE + 1, ..kinds };
    assert!(Segment::open(&path, 1, DISK, more).is_err());
    for others in [&[DIMENSIONS + 1][..], &SEVERAL] {
        assert!(open_with(&path, others).is_err());
    }
    let refused = open_as(&path, &configs(&[DIMENSIONS], Datatype::Float16)).map(drop);
    assert!(refused.unwrap_err().to_string().contains("of 4 bytes instead of 5 of 2"));
}

#[test]
fn halves_read_back_as_they_were_rounded_in_half_the_bytes_and_are_found_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let content = lacking(60, |n| n % 29);
    let (mut lengths, mut found) = (Vec::new(), Vec::new());
    for datatype in Datatype::ALL {
        let (path, configs) = (dir.path().join(datatype.name()), configs(&SEVERAL, datatype));
        write_as(&path, &content, &configs);
        let segment = open_as(&path, &configs).unwrap();
        check(&segment, &content);
        let entries = layout::decode_directory(&fs::read(&path).unwrap()).unwrap();
        let vectors = layout::SectionKind::Vectors;
        let len = |number| entries.iter().find(|e| e.number == vectors.number(number)).unwrap().len;
        lengths.push([0, 1, 2].map(len));
        let dead = roaring::RoaringBitmap::new();
        for (number, config) in configs.iter().enumerate() {
            let query = vector(7, config.size);
            let graph = segment.graph(number, config.distance).unwrap();
            for ignore in [false, true] {
                let params = QuantizationParams { ignore, ..QuantizationParams::default() };
                let target = Target::new(&query, &Rotation::new(config.size), params);
                let near = graph::search(graph, &target, 99, 99, Accepted::Living { dead: &dead });
                let score = |near: &graph::Near| {
                    (segment.id(segment.ordinal_of(number, near.node)), near.distance.to_bits())
                };
                found.push(near.iter().map(score).collect::<Vec<_>>());
            }
        }
    }
    assert_eq!(lengths[0], lengths[1].map(|len| 2 * len));
    let (floats, halves) = found.split_at(2 * SEVERAL.len());
    for (a, b) in floats.iter().zip(halves) {
        // Graphs are built by threads that race, so what is equally near may stand in another order.
        let sorted = |found: &[(PointId, u32)]| {
            let mut found = found.to_vec();
            found.sort();
            found
        };
        assert!(a.len() > 20);
        assert_eq!(sorted(a), sorted(b));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn payloads_of_any_sizes_read_back_in_any_order(
        sizes in prop::collection::vec(prop_oneof![0usize..50, 15_000usize..18_000, 0usize..60_000], 1..40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..60)
    ) {
        let payload = |n: usize| (0..sizes[n]).map(|i| (i * n % 251) as u8).collect::<Vec<u8>>();
        let mut writer = payloads::BlockWriter::default();
        (0..sizes.len()).for_each(|n| writer.push(&payload(n)));
        let (index, blocks) = writer.finish();
        let blocks = payloads::Blocks { index: &index, blocks: &blocks };
        let mut cache = PayloadCache::default();
        for at in order {
            let n = at.index(sizes.len());
            prop_assert_eq!(cache.read(1, blocks, n as u32).unwrap(), payload(n));
        }
        prop_assert!(cache.read(1, blocks, sizes.len() as u32).is_err());
    }
}

#[test]
fn each_graph_says_by_what_it_is_walked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    write_with(&path, &lacking(24, |n| n), &SEVERAL);
    let segment = open_with(&path, &SEVERAL).unwrap();
    let bits = |number, metric| {
        segment.graph(number, metric).unwrap().coder.map(shoal_vector::codes::Coder::bits)
    };
    assert_eq!(bits(0, Metric::Euclid), Some(CodeBits::Four));
    assert_eq!(bits(1, Metric::Manhattan), None);
    assert_eq!(bits(2, Metric::Cosine), Some(CodeBits::Eight));
}

/// Written by version 1, from [`content`]: its graph had another form.
const VERSION_1: &[u8] = include_bytes!("fixtures/version-1.seg");
/// Written by version 2, from the same: there was one vector, which every point had.
const VERSION_2: &[u8] = include_bytes!("fixtures/version-2.seg");
/// Written by version 3, from [`lacking`]: all vectors were of f32.
const VERSION_3: &[u8] = include_bytes!("fixtures/version-3.seg");

/// Opens a segment of an earlier version, and checks all of it but its graph.
fn of_version(bytes: &[u8]) -> Segment {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    fs::write(&path, bytes).unwrap();
    assert!(open_with(&path, &SEVERAL).is_err() && open(&path).is_err());
    let kinds = Kinds { dense: &configs(&[DIMENSIONS], Datatype::Float32), sparse: 0 };
    let segment = Segment::open(&path, 1, DISK, kinds).unwrap();
    check(&segment, &content(24, 5, 5, |n| format!("{{\"n\":{n}}}").into_bytes()));
    for place in 0..segment.len() {
        let spot = segment.at_place(place);
        assert_eq!(segment.spot(spot.ordinal), spot);
    }
    assert!(segment.rows_are_ordinals(0) && segment.rows(0) == segment.len());
    segment
}

#[test]
fn a_segment_of_version_1_reads_as_it_was_written_and_has_no_graph() {
    assert!(of_version(VERSION_1).graph(0, Metric::Euclid).is_none());
}

#[test]
fn a_segment_of_version_2_reads_as_it_was_written_and_its_graph_is_walked() {
    let segment = of_version(VERSION_2);
    let query = vector(3, DIMENSIONS);
    let graph = segment.graph(0, Metric::Euclid).unwrap();
    let target = Target::new(&query, &Rotation::new(DIMENSIONS), QuantizationParams::default());
    let dead = roaring::RoaringBitmap::new();
    let found = graph::search(graph, &target, 24, 24, Accepted::Living { dead: &dead });
    assert_eq!((found.len(), segment.id(found[0].node)), (24, id(3)));
}

#[test]
fn a_segment_of_version_3_reads_as_it_was_written_and_is_one_of_floats() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    fs::write(&path, VERSION_3).unwrap();
    check(&open_with(&path, &SEVERAL).unwrap(), &lacking(24, |n| n));
    assert_eq!(read_all(&path, &SEVERAL), Ok(()));
    assert!(open_as(&path, &configs(&SEVERAL, Datatype::Float16)).is_err());
}
