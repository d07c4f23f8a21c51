//! Whether an op may be logged: everything that applying it relies on, checked at the door.
//!
//! Texts are Qdrant's where Qdrant has one. What passes here can be applied at any later time, by any replica.

use shoal_vector::filter::Filter;
use shoal_vector::op::Selector;
use shoal_vector::payload::KeyPath;
use shoal_vector::{
    Datatype, Metric, Op, Payload, Point, PointId, SparseVector, SparseVectorConfig, VectorConfig,
};

use crate::api::{SearchRequest, ShardError};
use crate::limits::{
    MAX_OP_BYTES, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, MAX_POINTS_PER_OP, MAX_SPARSE_VALUES,
};
use crate::vectors::{number_of, sparse_number_of};

type Valid = Result<(), ShardError>;

fn invalid(text: impl Into<String>) -> ShardError {
    ShardError::Invalid(text.into())
}

/// Checks an op against the vectors of its collection. A router asks this about the whole op before it sends the first
/// part of it, so that one wrong point does not leave the parts of other shards done.
pub fn check_op(op: &Op, configs: &[VectorConfig], sparse: &[SparseVectorConfig]) -> Valid {
    match op {
        Op::Upsert(points) => {
            check_count("points", points.len())?;
            points.iter().try_for_each(|point| check_point(point, configs))
        }
        Op::Delete(points) | Op::ClearPayload(points) => check_selector(points),
        Op::SetPayload { payload, key, points } => {
            check_payload(payload, "payload")?;
            key.as_deref().map_or(Ok(()), check_key)?;
            check_selector(points)
        }
        Op::OverwritePayload { payload, points } => {
            check_payload(payload, "payload")?;
            check_selector(points)
        }
        Op::UpsertWithSparse(points) => {
            check_count("points", points.len())?;
            points.iter().try_for_each(|point| {
                check_sparse(point.point.id, &point.sparse, sparse)?;
                check_point(&point.point, configs)
            })
        }
        Op::UpdateVectors(points) => {
            check_count("points", points.len())?;
            points.iter().try_for_each(|point| {
                check_sparse(point.id, &point.sparse, sparse)?;
                check_vectors(point.id, &point.vectors, configs)
            })
        }
        Op::DeleteVectors { names, points } => {
            let is_known = |name: &&String| {
                number_of(configs, name).is_some() || sparse_number_of(sparse, name).is_some()
            };
            if let Some(name) = names.iter().find(|name| !is_known(name)) {
                return Err(invalid(no_such_vector(name)));
            }
            check_selector(points)
        }
        Op::DeletePayload { keys, points } => {
            keys.iter().try_for_each(|key| check_key(key))?;
            check_selector(points)
        }
    }
}

/// Checks the length of an encoded op.
pub fn check_encoded(op: &[u8]) -> Valid {
    match op.len() {
        n if n > MAX_OP_BYTES => Err(invalid(format!(
            "the request has {n} bytes encoded, at most {MAX_OP_BYTES} are taken; send fewer points at once"
        ))),
        _ => Ok(()),
    }
}

/// Checks a query's vector; returns the number of what it is compared with, among vectors of its kind.
pub(crate) fn check_query(
    request: &SearchRequest,
    configs: &[VectorConfig],
    sparse: &[SparseVectorConfig],
) -> Result<usize, ShardError> {
    let using = &request.using;
    match (number_of(configs, using), sparse_number_of(sparse, using), &request.sparse) {
        (Some(number), _, None) => {
            check_values(&request.vector, &configs[number], "vector")?;
            Ok(number)
        }
        (None, Some(number), Some(query)) => {
            check_sparse_values(query, "vector")?;
            Ok(number)
        }
        (None, None, _) => Err(invalid(no_such_vector(using))),
        _ => Err(invalid(WRONG_KIND)),
    }
}

/// What is said of a list of numbers where a sparse vector should stand, and the other way round.
pub const WRONG_KIND: &str = "Conversion between sparse and regular vectors failed";

/// What is said about a name that no vector of the collection has.
pub(crate) fn no_such_vector(name: &str) -> String {
    format!("Not existing vector name error: {name}")
}

