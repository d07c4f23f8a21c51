use std::fs;

use shoal_consensus::{DiskId, Epoch, Members};

use super::*;

fn members() -> Members {
    Members::majority(1, vec![DiskId(1), DiskId(2), DiskId(u128::MAX)]).unwrap()
}

/// A register of some epoch.
fn register(number: u64) -> Register {
    Register { epoch: Epoch { number, nonce: u64::MAX }, ..Register::first(members()) }
}

fn announced(name: &str) -> Announced {
    Announced {
        name: name.to_owned(),
        disk: DiskId(u128::MAX - 1),
        address: format!("{name}:1"),
        blank: true,
    }
}

async fn version(store: &FileRegister) -> Option<Version> {
    store.read().await.unwrap().stored.map(|stored| stored.version)
}

fn done(outcome: CasOutcome) -> Version {
    match outcome {
        CasOutcome::Done(version) => version,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_register_is_made_once_and_changed_from_its_version_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("register.json");
    let (one, other) = (FileRegister::open(&path), FileRegister::open(&path));
    assert_eq!(version(&one).await, None);
    let first = done(one.swap(None, &register(1)).await);
    assert_eq!(other.swap(None, &register(2)).await, CasOutcome::Conflict);
    // What is announced stands beside it.
    other.announce(&announced("r1")).await.unwrap();
    one.announce(&announced("r0")).await.unwrap();
    one.announce(&Announced { blank: false, ..announced("r0") }).await.unwrap();
    let second = done(other.swap(Some(&first), &register(2)).await);
    assert_eq!(one.swap(Some(&first), &register(3)).await, CasOutcome::Conflict);

    let seen = one.read().await.unwrap();
    assert_eq!(seen.stored, Some(Stored { version: second, register: register(2) }));
    let names: Vec<_> = seen.announced.iter().map(|a| (a.name.as_str(), a.blank)).collect();
    assert_eq!(names, [("r0", false), ("r1", true)]);
    assert_eq!(seen.address(DiskId(u128::MAX - 1)), Some("r0:1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_swaps_from_one_version_one_is_done_however_many_try() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("register.json");
    let tries = (0..4u64).map(|_| {
        let path = path.clone();
        tokio::spawn(async move {
            let store = FileRegister::open(&path);
            let mut done = 0;
            while done < 20 {
                let seen = store.read().await.unwrap();
                let (from, number) = match &seen.stored {
                    Some(stored) => (Some(&stored.version), stored.register.epoch.number + 1),
                    None => (None, 1),
                };
                match store.swap(from, &register(number)).await {
                    CasOutcome::Done(_) => done += 1,
                    CasOutcome::Conflict => {}
                    CasOutcome::Unknown => panic!("unknown"),
                }
                store.announce(&announced(&format!("r{}", done % 3))).await.unwrap();
            }
        })
    });
    for tried in futures::future::join_all(tries).await {
        tried.unwrap();
    }
    let seen = FileRegister::open(&path).read().await.unwrap();
    assert_eq!(seen.stored.unwrap().register, register(80));
    assert_eq!(seen.announced.len(), 3);
}

#[tokio::test]
async fn the_watch_sees_what_another_process_writes_and_that_the_file_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("register.json");
    let (one, other) = (FileRegister::open(&path), FileRegister::open(&path));
    let mut watch = one.watch();
    done(other.swap(None, &register(7)).await);
    let is = |seen: &Seen, number| {
        seen.stored.as_ref().map(|stored| stored.register.epoch.number) == number
    };
    watch.wait_for(|seen| is(seen, Some(7))).await.unwrap();
    fs::remove_file(&path).unwrap();
    watch.wait_for(|seen| is(seen, None)).await.unwrap();
    assert_eq!(version(&one).await, None);
}

#[tokio::test]
async fn a_version_never_comes_twice_though_the_file_was_lost_or_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("register.json");
    let store = FileRegister::open(&path);
    let first = done(store.swap(None, &register(1)).await);
    let backup = fs::read(&path).unwrap();
    let second = done(store.swap(Some(&first), &register(2)).await);

    fs::write(&path, backup).unwrap();
    assert_eq!(store.swap(Some(&second), &register(3)).await, CasOutcome::Conflict);
    let again = done(store.swap(Some(&first), &register(4)).await);
    assert_ne!(again, second);

    fs::remove_file(&path).unwrap();
    assert_eq!(store.swap(Some(&again), &register(5)).await, CasOutcome::Conflict);
    assert_ne!(done(store.swap(None, &register(6)).await), first);
}

#[tokio::test]
async fn what_is_no_register_is_an_error_that_names_the_file_and_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("register.json");
    let store = FileRegister::open(&path);
    let version = done(store.swap(None, &register(1)).await);
    let good = fs::read_to_string(&path).unwrap();
    let wrong_quorum = good.replace("\"writeQuorum\": 2", "\"writeQuorum\": 1");
    for garbage in ["", "{}", "null", "\u{0}\u{0}", &good[..good.len() / 2], &wrong_quorum] {
        fs::write(&path, garbage).unwrap();
        let error = store.read().await.unwrap_err();
        assert!(matches!(error, RegisterError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("register.json"), "{error}");
        assert_eq!(store.swap(Some(&version), &register(2)).await, CasOutcome::Unknown);
        assert_eq!(store.swap(None, &register(2)).await, CasOutcome::Unknown);
        assert!(store.announce(&announced("r0")).await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), garbage);
    }
    fs::write(&path, good.replace("\"format\": 1", "\"format\": 9")).unwrap();
    let error = store.read().await.unwrap_err();
    assert!(matches!(error, RegisterError::TooNew { found: 9, known: 1, .. }), "{error}");
    fs::write(&path, good).unwrap();
    assert_eq!(store.read().await.unwrap().stored.unwrap().version, version);
}

#[tokio::test]
async fn a_disk_that_was_not_blank_is_not_blank_again_and_another_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileRegister::open(&dir.path().join("register.json"));
    store.announce(&announced("r0").not_blank()).await.unwrap();
    let moved = Announced { address: "elsewhere:1".to_owned(), ..announced("r0") };
    store.announce(&moved).await.unwrap();
    assert_eq!(store.read().await.unwrap().announced, [moved.not_blank()]);
    let wiped = Announced { disk: DiskId(3), ..announced("r0") };
    store.announce(&wiped).await.unwrap();
    assert_eq!(store.read().await.unwrap().announced, [wiped]);
}

#[tokio::test]
async fn what_a_crash_left_beside_the_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("register.json");
    fs::write(dir.path().join("register.json.new"), "half of someth").unwrap();
    let store = FileRegister::open(&path);
    assert_eq!(version(&store).await, None);
    let first = done(store.swap(None, &register(1)).await);
    assert_eq!(version(&store).await, Some(first));
}

#[tokio::test]
async fn a_lock_that_is_never_let_go_of_leaves_the_outcome_unknown_and_the_watch_seeing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("register.json");
    let (one, other) = (FileRegister::open(&path), FileRegister::open(&path));
    done(one.swap(None, &register(1)).await);
    let frozen = one.place.try_lock(true).unwrap().unwrap();
    assert_eq!(other.swap(None, &register(2)).await, CasOutcome::Unknown);
    other.watch().wait_for(|seen| seen.stored.is_some()).await.unwrap();
    drop(frozen);
    assert!(other.read().await.unwrap().stored.is_some());
}
