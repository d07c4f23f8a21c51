//! The sample loader against a server, over a network.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use half::f16;
use serde_json::{Value, json};
use shoal_node::http::sample::{SampleArgs, run};

use crate::support::Server;

const ROWS: usize = 700;
const COLUMNS: usize = 8;

fn matrix(path: PathBuf, rows: usize) {
    let header =
        format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, {COLUMNS}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    for n in 0..rows * COLUMNS {
        bytes.extend(f16::from_f32(((n * 37) % 101) as f32 / 101.0).to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

fn texts(path: PathBuf, rows: usize) {
    let mut file = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::fast());
    for row in 0..rows {
        let pos = if row % 2 == 0 { "verb" } else { "noun" };
        writeln!(file, "{}", json!({"row": row, "pos": pos, "text": format!("entry {row}")}))
            .unwrap();
    }
    file.finish().unwrap();
}

fn sample(folder: &Path) {
    matrix(folder.join("vectors.f16.npy"), ROWS);
    texts(folder.join("points.jsonl.gz"), ROWS);
    matrix(folder.join("queries.f16.npy"), 3);
    texts(folder.join("queries.jsonl.gz"), 3);
}

fn args(url: &str, data: &Path, api_key: Option<&str>) -> SampleArgs {
    let api_key = api_key.map(str::to_owned);
    SampleArgs {
        url: url.to_owned(),
        api_key,
        data: data.to_owned(),
        collection: "demo".to_owned(),
    }
}

async fn uploads(server: &Server) -> usize {
    let metrics = server.send("GET", "/metrics", "").await.text;
    let upserts = "shoal_http_requests_total{method=\"PUT\",route=\"/collections/{collection_name}/points\",status=\"200\"} ";
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(upserts))
        .map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_loaded_once_and_completed_where_something_is_missing() {
    let (server, data) = (Server::new(), tempfile::tempdir().unwrap());
    sample(data.path());
    let url = server.listen().await;
    let count = async || {
        server.ok("POST", "/collections/demo/points/count", json!({})).await["count"].clone()
    };

    run(args(&url, data.path(), None)).await.unwrap();
    assert_eq!(count().await, ROWS);
    assert_eq!(uploads(&server).await, 3, "batches of 250");
    let last = server.ok("GET", "/collections/demo/points/699", Value::Null).await;
    assert_eq!(last["payload"], json!({"row": 699, "pos": "noun", "text": "entry 699"}));

    let added = json!({"points": [{"id": 10_000, "vector": vec![1; COLUMNS]}]});
    server.ok("PUT", "/collections/demo/points?wait=true", added).await;
    run(args(&url, data.path(), None)).await.unwrap();
    assert_eq!(uploads(&server).await, 4, "the second start reuses the data");

    server.ok("POST", "/collections/demo/points/delete?wait=true", json!({"points": [1, 2]})).await;
    run(args(&url, data.path(), None)).await.unwrap();
    assert_eq!(count().await, ROWS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_told_with_what_to_do() {
    let (server, data) = (Server::with(Some("secret"), 1 << 20), tempfile::tempdir().unwrap());
    sample(data.path());
    let url = server.listen().await;
    let fails = async |url: &str, data: &Path, key| {
        format!("{:#}", run(args(url, data, key)).await.unwrap_err())
    };

    assert!(fails(&url, data.path(), None).await.contains("--api-key"));
    assert!(fails(&url, data.path(), Some("other")).await.contains("--api-key"));
    assert!(fails(&url, Path::new("nowhere"), Some("secret")).await.contains("--data"));
    assert!(fails("http://127.0.0.1:9", data.path(), None).await.contains("shoal serve"));
    server
        .ok("PUT", "/collections/demo", json!({"vectors": {"size": COLUMNS, "distance": "Dot"}}))
        .await;
    assert!(fails(&url, data.path(), Some("secret")).await.contains("--collection"));
}
