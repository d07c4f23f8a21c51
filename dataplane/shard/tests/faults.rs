//! Bad days of a disk: full, damaged, of another shard, in use; and what a shard says then.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use shoal_shard::api::{
    Identity, OpOrigin, QuantizationParams, ScrollRequest, SearchRequest, ShardError, Want,
    WantPayload, WantVectors,
};
use shoal_shard::{Cancel, Limits, OpenError, Shard, encode_op};
use shoal_vector::op::Selector;
use shoal_vector::{
    Datatype, Filter, Metric, Op, Point, PointId, SparseVectorConfig, VectorConfig,
};

fn upsert(id: u64, payload: &str) -> Op {
    Op::Upsert(vec![point(id, &[1.0, id as f32], payload)])
}

fn open_default(dir: &Path) -> Result<Shard, OpenError> {
    Shard::open(dir, identity(2, Metric::Dot), tuning(), small_limits(10))
}

/// A shard with three segments and something in the log.
fn loaded(dir: &Path) {
    let shard = open_default(dir).unwrap();
    for id in 0..35 {
        write(&shard, &upsert(id, "{\"a\":1}")).unwrap();
    }
    wait_until("three segments", || shard.info().unwrap().segments == 3);
    shard.close();
}

fn request(vector: Vec<f32>, k: usize) -> SearchRequest {
    SearchRequest {
        using: String::new(),
        vector,
        sparse: None,
        filter: None,
        k,
        ef: None,
        exact: false,
        quantization: QuantizationParams::default(),
        score_threshold: None,
        want: Want::default(),
    }
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_folder_is_open_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = open_default(dir.path()).unwrap();
    assert!(matches!(open_default(dir.path()), Err(OpenError::InUse(_))));
    first.close();
    open_default(dir.path()).unwrap().close();
}

#[test]
fn a_shard_that_is_dropped_and_not_closed_lets_go_of_its_folder_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open_default(dir.path()).unwrap();
    for id in 0..45 {
        write(&shard, &upsert(id, "")).unwrap();
    }
    drop(shard);
    wait_until("the folder is free", || {
        open_default(dir.path()).is_ok_and(|shard| shard.count(None).unwrap() == 45)
    });
}

/// Written by version 1, for [`benched`].
const IDENTITY_1: &[u8] = include_bytes!("fixtures/version-1.identity");
/// Written by version 2, for the same with a sparse vector `s`.
const IDENTITY_2: &[u8] = include_bytes!("fixtures/version-2.identity");

fn benched() -> Identity {
    Identity {
        collection: "bench".into(),
        shard: "bench-0".into(),
        ..identity(384, Metric::Cosine)
    }
}

/// A disk whose identity was written by an earlier version.
fn disk_of(identity: Identity, written: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), identity, Limits::default()).close();
    // The disk's id is in the other files too, so this one is given theirs.
    let now = std::fs::read(dir.path().join("identity")).unwrap();
    let mut before = written.to_vec();
    before[16..32].copy_from_slice(&now[16..32]);
    let crc = crc32c::crc32c(&before[..60]).to_le_bytes();
    before[60..64].copy_from_slice(&crc);
    std::fs::write(dir.path().join("identity"), before).unwrap();
    dir
}

#[test]
fn an_identity_of_version_1_is_one_without_sparse_vectors_and_of_version_2_one_without_halves() {
    let sparse = vec![SparseVectorConfig { name: "s".into() }];
    let with_sparse = Identity { sparse, ..benched() };
    let mut halves = with_sparse.clone();
    halves.vectors[0].datatype = Datatype::Float16;
    for (written, own, other) in
        [(IDENTITY_1, benched(), with_sparse.clone()), (IDENTITY_2, with_sparse, halves)]
    {
        let dir = disk_of(own.clone(), written);
        let refused = Shard::open(dir.path(), other, tuning(), Limits::default());
        assert!(matches!(refused, Err(OpenError::WrongIdentity { .. })));
        let shard = open(dir.path(), own.clone(), Limits::default());
        assert_eq!(shard.identity(), &own);
        shard.close();
    }
}

