//! What reads bytes from disks and sockets, as functions of bytes: for fuzzers, and for the short run among the tests.
//!
//! Not part of the crate's interface. Whatever the bytes are, a target returns: what is wrong with them is an error
//! inside, and a panic is a bug. The first byte's bit 0 says whether checksums are made right first, so that a mutation
//! reaches what lies behind them; what a checksum vouches for is then only opened and not read, since readers rely on it.
//! `dataplane/shard/fuzz` runs these under libFuzzer, `tests/fuzz.rs` with mutations of real files.

use std::fs;
use std::path::Path;

use shoal_vector::codes::Rotation;
use shoal_vector::filter::Subject;
use shoal_vector::{Datatype, Filter, Metric, Payload, PointId, VectorConfig};
use uuid::Uuid;

use crate::api::{Identity, QuantizationParams};
use crate::codec::{decode_filter, decode_op, encode_filter, encode_op};
use crate::format::{FileKind, HEADER_BYTES, Header};
use crate::graph::{self, Accepted, Target};
use crate::manifest::{BitmapBytes, Manifest};
use crate::segment::{Kinds, PayloadCache, Segment};
use crate::snapshot::{self, Restore};
use crate::{validate, wal};

/// A target: a folder for its files, and the bytes.
pub type Run = fn(&Path, &[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Run); 7] = [
    ("wal", wal),
    ("segment", segment),
    ("manifest", manifest),
    ("snapshot", snapshot),
    ("small", small),
    ("filter", filter),
    ("op", op),
];

/// Points and dimensions that [`segment`] and [`manifest`] take files to have.
const DIMENSIONS: usize = 2;
const POINTS: u32 = 1 << 16;

/// Runs a target in this process's folder below the temporary one, for a fuzzer that knows nothing of folders.
pub fn run(name: &str, bytes: &[u8]) {
    let scratch = std::env::temp_dir().join(format!("shoal-fuzz-{}", std::process::id()));
    let made = fs::create_dir_all(&scratch);
    if let (Ok(()), Some((_, run))) = (made, TARGETS.iter().find(|(target, _)| *target == name)) {
        run(&scratch, bytes);
    }
}

/// The bytes, and whether their checksums are to be made right.
fn split(bytes: &[u8]) -> (Vec<u8>, bool) {
    match bytes.split_first() {
        Some((how, rest)) => (rest.to_vec(), how & 1 == 1),
        None => (Vec::new(), false),
    }
}

fn disk_of(bytes: &[u8]) -> Uuid {
    bytes.get(16..32).and_then(|id| Uuid::from_slice(id).ok()).unwrap_or_default()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Makes a header's checksum right, for a body of these bytes.
fn reseal_header(bytes: &mut [u8], body: Option<(u64, u32)>) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    if let Some((len, crc)) = body {
        put(bytes, 40, &len.to_le_bytes());
        put(bytes, 48, &crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[..60]);
    put(bytes, 60, &crc.to_le_bytes());
}

/// The bytes of a file of the log.
fn wal(scratch: &Path, bytes: &[u8]) {
    let (mut bytes, resealed) = split(bytes);
    let disk_id = disk_of(&bytes);
    if resealed {
        reseal_header(&mut bytes, None);
        if let Some(records) = bytes.get_mut(HEADER_BYTES..) {
            wal::reseal(disk_id, records);
        }
    }
    let first = Header::read(&bytes, FileKind::Wal, None).map_or(1, |header| header.first_seq);
    let dir = scratch.join("wal");
    let file = dir.join(format!("{first:020}.wal"));
    if fs::create_dir_all(&dir).and_then(|()| fs::write(&file, &bytes)).is_err() {
        return;
    }
    let read = || {
        let mut seqs = Vec::new();
        let wal = wal::replay(&dir, disk_id, first.saturating_sub(1), |_, _, record| {
            let _ = decode_op(record.body);
            seqs.push(record.seq);
            Ok(())
        });
        wal.map(|wal| (seqs, wal.last_seq()))
    };
    if let Ok(first) = read() {
        // What was torn has been cut off, and nothing else was.
        assert!(read().is_ok_and(|second| second == first), "a log that opened opens again alike");
    }
    let _ = fs::remove_file(&file);
}

/// The bytes of a segment's file.
fn segment(scratch: &Path, bytes: &[u8]) {
    // By bit 1 of the first byte: what most collections have, and one with a second vector, of halves, and a sparse one.
    let more = bytes.first().is_some_and(|how| how >> 1 & 1 == 1);
    let dense = [
        VectorConfig::new("", DIMENSIONS, Metric::Dot),
        VectorConfig { datatype: Datatype::Float16, ..VectorConfig::new("b", 1, Metric::Euclid) },
    ];
    let kinds = match more {
        true => Kinds { dense: &dense, sparse: 1 },
        false => Kinds { dense: &dense[..1], sparse: 0 },
    };
    let (mut bytes, resealed) = split(bytes);
    let disk_id = disk_of(&bytes);
    if resealed {
        reseal_header(&mut bytes, None);
        crate::segment::reseal(&mut bytes);
    }
    let path = scratch.join("segment");
    if fs::write(&path, &bytes).is_err() {
        return;
    }
    let Ok(segment) = Segment::open(&path, 1, disk_id, kinds) else { return };
    let _ = segment.verify();
    if resealed {
        return;
    }
    let mut cache = PayloadCache::default();
    for item in 0..segment.len() + segment.edits() {
        let _ = segment.payload(&mut cache, item);
    }
    for place in 0..segment.len() {
        let spot = segment.at_place(place);
        let (id, _seq) = (segment.id(spot.ordinal), segment.seq(spot.ordinal));
        let _ = (segment.find(id), segment.edit(id), segment.has_tombstone(id));
    }
    segment.warm();
    let dead = roaring::RoaringBitmap::new();
    let target =
        Target::new(&[1.0; DIMENSIONS], &Rotation::new(DIMENSIONS), QuantizationParams::default());
    if let Some(graph) = segment.graph(0, Metric::Dot) {
        graph::search(graph, &target, 10, 20, Accepted::Living { dead: &dead });
    }
}

/// The bytes of a small file that is replaced whole: an identity, the wanted indexes, a restore's progress. Bits 1 and 2 of
/// the first byte say which.
fn small(scratch: &Path, bytes: &[u8]) {
    let which = bytes.first().map_or(0, |how| how >> 1 & 3);
    let (mut bytes, resealed) = split(bytes);
    if let (true, Some(body)) = (resealed, bytes.get(HEADER_BYTES..)) {
        let body = (body.len() as u64, crc32c::crc32c(body));
        reseal_header(&mut bytes, Some(body));
    }
    let name = match which {
        0 => crate::identity::FILE,
        1 => crate::index::WANTED_FILE,
        _ => "restoring",
    };
    let dir = scratch.join("small");
    if fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(name), &bytes)).is_err() {
        return;
    }
    let identity = identity();
    match which {
        0 => drop(crate::identity::read(&dir, &identity)),
        1 => {
            let wanted = crate::index::read_wanted(&dir, disk_of(&bytes));
            let indexes = crate::index::Indexes::default();
            let _ = indexes.want(&wanted.fields);
        }
        _ => drop(Restore::begin(&dir, identity).map(|restore| restore.held())),
    }
    let _ = fs::remove_dir_all(&dir);
}

