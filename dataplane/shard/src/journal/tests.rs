//! The journal beside a plain list of entries, across appends, cuts, commits, flushes and restarts.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use shoal_vector::{Metric, Op, Point, PointId, Quantization, VectorConfig};

use super::*;
use crate::api::{Identity, Tuning, Want, WantPayload};
use crate::error::OpenError;
use crate::limits::Limits;
use crate::shard::Shard;
use crate::snapshot::{self, Restore};

fn identity() -> Identity {
    let vectors = vec![VectorConfig::new("", 2, Metric::Dot)];
    Identity { collection: "c".into(), shard: "c-0".into(), vectors, sparse: vec![] }
}

fn open(dir: &Path) -> (Shard, Journal, Recovered) {
    let limits = Limits { mutable_entries: 5, wal_file_bytes: 400, ..Limits::default() };
    open_with(dir, limits).unwrap()
}

fn open_with(dir: &Path, limits: Limits) -> Result<(Shard, Journal, Recovered), OpenError> {
    let tuning = Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() };
    Shard::open_replica(dir, identity(), tuning, limits)
}

fn epoch(number: u64) -> Epoch {
    Epoch { number, nonce: number * 7 }
}

/// An upsert of one of few points, whose payload names the seq.
fn entry(number: u64, seq: u64) -> Entry {
    let what = match seq % 7 {
        0 => What::NoOp,
        1 => What::Config(Bytes::from(format!("members {seq} of {number}"))),
        _ => {
            let payload = format!("{{\"seq\":\"{number}.{seq}\"}}").into_bytes();
            let vectors = vec![(String::new(), vec![seq as f32, 1.0])];
            let point = Point { id: PointId::Num(seq % 11), vectors, payload };
            let body = crate::encode_op(&Op::Upsert(vec![point])).into();
            What::Op { client_id: 5, op_id: seq, body }
        }
    };
    Entry { at: Position { epoch: epoch(number), seq }, what }
}

/// What the points of a list of entries are, by id.
fn points(entries: &[Entry]) -> Vec<(PointId, String)> {
    let mut points = std::collections::BTreeMap::new();
    for Entry { at, what } in entries {
        if let What::Op { .. } = what {
            let text = format!("{}.{}", at.epoch.number, at.seq);
            points.insert(PointId::Num(at.seq % 11), text);
        }
    }
    points.into_iter().collect()
}

fn found(shard: &Shard) -> Vec<(PointId, String)> {
    let ids: Vec<PointId> = (0..11).map(PointId::Num).collect();
    let want = Want { payload: WantPayload::All, ..Want::default() };
    let records = shard.retrieve(&ids, &want).unwrap();
    let text = |payload: Option<shoal_vector::Payload>| {
        payload.unwrap().get("seq").unwrap().as_str().unwrap().to_owned()
    };
    records.into_iter().map(|record| (record.id, text(record.parts.payload))).collect()
}

fn applied(journal: &mut Journal, commit: u64) {
    // It stops where flushes have to come first.
    while journal.applied() < commit {
        journal.apply(commit).unwrap();
    }
}

