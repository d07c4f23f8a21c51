//! Torn tails, damage, gaps, trimming and full disks.

use std::path::PathBuf;

use tempfile::TempDir;

use super::super::{Kind, create_first};
use super::*;

const DISK: Uuid = Uuid::from_u128(9);

struct Log {
    _keep: TempDir,
    dir: PathBuf,
}

fn new_log() -> Log {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().to_owned();
    create_first(&dir, DISK).unwrap();
    Log { _keep: keep, dir }
}

fn body(seq: u64) -> Vec<u8> {
    vec![seq as u8; (seq % 5) as usize * 3]
}

/// Appends one group of `count` records and syncs it.
fn append_group(wal: &mut Wal, count: u32) {
    let mut bytes = vec![];
    let first = wal.last_seq() + 1;
    for place in 0..count {
        let seq = first + u64::from(place);
        let body = body(seq);
        let record = Record {
            kind_number: Kind::Op as u8,
            place_in_group: place,
            epoch: 0,
            nonce: 0,
            seq,
            client_id: 4,
            op_id: 5,
            body: &body,
        };
        record.encode(DISK, &mut bytes);
    }
    wal.append(&bytes, first + u64::from(count) - 1).unwrap();
    wal.sync().unwrap();
}

fn read(log: &Log, flushed_seq: u64) -> Result<(Vec<u64>, Wal), OpenError> {
    let mut seqs = vec![];
    let wal = replay(&log.dir, DISK, flushed_seq, |_, _, record| {
        assert_eq!(record.body, body(record.seq));
        seqs.push(record.seq);
        Ok(())
    })?;
    Ok((seqs, wal))
}

fn only_file(log: &Log) -> PathBuf {
    files(&log.dir).unwrap().pop().unwrap().1
}

/// Offsets at which records begin, and the end.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut at = vec![HEADER_BYTES];
    while let Some((_, len)) = Record::decode(DISK, &bytes[*at.last().unwrap()..]) {
        at.push(at.last().unwrap() + len);
    }
    at
}

#[test]
fn records_read_back_across_files_and_appends_go_on() {
    let log = new_log();
    let (_, mut wal) = read(&log, 0).unwrap();
    for round in 1..5 {
        append_group(&mut wal, round);
        wal.rotate().unwrap();
        wal.rotate().unwrap();
    }
    drop(wal);
    let (seqs, mut wal) = read(&log, 0).unwrap();
    assert_eq!(seqs, (1..=10).collect::<Vec<_>>());
    append_group(&mut wal, 1);
    assert_eq!(read(&log, 7).unwrap().0, [8, 9, 10, 11]);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_appends_go_on() {
    let log = new_log();
    let mut wal = read(&log, 0).unwrap().1;
    append_group(&mut wal, 2);
    append_group(&mut wal, 1);
    append_group(&mut wal, 3);
    let path = only_file(&log);
    let whole = fs::read(&path).unwrap();
    let boundaries = boundaries(&whole);
    for len in HEADER_BYTES..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let (seqs, mut wal) = read(&log, 0).unwrap();
        let good = boundaries.iter().filter(|at| **at <= len).count() as u64 - 1;
        assert_eq!(seqs, (1..=good).collect::<Vec<_>>(), "cut at {len}");
        append_group(&mut wal, 1);
        assert_eq!(read(&log, 0).unwrap().0.len() as u64, good + 1, "cut at {len}");
    }
}

#[test]
fn a_damaged_record_before_a_later_group_is_corruption_at_every_byte() {
    let log = new_log();
    let mut wal = read(&log, 0).unwrap().1;
    append_group(&mut wal, 2);
    append_group(&mut wal, 1);
    append_group(&mut wal, 1);
    let path = only_file(&log);
    let whole = fs::read(&path).unwrap();
    let last_group = boundaries(&whole)[3];
    for byte in 0..last_group {
        let mut bad = whole.clone();
        bad[byte] ^= 4;
        fs::write(&path, &bad).unwrap();
        assert!(matches!(read(&log, 0), Err(OpenError::Corrupt { .. })), "byte {byte}");
        assert_eq!(fs::read(&path).unwrap(), bad, "a damaged log is left as it is");
    }
    let mut bad = whole.clone();
    bad[last_group + 20] ^= 4;
    fs::write(&path, &bad).unwrap();
    assert_eq!(read(&log, 0).unwrap().0, [1, 2, 3], "the last group may have been torn");
}

#[test]
fn a_group_of_which_only_later_records_reached_the_disk_is_torn_and_not_damaged() {
    let log = new_log();
    let mut wal = read(&log, 0).unwrap().1;
    append_group(&mut wal, 1);
    append_group(&mut wal, 4);
    let path = only_file(&log);
    let mut bytes = fs::read(&path).unwrap();
    let boundaries = boundaries(&bytes);
    bytes[boundaries[1]..boundaries[3]].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&log, 0).unwrap().0, [1]);
}