#[test]
fn vectors_in_another_order_are_the_same_ones() {
    let vector = |name: &str, size| VectorConfig::new(name, size, Metric::Euclid);
    let dir = tempfile::tempdir().unwrap();
    let written = identity_of(vec![vector("b", 2), vector("a", 1), vector("", 3)]);
    let shard = open(dir.path(), written, small_limits(2));
    for id in 0..5 {
        let (a, b) = (("a".to_owned(), vec![id as f32]), ("b".to_owned(), vec![0.0, id as f32]));
        let point = Point { id: PointId::Num(id), vectors: vec![a, b], payload: Vec::new() };
        write(&shard, &Op::Upsert(vec![point])).unwrap();
    }
    shard.close();
    let turned = identity_of(vec![vector("", 3), vector("a", 1), vector("b", 2)]);
    let shard = open(dir.path(), turned, small_limits(2));
    assert!(shard.info().unwrap().segments > 0);
    for (using, query) in [("a", vec![3.0]), ("b", vec![0.0, 3.0])] {
        let search = SearchRequest { using: using.into(), ..request(query, 1) };
        let found = shard.search(&search).unwrap();
        assert_eq!((found[0].hit.id, found[0].hit.score), (PointId::Num(3), 0.0));
    }
    let none = SearchRequest { using: String::new(), ..request(vec![0.0; 3], 1) };
    assert_eq!(shard.search(&none).unwrap(), []);
    shard.close();
    for others in
        [vec![vector("b", 2), vector("a", 1)], vec![vector("b", 2), vector("a", 2), vector("", 3)]]
    {
        let refused = Shard::open(dir.path(), identity_of(others), tuning(), Limits::default());
        assert!(matches!(refused, Err(OpenError::WrongIdentity { .. })));
    }
}

#[test]
fn a_disk_of_another_shard_or_other_vectors_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    loaded(dir.path());
    let own = identity(2, Metric::Dot);
    let others = [
        Identity { collection: "other".into(), ..own.clone() },
        Identity { shard: "words-1".into(), ..own.clone() },
        identity(3, Metric::Dot),
        identity(2, Metric::Cosine),
        identity_of(vec![VectorConfig {
            datatype: Datatype::Float16,
            ..VectorConfig::new("", 2, Metric::Dot)
        }]),
    ];
    for other in others {
        match Shard::open(dir.path(), other.clone(), tuning(), small_limits(10)) {
            Err(error @ OpenError::WrongIdentity { .. }) => {
                assert!(
                    error.to_string().contains("shard `words-0` of collection `words` (2 x Dot)"),
                    "{error}"
                );
            }
            result => panic!("{other:?}: {result:?}"),
        }
    }
    let shard = open_default(dir.path()).unwrap();
    assert_eq!(shard.count(None).unwrap(), 35);
    shard.close();
}

#[test]
fn identities_that_cannot_be_served_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let vector = |size| VectorConfig::new("", size, Metric::Dot);
    let cases = [
        Identity { vectors: vec![], ..identity(2, Metric::Dot) },
        Identity { vectors: vec![vector(2), vector(3)], ..identity(2, Metric::Dot) },
        Identity { vectors: vec![vector(0)], ..identity(2, Metric::Dot) },
        Identity {
            vectors: vec![vector(shoal_vector::MAX_DIMENSIONS + 1)],
            ..identity(2, Metric::Dot)
        },
        Identity { collection: "x".repeat(300), ..identity(2, Metric::Dot) },
        Identity { shard: String::new(), ..identity(2, Metric::Dot) },
    ];
    for case in cases {
        let opened = Shard::open(dir.path(), case, tuning(), Limits::default());
        assert!(matches!(opened, Err(OpenError::Invalid(_))));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn damage_to_small_files_and_to_the_log_stops_the_opening_with_the_files_name() {
    for name in ["identity", "manifest", "wal"] {
        let dir = tempfile::tempdir().unwrap();
        loaded(dir.path());
        let path = match name {
            "wal" => files(&dir.path().join("wal"), ".wal").remove(0),
            name => dir.path().join(name),
        };
        flip(&path, 80);
        match open_default(dir.path()) {
            Err(error @ OpenError::Corrupt { .. }) => {
                assert!(error.to_string().contains(name), "{error}")
            }
            result => panic!("{name}: {result:?}"),
        }
        fs::remove_file(&path).unwrap();
        assert!(
            matches!(open_default(dir.path()), Err(OpenError::Corrupt { .. })),
            "{name} is missing"
        );
    }
}

#[test]
fn damage_anywhere_in_a_segment_stops_the_shard_sooner_or_later() {
    let pristine = tempfile::tempdir().unwrap();
    loaded(pristine.path());
    let len =
        fs::metadata(&files(&pristine.path().join("segments"), ".seg")[1]).unwrap().len() as usize;
    for at in (64..len).step_by(len / 40) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        crash_copy(pristine.path(), &copy);
        let path = files(&copy.join("segments"), ".seg").remove(1);
        let padding = fs::read(&path).unwrap()[at] == 0;
        flip(&path, at);
        match open_default(&copy) {
            Err(error) => assert!(matches!(error, OpenError::Corrupt { .. }), "byte {at}: {error}"),
            // A zero may lie between two sections, where nothing is.
            Ok(shard) if padding => shard.close(),
            Ok(shard) => {
                wait_until(&format!("damage at byte {at} is found"), || {
                    matches!(shard.count(None), Err(ShardError::Corrupt { .. }))
                });
                assert!(matches!(write(&shard, &upsert(1, "")), Err(ShardError::Corrupt { .. })));
                shard.close();
            }
        }
    }
}

