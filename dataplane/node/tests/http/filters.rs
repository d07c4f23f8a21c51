//! Every condition of the dialect's filters, through all that takes a filter: scroll, count and query must agree.

use serde_json::{Value, json};

use crate::support::Server;

/// A collection of five shops on two shards.
async fn shops() -> Server {
    let server = Server::new();
    let shape = json!({"vectors": {"size": 2, "distance": "Euclid"}, "shard_number": 2});
    server.ok("PUT", "/collections/shops", shape).await;
    let uuid = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    let payloads = [
        json!({"name": "Tea and Coffee", "at": {"lon": 13.4, "lat": 52.5}, "opened": "2020-05-17",
            "tags": ["tea", "coffee"], "sells": [{"what": "tea", "price": 3}, {"what": "coffee", "price": 9}]}),
        json!({"name": "green tea house", "at": [{"lon": 37.6, "lat": 55.7}, {"lon": 13.5, "lat": 52.4}],
            "opened": "2021-01-01T00:30:00+01:00", "tags": [], "sells": [{"what": "tea", "price": 9}]}),
        json!({"name": "Books", "at": {"lon": -179.5, "lat": -17.0}, "opened": "2021-01-01 00:00:00.25",
            "tags": null, "owner": uuid, "stars": 4.5, "sells": {"what": "books", "price": 9}}),
        json!({"name": ["Bread", "coffee to go"], "opened": "some day", "tags": [null, "new"],
            "sells": [5, {"what": "bread"}], "stars": 4}),
        json!({}),
    ];
    let points = payloads
        .into_iter()
        .enumerate()
        .map(|(i, payload)| json!({"id": i + 1, "vector": [i, 0], "payload": payload}));
    let points = json!({"points": points.collect::<Vec<_>>()});
    server.ok("PUT", "/collections/shops/points?wait=true", points).await;
    server
}

fn ids(points: &Value) -> Vec<u64> {
    points.as_array().unwrap().iter().map(|point| point["id"].as_u64().unwrap()).collect()
}

impl Server {
    /// What passes a filter, by every path that takes one.
    async fn passing(&self, filter: Value) -> Vec<u64> {
        let path = |what: &str| format!("/collections/shops/points/{what}");
        let scroll = self.ok("POST", &path("scroll"), json!({ "filter": filter })).await;
        let found = ids(&scroll["points"]);
        let count = self.ok("POST", &path("count"), json!({ "filter": filter })).await;
        assert_eq!(count["count"], found.len(), "{filter}");
        let query = json!({"query": [-1, 0], "filter": filter});
        let query = self.ok("POST", &path("query"), query).await;
        assert_eq!(ids(&query["points"]), found, "nearest first is in order of ids here: {filter}");
        found
    }

