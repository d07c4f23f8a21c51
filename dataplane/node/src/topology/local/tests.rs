//! Collections of a data folder through their life, over restarts.

use std::time::Duration;

use shoal_shard::api::{OpOrigin, Want};
use shoal_vector::{Metric, Op, Point, PointId, Quantization, VectorConfig};

use super::*;

fn open(dir: &std::path::Path) -> LocalTopology {
    LocalTopology::open(dir, 2, ReadPool::new(2), Arc::new(Telemetry::new())).unwrap()
}

fn request(name: &str) -> CreateCollection {
    let vectors = vec![VectorConfig::new("", 2, Metric::Dot)];
    let timeout = Duration::from_secs(5);
    CreateCollection {
        name: name.to_owned(),
        vectors,
        sparse: Vec::new(),
        ef_construct: Some(50),
        quantization: [(String::new(), Quantization::None)].into(),
        shards: None,
        timeout,
    }
}

async fn put(collection: &Collection, id: u64) {
    let point = Point {
        id: PointId::Num(id),
        vectors: vec![(String::new(), vec![1.0, 2.0])],
        payload: vec![],
    };
    let op = shoal_shard::encode_op(&Op::Upsert(vec![point]));
    let shard = &collection.shards[collection.routing.shard_of(PointId::Num(id))];
    shard.write(op.into(), OpOrigin::default(), true, Duration::from_secs(20)).await.unwrap();
}

async fn has(collection: &Collection, id: u64) -> bool {
    let shard = &collection.shards[collection.routing.shard_of(PointId::Num(id))];
    let ids = vec![PointId::Num(id)];
    !shard
        .retrieve(ids, Want::default(), Duration::from_secs(20).into())
        .await
        .unwrap()
        .value
        .is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_of_any_name_are_there_with_their_points_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["my_collection", "../../etc", "straße 日本", "a/b"];
    let topology = open(dir.path());
    for name in names {
        topology.create(request(name)).await.unwrap();
        put(&topology.snapshot()[name], 7).await;
    }
    topology.close().await;
    drop(topology);

    let topology = open(dir.path());
    let snapshot = topology.snapshot();
    assert_eq!(snapshot.len(), names.len());
    for name in names {
        let collection = &snapshot[name];
        assert_eq!(
            (collection.name.as_str(), collection.ef_construct, collection.shards.len()),
            (name, 50, 2)
        );
        assert_eq!(collection.quantization[""], Quantization::None);
        assert!(has(collection, 7).await && !has(collection, 8).await);
    }
    topology.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_collection_is_gone_and_its_name_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let topology = open(dir.path());
    topology.create(request("a")).await.unwrap();
    assert!(
        matches!(topology.create(request("a")).await, Err(RouteError::Exists(name)) if name == "a")
    );
    put(&topology.snapshot()["a"], 1).await;
    assert!(topology.delete("a").await.unwrap());
    assert!(!topology.delete("a").await.unwrap());
    assert!(topology.snapshot().is_empty());

    topology.create(request("a")).await.unwrap();
    assert!(!has(&topology.snapshot()["a"], 1).await);
    topology.delete("a").await.unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("collections")).unwrap().count(), 0);
    topology.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_client_goes_away_is_done_or_not_but_never_half() {
    let dir = tempfile::tempdir().unwrap();
    let topology = open(dir.path());
    for round in 0..10u64 {
        let name = format!("c{round}");
        let _ = tokio::time::timeout(
            Duration::from_micros(200 * round),
            topology.create(request(&name)),
        )
        .await;
        // Changes run one at a time, so this one is after it: both agree on what there is.
        let again = topology.create(request(&name)).await;
        assert!(matches!(again, Ok(()) | Err(RouteError::Exists(_))), "{again:?}");
        assert!(topology.snapshot().contains_key(&name));
    }
    topology.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_shard_answers_with_its_error_and_others_serve() {
    let dir = tempfile::tempdir().unwrap();
    let topology = open(dir.path());
    for name in ["broken", "whole"] {
        topology.create(request(name)).await.unwrap();
        put(&topology.snapshot()[name], 7).await;
    }
    let path = topology.0.paths()["broken"].clone();
    topology.close().await;
    drop(topology);
    let shard = (0..2).map(|n| folder::shard_dir(&path, n));
    for entry in shard.flat_map(|dir| std::fs::read_dir(dir).unwrap()) {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && entry.metadata().unwrap().len() > 0 {
            std::fs::write(
                entry.path(),
                b"this is not what was written here, whatever it was before",
            )
            .unwrap();
        }
    }

    let topology = open(dir.path());
    let snapshot = topology.snapshot();
    assert!(has(&snapshot["whole"], 7).await);
    let error =
        snapshot["broken"].shards[0].count(None, Duration::from_secs(5).into()).await.unwrap_err();
    assert!(error.to_string().contains(snapshot["broken"].shards[0].name()), "{error}");
    drop(snapshot);
    assert!(topology.delete("broken").await.unwrap());
    topology.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_folder_is_gone_is_not_made_anew_but_says_what_to_do() {
    for emptied in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let topology = open(dir.path());
        topology.create(request("a")).await.unwrap();
        put(&topology.snapshot()["a"], 7).await;
        let path = topology.0.paths()["a"].clone();
        topology.close().await;
        drop(topology);
        let lost = folder::shard_dir(&path, 0);
        std::fs::remove_dir_all(&lost).unwrap();
        if emptied {
            std::fs::create_dir(&lost).unwrap();
        }

        let topology = open(dir.path());
        let snapshot = topology.snapshot();
        let shard = &snapshot["a"].shards[0];
        let error = shard.count(None, Duration::from_secs(5).into()).await.unwrap_err().to_string();
        assert!(
            error.contains("restore the folder") && error.contains("delete the coll"),
            "{error}"
        );
        assert_eq!(lost.exists(), emptied);
        drop(snapshot);
        assert!(topology.delete("a").await.unwrap());
        topology.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_shards_that_no_laptop_serves_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let topology = open(dir.path());
    for shards in [0, MAX_SHARDS + 1] {
        let refused =
            topology.create(CreateCollection { shards: Some(shards), ..request("a") }).await;
        assert!(
            matches!(&refused, Err(RouteError::Invalid(text)) if text.contains("shard_number")),
            "{refused:?}"
        );
    }
    topology.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_shards_are_shown_while_they_exist() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = Arc::new(Telemetry::new());
    let topology = LocalTopology::open(dir.path(), 1, ReadPool::new(2), telemetry.clone()).unwrap();
    topology.create(request("a")).await.unwrap();
    put(&topology.snapshot()["a"], 7).await;
    let shard = topology.snapshot()["a"].shards[0].name().to_owned();
    let labels = format!("{{collection=\"a\",shard=\"{shard}\"");
    let text = telemetry.render();
    for line in [
        format!("shoal_shard_points{labels}}} 1"),
        format!("shoal_shard_last_seq{labels}}} 1"),
        format!("shoal_shard_fsync_seconds_count{labels}}} 1"),
        format!("shoal_shard_fsync_seconds_bucket{{le=\"+Inf\",{}}} 1", &labels[1..]),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    topology.delete("a").await.unwrap();
    assert!(!telemetry.render().contains(&shard));
    topology.close().await;
}
