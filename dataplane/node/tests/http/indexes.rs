//! Payload indexes: made, listed, removed; filters are answered the same with them and without.

use serde_json::{Value, json};

use crate::support::Server;

async fn schema(server: &Server) -> Value {
    server.ok("GET", "/collections/cities", Value::Null).await["payload_schema"].clone()
}

async fn found(server: &Server, filter: &Value) -> Vec<Value> {
    let body = json!({"vector": [0.2, 0.1, 0.9, 0.7], "filter": filter, "limit": 10});
    let hits = server.ok("POST", "/collections/cities/points/search", body).await;
    hits.as_array().unwrap().iter().map(|hit| hit["id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_lives_from_put_to_delete_and_changes_no_answer() {
    let server = Server::with_cities().await;
    let filters = [
        json!({"must": {"key": "city", "match": {"value": "London"}}}),
        json!({"must_not": {"key": "city", "match": {"any": ["London", "Berlin"]}}}),
        json!({"must": {"is_empty": {"key": "city"}}}),
    ];
    let mut before = Vec::new();
    for filter in &filters {
        before.push(found(&server, filter).await);
    }
    assert_eq!(before[0], [json!(2)]);
    assert_eq!(schema(&server).await, json!({}));

    let index = json!({"field_name": "city", "field_schema": "keyword"});
    let done = server.ok("PUT", "/collections/cities/index?wait=true", index).await;
    assert_eq!(done["status"], "completed");
    let index = json!({"field_name": "\"n\".o[]", "field_schema": {"type": "integer", "lookup": true, "range": true}});
    let done = server.ok("PUT", "/collections/cities/index", index).await;
    assert_eq!(done["status"], "acknowledged");
    assert_eq!(
        schema(&server).await,
        json!({"city": {"data_type": "keyword", "points": 5}, "n.o[]": {"data_type": "integer", "points": 0}})
    );
    for (filter, before) in filters.iter().zip(&before) {
        assert_eq!(&found(&server, filter).await, before, "{filter}");
    }
    // A field has one index: another kind takes its place.
    let index = json!({"field_name": "city", "field_schema": "uuid"});
    server.ok("PUT", "/collections/cities/index?wait=true", index).await;
    assert_eq!(schema(&server).await["city"]["data_type"], "uuid");

    // A text is then searched for by its words, and listed with how these are made.
    let text = json!({"must": {"key": "city", "match": {"text": "yOrK new"}}});
    assert_eq!(found(&server, &text).await, [] as [Value; 0]);
    let index = json!({"field_name": "city", "field_schema": {"type": "text", "tokenizer": "word", "min_token_len": 2}});
    server.ok("PUT", "/collections/cities/index?wait=true", index).await;
    assert_eq!(found(&server, &text).await, [json!(4)]);
    let params = json!({"type": "text", "tokenizer": "word", "lowercase": true, "min_token_len": 2, "max_token_len": null});
    assert_eq!(
        schema(&server).await["city"],
        json!({"data_type": "text", "params": params, "points": 5})
    );

    server.ok("DELETE", "/collections/cities/index/city?wait=true", Value::Null).await;
    assert_eq!(found(&server, &text).await, [] as [Value; 0]);
    server.ok("DELETE", "/collections/cities/index/n.o[]", Value::Null).await;
    // As in the dialect, there need not be one.
    server.ok("DELETE", "/collections/cities/index/city", Value::Null).await;
    assert_eq!(schema(&server).await, json!({}));
    assert_eq!(found(&server, &filters[0]).await, before[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_index_is_refused_by_name() {
    let server = Server::with_cities().await;
    let refused = [
        (json!({"field_schema": "keyword"}), 400, "field_name"),
        (json!({"field_name": "city"}), 400, "please specify `field_schema`"),
        (json!({"field_name": "city", "field_schema": "word"}), 400, "unknown type `word`"),
        (json!({"field_name": "city", "field_schema": {"on_disk": true}}), 400, "type"),
        (
            json!({"field_name": "city", "field_schema": {"type": "keyword", "on_disk": 3}}),
            400,
            "on_disk",
        ),
        (
            json!({"field_name": "city", "field_schema": {"type": "keyword", "lowercase": true}}),
            400,
            "lowercase",
        ),
        (
            json!({"field_name": "city", "field_schema": {"type": "text", "tokenizer": "letters"}}),
            400,
            "tokenizer",
        ),
        (
            json!({"field_name": "city", "field_schema": {"type": "text", "stemmer": {"type": "snowball"}}}),
            501,
            "stemmer",
        ),
        (json!({"field_name": "a..b", "field_schema": "keyword"}), 400, "a..b"),
        (json!({"field_name": "city", "field_schema": "keyword", "more": 1}), 400, "more"),
    ];
    for (body, status, words) in refused {
        server.refused("PUT", "/collections/cities/index", &body.to_string(), status, words).await;
    }
    let body = json!({"field_name": "city", "field_schema": "keyword"}).to_string();
    server.refused("PUT", "/collections/none/index", &body, 404, "none").await;
    server.refused("DELETE", "/collections/none/index/city", "", 404, "none").await;
    server.refused("DELETE", "/collections/cities/index/a..b", "", 400, "a..b").await;
    for n in 0..100 {
        let body = json!({"field_name": format!("f{n}"), "field_schema": "bool"});
        server.ok("PUT", "/collections/cities/index", body).await;
    }
    let body = json!({"field_name": "one_more", "field_schema": "bool"}).to_string();
    server.refused("PUT", "/collections/cities/index", &body, 400, "at most 100").await;
}
