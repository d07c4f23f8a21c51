//! `PUT /collections/{collection_name}/points`: inserts or replaces points, as a list or as columns.
//!
//! Invariant: every point is checked against the collection before any shard sees the first, so that a request with a
//! bad point changes nothing.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use shoal_vector::{Op, Payload, Point, PointId, VectorConfig};

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Weighed;
use super::super::models::vector::{self, VectorLike};
use super::super::models::{NotYet, refuse};
use super::super::params::WriteParams;
use super::{UpdateResult, write};

/// The body, in either form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Upsert {
    points: Option<Vec<PointStruct>>,
    batch: Option<Batch>,
    shard_key: NotYet,
    update_filter: NotYet,
    update_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PointStruct {
    id: PointId,
    vector: VectorLike,
    payload: Option<Payload>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    ids: Vec<PointId>,
    vectors: BatchVectors,
    payloads: Option<Vec<Option<Payload>>>,
}

/// A vector for each point, or such a list under each name.
#[derive(Debug)]
enum BatchVectors {
    Default(Vec<VectorLike>),
    Named(Vec<(String, Vec<VectorLike>)>),
}

impl<'de> Deserialize<'de> for BatchVectors {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BatchVisitor)
    }
}

struct BatchVisitor;

impl<'de> serde::de::Visitor<'de> for BatchVisitor {
    type Value = BatchVectors;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`vectors`: a list of vectors, or lists of vectors by name")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(
        self,
        mut list: A,
    ) -> Result<BatchVectors, A::Error> {
        let mut vectors = Vec::new();
        while let Some(vector) = list.next_element()? {
            vectors.push(vector);
        }
        Ok(BatchVectors::Default(vectors))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<BatchVectors, A::Error> {
        let mut named = Vec::new();
        while let Some(entry) = map.next_entry()? {
            named.push(entry);
        }
        Ok(BatchVectors::Named(named))
    }
}

impl Upsert {
    /// The points, each checked.
    fn into_points(self, vectors: &[VectorConfig]) -> Result<Vec<Point>, Failure> {
        refuse(&[("shard_key", &self.shard_key), ("update_filter", &self.update_filter)])?;
        match self.update_mode.as_deref() {
            None | Some("upsert") => {}
            Some(mode @ ("insert_only" | "update_only")) => {
                return Err(Failure::unsupported(format!("`update_mode` {mode}")));
            }
            Some(_) => return Err(Failure::field("update_mode", "expected `upsert`")),
        }
        let points = match (self.points, self.batch) {
            (Some(list), None) => list,
            (None, Some(batch)) => batch.into_list()?,
            _ => return Err(Failure::format("expected one of `points` and `batch`")),
        };
        if points.is_empty() {
            return Err(Failure::bad_request("Empty update request"));
        }
        points.into_iter().enumerate().map(|(i, point)| point.into_point(i, vectors)).collect()
    }
}

impl PointStruct {
    fn into_point(self, position: usize, configs: &[VectorConfig]) -> Result<Point, Failure> {
        let place = || format!("points[{position}].vector");
        let vectors = self.vector.into_named(&place())?;
        for (name, vector) in &vectors {
            vector::check(configs, name, vector)?;
        }
        // Each name is one of the collection's, so what is there twice is among so few.
        let is_first = |(i, (name, _)): (usize, &(String, _))| {
            vectors.iter().position(|(n, _)| n == name) == Some(i)
        };
        if !vectors.iter().enumerate().all(is_first) {
            return Err(Failure::field(&place(), "a name is there twice"));
        }
        let payload = self.payload.filter(|payload| !payload.is_empty());
        Ok(Point {
            id: self.id,
            vectors,
            payload: payload.map_or_else(|| Ok(Vec::new()), |p| to_text(&p))?,
        })
    }
}