#[test]
fn what_a_crash_left_unfinished_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    loaded(dir.path());
    let orphan = dir.path().join("segments/00000099.seg");
    let strays = [
        orphan,
        dir.path().join("segments/00000004.seg.tmp"),
        dir.path().join("manifest.tmp"),
        dir.path().join("wal/9.wal.tmp"),
    ];
    strays.iter().for_each(|stray| fs::write(stray, b"half").unwrap());
    let shard = open_default(dir.path()).unwrap();
    assert_eq!(shard.count(None).unwrap(), 35);
    assert!(strays.iter().all(|stray| !stray.exists()));
    shard.close();
}

#[test]
fn a_set_up_that_a_crash_cut_short_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    open_default(dir.path()).unwrap().close();
    fs::remove_file(dir.path().join("identity")).unwrap();
    let shard = open_default(dir.path()).unwrap();
    write(&shard, &upsert(1, "")).unwrap();
    shard.close();
    fs::remove_file(dir.path().join("identity")).unwrap();
    assert!(
        matches!(open_default(dir.path()), Err(OpenError::Corrupt { .. })),
        "data without an identity"
    );
}

#[test]
fn bad_requests_are_refused_and_leave_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open_default(dir.path()).unwrap();
    let message = |result: Result<_, ShardError>| match result {
        Err(ShardError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    let wrong = Op::Upsert(vec![point(1, &[1.0, 2.0, 3.0], "")]);
    assert_eq!(message(write(&shard, &wrong)), "Vector dimension error: expected dim: 2, got 3");
    let text = |result: Result<Vec<shoal_shard::api::FoundPoint>, ShardError>| match result {
        Err(ShardError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        text(shard.search(&request(vec![1.0], 1))),
        "Vector dimension error: expected dim: 2, got 1"
    );
    assert!(text(shard.search(&request(vec![1.0, f32::NAN], 1))).contains("not a finite number"));
    assert!(text(shard.search(&request(vec![1.0, 2.0], 0))).contains("must be 1 or larger"));
    assert_eq!(shard.search(&request(vec![1.0, 2.0], usize::MAX)).unwrap(), []);
    let garbage =
        block_on(shard.write(bytes::Bytes::from_static(b"garbage"), OpOrigin::default(), true));
    assert!(message(garbage).contains("encoding version"));
    assert_eq!(shard.info().unwrap().last_seq, 0);
    shard.close();
}

#[test]
fn a_closed_shard_answers_that_it_is_stopping_and_what_was_taken_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let shard = open_default(dir.path()).unwrap();
    let other = shard.clone();
    let ack = block_on(shard.write(encode_op(&upsert(5, "")).into(), OpOrigin::default(), false))
        .unwrap();
    assert_eq!((ack.seq, ack.visible), (1, false));
    shard.close();
    assert!(matches!(write(&other, &upsert(6, "")), Err(ShardError::Unavailable { .. })));
    drop(other);
    let shard = open_default(dir.path()).unwrap();
    assert_eq!(
        shard.retrieve(&[PointId::Num(5), PointId::Num(6)], &Want::default()).unwrap().len(),
        1
    );
    shard.close();
}

#[test]
fn an_edit_that_would_make_a_payload_too_large_is_refused_and_the_payload_stays() {
    let dir = tempfile::tempdir().unwrap();
    let shard =
        Shard::open(dir.path(), identity(2, Metric::Dot), tuning(), Limits::default()).unwrap();
    let half = "x".repeat(9 << 20);
    write(&shard, &upsert(1, &format!("{{\"a\":\"{half}\"}}"))).unwrap();
    let grow = |key: &str| Op::SetPayload {
        payload: format!("{{\"{key}\":\"{half}\"}}").into_bytes(),
        key: None,
        points: Selector::Ids(vec![PointId::Num(1)]),
    };
    match write(&shard, &grow("b")) {
        Err(ShardError::Invalid(text)) => assert!(text.contains("point 1 would exceed"), "{text}"),
        other => panic!("{other:?}"),
    }
    write(&shard, &grow("a")).unwrap();
    let keys = |shard: &Shard| {
        let record = shard.retrieve(&[PointId::Num(1)], &everything()).unwrap().remove(0);
        record.parts.payload.unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&shard), ["a"]);
    shard.close();
    let shard = open_default(dir.path()).unwrap();
    assert_eq!(keys(&shard), ["a"], "the same after a replay");
    shard.close();
}