/// Checks a filter that came encoded, so not through the parser.
pub(crate) fn check_filter(filter: &Filter) -> Valid {
    filter.matcher().map(drop).map_err(|error| invalid(error.to_string()))
}

fn check_count(what: &str, count: usize) -> Valid {
    match count {
        0 => Err(invalid(format!("{what}: at least one must be given"))),
        n if n > MAX_POINTS_PER_OP => Err(invalid(format!(
            "{what}: {n} in one request, at most {MAX_POINTS_PER_OP} are taken"
        ))),
        _ => Ok(()),
    }
}

/// Checks the vectors of a point as another replica stores it. Its payload may have grown beyond what one op may hold.
pub(crate) fn check_stored(
    point: &shoal_vector::PointWithSparse,
    configs: &[VectorConfig],
    sparse: &[SparseVectorConfig],
) -> Valid {
    check_sparse(point.point.id, &point.sparse, sparse)?;
    check_vectors(point.point.id, &point.point.vectors, configs)
}

fn check_point(point: &Point, configs: &[VectorConfig]) -> Valid {
    check_vectors(point.id, &point.vectors, configs)?;
    check_payload(&point.payload, &format!("payload of point {}", point.id))
}

fn check_sparse(
    id: PointId,
    vectors: &[(String, SparseVector)],
    configs: &[SparseVectorConfig],
) -> Valid {
    for (i, (name, vector)) in vectors.iter().enumerate() {
        if sparse_number_of(configs, name).is_none() {
            return Err(invalid(no_such_vector(name)));
        }
        if vectors[..i].iter().any(|(other, _)| other == name) {
            return Err(invalid(format!("point {id}: vector `{name}` is there twice")));
        }
        check_sparse_values(vector, &format!("vector `{name}` of point {id}"))?;
    }
    Ok(())
}

fn check_sparse_values(vector: &SparseVector, place: &str) -> Valid {
    if vector.len() > MAX_SPARSE_VALUES {
        return Err(invalid(format!(
            "{place}: {} values, at most {MAX_SPARSE_VALUES} are taken",
            vector.len()
        )));
    }
    vector.check().map_err(|error| invalid(format!("{place}: {error}")))
}

fn check_vectors(id: PointId, vectors: &[(String, Vec<f32>)], configs: &[VectorConfig]) -> Valid {
    for (i, (name, vector)) in vectors.iter().enumerate() {
        let config = number_of(configs, name).map(|number| &configs[number]);
        let config = config.ok_or_else(|| invalid(no_such_vector(name)))?;
        if vectors[..i].iter().any(|(other, _)| other == name) {
            return Err(invalid(format!("point {id}: vector `{name}` is there twice")));
        }
        let place = format!("vector of point {id}");
        check_values(vector, config, &place)?;
        check_range(vector, config, &place)?;
    }
    Ok(())
}

/// Whether the datatype holds all values. What is normalised before it is stored has none above 1.
fn check_range(vector: &[f32], config: &VectorConfig, place: &str) -> Valid {
    let VectorConfig { datatype, distance, .. } = config;
    if *datatype == Datatype::Float32 || *distance == Metric::Cosine {
        return Ok(());
    }
    match vector.iter().position(|value| !datatype.holds(*value)) {
        Some(at) => Err(invalid(format!(
            "{place}: value {} at position {at} is beyond what {datatype} holds, 65504; scale the vectors, or keep them \
             in a collection with the datatype Float32",
            vector[at]
        ))),
        None => Ok(()),
    }
}

fn check_values(vector: &[f32], config: &VectorConfig, place: &str) -> Valid {
    if vector.len() != config.size {
        let (expected, got) = (config.size, vector.len());
        return Err(invalid(format!(
            "Vector dimension error: expected dim: {expected}, got {got}"
        )));
    }
    // Without a way out, which would have it go one by one.
    if vector.iter().fold(true, |finite, value| finite & value.is_finite()) {
        return Ok(());
    }
    match vector.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(invalid(format!(
            "{place}: value {} at position {at} is not a finite number",
            vector[at]
        ))),
        None => Ok(()),
    }
}