fn same_entries(recovered: &Recovered, list: &[Entry]) -> Result<(), TestCaseError> {
    let base = recovered.base.seq as usize;
    prop_assert!(base <= list.len());
    if let Some(at) = base.checked_sub(1) {
        prop_assert_eq!(recovered.base, list[at].at);
    }
    prop_assert_eq!(&recovered.entries, &list[base..]);
    let is_config = |entry: &&Entry| matches!(entry.what, What::Config(_));
    let config = list[..base].iter().rev().find(is_config).map(|entry| entry.at.seq);
    prop_assert_eq!(recovered.config.as_ref().map(|(seq, _)| *seq), config);
    let ops: Vec<u64> = recovered.recent.iter().map(|op| op.seq).collect();
    let is_op = |entry: &&Entry| matches!(entry.what, What::Op { .. });
    let known: Vec<u64> = list[..base].iter().filter(is_op).map(|entry| entry.at.seq).collect();
    prop_assert_eq!(ops, known);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn it_holds_what_a_list_holds(steps in prop::collection::vec((0u8..7, 1u64..9), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut shard, mut journal, _) = open(dir.path());
        let (mut list, mut number, mut commit, mut promised) = (Vec::<Entry>::new(), 1, 0, 0);
        let mut syncing = None;
        for (what, by) in steps {
            match what {
                0..=2 => {
                    let last = list.len() as u64;
                    let more: Vec<Entry> = (last + 1..=last + by).map(|seq| entry(number, seq)).collect();
                    journal.append(&more).unwrap();
                    list.extend(more);
                }
                3 => {
                    let after = (list.len() as u64).saturating_sub(by).max(commit);
                    journal.cut(after).unwrap();
                    list.truncate(after as usize);
                    number += 1;
                }
                4 => {
                    journal.sync();
                    commit = (commit + by).min(list.len() as u64);
                    applied(&mut journal, commit);
                    prop_assert_eq!(found(&shard), points(&list[..commit as usize]));
                    // Which of the rest a crash would leave is not known here.
                    let undone = journal.cut(commit.saturating_sub(1));
                    let contradicts = matches!(undone, Err(JournalError::Contradiction(_)));
                    prop_assert!(commit == 0 || contradicts, "{undone:?}");
                    journal.cut(commit).unwrap();
                    list.truncate(commit as usize);
                }
                5 => {
                    promised += by;
                    journal.promise(epoch(promised)).unwrap();
                }
                _ => {
                    journal.sync();
                    drop(journal);
                    shard.close();
                    let recovered;
                    (shard, journal, recovered) = open(dir.path());
                    same_entries(&recovered, &list)?;
                    prop_assert_eq!(recovered.promised, if promised > 0 { epoch(promised) } else { Epoch::default() });
                    prop_assert_eq!(journal.last(), list.len() as u64);
                    prop_assert!(journal.applied() <= commit);
                    applied(&mut journal, commit);
                    prop_assert_eq!(found(&shard), points(&list[..commit as usize]));
                }
            }
            // A sync may end after the log was cut below it and grew again.
            if let Some(synced) = syncing.take() {
                journal.synced(synced);
            }
            syncing = (by % 2 == 0).then(|| journal.begin_sync()).flatten().map(Sync::run);
            let read = journal.read(journal.applied() + 1, 150).unwrap();
            prop_assert!(read.is_empty() == (journal.applied() == journal.last()));
            prop_assert!(list[journal.applied() as usize..].starts_with(&read));
        }
        drop(journal);
        shard.close();
    }
}

/// Appends, syncs and applies.
fn commit(journal: &mut Journal, seqs: std::ops::RangeInclusive<u64>) {
    let last = *seqs.end();
    let entries: Vec<Entry> = seqs.map(|seq| entry(1, seq)).collect();
    journal.append(&entries).unwrap();
    journal.sync();
    applied(journal, last);
}

#[test]
fn what_was_applied_is_shown_again_at_once_and_the_rest_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut journal, _) = open(dir.path());
    commit(&mut journal, 1..=3);
    journal.append(&[entry(1, 4), entry(1, 5)]).unwrap();
    journal.sync();
    journal.note_commit();
    let at_the_end = found(&shard);
    drop(journal);
    shard.close();
    let (shard, journal, recovered) = open(dir.path());
    assert_eq!((journal.applied(), journal.last()), (3, 5));
    assert_eq!(found(&shard), at_the_end);
    assert_eq!(recovered.entries.len(), 5);
}

#[test]
fn what_is_cut_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (_shard, mut journal, _) = open(dir.path());
    for _ in 0..20 {
        journal.append(&[entry(1, 1), entry(1, 2)]).unwrap();
        journal.cut(0).unwrap();
    }
    let aside = std::fs::read_dir(dir.path().join("wal")).unwrap();
    let names = aside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let kept = names.filter(|name| name.ends_with("aside")).count();
    assert_eq!(kept, crate::limits::KEPT_ASIDE);
}

fn cut_off(journal: &Journal) -> Vec<CutOps> {
    journal.cut_off().to_vec()
}

