//! Vectors, and the many things that may stand in their place in the dialect.
//!
//! Numbers go straight from the text into a `Vec<f32>`; no value is built in between, because parsing a vector should
//! not cost more than the search it is for.
//!
//! Invariant: a [`VectorLike::Dense`] holds finite numbers only.

mod known;
mod read;

use shoal_vector::sparse::InvalidSparse;
use shoal_vector::{PointId, SparseVector};

use super::super::error::Failure;

pub(in super::super) use known::{Known, check, check_sparse, named};

/// A vector or what stands in its place; what it means there is for the reader to say.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum VectorLike {
    /// A list of finite numbers.
    Dense(Vec<f32>),
    /// A list of whole numbers under the key `indices`, where they are those of a sparse vector.
    Indices(Vec<u32>),
    /// A list of lists.
    Lists,
    /// A list of something else.
    Mixed,
    /// An unsigned integer.
    Number(u64),
    /// A string.
    Text(String),
    /// An object, in the order it was written.
    Object(Vec<(String, VectorLike)>),
    /// A null.
    Null,
    /// A boolean, a fraction, or a negative number.
    Other,
}

impl VectorLike {
    /// The one vector that stands here. `place` names the field in errors.
    pub(in super::super) fn into_dense(self, place: &str) -> Result<Vec<f32>, Failure> {
        match self {
            VectorLike::Dense(vector) => Ok(vector),
            VectorLike::Indices(whole) => Ok(whole.into_iter().map(|n| n as f32).collect()),
            VectorLike::Lists => Err(Failure::unsupported("a list of vectors (multivectors)")),
            VectorLike::Object(members) => Err(object_in_place_of_vector(&members, place)),
            VectorLike::Mixed
            | VectorLike::Number(_)
            | VectorLike::Text(_)
            | VectorLike::Null
            | VectorLike::Other => {
                Err(Failure::format(format!("{place}: expected a vector: a list of numbers")))
            }
        }
    }

    /// The one vector that stands here, of either kind.
    pub(in super::super) fn into_either(self, place: &str) -> Result<Either, Failure> {
        match self {
            VectorLike::Object(members) if is_sparse(&members) => {
                Ok(Either::Sparse(sparse(members, place)?))
            }
            other => Ok(Either::Dense(other.into_dense(place)?)),
        }
    }

    /// The vectors of a point by name: a bare list is the default vector, whose name is "".
    pub(in super::super) fn into_named(self, place: &str) -> Result<Named, Failure> {
        let members = match self {
            VectorLike::Object(members) if inference(&members).is_none() => members,
            other => vec![(String::new(), other)],
        };
        let mut named = Named::default();
        for (name, like) in members {
            let place = if name.is_empty() { place.to_owned() } else { format!("{place}.{name}") };
            match like.into_either(&place)? {
                Either::Dense(vector) => named.dense.push((name, vector)),
                Either::Sparse(vector) => named.sparse.push((name, vector)),
            }
        }
        Ok(named)
    }

    /// The id that stands here, if it is one.
    pub(in super::super) fn as_id(&self) -> Option<PointId> {
        match self {
            VectorLike::Number(n) => Some(PointId::Num(*n)),
            // A number in quotes is not an id in the dialect, so only a UUID will do.
            VectorLike::Text(text) => text.parse().ok().filter(|id| matches!(id, PointId::Uuid(_))),
            _ => None,
        }
    }
}

/// A vector of either kind.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Either {
    Dense(Vec<f32>),
    Sparse(SparseVector),
}

/// Vectors by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Named {
    pub(in super::super) dense: Vec<(String, Vec<f32>)>,
    pub(in super::super) sparse: Vec<(String, SparseVector)>,
}

/// Whether an object is a sparse vector, if it is one vector at all.
fn is_sparse(members: &[(String, VectorLike)]) -> bool {
    members.iter().any(|(key, _)| key == "indices")
        && members.iter().all(|(key, _)| key == "indices" || key == "values")
}

fn sparse(members: Vec<(String, VectorLike)>, place: &str) -> Result<SparseVector, Failure> {
    let (mut indices, mut values) = (None, None);
    for (key, like) in members {
        match (key.as_str(), like) {
            ("indices", VectorLike::Indices(list)) if indices.is_none() => indices = Some(list),
            ("values", like) if values.is_none() => {
                values = Some(like.into_dense(&format!("{place}.values"))?);
            }
            _ => {
                let why = "expected {\"indices\": whole numbers below 2^32, \"values\": numbers}";
                return Err(Failure::format(format!("{place}: {why}")));
            }
        }
    }
    let (Some(indices), Some(values)) = (indices, values) else {
        return Err(Failure::format(format!("{place}: expected both `indices` and `values`")));
    };
    SparseVector::new(indices, values).map_err(|error| {
        let part = match &error {
            InvalidSparse::Twice(_) => "indices",
            _ => "values",
        };
        Failure::field(&format!("{place}.{part}"), error)
    })
}

