//! A segment reads back as it was written, and damage anywhere in its file is seen.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use shoal_vector::codes::{CodeBits, Rotation};
use shoal_vector::{Metric, PointId};
use uuid::Uuid;

use super::*;
use crate::error::OpenError;
use crate::graph::{self, Accepted, BuildOptions, Target};
use crate::mutable::Put;

const DISK: Uuid = Uuid::from_u128(3);
const DIMENSIONS: usize = 5;

fn id(n: u64) -> PointId {
    match n % 3 {
        0 => PointId::Uuid(Uuid::from_u128(u128::from(n) << 60)),
        _ => PointId::Num(n * 7),
    }
}

/// Ids below `puts` are points, then come edits, then tombstones.
fn content(
    puts: u64,
    edits: u64,
    tombstones: u64,
    payload: impl Fn(u64) -> Vec<u8>,
) -> SegmentContent {
    let put = |n: u64| {
        let vector: Vec<f32> =
            (0..DIMENSIONS).map(|i| ((n * 31 + i as u64 * 17) % 101) as f32).collect();
        (id(n), Arc::new(Put { seq: n + 1, vector: vector.into(), payload: payload(n).into() }))
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
    let options = BuildOptions {
        metric: Metric::Euclid,
        dimensions: DIMENSIONS,
        ef: 20,
        refine_ef: 20,
        max_links: 16,
        bits: Some(CodeBits::Four),
    };
    write_segment(path, DISK, content, &options).unwrap();
}

fn open(path: &Path) -> Result<Segment, OpenError> {
    Segment::open(path, 1, DISK, DIMENSIONS)
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
        assert_eq!(segment.vector(spot.ordinal), &*put.vector);
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

/// What reading everything comes to: `Err` if damage was seen at any point.
fn read_all(path: &Path, content: &SegmentContent) -> Result<(), String> {
    let segment = open(path).map_err(|error| error.to_string())?;
    // Readers meet damage before the background check does: they must survive it.
    let mut cache = PayloadCache::default();
    for item in 0..segment.len() + segment.edits() {
        segment.payload(&mut cache, item).map_err(|damage| damage.to_string())?;
    }
    let dead = roaring::RoaringBitmap::new();
    let query: &[f32] = content.puts.first().map_or(&[], |(_, put)| &put.vector);
    let graph = segment.graph(Metric::Euclid).ok_or("no graph")?;
    let target = Target::new(query, &Rotation::new(DIMENSIONS));
    graph::search(graph, &target, 10, 10, Accepted::Living { dead: &dead });
    segment.verify().map_err(|damage| damage.to_string())
}

#[test]
fn any_flipped_byte_and_any_cut_is_seen_and_nothing_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    let content = content(24, 5, 5, |n| format!("{{\"n\":{n}}}").into_bytes());
    write(&path, &content);
    let good = fs::read(&path).unwrap();
    assert_eq!(read_all(&path, &content), Ok(()));
    let padding = padding_bytes(&good);
    assert!(padding.len() < good.len() / 10);
    // Every byte of what is small, and some of the links.
    let bytes = (0..good.len()).filter(|byte| byte % 5 == 0 || !(1024..6144).contains(byte));
    for byte in bytes.filter(|byte| !padding.contains(byte)) {
        let mut bad = good.clone();
        bad[byte] ^= 1 << (byte % 8);
        fs::write(&path, &bad).unwrap();
        assert!(read_all(&path, &content).is_err(), "byte {byte}");
    }
    for len in (0..good.len()).step_by(97) {
        fs::write(&path, &good[..len]).unwrap();
        assert!(read_all(&path, &content).is_err(), "cut at {len}");
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
    assert!(Segment::open(&path, 1, Uuid::from_u128(4), DIMENSIONS).is_err());
    assert!(Segment::open(&path, 1, DISK, DIMENSIONS + 1).is_err());
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

/// Written by version 1, from [`content`]: its graph had another form.
const VERSION_1: &[u8] = include_bytes!("fixtures/version-1.seg");

#[test]
fn a_segment_of_version_1_reads_as_it_was_written_and_has_no_graph() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    fs::write(&path, VERSION_1).unwrap();
    let segment = open(&path).unwrap();
    check(&segment, &content(24, 5, 5, |n| format!("{{\"n\":{n}}}").into_bytes()));
    assert!(segment.graph(Metric::Euclid).is_none());
    for place in 0..segment.len() {
        let spot = segment.at_place(place);
        assert_eq!(segment.spot(spot.ordinal), spot);
    }
}