#[test]
fn ops_that_were_cut_are_counted_by_their_epoch_and_also_by_a_later_run() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut journal, _) = open(dir.path());
    journal.promise(epoch(3)).unwrap();
    // Seqs 7 and 8 are no ops.
    let of_three: Vec<Entry> = (6..=10).map(|seq| entry(3, seq)).collect();
    commit(&mut journal, 1..=3);
    journal.append(&[entry(1, 4), entry(2, 5)]).unwrap();
    journal.append(&of_three).unwrap();
    journal.promise(epoch(4)).unwrap();
    journal.cut(4).unwrap();
    let lost =
        [CutOps { epoch: epoch(2), ops: 1, by: 4 }, CutOps { epoch: epoch(3), ops: 3, by: 4 }];
    assert_eq!(cut_off(&journal), lost);
    assert_eq!(journal.cut_since_open(), 4);
    // A crash may come before the log is cut, which then is again.
    let wal = dir.path().join("wal");
    std::fs::copy(wal.join("000001.after-4.by-4.aside"), wal.join("000002.after-4.by-4.aside"))
        .unwrap();
    drop(journal);
    shard.close();
    let (_shard, journal, _) = open(dir.path());
    assert_eq!(cut_off(&journal), lost);
    assert_eq!(journal.cut_since_open(), 0);
}

#[test]
fn what_was_kept_in_part_is_said_to_be_partial() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut journal, _) = open(dir.path());
    journal.append(&[entry(1, 1), entry(1, 2)]).unwrap();
    journal.cut(0).unwrap();
    assert!(!journal.cut_off_is_partial());
    drop(journal);
    shard.close();
    let file = dir.path().join("wal").join("000001.after-0.by-0.aside");
    let bytes = std::fs::read(&file).unwrap();
    for (bytes, partial) in [(&bytes[..], false), (&bytes[..bytes.len() - 1], true), (&[], true)] {
        std::fs::write(&file, bytes).unwrap();
        let (shard, journal, _) = open(dir.path());
        assert_eq!(journal.cut_off_is_partial(), partial, "{} bytes", bytes.len());
        drop(journal);
        shard.close();
    }
}

#[test]
fn what_could_not_be_kept_is_said_to_be_partial() {
    let dir = tempfile::tempdir().unwrap();
    let (_shard, mut journal, _) = open(dir.path());
    journal.append(&[entry(1, 1), entry(1, 2)]).unwrap();
    // A file cannot be made there.
    let wal = dir.path().join("wal");
    std::fs::create_dir(wal.join("000001.after-1.by-0.aside")).unwrap();
    journal.cut(1).unwrap();
    assert!(journal.cut_off_is_partial());
    assert_eq!(journal.cut_since_open(), 1);
}

#[test]
fn a_log_that_cannot_be_copied_is_said_to_be_kept_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let (_shard, mut journal, _) = open(dir.path());
    journal.append(&[entry(1, 1), entry(1, 2)]).unwrap();
    // It is listed with the log's files, and does not read.
    let wal = dir.path().join("wal");
    std::fs::create_dir(wal.join("00000000000000000009.wal")).unwrap();
    journal.keep_aside(0);
    assert!(journal.cut_off_is_partial());
}

#[test]
fn an_op_that_was_repeated_after_it_was_cut_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut journal, _) = open(dir.path());
    journal.append(&[entry(1, 2), entry(1, 3)].map(|e| at_seq(e, -1))).unwrap();
    journal.cut(0).unwrap();
    let known: Vec<u64> = cut_off(&journal).iter().map(|cut| cut.ops).collect();
    assert_eq!(known, [2]);
    journal.append(&[at_seq(entry(2, 3), -2)]).unwrap();
    journal.sync();
    applied(&mut journal, 1);
    journal.note_commit_now();
    drop(journal);
    shard.close();
    let (_shard, journal, _) = open(dir.path());
    let known: Vec<u64> = cut_off(&journal).iter().map(|cut| cut.ops).collect();
    assert_eq!(known, [1], "the other one is gone");
}

/// The same entry elsewhere.
fn at_seq(entry: Entry, by: i64) -> Entry {
    let seq = entry.at.seq.checked_add_signed(by).unwrap();
    Entry { at: Position { seq, ..entry.at }, ..entry }
}