fn check_payload(text: &[u8], place: &str) -> Valid {
    if text.is_empty() {
        return Ok(());
    }
    if text.len() > MAX_PAYLOAD_BYTES {
        return Err(invalid(format!(
            "{place}: {} bytes, at most {MAX_PAYLOAD_BYTES} are taken",
            text.len()
        )));
    }
    let payload: Payload =
        serde_json::from_slice(text).map_err(|error| invalid(format!("{place}: {error}")))?;
    match payload.values().any(|value| deeper_than(value, MAX_PAYLOAD_DEPTH - 1)) {
        true => Err(invalid(format!("{place}: nested deeper than {MAX_PAYLOAD_DEPTH} levels"))),
        false => Ok(()),
    }
}

/// Whether a value nests more levels than that. serde_json read it, so it has at most 128.
fn deeper_than(value: &serde_json::Value, levels: usize) -> bool {
    let inside = |value: &serde_json::Value| levels == 0 || deeper_than(value, levels - 1);
    match value {
        serde_json::Value::Array(array) => levels == 0 || array.iter().any(inside),
        serde_json::Value::Object(map) => levels == 0 || map.values().any(inside),
        _ => false,
    }
}

fn check_key(key: &str) -> Valid {
    key.parse::<KeyPath>().map(drop).map_err(|error| invalid(error.to_string()))
}

fn check_selector(selector: &Selector) -> Valid {
    match selector {
        Selector::Ids(ids) if ids.len() > MAX_POINTS_PER_OP => check_count("points", ids.len()),
        Selector::Ids(_) => Ok(()),
        Selector::Filter(filter) => check_filter(filter),
    }
}

#[cfg(test)]
mod tests {
    use shoal_vector::{PointVectors, PointWithSparse};

    use super::*;

    fn config() -> VectorConfig {
        VectorConfig::new("", 4, Metric::Dot)
    }

    fn sparse() -> SparseVectorConfig {
        SparseVectorConfig { name: "s".into() }
    }

    fn point(vector: Vec<f32>, payload: &str) -> Point {
        Point {
            id: PointId::Num(7),
            vectors: vec![(String::new(), vector)],
            payload: payload.into(),
        }
    }

    fn error(op: Op) -> String {
        check_op(&op, &[config()], &[sparse()]).unwrap_err().to_string()
    }

    fn upsert(point: Point) -> Op {
        Op::Upsert(vec![point])
    }

    #[test]
    fn vectors_must_fit() {
        assert_eq!(
            error(upsert(point(vec![0.0; 3], ""))),
            "Vector dimension error: expected dim: 4, got 3"
        );
        assert_eq!(
            error(upsert(point(vec![], ""))),
            "Vector dimension error: expected dim: 4, got 0"
        );
        assert!(
            error(upsert(point(vec![0.0, f32::NAN, 0.0, 0.0], "")))
                .contains("point 7: value NaN at position 1")
        );
        assert!(
            error(upsert(point(vec![0.0, 0.0, 0.0, f32::INFINITY], "")))
                .contains("value inf at position 3")
        );
        let named = Point { vectors: vec![("other".into(), vec![0.0; 4])], ..point(vec![], "") };
        assert_eq!(error(upsert(named)), "Not existing vector name error: other");
        let none = Point { vectors: vec![], ..point(vec![], "") };
        assert!(check_op(&upsert(none), &[config()], &[]).is_ok(), "a point may lack any vector");
        let vector = || (String::new(), vec![0.0; 4]);
        let twice = Point { vectors: vec![vector(), vector()], ..point(vec![], "") };
        assert_eq!(error(upsert(twice)), "point 7: vector `` is there twice");
        assert!(error(Op::Upsert(vec![])).starts_with("points:"));
    }

    #[test]
    fn halves_must_hold_values_unless_they_are_normalised_and_queries_are_not_rounded() {
        let with = |distance, value: f32| {
            let config = VectorConfig { distance, datatype: Datatype::Float16, ..config() };
            let op = upsert(point(vec![0.0, value, 0.0, 0.0], ""));
            check_op(&op, &[config], &[]).map_err(|error| error.to_string())
        };
        for distance in [Metric::Dot, Metric::Euclid, Metric::Manhattan] {
            assert_eq!(with(distance, -65_519.0), Ok(()));
            let error = with(distance, -65_520.0).unwrap_err();
            assert!(error.contains("value -65520 at position 1"), "{error}");
            assert!(error.contains("the datatype Float32"), "says what to do: {error}");
        }
        assert_eq!(with(Metric::Cosine, f32::MAX), Ok(()));
    }