impl Batch {
    /// Rows from columns.
    fn into_list(self) -> Result<Vec<PointStruct>, Failure> {
        let count = self.ids.len();
        let same = |what: &str, n: usize| match n == count {
            true => Ok(()),
            false => Err(Failure::field(
                "batch",
                format!("number of ids and {what} must be equal ({count} != {n})"),
            )),
        };
        let payloads = self.payloads.unwrap_or_else(|| vec![None; count]);
        same("payloads", payloads.len())?;
        let vectors: Vec<VectorLike> = match self.vectors {
            BatchVectors::Default(vectors) => vectors,
            BatchVectors::Named(columns) => {
                let mut rows = vec![Vec::with_capacity(columns.len()); count];
                for (name, column) in columns {
                    same("vectors", column.len())?;
                    rows.iter_mut()
                        .zip(column)
                        .for_each(|(row, vector)| row.push((name.clone(), vector)));
                }
                rows.into_iter().map(VectorLike::Object).collect()
            }
        };
        same("vectors", vectors.len())?;
        let rows = self.ids.into_iter().zip(vectors).zip(payloads);
        Ok(rows.map(|((id, vector), payload)| PointStruct { id, vector, payload }).collect())
    }
}

/// A payload as the log holds it. It was parsed first, so that what is stored can always be read back.
pub(super) fn to_text(payload: &Payload) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(payload).map_err(Failure::internal)
}

/// `PUT /collections/{collection_name}/points`
pub(in super::super) async fn upsert(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Weighed(body, bytes): Weighed<Upsert>,
) -> Result<Reply<UpdateResult>, Failure> {
    let collection = state.router.collection(&name)?;
    let points = shoal_shard::compute(bytes, || body.into_points(&collection.vectors))?;
    write(&state, started, &params, &collection, Op::Upsert(points)).await
}

#[cfg(test)]
mod tests {
    use shoal_vector::Metric;

    use super::*;

    fn read(json: &str) -> Result<Vec<Point>, Failure> {
        read_for(&[("", 2)], json)
    }

    fn read_for(vectors: &[(&str, usize)], json: &str) -> Result<Vec<Point>, Failure> {
        let config = |&(name, size): &(&str, usize)| VectorConfig {
            name: name.to_owned(),
            size,
            distance: Metric::Dot,
        };
        let vectors: Vec<VectorConfig> = vectors.iter().map(config).collect();
        serde_json::from_str::<Upsert>(json).map_err(Failure::format)?.into_points(&vectors)
    }