/// What an object asks the server to embed, if that is what it is.
fn inference(members: &[(String, VectorLike)]) -> Option<&'static str> {
    let has =
        |key| members.iter().any(|(k, like)| k == key && !matches!(like, VectorLike::Dense(_)));
    match (has("model"), has("text"), has("image"), has("object")) {
        (true, true, _, _) => Some("inference of a document (`text`)"),
        (true, _, true, _) => Some("inference of an image (`image`)"),
        (true, _, _, true) => Some("inference of an object (`object`)"),
        _ => None,
    }
}

/// Why an object where one vector should stand is refused.
fn object_in_place_of_vector(members: &[(String, VectorLike)], place: &str) -> Failure {
    if let Some(feature) = inference(members) {
        return Failure::unsupported(feature);
    }
    Failure::format(format!("{place}: expected a vector: a list of numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> VectorLike {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn points_take_a_list_or_lists_by_name() {
        let dense = |list: &[(&str, f32)]| {
            let dense = list.iter().map(|(name, x)| ((*name).to_owned(), vec![*x])).collect();
            Ok(Named { dense, sparse: vec![] })
        };
        assert_eq!(read("[1.0]").into_named("vector"), dense(&[("", 1.0)]));
        assert_eq!(read(r#"{"": [1.0]}"#).into_named("vector"), dense(&[("", 1.0)]));
        let named = dense(&[("a", 1.0), ("text", 2.0)]);
        assert_eq!(read(r#"{"a": [1], "text": [2]}"#).into_named("vector"), named);
        let odd = read(r#"{"indices": [1], "values": [2]}"#).into_named("vector");
        assert_eq!(odd, dense(&[("indices", 1.0), ("values", 2.0)]), "names like any other");
    }

    #[test]
    fn sparse_vectors_stand_under_names_with_exact_indices() {
        let json = r#"{"s": {"values": [0.5, 2], "indices": [4294967295, 16777217]}, "a": [1]}"#;
        let named = read(json).into_named("vector").unwrap();
        let expected = SparseVector::new(vec![16_777_217, u32::MAX], vec![2.0, 0.5]).unwrap();
        assert_eq!(named.sparse, [("s".to_owned(), expected)]);
        assert_eq!(named.dense, [("a".to_owned(), vec![1.0])]);
        for (sparse, status, text) in [
            (r#"{"indices": [1], "values": []}"#, 422, "vector.s.values: must be the same length"),
            (r#"{"indices": [1, 1], "values": [1, 2]}"#, 422, "vector.s.indices: must be unique"),
            (r#"{"indices": [-1], "values": [1]}"#, 400, "whole numbers"),
            (r#"{"indices": [1.5], "values": [1]}"#, 400, "whole numbers"),
            (r#"{"indices": [4294967296], "values": [1]}"#, 400, "whole numbers"),
            (r#"{"indices": [1], "values": ["x"]}"#, 400, "vector.s.values"),
            (r#"{"indices": [1]}"#, 400, "both"),
            (r#"{"indices": [1], "values": [1], "more": [1]}"#, 400, "vector.s"),
        ] {
            let failure = read(&format!(r#"{{"s": {sparse}}}"#)).into_named("vector").unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{sparse}: {}", failure.text);
            assert!(failure.text.contains(text), "{sparse}: {}", failure.text);
        }
    }

    #[test]
    fn what_is_not_there_yet_is_named() {
        let cases = [
            ("[[1, 2], [3, 4]]", 501, "multivectors"),
            (r#"{"text": "a cat", "model": "m"}"#, 501, "document"),
            (r#"{"a": {"image": "http://x", "model": "m"}}"#, 501, "image"),
            ("true", 400, "vector"),
            ("7", 400, "vector"),
            (r#"{"a": {"b": [1]}}"#, 400, "vector.a"),
            (r#"["1.0"]"#, 400, "list of numbers"),
            ("[null]", 400, "list of numbers"),
            ("[0.5, true]", 400, "list of numbers"),
        ];
        for (json, status, text) in cases {
            let failure = read(json).into_named("vector").unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{json}: {}", failure.text);
            assert!(failure.text.contains(text), "{json}: {}", failure.text);
        }
    }

    #[test]
    fn ids_are_numbers_and_uuids_only() {
        assert_eq!(read("7").as_id(), Some(PointId::Num(7)));
        assert!(matches!(
            read(r#""550e8400-e29b-41d4-a716-446655440000""#).as_id(),
            Some(PointId::Uuid(_))
        ));
        for json in [r#""7""#, r#""x""#, "-1", "1.5", "null", "[1]"] {
            assert_eq!(read(json).as_id(), None, "{json}");
        }
    }
}