    #[test]
    fn changed_vectors_must_fit_and_deleted_ones_must_be_known() {
        let update = |name: &str, vector: Vec<f32>| {
            let vectors = vec![(name.to_owned(), vector)];
            let (id, sparse) = (PointId::Num(7), Vec::new());
            error(Op::UpdateVectors(vec![PointVectors { id, vectors, sparse }]))
        };
        assert!(update("", vec![0.0; 3]).contains("expected dim: 4, got 3"));
        assert_eq!(update("a", vec![0.0; 4]), "Not existing vector name error: a");
        assert!(update("", vec![0.0, 0.0, f32::NAN, 0.0]).contains("point 7: value NaN"));
        let names = vec!["a".to_owned()];
        let delete = Op::DeleteVectors { names, points: Selector::Ids(vec![]) };
        assert_eq!(error(delete), "Not existing vector name error: a");
    }

    #[test]
    fn sparse_vectors_must_be_of_the_collection_and_whole() {
        let with = |sparse: &[(&str, SparseVector)]| {
            let sparse = sparse.iter().map(|(name, v)| ((*name).to_owned(), v.clone())).collect();
            let point = point(vec![0.0; 4], "");
            let op = Op::UpsertWithSparse(vec![PointWithSparse { point, sparse }]);
            check_op(&op, &[config()], &[self::sparse()]).map_err(|error| error.to_string())
        };
        let vector = |json: &str| serde_json::from_str::<SparseVector>(json).unwrap();
        let good = || vector(r#"{"indices": [1, 5], "values": [0.5, -1]}"#);
        assert_eq!(with(&[("s", good())]), Ok(()));
        for (vectors, text) in [
            (vec![("t", good())], "Not existing vector name error: t"),
            (vec![("", good())], "Not existing vector name error: "),
            (vec![("s", good()), ("s", good())], "twice"),
            (vec![("s", vector(r#"{"indices": [5, 1], "values": [1, 1]}"#))], "ascending"),
            (vec![("s", vector(r#"{"indices": [5], "values": []}"#))], "1 != 0"),
        ] {
            let error = with(&vectors).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        let many = SparseVector::new(
            (0..=MAX_SPARSE_VALUES as u32).collect(),
            vec![1.0; MAX_SPARSE_VALUES + 1],
        );
        assert!(with(&[("s", many.unwrap())]).unwrap_err().contains("at most"));
    }

    #[test]
    fn payloads_must_be_objects_within_bounds() {
        let with =
            |payload: &str| check_op(&upsert(point(vec![0.0; 4], payload)), &[config()], &[]);
        let nested = |levels: usize| {
            format!("{{\"a\":{}1{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        assert!(with("").is_ok() && with("{}").is_ok() && with("{\"a\":[1]}").is_ok());
        assert!(with(&nested(MAX_PAYLOAD_DEPTH)).is_ok());
        for bad in ["[1]", "{", "{} x", "null", &nested(MAX_PAYLOAD_DEPTH + 1), &nested(5000)] {
            assert!(with(bad).is_err(), "{bad}");
        }
        let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_PAYLOAD_BYTES));
        assert!(with(&huge).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn keys_and_filters_are_checked() {
        let ids = || Selector::Ids(vec![PointId::Num(1)]);
        let bad_key =
            Op::SetPayload { payload: b"{}".to_vec(), key: Some("a..b".into()), points: ids() };
        assert_eq!(error(bad_key), "Invalid json path: 'a..b'");
        assert_eq!(
            error(Op::DeletePayload { keys: vec!["".into()], points: ids() }),
            "Invalid json path: ''"
        );
        let bad = Filter {
            must: vec![shoal_vector::filter::Condition::IsNull("[".into())],
            ..Filter::default()
        };
        assert_eq!(error(Op::Delete(Selector::Filter(bad))), "Invalid json path: '['");
    }
}