/// Whose the disk is in all of these.
fn identity() -> Identity {
    let vectors = vec![VectorConfig::new("", DIMENSIONS, Metric::Dot)];
    Identity { collection: "c".into(), shard: "c-0".into(), vectors, sparse: Vec::new() }
}

/// The bytes of a manifest.
fn manifest(_: &Path, bytes: &[u8]) {
    let (mut bytes, resealed) = split(bytes);
    if let (true, Some(body)) = (resealed, bytes.get(HEADER_BYTES..)) {
        let body = (body.len() as u64, crc32c::crc32c(body));
        reseal_header(&mut bytes, Some(body));
    }
    let disk_id = disk_of(&bytes);
    let Ok(manifest) = Manifest::from_bytes(Path::new("manifest"), &bytes, disk_id) else { return };
    for entry in &manifest.segments {
        for bitmap in [&entry.dead, &entry.edited] {
            if let Ok(bitmap) = bitmap.read(POINTS) {
                assert!(bitmap.max().is_none_or(|greatest| greatest < POINTS));
                assert_eq!(BitmapBytes::of(&bitmap).read(POINTS), Ok(bitmap));
            }
        }
    }
}

/// The bytes of a snapshot's stream.
fn snapshot(scratch: &Path, bytes: &[u8]) {
    let (mut bytes, resealed) = split(bytes);
    if resealed {
        snapshot::reseal(&mut bytes);
    }
    let dir = scratch.join("restored");
    let _ = fs::remove_dir_all(&dir);
    if let Ok(mut restore) = Restore::begin(&dir, identity())
        && bytes.chunks(1_000).try_for_each(|piece| restore.push(piece)).is_ok()
    {
        let finished = restore.finish();
        assert_eq!(finished.is_ok(), dir.join("identity").exists(), "{finished:?}");
    }
}

/// A filter in the dialect's JSON.
fn filter(_: &Path, bytes: &[u8]) {
    let Ok(json) = serde_json::from_slice(bytes) else { return };
    let Ok(filter) = Filter::parse(&json) else { return };
    let encoded = encode_filter(&filter);
    assert_eq!(decode_filter(&encoded).map(|filter| encode_filter(&filter)), Ok(encoded));
    let sample = br#"{"a":1,"n":"x y","t":["x",2.5,null,true],"o":{"b":[{"c":1},{"c":[]}]},"g":{"lon":1,"lat":2}}"#;
    let payload: Payload = serde_json::from_slice(sample).unwrap_or_default();
    let subject = Subject { id: PointId::Num(7), payload: &payload, has_vector: &str::is_empty };
    assert!(filter.matches(&subject).is_ok(), "what was parsed can be asked");
}

/// An encoded op.
fn op(_: &Path, bytes: &[u8]) {
    let Ok(op) = decode_op(bytes) else { return };
    let encoded = encode_op(&op);
    assert_eq!(decode_op(&encoded).map(|op| encode_op(&op)), Ok(encoded));
    let config = VectorConfig::new("", DIMENSIONS, Metric::Dot);
    let _ = validate::check_op(&op, &[config], &[]);
}