    #[test]
    fn a_list_and_a_batch_say_the_same() {
        let list = r#"{"points": [{"id": 1, "vector": [1, 2], "payload": {"a": "b"}}, {"id": 2, "vector": [3, 4]}]}"#;
        let batch = r#"{"batch": {"ids": [1, 2], "vectors": [[1, 2], [3, 4]], "payloads": [{"a": "b"}, null]}}"#;
        let named = r#"{"batch": {"ids": [1, 2], "vectors": {"": [[1, 2], [3, 4]]}, "payloads": [{"a": "b"}, {}]}}"#;
        let points = read(list).unwrap();
        assert_eq!(points[0].payload, br#"{"a":"b"}"#);
        assert_eq!(points[1].payload, b"", "no payload takes no room");
        assert_eq!(points[1].vectors, [(String::new(), vec![3.0, 4.0])]);
        assert_eq!(read(batch).unwrap(), points);
        assert_eq!(read(named).unwrap(), points);
    }

    #[test]
    fn points_have_vectors_by_name_and_may_lack_some_or_all() {
        let read = |json| read_for(&[("a", 2), ("b", 1)], json);
        let list = r#"{"points": [{"id": 1, "vector": {"b": [3], "a": [1, 2]}}, {"id": 2, "vector": {"b": [4]}}]}"#;
        let points = read(list).unwrap();
        assert_eq!(points[0].vector("a"), Some(&[1.0, 2.0][..]));
        assert_eq!(points[1].vectors, [("b".to_owned(), vec![4.0])]);
        assert_eq!(read(r#"{"points": [{"id": 1, "vector": {}}]}"#).unwrap()[0].vectors, []);
        let batch =
            r#"{"batch": {"ids": [1, 2], "vectors": {"b": [[3], [4]], "a": [[1, 2], [5, 6]]}}}"#;
        let points = read(batch).unwrap();
        assert_eq!(points[0].vectors, [("b".into(), vec![3.0]), ("a".into(), vec![1.0, 2.0])]);
        assert_eq!(points[1].vector("a"), Some(&[5.0, 6.0][..]));
        for (vector, status, text) in [
            ("[1, 2]", 400, "Not existing vector name error: "),
            (r#"{"c": [1]}"#, 400, "Not existing vector name error: c"),
            (r#"{"a": [1, 2], "b": [1, 2]}"#, 400, "expected dim: 1, got 2"),
            (r#"{"b": [1], "a": [1, 2], "b": [1]}"#, 422, "twice"),
        ] {
            let json = format!(r#"{{"points": [{{"id": 1, "vector": {vector}}}]}}"#);
            let failure = read_for(&[("a", 2), ("b", 1)], &json).unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{vector}: {}", failure.text);
            assert!(failure.text.contains(text), "{vector}: {}", failure.text);
        }
    }

    #[test]
    fn bad_points_are_refused_by_name() {
        let cases = [
            ("{}", 400, "`points` and `batch`"),
            (r#"{"points": []}"#, 400, "Empty update request"),
            (r#"{"points": [{"id": 1, "vector": [1]}]}"#, 400, "expected dim: 2, got 1"),
            (r#"{"points": [{"id": 1, "vector": []}]}"#, 400, "expected dim: 2, got 0"),
            (r#"{"points": [{"id": 1, "vector": [1, 1e39]}]}"#, 400, "32-bit float"),
            (r#"{"points": [{"id": 1, "vector": [1, 1e999]}]}"#, 400, "out of range"),
            (r#"{"points": [{"id": 1, "vector": [1, NaN]}]}"#, 400, "column"),
            (
                r#"{"points": [{"id": 1, "vector": {"a": [1, 2]}}]}"#,
                400,
                "Not existing vector name error: a",
            ),
            (r#"{"points": [{"id": 1, "vector": {"": [1, 2], "": [1, 2]}}]}"#, 422, "twice"),
            (r#"{"points": [{"id": 1, "vector": [[1, 2]]}]}"#, 501, "multivectors"),
            (r#"{"points": [{"id": 1, "vector": null}]}"#, 400, "points[0].vector"),
            (r#"{"points": [{"id": 1}]}"#, 400, "vector"),
            (r#"{"points": [{"id": "1", "vector": [1, 2]}]}"#, 400, "not a valid point ID"),
            (r#"{"points": [{"id": 1.5, "vector": [1, 2]}]}"#, 400, "point ID"),
            (r#"{"points": [{"id": 1, "vector": [1, 2], "payload": [1]}]}"#, 400, "map"),
            (r#"{"points": [{"id": 1, "vector": [1, 2], "paylod": {}}]}"#, 400, "paylod"),
            (r#"{"points": [{"id": 1, "vector": [1, 2]}], "shard_key": "a"}"#, 501, "shard_key"),
            (
                r#"{"points": [{"id": 1, "vector": [1, 2]}], "update_filter": {}}"#,
                501,
                "update_filter",
            ),
            (
                r#"{"points": [{"id": 1, "vector": [1, 2]}], "update_mode": "insert_only"}"#,
                501,
                "update_mode",
            ),
            (r#"{"points": [], "batch": {"ids": [], "vectors": []}}"#, 400, "`points` and `batch`"),
            (r#"{"batch": {"ids": [1], "vectors": [[1, 2], [3, 4]]}}"#, 422, "(1 != 2)"),
            (r#"{"batch": {"ids": [1], "vectors": {"": [[1, 2], [3, 4]]}}}"#, 422, "(1 != 2)"),
            (r#"{"batch": {"ids": [1], "vectors": [[1, 2]], "payloads": []}}"#, 422, "payloads"),
            (r#"{"points": [{"id": 1, "vector": [1, 2]}"#, 400, "EOF"),
        ];
        for (json, status, text) in cases {
            let failure = read(json).unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{json}: {}", failure.text);
            assert!(failure.text.contains(text), "{json}: {}", failure.text);
        }
    }

    #[test]
    fn options_that_ask_for_what_happens_anyway_are_accepted() {
        let json = r#"{"points": [{"id": 1, "vector": [1, 2], "payload": null}], "update_mode": "upsert", "shard_key": null}"#;
        assert_eq!(read(json).unwrap().len(), 1);
    }
}
