//! Searches in both forms of the dialect.

use serde_json::{Value, json};

use crate::support::Server;

const QUERY: &str = "/collections/cities/points/query";
const SEARCH: &str = "/collections/cities/points/search";

/// Ids and scores to three digits.
fn scores(points: &Value) -> Vec<(Value, f64)> {
    let round = |score: &Value| (score.as_f64().unwrap() * 1000.0).round() / 1000.0;
    points
        .as_array()
        .unwrap()
        .iter()
        .map(|point| (point["id"].clone(), round(&point["score"])))
        .collect()
}

fn best() -> Vec<(Value, f64)> {
    vec![(json!(4), 1.362), (json!(1), 1.273), (json!(3), 1.208)]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_nearest_query_finds_the_same() {
    let server = Server::with_cities().await;
    let vector = json!([0.2, 0.1, 0.9, 0.7]);
    for body in [
        json!({"query": vector, "limit": 3}),
        json!({"query": {"nearest": vector}, "limit": 3, "using": "", "prefetch": []}),
        json!({"query": {"nearest": vector, "mmr": null}, "limit": 3}),
        json!({"query": vector, "limit": 3, "params": {"exact": true}}),
        json!({"query": vector, "limit": 3, "params": {"hnsw_ef": 10}, "with_payload": null}),
    ] {
        let found = server.ok("POST", QUERY, body.clone()).await;
        assert_eq!(scores(&found["points"]), best(), "{body}");
        assert!(found["points"][0].get("payload").is_none(), "not asked for: {found}");
    }
    for body in [
        json!({"vector": vector, "limit": 3}),
        json!({"vector": {"name": "", "vector": vector}, "top": 3}),
    ] {
        assert_eq!(scores(&server.ok("POST", SEARCH, body.clone()).await), best(), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offset_threshold_filter_and_parts_are_honoured() {
    let server = Server::with_cities().await;
    let query = async |more: Value| {
        let mut body = json!({"query": [0.2, 0.1, 0.9, 0.7]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.ok("POST", QUERY, body).await["points"].clone()
    };
    assert_eq!(scores(&query(json!({"limit": 2, "offset": 1})).await), best()[1..]);
    assert_eq!(scores(&query(json!({"score_threshold": 1.21})).await), best()[..2]);
    assert_eq!(query(json!({"offset": 1000})).await, json!([]));
    let london = json!({"filter": {"must": [{"key": "city", "match": {"value": "London"}}]},
        "with_payload": {"include": ["city"]}, "with_vector": [""]});
    let found = query(london).await;
    assert_eq!(scores(&found), [(json!(2), 0.871)]);
    assert_eq!(found[0]["payload"], json!({"city": "London"}));
    assert_eq!(found[0]["vector"], json!([0.19, 0.81, 0.75, 0.11]));
    assert!(found[0]["version"].is_u64(), "{found}");
    assert_eq!(
        query(json!({"with_payload": {"exclude": ["city"]}, "limit": 1})).await[0]["payload"],
        json!({})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_stands_for_its_vector_and_is_not_its_own_answer() {
    let server = Server::with_cities().await;
    let by_vector = json!({"query": [0.18, 0.01, 0.85, 0.80], "limit": 10});
    let mut expected = scores(&server.ok("POST", QUERY, by_vector).await["points"]);
    expected.retain(|(id, _)| *id != json!(4));
    for query in [json!(4), json!({"nearest": 4})] {
        let found = server.ok("POST", QUERY, json!({"query": query, "limit": 10})).await;
        assert_eq!(scores(&found["points"]), expected);
    }
    let uuid = "00000000-0000-0000-0000-000000000006";
    let found = server.ok("POST", QUERY, json!({"query": uuid, "limit": 10})).await;
    assert_eq!(found["points"].as_array().unwrap().len(), 5);
    for id in [json!(99), json!("00000000-0000-0000-0000-000000000099")] {
        for query in [json!({"query": id}), json!({"query": {"nearest": id}})] {
            let answer = server.send("POST", QUERY, &query.to_string()).await;
            let text = id.as_str().map_or(id.to_string(), str::to_owned);
            assert_eq!(answer.error(), format!("Not found: No point with id {text} found"));
            assert_eq!(answer.status, 404);
        }
    }
    let batch = json!({"searches": [{"query": 4}, {"query": 99}]}).to_string();
    let path = format!("{QUERY}/batch");
    server.refused("POST", &path, &batch, 404, "No point with id 99 found").await;
    server.refused("POST", QUERY, r#"{"query": "4"}"#, 400, "4 is not a valid point ID").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_answer_in_the_order_asked() {
    let server = Server::with_cities().await;
    let one = |limit: usize| json!({"query": [0.2, 0.1, 0.9, 0.7], "limit": limit});
    let answers = server
        .ok("POST", &format!("{QUERY}/batch"), json!({"searches": [one(1), one(3), one(2)]}))
        .await;
    let lengths: Vec<usize> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["points"].as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [1, 3, 2]);
    let old = json!({"searches": [{"vector": [0.2, 0.1, 0.9, 0.7], "limit": 3}]});
    let answers = server.ok("POST", &format!("{SEARCH}/batch"), old).await;
    assert_eq!(scores(&answers[0]), best());
    assert_eq!(
        server.ok("POST", &format!("{QUERY}/batch"), json!({"searches": []})).await,
        json!([])
    );
    let bad = json!({"searches": [one(1), {"query": [0.2]}]}).to_string();
    server.refused("POST", &format!("{QUERY}/batch"), &bad, 400, "expected dim: 4, got 1").await;
    let many = json!({"searches": vec![one(1); 1001]}).to_string();
    server.refused("POST", &format!("{QUERY}/batch"), &many, 422, "searches").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn distances_and_similarities_are_as_the_dialect_tells_them() {
    let server = Server::new();
    for (metric, expected) in [
        ("Cosine", [(1, 1.0), (2, 0.707)]),
        ("Dot", [(1, 9.0), (2, 3.0)]),
        ("Euclid", [(1, 0.0), (2, 2.236)]),
        ("Manhattan", [(1, 0.0), (2, 3.0)]),
    ] {
        let path = format!("/collections/{metric}");
        server.ok("PUT", &path, json!({"vectors": {"size": 2, "distance": metric}})).await;
        let points = json!({"points": [{"id": 1, "vector": [3, 0]}, {"id": 2, "vector": [1, 1]}]});
        server.ok("PUT", &format!("{path}/points?wait=true"), points).await;
        let found =
            server.ok("POST", &format!("{path}/points/query"), json!({"query": [3, 0]})).await;
        let expected = expected.map(|(id, score)| (json!(id), score));
        assert_eq!(scores(&found["points"]), expected, "{metric}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_of_a_batch_are_together_no_longer_than_one_may_be() {
    let server = Server::with_cities().await;
    let large = json!({"payload": {"text": "x".repeat(2 << 20)}, "points": [1]});
    server.ok("POST", "/collections/cities/points/payload?wait=true", large).await;
    let one = json!({"query": [0.05, 0.61, 0.76, 0.74], "with_payload": true, "limit": 6});
    let batch = |searches: usize| json!({"searches": vec![one.clone(); searches]});
    let path = format!("{QUERY}/batch");
    assert_eq!(server.ok("POST", &path, batch(20)).await.as_array().unwrap().len(), 20);
    server.refused("POST", &path, &batch(40).to_string(), 400, "limit").await;
}
