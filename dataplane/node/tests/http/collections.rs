//! Collections: made, listed, described, removed.

use serde_json::{Value, json};

use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_lives_from_put_to_delete() {
    let server = Server::new();
    let body = json!({"vectors": {"size": 4, "distance": "Cosine"}, "shard_number": 3, "hnsw_config": {"ef_construct": 77}});
    assert_eq!(server.ok("GET", "/collections", Value::Null).await, json!({"collections": []}));
    assert_eq!(
        server.ok("GET", "/collections/my_collection/exists", Value::Null).await,
        json!({"exists": false})
    );
    server
        .refused(
            "GET",
            "/collections/my_collection",
            "",
            404,
            "Collection `my_collection` doesn't exist!",
        )
        .await;

    assert_eq!(server.ok("PUT", "/collections/my_collection", body.clone()).await, json!(true));
    assert_eq!(
        server.ok("GET", "/collections/my_collection/exists", Value::Null).await,
        json!({"exists": true})
    );
    let listed = server.ok("GET", "/collections", Value::Null).await;
    assert_eq!(listed, json!({"collections": [{"name": "my_collection"}]}));
    let again = body.to_string();
    server
        .refused(
            "PUT",
            "/collections/my_collection",
            &again,
            409,
            "Collection `my_collection` already exists!",
        )
        .await;

    let info = server.ok("GET", "/collections/my_collection", Value::Null).await;
    assert_eq!((&info["status"], &info["optimizer_status"]), (&json!("green"), &json!("ok")));
    assert_eq!((&info["points_count"], &info["indexed_vectors_count"]), (&json!(0), &json!(0)));
    let params = &info["config"]["params"];
    assert_eq!(params["vectors"], json!({"size": 4, "distance": "Cosine"}));
    assert_eq!(params["shard_number"], 3);
    assert_eq!(info["config"]["hnsw_config"]["ef_construct"], 77);

    assert_eq!(server.ok("DELETE", "/collections/my_collection", Value::Null).await, json!(true));
    assert_eq!(server.ok("DELETE", "/collections/my_collection", Value::Null).await, json!(false));
    assert_eq!(server.ok("GET", "/collections", Value::Null).await, json!({"collections": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_any_text_of_the_dialect_and_others_are_refused_by_field() {
    let server = Server::new();
    let body = r#"{"vectors": {"size": 1, "distance": "Dot"}}"#;
    let long = "x".repeat(255);
    for (path, name) in [
        ("W%C3%B6rter", "Wörter"),
        ("a%20b", "a b"),
        ("..", ".."),
        ("aliases", "aliases"),
        (&long, &long),
    ] {
        let answer = server.send("PUT", &format!("/collections/{path}"), body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let listed = server.ok("GET", "/collections", Value::Null).await;
        assert!(
            listed["collections"].as_array().unwrap().contains(&json!({"name": name})),
            "{listed}"
        );
    }
    let too_long = "x".repeat(300);
    for path in ["a%2Fb", "..%2F..%2Fetc", "a%00", &too_long, ""] {
        let path = format!("/collections/{path}");
        server.refused("PUT", &path, body, 422, "collection_name").await;
    }
    let answer = server.send("PUT", "/collections/%FF%FE", body).await;
    assert_eq!(answer.status, 400, "not UTF-8: {}", answer.text);
    assert!(!answer.error().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_that_make_the_same_collection_make_one() {
    let server = Server::new();
    let body = r#"{"vectors": {"size": 1, "distance": "Dot"}}"#;
    let (a, b) = tokio::join!(
        server.send("PUT", "/collections/x", body),
        server.send("PUT", "/collections/x", body)
    );
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} {}", a.text, b.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_are_told_returned_as_they_were_rounded_and_refused_where_they_hold_no_value() {
    let server = Server::new();
    let vectors = json!({"size": 2, "distance": "Dot", "datatype": "float16"});
    server.ok("PUT", "/collections/c", json!({"vectors": vectors})).await;
    let info = server.ok("GET", "/collections/c", Value::Null).await;
    assert_eq!(info["config"]["params"]["vectors"], vectors);
    let points = json!([{"id": 1, "vector": [0.1, 65504]}, {"id": 2, "vector": [2049, 0]}]);
    server.ok("PUT", "/collections/c/points?wait=true", json!({"points": points})).await;
    let all = json!({"ids": [1, 2], "with_vector": true, "with_payload": false});
    let found = server.ok("POST", "/collections/c/points", all).await;
    let rounded =
        json!([{"id": 1, "vector": [0.099975586, 65504.0]}, {"id": 2, "vector": [2048.0, 0.0]}]);
    assert_eq!(found, rounded);
    let query = json!({"query": [0.5, 0], "limit": 1});
    let found = server.ok("POST", "/collections/c/points/query", query).await;
    assert_eq!(
        (&found["points"][0]["id"], &found["points"][0]["score"]),
        (&json!(2), &json!(1024.0))
    );
    let beyond = r#"{"points": [{"id": 3, "vector": [0, -70000]}]}"#;
    server.refused("PUT", "/collections/c/points", beyond, 400, "value -70000 at position 1").await;
    let bytes = r#"{"vectors": {"size": 2, "distance": "Dot", "datatype": "uint8"}}"#;
    server.refused("PUT", "/collections/other", bytes, 501, "use `float16`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quantization_is_told_as_it_was_asked_for_and_searches_find_the_same_with_each() {
    let server = Server::new();
    let (bits4, int8) = (json!({"turbo": {"bits": "bits4"}}), json!({"scalar": {"type": "int8"}}));
    for (name, asked, told) in [
        ("default", Value::Null, bits4.clone()),
        ("bits4", bits4, json!({"turbo": {"bits": "bits4"}})),
        ("int8", int8.clone(), int8.clone()),
        ("none", json!("Disabled"), Value::Null),
    ] {
        let path = format!("/collections/{name}");
        let vectors = json!({"size": 2, "distance": "Euclid"});
        server.ok("PUT", &path, json!({"vectors": vectors, "quantization_config": asked})).await;
        let info = server.ok("GET", &path, Value::Null).await;
        assert_eq!(info["config"]["quantization_config"], told, "{name}");
        assert_eq!(info["config"]["params"]["vectors"], vectors, "{name}");
        let points: Vec<Value> =
            (0..500).map(|id| json!({"id": id, "vector": [id, id * 31 % 97]})).collect();
        let write = format!("{path}/points?wait=true");
        server.ok("PUT", &write, json!({"points": points})).await;
        for params in [
            json!({"hnsw_ef": 16}),
            json!({"hnsw_ef": 16, "quantization": {"ignore": true}}),
            json!({"hnsw_ef": 16, "quantization": {"rescore": false, "oversampling": 4.0}}),
        ] {
            let query = json!({"query": [20, 20 * 31 % 97], "limit": 1, "params": params});
            let found = server.ok("POST", &format!("{path}/points/query"), query).await;
            let best = &found["points"][0];
            assert_eq!(
                (&best["id"], &best["score"]),
                (&json!(20), &json!(0.0)),
                "{name}, {params}"
            );
        }
        let far = r#"{"query": [1, 2], "limit": 1000, "params": {"quantization": {"oversampling": 101.0}}}"#;
        let search = format!("{path}/points/query");
        server.refused("POST", &search, far, 422, "quantization.oversampling").await;
    }
    let vectors = json!({"a": {"size": 2, "distance": "Dot", "quantization_config": int8},
        "b": {"size": 2, "distance": "Dot", "quantization_config": "Disabled"}});
    server.ok("PUT", "/collections/several", json!({"vectors": vectors})).await;
    let info = server.ok("GET", "/collections/several", Value::Null).await;
    assert_eq!(info["config"]["quantization_config"], Value::Null);
    let told = json!({"a": {"size": 2, "distance": "Dot", "quantization_config": int8},
        "b": {"size": 2, "distance": "Dot"}});
    assert_eq!(info["config"]["params"]["vectors"], told);
    let binary =
        r#"{"vectors": {"size": 2, "distance": "Dot"}, "quantization_config": {"binary": {}}}"#;
    server.refused("PUT", "/collections/other", binary, 501, "binary").await;
}
