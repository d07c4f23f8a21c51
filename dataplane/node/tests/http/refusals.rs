//! Bad input: each is a 4xx that names the field, or a 501 that names the feature; nothing is guessed.

use axum::body::Body;
use futures::stream;
use serde_json::json;

use crate::support::Server;

const QUERY: &str = "/collections/cities/points/query";
const POINTS: &str = "/collections/cities/points";

#[tokio::test(flavor = "multi_thread")]
async fn bad_queries_are_refused_by_name() {
    let server = Server::with_cities().await;
    let cases = [
        ("", 400, "EOF"),
        ("{", 400, "EOF"),
        ("[]", 400, "JSON body"),
        ("nonsense", 400, "column 2"),
        (r#"{"query": [1, 2, 3]}"#, 400, "expected dim: 4, got 3"),
        (r#"{"query": []}"#, 400, "expected dim: 4, got 0"),
        (r#"{"query": [1, 2, 3, 1e39]}"#, 400, "32-bit float"),
        (r#"{"query": [1, 2, 3, 1e999]}"#, 400, "out of range"),
        (r#"{"query": [1, 2, 3, NaN]}"#, 400, "column"),
        (r#"{"query": [1, 2, 3, null]}"#, 400, "query"),
        (r#"{"query": [1, 2, 3, "4"]}"#, 400, "query"),
        (r#"{"query": true}"#, 400, "query"),
        (r#"{"query": -1}"#, 400, "query"),
        (r#"{"query": 1.5}"#, 400, "query"),
        (r#"{"query": {}}"#, 400, "query"),
        (r#"{"query": {"nearest": 1, "neraest": 2}}"#, 400, "neraest"),
        (r#"{"query": {"nearest": 1, "nearest": 2}}"#, 400, "nearest"),
        (r#"{"query": 1, "limit": 0}"#, 422, "limit"),
        (r#"{"query": 1, "limit": -1}"#, 400, "-1"),
        (r#"{"query": 1, "limit": 1000000000}"#, 422, "limit"),
        (r#"{"query": 1, "limit": 18446744073709551615}"#, 422, "limit"),
        (r#"{"query": 1, "offset": 18446744073709551615}"#, 422, "offset"),
        (r#"{"query": 1, "limitt": 1}"#, 400, "limitt"),
        (r#"{"query": 1, "using": "image"}"#, 400, "Not existing vector name error: image"),
        (r#"{"query": 1, "with_vector": ["image"]}"#, 400, "Not existing vector name error: image"),
        (r#"{"query": 1, "with_payload": 1}"#, 400, "with_payload"),
        (r#"{"query": 1, "score_threshold": 1e39}"#, 422, "score_threshold"),
        (r#"{"query": 1, "filter": {"must": [{"key": "a"}]}}"#, 422, "filter.must[0]"),
        (r#"{"query": 1, "filter": {"musst": []}}"#, 400, "musst"),
        (r#"{"query": 1, "filter": []}"#, 400, "filter"),
        (r#"{"query": 1, "params": {"hnsw_ef": 99999999}}"#, 422, "hnsw_ef"),
    ];
    for (body, status, words) in cases {
        server.refused("POST", QUERY, body, status, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_yet_is_refused_by_its_name() {
    let server = Server::with_cities().await;
    let cases = [
        (r#"{"prefetch": {"query": 1}, "query": {"fusion": "rrf"}}"#, "prefetch"),
        (r#"{"query": {"fusion": "rrf"}}"#, "fusion"),
        (r#"{"query": {"rrf": {"k": 2}}}"#, "rrf"),
        (
            r#"{"query": {"recommend": {"positive": [1, "00000000-0000-0000-0000-000000000006"]}}}"#,
            "recommend",
        ),
        (r#"{"query": {"discover": {"target": 1, "context": []}}}"#, "discover"),
        (r#"{"query": {"context": {"positive": 1, "negative": 2}}}"#, "context"),
        (r#"{"query": {"order_by": "price"}}"#, "order_by"),
        (r#"{"query": {"sample": "random"}}"#, "sample"),
        (
            r#"{"query": {"formula": {"sum": ["$score", {"mult": [0.5, {"key": "a"}]}]}}}"#,
            "formula",
        ),
        (r#"{"query": {"relevance_feedback": {"target": 1}}}"#, "relevance_feedback"),
        (r#"{"query": {"nearest": 1, "mmr": {"diversity": 0.5}}}"#, "mmr"),
        (r#"{"query": [[1, 2, 3, 4]]}"#, "multivectors"),
        (r#"{"query": {"text": "a city", "model": "m"}}"#, "inference"),
        (r#"{"limit": 3}"#, "without `query`"),
        (r#"{"query": 1, "lookup_from": {"collection": "x"}}"#, "lookup_from"),
        (r#"{"query": 1, "shard_key": "a"}"#, "shard_key"),
        (r#"{"query": 1, "params": {"indexed_only": true}}"#, "indexed_only"),
        (r#"{"query": 1, "filter": {"must": [{"slice": {"total": 2, "index": 0}}]}}"#, "slice"),
    ];
    for (body, feature) in cases {
        server.refused("POST", QUERY, body, 501, feature).await;
        server.refused("POST", QUERY, body, 501, "is not supported yet").await;
    }
    // What is no dense vector does not fit a dense one.
    let sparse =
        r#"{"vector": {"name": "", "vector": {"indices": [1], "values": [0.5]}}, "limit": 1}"#;
    server.refused("POST", "/collections/cities/points/search", sparse, 400, "sparse").await;
    for query in [
        r#"{"query": {"indices": [1], "values": [0.5]}}"#,
        r#"{"query": {"nearest": {"indices": [1], "values": [0.5]}}}"#,
    ] {
        server.refused("POST", QUERY, query, 400, "sparse").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn query_parameters_are_checked() {
    let server = Server::with_cities().await;
    let cases = [
        ("wait=maybe", 400, "wait"),
        ("ordering=sideways", 400, "ordering"),
        ("timeout=0", 400, "timeout"),
        ("timeout=-1", 400, "timeout"),
        ("timeout=99999999", 400, "timeout"),
    ];
    for (parameters, status, words) in cases {
        let path = format!("{POINTS}/delete?{parameters}");
        server.refused("POST", &path, r#"{"points": [1]}"#, status, words).await;
    }
    server
        .refused("POST", &format!("{QUERY}?consistency=0"), r#"{"query": 1}"#, 400, "consistency")
        .await;
    for granted in ["2", "all"] {
        let path = format!("{QUERY}?consistency={granted}&timeout=5");
        let answer = server.send("POST", &path, r#"{"query": 1}"#).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_whether_or_not_it_says_so() {
    let server = Server::with(None, 10_000);
    let json = ("content-type", "application/json");
    let body = format!("{{\"vectors\": {}1", " ".repeat(10_000));
    let length = body.len().to_string();
    let answer = server
        .raw("PUT", "/collections/x", &[json, ("content-length", &length)], body.clone())
        .await;
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert!(answer.error().contains("10000 bytes"), "{}", answer.text);
    let chunks = stream::iter(
        body.into_bytes()
            .chunks(100)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    );
    let answer = server.raw("PUT", "/collections/x", &[json], Body::from_stream(chunks)).await;
    assert_eq!(answer.status, 413, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_must_say_that_it_is_json_so_that_a_web_page_cannot_send_it_unasked() {
    let server = Server::with_cities().await;
    let delete_all = r#"{"filter": {}}"#;
    for headers in [
        vec![],
        vec![("content-type", "text/plain")],
        vec![("content-type", "application/x-www-form-urlencoded")],
    ] {
        let answer =
            server.raw("POST", &format!("{POINTS}/delete?wait=true"), &headers, delete_all).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.error().contains("application/json"), "{}", answer.text);
    }
    assert_eq!(server.ok("POST", &format!("{POINTS}/count"), json!({})).await["count"], 6);
    let utf8 = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(server.raw("POST", &format!("{POINTS}/count"), &utf8, "{}").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_ends_in_an_error_and_not_in_a_crash() {
    let server = Server::with_cities().await;
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(50_000), close.repeat(50_000));
    for value in [deep("[", "]"), deep(r#"{"must":"#, "}"), deep(r#"{"nearest":"#, "}")] {
        for field in ["query", "filter", "prefetch", "with_payload"] {
            let answer = server.send("POST", QUERY, &format!("{{\"{field}\": {value}}}")).await;
            assert!((400..600).contains(&answer.status), "{}", answer.text);
            assert!(!answer.error().is_empty());
        }
        let point = format!(
            r#"{{"points": [{{"id": 1, "vector": [1, 2, 3, 4], "payload": {{"a": {value}}}}}]}}"#
        );
        assert_eq!(server.send("PUT", POINTS, &point).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_with_one_point_that_a_shard_would_refuse_changes_no_shard() {
    let server = Server::with_cities().await;
    // More points than shards, so that each shard has good ones; what is wrong is not about vectors.
    let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    let good: Vec<String> =
        (100..120).map(|id| format!(r#"{{"id": {id}, "vector": [1, 2, 3, 4]}}"#)).collect();
    let bad = format!(r#"{{"id": 99, "vector": [1, 2, 3, 4], "payload": {{"a": {deep}}}}}"#);
    let body = format!(r#"{{"points": [{}, {bad}]}}"#, good.join(", "));
    server.refused("PUT", &format!("{POINTS}?wait=true"), &body, 400, "payload of point 99").await;
    assert_eq!(server.ok("POST", &format!("{POINTS}/count"), json!({})).await["count"], 6);
}
