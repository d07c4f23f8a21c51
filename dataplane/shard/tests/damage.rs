//! A flipped bit in every region of every kind of file: it is found, the file is named, and what it spoilt is no answer.
//! (Snapshots as streams: `snapshot.rs`; the store's files, which only cost time: `model/crashes.rs`.)

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use shoal_shard::api::{Identity, ScrollRequest, ShardError};
use shoal_shard::{OpenError, Shard};
use shoal_vector::op::Selector;
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{
    Metric, Op, PointId, PointWithSparse, SparseVector, SparseVectorConfig, VectorConfig,
};

fn own() -> Identity {
    let mut own = identity(2, Metric::Dot);
    own.vectors.push(VectorConfig::new("b", 3, Metric::Euclid));
    own.sparse.push(SparseVectorConfig { name: "s".into() });
    own
}

/// A shard whose files have all kinds of sections: points with some of all vectors, edits and tombstones.
fn loaded(dir: &Path) {
    let shard = open(dir, own(), small_limits(30));
    set_indexes(&shard, &[PayloadIndex::new("n", IndexKind::Integer).unwrap()]);
    let ids = |ids: &[u64]| Selector::Ids(ids.iter().copied().map(PointId::Num).collect());
    for id in 0..32 {
        let mut point = point(id, &[id as f32, 1.5], &format!("{{\"n\":{id}}}"));
        if id % 3 > 0 {
            point.vectors.push(("b".into(), vec![0.5, id as f32, 1.0]));
        }
        let vector = SparseVector::new(vec![1, 70 + id as u32], vec![1.5, id as f32]).unwrap();
        let sparse = if id % 4 > 0 { vec![("s".into(), vector)] } else { Vec::new() };
        write(&shard, &Op::UpsertWithSparse(vec![PointWithSparse { point, sparse }])).unwrap();
    }
    wait_until("a segment", || shard.info().unwrap().segments == 1);
    // Of points of the segment before.
    for id in 0..9 {
        let payload = format!("{{\"m\":{id}}}").into_bytes();
        write(&shard, &Op::SetPayload { payload, key: None, points: ids(&[id]) }).unwrap();
        write(&shard, &Op::Delete(ids(&[id + 10]))).unwrap();
    }
    for id in 40..56 {
        write(&shard, &Op::Upsert(vec![point(id, &[id as f32, 2.5], "{\"n\":7}")])).unwrap();
    }
    wait_until("another", || shard.info().unwrap().segments == 2);
    write(&shard, &Op::Upsert(vec![point(90, &[1.0, 2.5], "")])).unwrap();
    write(&shard, &Op::Upsert(vec![point(91, &[1.0, 2.5], "")])).unwrap();
    shard.close();
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.sort();
    found
}

fn open_copy(dir: &Path) -> Result<Shard, OpenError> {
    Shard::open(dir, own(), tuning(), small_limits(30))
}

/// Flips a bit of a file of a copy of the shard, and gives what opening it says.
fn spoilt(
    pristine: &Path,
    file: &Path,
    at: usize,
    bit: u8,
) -> (tempfile::TempDir, Result<Shard, OpenError>) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    crash_copy(pristine, &copy);
    let path = copy.join(file.strip_prefix(pristine).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(&path, bytes).unwrap();
    let opened = open_copy(&copy);
    (dir, opened)
}

fn assert_names(error: &str, file: &Path, context: &str) {
    let name = file.file_name().unwrap().to_string_lossy();
    assert!(error.contains(&*name), "{context}: {error}");
}

/// Number, offset and length of a segment's sections, and where its directory and its footer are.
fn regions(bytes: &[u8]) -> Vec<(u32, usize, usize)> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let footer = bytes.len() - 32;
    let (directory, sections) = (u64_at(footer), u32_at(footer + 8) as usize);
    let entries = (0..sections).map(|number| directory + 24 * number);
    let sections = entries.map(|at| (u32_at(at), u64_at(at + 8), u64_at(at + 16)));
    let mut regions: Vec<_> = sections.filter(|(_, _, len)| *len > 0).collect();
    // The footer's last four bytes are not used.
    regions.extend([(0, 0, 64), (0, directory, footer - directory), (0, footer, 28)]);
    regions
}

