//! `PUT /collections/{collection_name}/points`: inserts or replaces points, as a list or as columns.
//!
//! Invariant: every point is checked against the collection before any shard sees the first, so that a request with a
//! bad point changes nothing.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use shoal_vector::{Op, Payload, Point, PointId, PointWithSparse};

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Weighed;
use super::super::models::vector::{self, Known, Named, VectorLike};
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
    /// The op, whose points are checked.
    pub(super) fn into_op(self, known: Known<'_>) -> Result<Op, Failure> {
        let points = self.into_points(known)?;
        match points.iter().all(|point| point.sparse.is_empty()) {
            // As it has always been, for the shards that know nothing else.
            true => Ok(Op::Upsert(points.into_iter().map(|point| point.point).collect())),
            false => Ok(Op::UpsertWithSparse(points)),
        }
    }

    /// The points, each checked.
    fn into_points(self, known: Known<'_>) -> Result<Vec<PointWithSparse>, Failure> {
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
        points.into_iter().enumerate().map(|(i, point)| point.into_point(i, known)).collect()
    }
}

impl PointStruct {
    fn into_point(self, position: usize, known: Known<'_>) -> Result<PointWithSparse, Failure> {
        let Named { dense: vectors, sparse } = named_vectors(self.vector, position, known)?;
        let payload = self.payload.filter(|payload| !payload.is_empty());
        let payload = payload.map_or_else(|| Ok(Vec::new()), |p| to_text(&p))?;
        Ok(PointWithSparse { point: Point { id: self.id, vectors, payload }, sparse })
    }
}

/// The vectors of the point at a position, checked against the collection's.
pub(super) fn named_vectors(
    vector: VectorLike,
    position: usize,
    known: Known<'_>,
) -> Result<Named, Failure> {
    let place = format!("points[{position}].vector");
    let named = vector.into_named(&place)?;
    for (name, vector) in &named.dense {
        vector::check(known, name, vector)?;
    }
    for (name, _) in &named.sparse {
        vector::check_sparse(known, name)?;
    }
    // Each name is one of the collection's, so what is there twice is among so few.
    let dense = named.dense.iter().map(|(name, _)| name);
    let names: Vec<&String> = dense.chain(named.sparse.iter().map(|(name, _)| name)).collect();
    match (1..names.len()).any(|i| names[..i].contains(&names[i])) {
        true => Err(Failure::field(&place, "a name is there twice")),
        false => Ok(named),
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
    let op = shoal_shard::compute(bytes, || body.into_op(Known::from(&*collection)))?;
    write(&state, started, &params, &collection, op).await
}

#[cfg(test)]
mod tests {
    use shoal_vector::{Metric, SparseVectorConfig, VectorConfig};

    use super::*;

    fn read(json: &str) -> Result<Vec<Point>, Failure> {
        read_for(&[("", 2)], json)
    }

    fn read_for(vectors: &[(&str, usize)], json: &str) -> Result<Vec<Point>, Failure> {
        let config = |&(name, size): &(&str, usize)| VectorConfig::new(name, size, Metric::Dot);
        let dense: Vec<VectorConfig> = vectors.iter().map(config).collect();
        let sparse = [SparseVectorConfig { name: "s".into() }];
        let body = serde_json::from_str::<Upsert>(json).map_err(Failure::format)?;
        match body.into_op(Known { dense: &dense, sparse: &sparse })? {
            Op::Upsert(points) => Ok(points),
            other => panic!("{other:?} of points without sparse vectors"),
        }
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
    fn points_with_sparse_vectors_are_an_op_of_their_own() {
        let sparse = [SparseVectorConfig { name: "s".into() }];
        let read = |json: &str| {
            let body = serde_json::from_str::<Upsert>(json).unwrap();
            body.into_op(Known { dense: &[], sparse: &sparse })
        };
        let list = r#"{"points": [{"id": 1, "vector": {"s": {"indices": [3], "values": [1]}}}, {"id": 2, "vector": {}}]}"#;
        let Op::UpsertWithSparse(points) = read(list).unwrap() else { panic!("no sparse vectors") };
        assert_eq!((points[0].sparse.len(), points[1].sparse.len()), (1, 0));
        let batch =
            r#"{"batch": {"ids": [1], "vectors": {"s": [{"indices": [3], "values": [1]}]}}}"#;
        assert!(matches!(read(batch).unwrap(), Op::UpsertWithSparse(_)));
        let wrong = r#"{"points": [{"id": 1, "vector": {"s": [1]}}]}"#;
        assert!(read(wrong).unwrap_err().text.contains("Conversion between sparse"));
        let unknown =
            r#"{"points": [{"id": 1, "vector": {"t": {"indices": [3], "values": [1]}}}]}"#;
        assert!(read(unknown).unwrap_err().text.contains("Not existing vector name error: t"));
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
