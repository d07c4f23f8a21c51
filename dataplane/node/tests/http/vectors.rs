//! Several vectors a point, each under a name.

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
