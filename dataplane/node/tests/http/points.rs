//! Points: written, read, changed, counted, removed.

use serde_json::{Value, json};

use crate::support::Server;

const UUID: &str = "00000000-0000-0000-0000-000000000006";

#[tokio::test(flavor = "multi_thread")]
async fn points_are_read_by_id_in_the_order_asked() {
    let server = Server::with_cities().await;
    let body = json!({"ids": [UUID, 99, 1], "with_vector": true});
    let read = server.ok("POST", "/collections/cities/points", body).await;
    assert_eq!(
        read,
        json!([
            {"id": UUID, "payload": {}, "vector": [0.35, 0.08, 0.11, 0.44]},
            {"id": 1, "payload": {"city": "Berlin"}, "vector": [0.05, 0.61, 0.76, 0.74]},
        ])
    );
    let one = server.ok("GET", "/collections/cities/points/2", Value::Null).await;
    assert_eq!(
        one,
        json!({"id": 2, "payload": {"city": "London"}, "vector": [0.19, 0.81, 0.75, 0.11]})
    );
    assert_eq!(
        server.ok("GET", &format!("/collections/cities/points/{UUID}"), Value::Null).await["id"],
        UUID
    );
    server
        .refused(
            "GET",
            "/collections/cities/points/99",
            "",
            404,
            "Point with id 99 does not exists!",
        )
        .await;
    server.refused("GET", "/collections/cities/points/x", "", 400, "not a valid point ID").await;
    server.refused("GET", "/collections/none/points/1", "", 404, "Collection `none`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scroll_pages_through_everything_once_in_id_order() {
    let server = Server::with_cities().await;
    let (mut seen, mut offset) = (Vec::new(), Value::Null);
    loop {
        let body = json!({"limit": 2, "offset": offset, "with_payload": false});
        let page = server.ok("POST", "/collections/cities/points/scroll", body).await;
        seen.extend(page["points"].as_array().unwrap().iter().map(|point| point["id"].clone()));
        offset = page["next_page_offset"].clone();
        if offset.is_null() {
            break;
        }
    }
    assert_eq!(seen, [json!(1), json!(2), json!(3), json!(4), json!(5), json!(UUID)]);
    let filter =
        json!({"filter": {"must_not": [{"key": "city", "match": {"any": ["Berlin", "London"]}}]}});
    let rest = server.ok("POST", "/collections/cities/points/scroll", filter).await;
    assert_eq!(rest["points"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_change_and_vectors_stay() {
    let server = Server::with_cities().await;
    let path = "/collections/cities/points/payload?wait=true";
    server.ok("POST", path, json!({"payload": {"n": 1}, "points": [1, 2]})).await;
    server.ok("POST", path, json!({"payload": {"b": 2}, "key": "a", "points": [1]})).await;
    let first = server.ok("GET", "/collections/cities/points/1", Value::Null).await;
    assert_eq!(first["payload"], json!({"city": "Berlin", "n": 1, "a": {"b": 2}}));
    assert_eq!(first["vector"], json!([0.05, 0.61, 0.76, 0.74]));

    let london = json!({"must": [{"key": "city", "match": {"value": "London"}}]});
    server.ok("PUT", path, json!({"payload": {"city": "Leeds"}, "filter": london})).await;
    let delete = "/collections/cities/points/payload/delete?wait=true";
    server.ok("POST", delete, json!({"keys": ["n", "a.b"], "points": [1]})).await;
    server
        .ok("POST", "/collections/cities/points/payload/clear?wait=true", json!({"points": [3]}))
        .await;
    let read = server.ok("POST", "/collections/cities/points", json!({"ids": [1, 2, 3]})).await;
    let payloads: Vec<&Value> =
        read.as_array().unwrap().iter().map(|point| &point["payload"]).collect();
    assert_eq!(
        payloads,
        [&json!({"city": "Berlin", "a": {}}), &json!({"city": "Leeds"}), &json!({})]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_and_the_rest_is_counted() {
    let server = Server::with_cities().await;
    let count = async |body: Value| {
        server.ok("POST", "/collections/cities/points/count", body).await["count"].clone()
    };
    assert_eq!(count(json!({})).await, 6);
    let has_city = json!({"must_not": [{"is_empty": {"key": "city"}}]});
    assert_eq!(count(json!({"filter": has_city, "exact": false})).await, 5);
    let path = "/collections/cities/points/delete?wait=true";
    server.ok("POST", path, json!({"points": [1, 99]})).await;
    server
        .ok(
            "POST",
            path,
            json!({"filter": {"must": {"key": "city", "match": {"value": "London"}}}}),
        )
        .await;
    assert_eq!(count(json!({"exact": true})).await, 4);
    assert_eq!(count(json!({"filter": {"must": [{"has_id": [1, 2, 3]}]}})).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_does_not_wait_is_acknowledged_and_soon_visible() {
    let server = Server::with_cities().await;
    let body = json!({"batch": {"ids": [7, 8], "vectors": [[1, 2, 3, 4], [4, 3, 2, 1]], "payloads": [{"a": 1}, null]}});
    let done = server.ok("PUT", "/collections/cities/points", body.clone()).await;
    assert_eq!(done["status"], "acknowledged");
    assert!(done["operation_id"].is_u64(), "{done}");
    // A write that waits is behind it in each shard's log, so that both are visible when it is answered.
    server.ok("PUT", "/collections/cities/points?wait=true&ordering=strong", body).await;
    let read = server.ok("POST", "/collections/cities/points", json!({"ids": [7, 8]})).await;
    assert_eq!(read, json!([{"id": 7, "payload": {"a": 1}}, {"id": 8, "payload": {}}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_one_bad_point_changes_nothing() {
    let server = Server::with_cities().await;
    let body = r#"{"points": [{"id": 7, "vector": [1, 2, 3, 4]}, {"id": 8, "vector": [1, 2, 3]}]}"#;
    server
        .refused("PUT", "/collections/cities/points?wait=true", body, 400, "expected dim: 4, got 3")
        .await;
    let count = server.ok("POST", "/collections/cities/points/count", json!({})).await;
    assert_eq!(count["count"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_parsed_off_the_network_thread_and_arrives_whole() {
    let server = Server::with_cities().await;
    let points: Vec<Value> = (100..5100)
        .map(|id| json!({"id": id, "vector": [0.1234567, 0.2345678, 0.3456789, 0.4567891]}))
        .collect();
    let body = json!({ "points": points });
    assert!(body.to_string().len() > 300_000);
    server.ok("PUT", "/collections/cities/points?wait=true", body).await;
    assert_eq!(
        server.ok("POST", "/collections/cities/points/count", json!({})).await["count"],
        5006
    );
}
