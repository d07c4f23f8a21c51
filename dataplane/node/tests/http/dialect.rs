//! The server itself: its paths, its key, its health.

use serde_json::{Value, json};

use crate::support::Server;

/// Every method and path of the dialect's OpenAPI description.
const PATHS: &str = include_str!("../../src/http/dialect_paths.txt");

fn paths() -> impl Iterator<Item = (&'static str, String)> {
    PATHS.lines().map(|line| {
        let (method, path) = line.split_once(' ').unwrap();
        let filled = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
        (method, filled.collect::<Vec<_>>().join("/"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_the_dialect_is_served_or_named_as_not_there_yet() {
    let server = Server::new();
    assert_eq!(paths().count(), 75);
    let (mut served, mut not_yet) = (0, 0);
    for (method, path) in paths() {
        let answer = server.send(method, &path, "{}").await;
        match answer.status {
            501 if !answer.error().contains("`vectors`") => {
                assert!(
                    answer.error().ends_with("is not supported yet"),
                    "{method} {path}: {}",
                    answer.text
                );
                not_yet += 1;
            }
            404 => {
                // Known path, unknown collection.
                assert!(
                    answer.error().contains("Collection `1`"),
                    "{method} {path}: {}",
                    answer.text
                );
                served += 1;
            }
            405 => panic!("{method} {path} is not served: {}", answer.text),
            _ => served += 1,
        }
    }
    assert_eq!((served, not_yet), (29, 46));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_told_apart() {
    let server = Server::new();
    for path in
        ["/nowhere", "/collections/x/nowhere", "/collections/x/points/search/nowhere", "/dashboard"]
    {
        server.refused("GET", path, "", 404, path).await;
    }
    server.refused("DELETE", "/collections", "", 405, "Method Not Allowed").await;
    server.refused("POST", "/collections/x", "{}", 405, "PUT").await;
    server.refused("POST", "/collections/aliases", "{}", 501, "aliases").await;
    server.refused("BREW", "/collections", "", 405, "Method Not Allowed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_tells_the_version_clients_check_and_our_own() {
    let server = Server::new();
    let about = server.send("GET", "/", "").await.body;
    assert_eq!(
        (&about["version"], &about["shoal"]["version"]),
        (&json!("1.18.3"), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert!(about["title"].is_string());
    for (path, text) in [
        ("/healthz", "healthz check passed"),
        ("/livez", "healthz check passed"),
        ("/readyz", "all shards are ready"),
    ] {
        assert_eq!(server.send("GET", path, "").await.text, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_route_and_not_by_what_clients_type() {
    let server = Server::with_cities().await;
    server.send("GET", "/collections/secret-name", "").await;
    server.send("GET", "/secret-path", "").await;
    server.send("BREW", "/", "").await;
    let metrics = server.send("GET", "/metrics", "").await.text;
    let line = |method: &str, route: &str, status: u16, count: u64| {
        let line = format!(
            "shoal_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
        );
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    };
    line("PUT", "/collections/{collection_name}/points", 200, 1);
    line("GET", "/collections/{collection_name}", 404, 1);
    line("GET", "none", 404, 1);
    line("other", "/", 405, 1);
    assert!(!metrics.contains("secret") && !metrics.contains("BREW"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_everywhere_but_on_the_open_paths() {
    let server = Server::with(Some("the-key"), 1000);
    for path in ["/", "/healthz", "/livez", "/readyz"] {
        assert_eq!(server.raw("GET", path, &[], "").await.status, 200, "{path}");
    }
    for (method, path) in
        paths().filter(|(_, path)| !["/", "/healthz", "/livez", "/readyz"].contains(&path.as_str()))
    {
        let answer = server.raw(method, &path, &[("content-type", "application/json")], "{}").await;
        assert_eq!(answer.status, 401, "{method} {path}");
        assert_eq!(answer.error(), "Must provide an API key or an Authorization bearer token");
    }
    for path in ["/nowhere", "//", "/./", "/healthz/", "/%68ealthz/../collections"] {
        assert_eq!(server.raw("GET", path, &[], "").await.status, 401, "{path}");
    }
    let wrong = server.raw("GET", "/collections", &[("api-key", "the-kez")], "").await;
    assert_eq!((wrong.status, wrong.error()), (401, "Invalid API key or JWT"));
    let bearer =
        server.raw("GET", "/collections", &[("authorization", "Bearer the-key")], "").await;
    assert_eq!(bearer.status, 200);
    assert_eq!(server.ok("GET", "/collections", Value::Null).await, json!({"collections": []}));
}