#[test]
fn the_tail_that_a_snapshot_takes_the_place_of_is_kept_if_a_later_primary_sends_it() {
    let keep = tempfile::tempdir().unwrap();
    let (from, to) = (keep.path().join("from"), keep.path().join("to"));
    let (source, mut journal, _) = open(&from);
    commit(&mut journal, 1..=33);
    let snapshot = source.snapshot().unwrap();
    let (old, mut behind, recovered) = open(&to);
    behind.promise(epoch(1)).unwrap();
    let ops = |range: std::ops::RangeInclusive<u64>| -> Vec<Entry> {
        let other = |mut entry: Entry| {
            if let What::Op { client_id, .. } = &mut entry.what {
                *client_id = 6;
            }
            entry
        };
        range.map(|seq| other(entry(1, seq))).collect()
    };
    behind.append(&ops(1..=6)).unwrap();
    behind.sync();
    applied(&mut behind, 2);
    behind.keep_tail_aside();
    assert_eq!(cut_off(&behind), [], "it is of the epoch that was promised, so it is not cut");
    behind.promise(epoch(9)).unwrap();
    behind.keep_tail_aside();
    let lost = [CutOps { epoch: epoch(1), ops: 4, by: 9 }];
    assert_eq!(cut_off(&behind), lost);
    let mut restore = Restore::begin_replica(&to, identity(), recovered.disk_id).unwrap();
    for block in snapshot.stream(0) {
        restore.push(&block.unwrap()).unwrap();
    }
    restore.finish().unwrap();
    drop(behind);
    old.close();
    snapshot::install(&to).unwrap();
    let (_shard, journal, recovered) = open(&to);
    assert_eq!((recovered.last(), cut_off(&journal)), (entry(1, 33).at, lost.to_vec()));
}

#[test]
fn a_disk_in_quarantine_does_not_open_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, journal, _) = open(dir.path());
    journal.quarantine("entry 7 is committed, and the primary has another one");
    drop(journal);
    shard.close();
    let error = open_with(dir.path(), Limits::default()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("entry 7 is committed"), "{error}");
}

#[test]
fn a_disk_of_several_replicas_is_not_opened_as_one_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut journal, _) = open(dir.path());
    commit(&mut journal, 1..=3);
    drop(journal);
    shard.close();
    let tuning = Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() };
    let error = Shard::open(dir.path(), identity(), tuning, Limits::default()).unwrap_err();
    assert!(error.to_string().contains("one of several replicas"), "{error}");
}

/// A replica that has some of a log takes the place of its disk's content by a snapshot of another that has more.
#[test]
fn a_snapshot_takes_the_place_of_the_log_and_a_crash_in_between_does_no_harm() {
    let keep = tempfile::tempdir().unwrap();
    let (from, to) = (keep.path().join("from"), keep.path().join("to"));
    let (source, mut journal, _) = open(&from);
    commit(&mut journal, 1..=33);
    let (snapshot, wanted) = (source.snapshot().unwrap(), found(&source));
    let (old, mut behind, recovered) = open(&to);
    behind.append(&[entry(1, 1), entry(1, 2), entry(1, 3)]).unwrap();
    behind.promise(epoch(9)).unwrap();
    let disk_id = recovered.disk_id;
    let mut restore = Restore::begin_replica(&to, identity(), disk_id).unwrap();
    for block in snapshot.stream(0) {
        restore.push(&block.unwrap()).unwrap();
    }
    let restored = restore.finish().unwrap();
    assert_eq!((restored.seq, restored.disk_id, restored.epoch), (33, disk_id, epoch(1)));
    drop(behind);
    old.close();
    // As a crash leaves it that comes when the first file was moved.
    std::fs::write(to.join("installing"), b"").unwrap();
    std::fs::remove_dir_all(to.join("wal")).unwrap();
    std::fs::rename(to.join("incoming/wal"), to.join("wal")).unwrap();
    let (shard, mut journal, recovered) = open(&to);
    assert_eq!(found(&shard), wanted);
    assert_eq!((recovered.disk_id, recovered.promised), (disk_id, epoch(9)));
    assert_eq!((recovered.last(), journal.applied()), (entry(1, 33).at, 33));
    assert!(!to.join("incoming").exists() && !to.join("installing").exists());
    commit(&mut journal, 34..=40);
    assert!(snapshot::install(&to).is_err(), "there is nothing to install");
}