#[test]
fn an_edit_that_one_point_does_not_bear_changes_no_other_either_now_and_after_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Shard::open(dir.path(), identity(2, Metric::Dot), tuning(), Limits::default());
    let shard = open().unwrap();
    write(&shard, &upsert(1, "{\"a\":[0]}")).unwrap();
    write(&shard, &upsert(2, &format!("{{\"a\":[{}0]}}", "0,".repeat(100_000)))).unwrap();
    let op = Op::SetPayload {
        payload: format!("{{\"b\":\"{}\"}}", "x".repeat(10_000)).into_bytes(),
        key: Some("a[]".into()),
        points: Selector::Ids(vec![PointId::Num(1), PointId::Num(2)]),
    };
    match write(&shard, &op) {
        Err(ShardError::Invalid(text)) => assert!(text.contains("point 2 would exceed"), "{text}"),
        other => panic!("{other:?}"),
    }
    let first = |shard: &Shard| {
        let record = shard.retrieve(&[PointId::Num(1)], &everything()).unwrap().remove(0);
        serde_json::Value::Object(record.parts.payload.unwrap()).to_string()
    };
    assert_eq!(first(&shard), "{\"a\":[0]}");
    shard.close();
    let shard = open().unwrap();
    assert_eq!(first(&shard), "{\"a\":[0]}");
    shard.close();
}

#[test]
fn a_read_that_nobody_waits_for_ends_with_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    loaded(dir.path());
    let shard = open_default(dir.path()).unwrap();
    let cancel = Cancel::default();
    let given_up = shard.with_cancel(cancel.clone());
    let filter = Filter::parse(&serde_json::json!({"must": [{"key": "a", "match": {"value": 1}}]}));
    let filter = filter.unwrap();
    assert_eq!(given_up.count(Some(&filter)).unwrap(), 35);
    cancel.cancel();
    let searched = SearchRequest { filter: Some(filter.clone()), ..request(vec![1.0, 2.0], 5) };
    let scrolled =
        ScrollRequest { filter: Some(filter.clone()), from: None, limit: 5, want: Want::default() };
    let ended = [
        given_up.count(Some(&filter)).unwrap_err(),
        given_up.search(&searched).unwrap_err(),
        given_up.search(&request(vec![1.0, 2.0], 5)).unwrap_err(),
        given_up.scroll(&scrolled).unwrap_err(),
        given_up.retrieve(&[PointId::Num(1)], &everything()).unwrap_err(),
    ];
    assert!(ended.iter().all(|error| matches!(error, ShardError::Cancelled { .. })), "{ended:?}");
    assert_eq!(shard.count(Some(&filter)).unwrap(), 35, "others read on");
    shard.close();
}

#[test]
fn an_answer_that_would_be_too_long_is_refused_and_says_what_to_ask_for_instead() {
    let dir = tempfile::tempdir().unwrap();
    let shard =
        Shard::open(dir.path(), identity(2, Metric::Dot), tuning(), Limits::default()).unwrap();
    let large = format!("{{\"a\":1,\"b\":\"{}\"}}", "x".repeat(9 << 20));
    for id in 0..9 {
        write(&shard, &upsert(id, &large)).unwrap();
    }
    let ids: Vec<PointId> = (0..9).map(PointId::Num).collect();
    let searched = SearchRequest { want: everything(), ..request(vec![1.0, 2.0], 9) };
    let scrolled = ScrollRequest { filter: None, from: None, limit: 9, want: everything() };
    let refused = [
        shard.search(&searched).unwrap_err(),
        shard.scroll(&scrolled).unwrap_err(),
        shard.retrieve(&ids, &everything()).unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(&error, ShardError::Invalid(text) if text.contains("limit")), "{error}");
    }
    let some = Want { payload: WantPayload::Include(vec!["a".into()]), vectors: WantVectors::All };
    assert_eq!(shard.retrieve(&ids, &some).unwrap().len(), 9, "what is left out does not count");
    assert_eq!(shard.retrieve(&ids[..7], &everything()).unwrap().len(), 7);
    shard.close();
}

#[test]
fn writes_without_effect_do_not_let_the_log_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { mutable_log_bytes: 20_000, ..small_limits(1_000) };
    let shard = Shard::open(dir.path(), identity(2, Metric::Dot), tuning(), limits).unwrap();
    let nothing = Op::Delete(Selector::Ids((0..50).map(PointId::Num).collect()));
    for _ in 0..400 {
        write(&shard, &nothing).unwrap();
    }
    wait_until("the log is trimmed", || {
        let bytes: u64 = files(&dir.path().join("wal"), ".wal")
            .iter()
            .map(|path| fs::metadata(path).map_or(0, |m| m.len()))
            .sum();
        bytes < 60_000 && shard.info().unwrap().flushed_seq > 300
    });
    assert_eq!(shard.info().unwrap().segments, 0);
    shard.close();
    open_default(dir.path()).unwrap().close();
}