#[test]
fn a_bit_flipped_in_any_section_of_a_segment_is_found_and_the_segment_named() {
    let dir = tempfile::tempdir().unwrap();
    let pristine = dir.path().join("shard");
    loaded(&pristine);
    let mut seen = BTreeSet::new();
    for file in files(&pristine.join("segments"), ".seg") {
        let bytes = fs::read(&file).unwrap();
        for (number, offset, len) in regions(&bytes) {
            seen.insert(number);
            for at in [offset, offset + len / 2, offset + len - 1] {
                let context = format!("byte {at}, in section {number}");
                match spoilt(&pristine, &file, at, (at % 8) as u8) {
                    (_dir, Err(error @ OpenError::Corrupt { .. })) => {
                        assert_names(&error.to_string(), &file, &context);
                    }
                    (_dir, Err(error)) => panic!("{context}: {error}"),
                    (_dir, Ok(shard)) => {
                        wait_until(&format!("found: {context}"), || shard.count(None).is_err());
                        assert_refuses_all(&shard, &file, &context);
                        shard.close();
                    }
                }
            }
        }
    }
    // By number, see `SectionKind`: those of the first vector, of the second, and of the sparse one.
    let second = [4, 13, 14, 32, 33, 34].map(|number| number | 1 << 16);
    let all = [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 16, 32, 48, 49, 50, 51, 52];
    let missing: Vec<u32> =
        all.into_iter().chain(second).filter(|number| !seen.contains(number)).collect();
    assert_eq!(
        missing,
        Vec::<u32>::new(),
        "sections that no segment of this test has; it has {seen:?}"
    );
}

fn assert_refuses_all(shard: &Shard, file: &Path, context: &str) {
    let all = ScrollRequest { filter: None, from: None, limit: 100, want: everything() };
    let refused = [
        shard.scroll(&all).map(drop),
        shard.count(None).map(drop),
        shard.retrieve(&[PointId::Num(1)], &everything()).map(drop),
        shard.snapshot().map(drop),
        write(shard, &Op::Upsert(vec![point(1, &[1.0, 2.0], "")])).map(drop),
    ];
    for result in refused {
        match result {
            Err(error @ ShardError::Corrupt { .. }) => {
                assert_names(&error.to_string(), file, context);
            }
            other => panic!("{context}: {other:?}"),
        }
    }
}

#[test]
fn a_bit_flipped_anywhere_in_the_log_is_found_unless_it_is_the_last_write() {
    let dir = tempfile::tempdir().unwrap();
    let pristine = dir.path().join("shard");
    loaded(&pristine);
    let file = files(&pristine.join("wal"), ".wal").pop().unwrap();
    let len = fs::metadata(&file).unwrap().len() as usize;
    let expected =
        open_copy(&pristine).map(|shard| (shard.info().unwrap().last_seq, shard.close()));
    let last_seq = expected.unwrap().0;
    let (mut found, mut cut) = (0, 0);
    for at in 0..len {
        let context = format!("byte {at} of {len}");
        match spoilt(&pristine, &file, at, (at % 8) as u8) {
            (_dir, Err(error @ OpenError::Corrupt { .. })) => {
                assert_names(&error.to_string(), &file, &context);
                found += 1;
            }
            (_dir, Err(error)) => panic!("{context}: {error}"),
            // A torn write looks the same: it may have been acknowledged only if a disk lies about its syncs.
            (_dir, Ok(shard)) => {
                assert_eq!(shard.info().unwrap().last_seq, last_seq - 1, "{context}");
                assert_eq!(shard.retrieve(&[PointId::Num(91)], &everything()).unwrap(), []);
                cut += 1;
                shard.close();
            }
        }
    }
    assert!(found > cut && cut > 0, "{found} found, {cut} cut");
}

#[test]
fn a_bit_flipped_anywhere_in_a_small_file_is_found_and_the_file_named() {
    let dir = tempfile::tempdir().unwrap();
    let pristine = dir.path().join("shard");
    loaded(&pristine);
    for name in ["identity", "manifest", "indexes"] {
        let file = pristine.join(name);
        for at in 0..fs::metadata(&file).unwrap().len() as usize {
            let context = format!("byte {at} of {name}");
            match spoilt(&pristine, &file, at, (at % 8) as u8) {
                (_dir, Err(error @ OpenError::Corrupt { .. })) => {
                    assert_names(&error.to_string(), &file, &context);
                }
                // No answer depends on it, and whoever owns the shard tells it again.
                (_dir, Ok(shard)) if name == "indexes" => {
                    assert_eq!(shard.info().unwrap().filters.fields, [], "{context}");
                    shard.close();
                }
                (_dir, other) => panic!("{context}: {other:?}"),
            }
        }
    }
}