    /// What passes a test of a field.
    async fn where_field(&self, key: &str, name: &str, test: Value) -> Vec<u64> {
        self.passing(json!({"must": [{"key": key, name: test}]})).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_searched_as_they_are_without_an_index() {
    let server = shops().await;
    assert_eq!(server.where_field("name", "match", json!({"text": "tea"})).await, [2]);
    assert_eq!(server.where_field("name", "match", json!({"text": "ea"})).await, [1, 2, 4]);
    assert_eq!(server.where_field("name", "match", json!({"text": "tea house"})).await, [2]);
    assert_eq!(server.where_field("name", "match", json!({"phrase": "coffee to"})).await, [4]);
    assert_eq!(
        server.where_field("name", "match", json!({"phrase": "house tea"})).await,
        [] as [u64; 0]
    );
    assert_eq!(server.where_field("name", "match", json!({"text_any": "house Tea"})).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_are_compared_as_points_in_time() {
    let server = shops().await;
    let opened = async |range: Value| server.where_field("opened", "range", range).await;
    assert_eq!(opened(json!({"gte": "2020-05-17T00:00:00Z"})).await, [1, 2, 3]);
    assert_eq!(opened(json!({"gt": "2020-05-17"})).await, [2, 3]);
    assert_eq!(opened(json!({"lt": "2021-01-01"})).await, [1, 2], "an hour east of it is before");
    assert_eq!(
        opened(json!({"gt": "2021-01-01 00:00", "lte": "2021-01-01T00:00:00.250Z"})).await,
        [3]
    );
    assert_eq!(server.where_field("stars", "range", json!({"gt": 4})).await, [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_found_in_boxes_circles_and_polygons() {
    let server = shops().await;
    let at = |lon: f64, lat: f64| json!({"lon": lon, "lat": lat});
    let area = |west: f64, north: f64, east: f64, south: f64| json!({"top_left": at(west, north), "bottom_right": at(east, south)});
    assert_eq!(
        server.where_field("at", "geo_bounding_box", area(13.0, 53.0, 14.0, 52.0)).await,
        [1, 2]
    );
    assert_eq!(
        server.where_field("at", "geo_bounding_box", area(170.0, 0.0, -170.0, -20.0)).await,
        [3]
    );
    let around = |radius: f64| json!({"center": at(13.4, 52.5), "radius": radius});
    assert_eq!(server.where_field("at", "geo_radius", around(1.0)).await, [1]);
    assert_eq!(server.where_field("at", "geo_radius", around(14_000.0)).await, [1, 2]);
    assert_eq!(server.where_field("at", "geo_radius", around(21e6)).await, [1, 2, 3]);
    let ring = |half: f64| {
        let (w, e, s, n) = (13.4 - half, 13.4 + half, 52.5 - half, 52.5 + half);
        json!({"points": [at(w, s), at(e, s), at(e, n), at(w, n), at(w, s)]})
    };
    let polygon = json!({"exterior": ring(0.3)});
    assert_eq!(server.where_field("at", "geo_polygon", polygon).await, [1, 2]);
    let polygon = json!({"exterior": ring(0.3), "interiors": [ring(0.05)]});
    assert_eq!(server.where_field("at", "geo_polygon", polygon).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_counted_and_told_empty_or_null() {
    let server = shops().await;
    assert_eq!(server.where_field("tags", "values_count", json!({"gte": 2})).await, [1, 4]);
    assert_eq!(server.where_field("tags", "values_count", json!({"lt": 1})).await, [2, 3]);
    assert_eq!(
        server.where_field("stars", "values_count", json!({"gt": 0, "lte": 1})).await,
        [3, 4]
    );
    assert_eq!(server.where_field("tags", "is_empty", json!(true)).await, [2, 3, 5]);
    assert_eq!(server.where_field("tags", "is_empty", json!(false)).await, [1, 4]);
    assert_eq!(
        server.where_field("tags", "is_null", json!(true)).await,
        [3, 4],
        "null in an array too"
    );
    assert_eq!(server.where_field("tags", "is_null", json!(false)).await, [1, 2, 5]);
    let condition = |name: &str| json!({"must": [{name: {"key": "tags"}}]});
    assert_eq!(server.passing(condition("is_empty")).await, [2, 3, 5]);
    assert_eq!(server.passing(condition("is_null")).await, [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uuid_is_a_text_like_any_other() {
    let server = shops().await;
    let uuid = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    assert_eq!(server.where_field("owner", "match", json!({ "value": uuid })).await, [3]);
    let upper = uuid.to_uppercase();
    assert_eq!(
        server.where_field("owner", "match", json!({ "value": upper })).await,
        [] as [u64; 0]
    );
    assert_eq!(server.where_field("owner", "match", json!({"any": [uuid, "x"]})).await, [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_conditions_are_about_one_element() {
    let server = shops().await;
    let what = json!({"key": "what", "match": {"value": "tea"}});
    let price = json!({"key": "price", "range": {"gt": 5}});
    let nested = |filter: Value| json!({"must": {"nested": {"key": "sells", "filter": filter}}});
    assert_eq!(server.passing(nested(json!({"must": [what, price]}))).await, [2]);
    let apart = json!({"must": [
        {"key": "sells[].what", "match": {"value": "tea"}}, {"key": "sells[].price", "range": {"gt": 5}}
    ]});
    assert_eq!(server.passing(apart).await, [1, 2]);
    assert_eq!(server.passing(nested(json!({ "must_not": what }))).await, [1, 4]);
    let none = json!({"must_not": {"nested": {"key": "sells[]", "filter": {"must": what}}}});
    assert_eq!(server.passing(none).await, [3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn min_should_counts_conditions() {
    let server = shops().await;
    let conditions = json!([
        {"key": "name", "match": {"text": "tea"}},
        {"key": "tags", "is_empty": true},
        {"must": [{"has_id": [2, 3]}]},
    ]);
    let least =
        |min_count: u64| json!({"min_should": {"conditions": conditions, "min_count": min_count}});
    assert_eq!(server.passing(least(0)).await, [1, 2, 3, 4, 5]);
    assert_eq!(server.passing(least(1)).await, [2, 3, 5]);
    assert_eq!(server.passing(least(2)).await, [2, 3]);
    assert_eq!(server.passing(least(3)).await, [2]);
    assert_eq!(server.passing(least(4)).await, [] as [u64; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_has_the_unnamed_vector_and_no_other() {
    let server = shops().await;
    assert_eq!(server.passing(json!({"must": {"has_vector": ""}})).await, [1, 2, 3, 4, 5]);
    assert_eq!(server.passing(json!({"must": {"has_vector": "image"}})).await, [] as [u64; 0]);
    assert_eq!(server.passing(json!({"must_not": {"has_vector": "image"}})).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_take_the_same_filters() {
    let server = shops().await;
    let nested = json!({"nested": {"key": "sells", "filter": {"must": {"key": "price", "range": {"gt": 5}}}}});
    let mark = json!({"payload": {"dear": true}, "filter": {"must": [nested]}});
    server.ok("POST", "/collections/shops/points/payload?wait=true", mark).await;
    assert_eq!(server.where_field("dear", "match", json!({"value": true})).await, [1, 2]);
    let old = json!({"filter": {"min_should": {"min_count": 2, "conditions": [
        {"key": "opened", "range": {"lt": "2021-01-01"}}, {"key": "name", "match": {"phrase": "tea"}}
    ]}}});
    server.ok("POST", "/collections/shops/points/delete?wait=true", old).await;
    assert_eq!(server.passing(json!({})).await, [1, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_filter_is_refused_wherever_it_comes() {
    let server = shops().await;
    let off = json!({"lon": 0, "lat": 91});
    let open = json!({"points": [{"lon": 0, "lat": 0}, {"lon": 1, "lat": 0}, {"lon": 1, "lat": 1}, {"lon": 0, "lat": 1}]});
    let field = |name: &str, test: Value| json!({"must": {"key": "a", name: test}});
    let cases = [
        (
            field("geo_radius", json!({"center": off, "radius": 1})),
            400,
            "expected `lat` = 91 within [-90;90]",
        ),
        (
            field("geo_polygon", json!({"exterior": open})),
            400,
            "should be the same to form a closed line",
        ),
        (
            field("range", json!({"lt": "soon"})),
            400,
            "'soon' is not in a supported date/time format",
        ),
        (field("range", json!({"lt": "2020-01-01", "gt": 1})), 400, "filter.must[0].range.gt"),
        (field("values_count", json!({"lt": -1})), 400, "filter.must[0].values_count.lt"),
        (field("match", json!({"text": 5})), 400, "filter.must[0].match.text: expected a string"),
        (field("is_null", json!("yes")), 400, "filter.must[0].is_null: expected a boolean"),
        (json!({"must": {"nested": {"key": "a"}}}), 400, "filter.must[0].nested.filter"),
        (json!({"must": {"has_vector": null}}), 400, "filter.must[0].has_vector"),
        (json!({"min_should": {"conditions": []}}), 400, "filter.min_should.min_count"),
        (
            json!({"must": {"key": "a"}}),
            422,
            "[filter.must[0]: At least one field condition must be specified]",
        ),
    ];
    for (filter, status, words) in cases {
        let body = json!({ "filter": filter }).to_string();
        for path in ["scroll", "count", "delete"] {
            let path = format!("/collections/shops/points/{path}");
            server.refused("POST", &path, &body, status, words).await;
        }
    }
}
