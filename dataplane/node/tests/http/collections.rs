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