#[test]
fn damage_in_an_earlier_file_and_missing_files_are_corruption() {
    let log = new_log();
    let mut wal = read(&log, 0).unwrap().1;
    for _ in 0..3 {
        append_group(&mut wal, 2);
        wal.rotate().unwrap();
    }
    let all = files(&log.dir).unwrap();
    let second = fs::read(&all[1].1).unwrap();
    fs::write(&all[1].1, &second[..second.len() - 1]).unwrap();
    assert!(
        matches!(read(&log, 0), Err(OpenError::Corrupt { .. })),
        "a short file that is not the last"
    );
    fs::remove_file(&all[1].1).unwrap();
    assert!(matches!(read(&log, 0), Err(OpenError::Corrupt { .. })), "a gap");
    fs::remove_file(&all[0].1).unwrap();
    assert!(matches!(read(&log, 0), Err(OpenError::Corrupt { .. })), "the beginning is missing");
    assert!(
        matches!(read(&log, 9), Err(OpenError::Corrupt { .. })),
        "the log ends before the segments do"
    );
    fs::remove_file(&all[2].1).unwrap();
    fs::remove_file(&all[3].1).unwrap();
    assert!(matches!(read(&log, 0), Err(OpenError::Corrupt { .. })), "no log at all");
}

#[test]
fn seqs_at_the_ends_of_the_numbers_are_corruption_and_no_overflow() {
    for seq in [0, u64::MAX - 1, u64::MAX] {
        let keep = tempfile::tempdir().unwrap();
        let mut bytes = Header::new(FileKind::Wal, DISK, seq).to_bytes().to_vec();
        for seq in [seq, seq.saturating_add(1)] {
            let (kind_number, place_in_group) = (Kind::Op as u8, 0);
            let (epoch, nonce, client_id, op_id, body) = (0, 0, 0, 0, &[][..]);
            Record { kind_number, place_in_group, epoch, nonce, seq, client_id, op_id, body }
                .encode(DISK, &mut bytes);
        }
        fs::write(keep.path().join(format!("{seq:020}.wal")), &bytes).unwrap();
        let read = replay(keep.path(), DISK, seq.saturating_sub(1), |_, _, _| Ok(()));
        assert!(matches!(read, Err(OpenError::Corrupt { .. })), "seq {seq}");
    }
}

#[test]
fn a_record_of_a_kind_from_the_future_stops_the_shard() {
    let log = new_log();
    let mut wal = read(&log, 0).unwrap().1;
    let mut bytes = vec![];
    let record = Record {
        kind_number: 9,
        place_in_group: 0,
        epoch: 0,
        nonce: 0,
        seq: 1,
        client_id: 0,
        op_id: 0,
        body: &[],
    };
    record.encode(DISK, &mut bytes);
    wal.append(&bytes, 1).unwrap();
    assert!(matches!(read(&log, 0), Err(OpenError::TooNew { .. })));
}

#[test]
fn trimming_drops_whole_files_below_the_flushed_seq_and_never_the_last() {
    let log = new_log();
    let mut wal = read(&log, 0).unwrap().1;
    for _ in 0..3 {
        append_group(&mut wal, 2);
        wal.rotate().unwrap();
    }
    let firsts =
        || files(&log.dir).unwrap().into_iter().map(|(first, _)| first).collect::<Vec<_>>();
    assert_eq!(firsts(), [1, 3, 5, 7]);
    trim(&log.dir, 3, 0).unwrap();
    assert_eq!(firsts(), [3, 5, 7], "seq 4 is still needed");
    trim(&log.dir, 6, 0).unwrap();
    assert_eq!(firsts(), [7]);
    assert_eq!(read(&log, 6).unwrap().0, [] as [u64; 0]);
}

#[test]
fn a_next_file_that_cannot_be_made_leaves_the_log_as_it_was() {
    let log = new_log();
    let mut wal = read(&log, 0).unwrap().1;
    append_group(&mut wal, 2);
    // A folder where the unfinished file would be written.
    let in_the_way = log.dir.join("00000000000000000003.wal.tmp");
    fs::create_dir(&in_the_way).unwrap();
    assert!(matches!(wal.rotate(), Err(crate::wal::AppendError::Full(_))));
    append_group(&mut wal, 1);
    fs::remove_dir(&in_the_way).unwrap();
    wal.rotate().unwrap();
    append_group(&mut wal, 1);
    assert_eq!(read(&log, 0).unwrap().0, [1, 2, 3, 4]);
    assert_eq!(files(&log.dir).unwrap().len(), 2);
}
