//! Several vectors a point, each under a name, some of them sparse.

use serde_json::{Value, json};

use crate::support::Server;

const POINTS: &str = "/collections/films/points";
const QUERY: &str = "/collections/films/points/query";

/// Films on two shards, some of which lack a title, a plot, or both.
async fn films() -> Server {
    let server = Server::new();
    let vectors = json!({
        "title": {"size": 2, "distance": "Dot"},
        "plot": {"size": 3, "distance": "Euclid"},
    });
    server.ok("PUT", "/collections/films", json!({"vectors": vectors, "shard_number": 2})).await;
    let points = json!({"points": [
        {"id": 1, "vector": {"title": [1, 0], "plot": [0, 0, 1]}},
        {"id": 2, "vector": {"title": [2, 0]}},
        {"id": 3, "vector": {"plot": [0, 0, 3]}, "payload": {"year": 1999}},
        {"id": 4, "vector": {}},
    ]});
    server.ok("PUT", &format!("{POINTS}?wait=true"), points).await;
    server
}

fn ids(points: &Value) -> Vec<u64> {
    points.as_array().unwrap().iter().map(|point| point["id"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_tells_its_vectors_by_name() {
    let server = films().await;
    let info = server.ok("GET", "/collections/films", Value::Null).await;
    let expected = json!({
        "plot": {"size": 3, "distance": "Euclid"}, "title": {"size": 2, "distance": "Dot"},
    });
    assert_eq!(info["config"]["params"]["vectors"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_compares_the_named_vector_by_its_own_distance() {
    let server = films().await;
    for (body, expected) in [
        (json!({"query": [1, 0], "using": "title"}), vec![2, 1]),
        (json!({"query": [0, 0, 1], "using": "plot"}), vec![1, 3]),
        (json!({"query": 3, "using": "plot"}), vec![1]),
        (
            json!({"query": [1, 0], "using": "title", "filter": {"must": {"has_id": [1, 3]}}}),
            vec![1],
        ),
    ] {
        let found = server.ok("POST", QUERY, body.clone()).await;
        assert_eq!(ids(&found["points"]), expected, "{body}");
    }
    let body = json!({"vector": {"name": "plot", "vector": [0, 0, 2.5]}, "limit": 5, "with_vector": ["plot"]});
    let found = server.ok("POST", &format!("{POINTS}/search"), body).await;
    assert_eq!(ids(&found), [3, 1]);
    assert_eq!((&found[0]["score"], &found[1]["score"]), (&json!(0.5), &json!(1.5)));
    assert_eq!(found[1]["vector"], json!({"plot": [0.0, 0.0, 1.0]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_read_by_name_and_those_a_point_lacks_are_left_out() {
    let server = films().await;
    let read = async |with_vector: Value| {
        let body = json!({"ids": [1, 2, 3, 4], "with_vector": with_vector, "with_payload": false});
        let points = server.ok("POST", POINTS, body).await;
        points.as_array().unwrap().iter().map(|point| point["vector"].clone()).collect::<Vec<_>>()
    };
    let (title, plot) = (json!([1.0, 0.0]), json!([0.0, 0.0, 1.0]));
    let all = read(json!(true)).await;
    assert_eq!(all[0], json!({"title": title, "plot": plot}));
    assert_eq!(
        all[1..],
        [json!({"title": [2.0, 0.0]}), json!({"plot": [0.0, 0.0, 3.0]}), json!({})]
    );
    let titles = read(json!(["title"])).await;
    assert_eq!(
        titles,
        [json!({"title": title}), json!({"title": [2.0, 0.0]}), json!({}), json!({})]
    );
    assert_eq!(read(json!(false)).await, vec![Value::Null; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_tells_points_by_the_vectors_they_have() {
    let server = films().await;
    for (filter, expected) in [
        (json!({"must": {"has_vector": "plot"}}), vec![1, 3]),
        (json!({"must_not": {"has_vector": "title"}}), vec![3, 4]),
        (json!({"must": {"has_vector": ""}}), vec![]),
    ] {
        let body = json!({"filter": filter});
        let page = server.ok("POST", &format!("{POINTS}/scroll"), body.clone()).await;
        assert_eq!(ids(&page["points"]), expected, "{body}");
    }
    let server = words().await;
    let body = json!({"filter": {"must": {"has_vector": "weights"}}});
    let page = server.ok("POST", &format!("{WORDS}/scroll"), body).await;
    assert_eq!(ids(&page["points"]), [1, 2, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_write_takes_away_the_vectors_it_does_not_name() {
    let server = films().await;
    let point = json!({"points": [{"id": 1, "vector": {"title": [3, 0]}}]});
    server.ok("PUT", &format!("{POINTS}?wait=true"), point).await;
    let one = server.ok("GET", &format!("{POINTS}/1"), Value::Null).await;
    assert_eq!(one["vector"], json!({"title": [3.0, 0.0]}));
    let found = server.ok("POST", QUERY, json!({"query": [0, 0, 1], "using": "plot"})).await;
    assert_eq!(ids(&found["points"]), [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_sizes_are_told_as_the_dialect_does() {
    let server = films().await;
    let cases = [
        (QUERY, r#"{"query": [1, 0]}"#, "Wrong input: Not existing vector name error: "),
        (
            QUERY,
            r#"{"query": [1, 0], "using": "x"}"#,
            "Wrong input: Not existing vector name error: x",
        ),
        (QUERY, r#"{"query": [1, 0], "using": "plot"}"#, "expected dim: 3, got 2"),
        (QUERY, r#"{"query": 2, "using": "plot"}"#, "Point 2 has no vector named `plot`"),
        (
            QUERY,
            r#"{"query": 1, "using": "plot", "with_vector": ["x"]}"#,
            "Not existing vector name error: x",
        ),
    ];
    for (path, body, words) in cases {
        server.refused("POST", path, body, 400, words).await;
    }
    for (vector, words) in [
        ("[1, 0]", "Not existing vector name error: "),
        (r#"{"x": [1, 0]}"#, "Not existing vector name error: x"),
        (r#"{"title": [1, 0], "plot": [1]}"#, "expected dim: 3, got 1"),
    ] {
        let body = format!(r#"{{"points": [{{"id": 9, "vector": {vector}}}]}}"#);
        server.refused("PUT", POINTS, &body, 400, words).await;
    }
    let count = server.ok("POST", &format!("{POINTS}/count"), json!({})).await;
    assert_eq!(count["count"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_change_and_go_alone_and_the_rest_of_a_point_stays() {
    let server = films().await;
    let vectors = format!("{POINTS}/vectors?wait=true");
    let changes = json!({"points": [
        {"id": 3, "vector": {"title": [9, 0]}},
        {"id": 1, "vector": {"plot": [5, 5, 5]}},
        // Nothing is made of a point that is not there.
        {"id": 77, "vector": {"plot": [1, 1, 1]}},
    ]});
    let done = server.ok("PUT", &vectors, changes).await;
    assert_eq!(done["status"], "completed");
    let body = json!({"ids": [1, 3, 77], "with_vector": true});
    let read = server.ok("POST", POINTS, body.clone()).await;
    assert_eq!(
        read,
        json!([
            {"id": 1, "payload": {}, "vector": {"title": [1.0, 0.0], "plot": [5.0, 5.0, 5.0]}},
            {"id": 3, "payload": {"year": 1999}, "vector": {"title": [9.0, 0.0], "plot": [0.0, 0.0, 3.0]}},
        ])
    );
    let found = server.ok("POST", QUERY, json!({"query": [1, 0], "using": "title"})).await;
    assert_eq!(ids(&found["points"]), [3, 2, 1]);

    let delete = format!("{POINTS}/vectors/delete?wait=true");
    server.ok("POST", &delete, json!({"points": [1], "vector": ["title", "plot"]})).await;
    let year = json!({"must": {"key": "year", "match": {"value": 1999}}});
    server.ok("POST", &delete, json!({"filter": year, "vector": ["plot"]})).await;
    let read = server.ok("POST", POINTS, body).await;
    assert_eq!(
        (&read[0]["vector"], &read[1]["vector"]),
        (&json!({}), &json!({"title": [9.0, 0.0]}))
    );
    let found = server.ok("POST", QUERY, json!({"query": [0, 0, 1], "using": "plot"})).await;
    assert_eq!(ids(&found["points"]), [0u64; 0]);
    let count = server.ok("POST", &format!("{POINTS}/count"), json!({})).await;
    assert_eq!(count["count"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_makes_its_changes_in_order_and_tells_of_each() {
    let server = films().await;
    let batch = format!("{POINTS}/batch?wait=true");
    let body = json!({"operations": [
        {"upsert": {"points": [{"id": 9, "vector": {"title": [1, 1]}, "payload": {"a": 1, "b": 2}}]}},
        {"update_vectors": {"points": [{"id": 9, "vector": {"plot": [1, 2, 3]}}]}},
        {"set_payload": {"payload": {"c": 3}, "points": [9]}},
        {"delete_payload": {"keys": ["a"], "points": [9]}},
        {"delete_vectors": {"points": [9], "vector": ["title"]}},
        {"overwrite_payload": {"payload": {"year": 2000}, "points": [2]}},
        {"clear_payload": {"points": [3]}},
        {"delete": {"points": [1]}},
    ]});
    let results = server.ok("POST", &batch, body).await;
    let statuses: Vec<&Value> = results.as_array().unwrap().iter().map(|r| &r["status"]).collect();
    assert_eq!(statuses, [&json!("completed"); 8]);
    assert!(results[7]["operation_id"].is_u64(), "{results}");
    let body = json!({"ids": [9, 1, 2, 3], "with_vector": true});
    let read = server.ok("POST", POINTS, body).await;
    assert_eq!(
        read,
        json!([
            {"id": 9, "payload": {"b": 2, "c": 3}, "vector": {"plot": [1.0, 2.0, 3.0]}},
            {"id": 2, "payload": {"year": 2000}, "vector": {"title": [2.0, 0.0]}},
            {"id": 3, "payload": {}, "vector": {"plot": [0.0, 0.0, 3.0]}},
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_a_wrong_change_makes_none_of_them() {
    let server = films().await;
    let batch = format!("{POINTS}/batch?wait=true");
    let delete = r#"{"delete": {"points": [1]}}"#;
    for (wrong, status, words) in [
        (
            r#"{"upsert": {"points": [{"id": 1, "vector": {"x": [1]}}]}}"#,
            400,
            "name error: x (in operations[1])",
        ),
        (r#"{"clear_payload": {"points": []}}"#, 400, "operations[1]"),
        (r#"{"set_payload": {"payload": {"a": 1}}}"#, 422, "operations[1]"),
        (r#"{"upsert": {"points": []}, "delete": {"points": [1]}}"#, 400, "Format error"),
        (r#"{"remove": {"points": [1]}}"#, 400, "unknown variant `remove`"),
    ] {
        let body = format!(r#"{{"operations": [{delete}, {wrong}]}}"#);
        server.refused("POST", &batch, &body, status, words).await;
    }
    let many = vec![json!({"delete": {"points": [1]}}); 1001];
    let body = json!({"operations": many}).to_string();
    server.refused("POST", &batch, &body, 422, "1000 or fewer").await;
    let count = server.ok("POST", &format!("{POINTS}/count"), json!({})).await;
    assert_eq!(count["count"], 4);
    assert_eq!(server.ok("POST", &batch, json!({"operations": []})).await, json!([]));
}

const WORDS: &str = "/collections/words/points";

/// Texts on two shards, with weights of words.
async fn words() -> Server {
    let server = Server::new();
    let body = json!({
        "vectors": {"size": 2, "distance": "Dot"},
        "sparse_vectors": {"weights": {"index": {"on_disk": true}}},
        "shard_number": 2,
    });
    server.ok("PUT", "/collections/words", body).await;
    let weights = |indices: Value, values: Value| json!({"indices": indices, "values": values});
    let points = json!({"points": [
        {"id": 1, "vector": {"": [1, 0], "weights": weights(json!([7, 4_294_967_295u32]), json!([1, 2]))}},
        {"id": 2, "vector": {"weights": weights(json!([9, 7]), json!([0.5, 3]))}, "payload": {"a": 1}},
        {"id": 3, "vector": [0, 1]},
        {"id": 4, "vector": {"weights": weights(json!([100]), json!([9]))}},
        {"id": 5, "vector": {"weights": weights(json!([]), json!([]))}},
    ]});
    server.ok("PUT", &format!("{WORDS}?wait=true"), points).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_found_by_the_product_of_sparse_vectors() {
    let server = words().await;
    let query = format!("{WORDS}/query");
    let seven = json!({"indices": [7], "values": [2]});
    for (body, expected) in [
        (json!({"query": seven, "using": "weights"}), vec![2, 1]),
        (json!({"query": {"nearest": seven}, "using": "weights", "limit": 1}), vec![2]),
        (
            json!({"query": {"indices": [4_294_967_295u32, 9], "values": [5, 1]}, "using": "weights"}),
            vec![1, 2],
        ),
        (json!({"query": {"indices": [8], "values": [1]}, "using": "weights"}), vec![]),
        (json!({"query": seven, "using": "weights", "score_threshold": 3}), vec![2]),
        (
            json!({"query": seven, "using": "weights", "filter": {"must_not": {"has_id": [2]}}}),
            vec![1],
        ),
        // Like a point: not the point itself.
        (json!({"query": 1, "using": "weights"}), vec![2]),
    ] {
        let found = server.ok("POST", &query, body.clone()).await;
        assert_eq!(ids(&found["points"]), expected, "{body}");
    }
    let body = json!({"vector": {"name": "weights", "vector": seven}, "limit": 5, "with_vector": ["weights"]});
    let found = server.ok("POST", &format!("{WORDS}/search"), body).await;
    assert_eq!((&found[0]["score"], &found[1]["score"]), (&json!(6.0), &json!(2.0)));
    assert_eq!(found[0]["vector"], json!({"weights": {"indices": [7, 9], "values": [3.0, 0.5]}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn sparse_vectors_are_stored_returned_changed_and_removed() {
    let server = words().await;
    let info = server.ok("GET", "/collections/words", Value::Null).await;
    assert_eq!(info["config"]["params"]["sparse_vectors"], json!({"weights": {}}));
    let read = async || {
        let body = json!({"ids": [1, 2, 3, 5], "with_vector": true, "with_payload": false});
        let points = server.ok("POST", WORDS, body).await;
        points.as_array().unwrap().iter().map(|point| point["vector"].clone()).collect::<Vec<_>>()
    };
    let two = json!({"weights": {"indices": [7, 9], "values": [3.0, 0.5]}});
    let one = json!({"": [1.0, 0.0], "weights": {"indices": [7, 4_294_967_295u32], "values": [1.0, 2.0]}});
    let empty = json!({"weights": {"indices": [], "values": []}});
    assert_eq!(read().await, [one, two, json!([0.0, 1.0]), empty]);
    let change = json!({"points": [
        {"id": 2, "vector": {"": [5, 5]}},
        {"id": 3, "vector": {"weights": {"indices": [1], "values": [1]}}},
    ]});
    server.ok("PUT", &format!("{WORDS}/vectors?wait=true"), change).await;
    let remove = json!({"points": [1, 5], "vector": ["weights"]});
    server.ok("POST", &format!("{WORDS}/vectors/delete?wait=true"), remove).await;
    let both = |dense: Value, indices: Value, values: Value| json!({"": dense, "weights": {"indices": indices, "values": values}});
    assert_eq!(
        read().await,
        [
            json!([1.0, 0.0]),
            both(json!([5.0, 5.0]), json!([7, 9]), json!([3.0, 0.5])),
            both(json!([0.0, 1.0]), json!([1]), json!([1.0])),
            json!({}),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sparse_vector_or_not_one_of_the_collection_is_refused() {
    let server = words().await;
    let kinds = "Wrong input: Conversion between sparse and regular vectors failed";
    for (vector, status, words) in [
        (r#"{"weights": [1, 2]}"#, 400, kinds),
        (r#"{"": {"indices": [1], "values": [1]}}"#, 400, kinds),
        (
            r#"{"other": {"indices": [1], "values": [1]}}"#,
            400,
            "Not existing vector name error: other",
        ),
        (
            r#"{"weights": {"indices": [1, 1], "values": [1, 1]}}"#,
            422,
            "points[0].vector.weights.indices: must be unique",
        ),
        (r#"{"weights": {"indices": [1, 2], "values": [1]}}"#, 422, "must be the same length"),
        (r#"{"weights": {"indices": [1], "values": [1e39]}}"#, 400, "32-bit float"),
    ] {
        let body = format!(r#"{{"points": [{{"id": 9, "vector": {vector}}}]}}"#);
        server.refused("PUT", WORDS, &body, status, words).await;
    }
    let query = format!("{WORDS}/query");
    server.refused("POST", &query, r#"{"query": [1, 2], "using": "weights"}"#, 400, kinds).await;
    let sparse = r#"{"query": {"indices": [1], "values": [1]}}"#;
    server.refused("POST", &query, sparse, 400, kinds).await;
    let lacking = r#"{"query": 3, "using": "weights"}"#;
    server.refused("POST", &query, lacking, 400, "Point 3 has no vector named `weights`").await;
}
