//! Vectors, and the many things that may stand in their place in the dialect.
//!
//! Numbers go straight from the text into a `Vec<f32>`; no value is built in between, because parsing a vector should
//! not cost more than the search it is for.
//!
//! Invariant: a [`VectorLike::Dense`] holds finite numbers only.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use shoal_vector::{PointId, VectorConfig};

use super::super::error::Failure;

/// A vector or what stands in its place; what it means there is for the reader to say.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum VectorLike {
    /// A list of finite numbers.
    Dense(Vec<f32>),
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

impl<'de> Deserialize<'de> for VectorLike {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorVisitor)
    }
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = VectorLike;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector: a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<VectorLike, A::Error> {
        let mut numbers = Vec::new();
        while let Some(element) = list.next_element()? {
            let other = match element {
                Element::Number(n) => {
                    numbers.push(n);
                    continue;
                }
                Element::List => VectorLike::Lists,
                Element::Other => VectorLike::Mixed,
            };
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(other);
        }
        Ok(VectorLike::Dense(numbers))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorLike, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(VectorLike::Object(members))
    }

    fn visit_u64<E>(self, n: u64) -> Result<VectorLike, E> {
        Ok(VectorLike::Number(n))
    }

    fn visit_str<E>(self, text: &str) -> Result<VectorLike, E> {
        Ok(VectorLike::Text(text.to_owned()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<VectorLike, E> {
        Ok(VectorLike::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<VectorLike, E> {
        Ok(VectorLike::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<VectorLike, E> {
        Ok(VectorLike::Other)
    }

    fn visit_unit<E>(self) -> Result<VectorLike, E> {
        Ok(VectorLike::Null)
    }
}

/// One element of a list.
enum Element {
    Number(f32),
    List,
    Other,
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Element, E> {
        let narrow = n as f32;
        match narrow.is_finite() {
            true => Ok(Element::Number(narrow)),
            false => Err(E::custom(format_args!("{n} does not fit a 32-bit float"))),
        }
    }

    fn visit_u64<E>(self, n: u64) -> Result<Element, E> {
        Ok(Element::Number(n as f32))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Element, E> {
        Ok(Element::Number(n as f32))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Element, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Element::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Element::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Element, E> {
        Ok(Element::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Element, E> {
        Ok(Element::Other)
    }

    fn visit_unit<E>(self) -> Result<Element, E> {
        Ok(Element::Other)
    }
}

impl VectorLike {
    /// The one vector that stands here. `place` names the field in errors.
    pub(in super::super) fn into_dense(self, place: &str) -> Result<Vec<f32>, Failure> {
        match self {
            VectorLike::Dense(vector) => Ok(vector),
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

    /// The vectors of a point by name: a bare list is the default vector, whose name is "".
    pub(in super::super) fn into_named(
        self,
        place: &str,
    ) -> Result<Vec<(String, Vec<f32>)>, Failure> {
        match self {
            VectorLike::Object(members) if inference(&members).is_none() => members
                .into_iter()
                .map(|(name, like)| {
                    let place = format!("{place}.{name}");
                    Ok((name, like.into_dense(&place)?))
                })
                .collect(),
            other => Ok(vec![(String::new(), other.into_dense(place)?)]),
        }
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
    if members.iter().any(|(key, _)| key == "indices") {
        return Failure::unsupported("a sparse vector");
    }
    Failure::format(format!("{place}: expected a vector: a list of numbers"))
}

/// Checks that a collection has a vector of this name, and that a vector fits it.
pub(in super::super) fn check(
    vectors: &[VectorConfig],
    name: &str,
    vector: &[f32],
) -> Result<(), Failure> {
    let config = named(vectors, name)?;
    match vector.len() == config.size {
        true => Ok(()),
        false => {
            let (expected, got) = (config.size, vector.len());
            Err(Failure::wrong_input(format!(
                "Vector dimension error: expected dim: {expected}, got {got}"
            )))
        }
    }
}

/// The vector of this name that a collection has.
pub(in super::super) fn named<'a>(
    vectors: &'a [VectorConfig],
    name: &str,
) -> Result<&'a VectorConfig, Failure> {
    let found = vectors.iter().find(|config| config.name == name);
    found.ok_or_else(|| Failure::wrong_input(format!("Not existing vector name error: {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> VectorLike {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn numbers_of_every_form_become_floats() {
        assert_eq!(read("[1, -2, 0.5, 1e-3]"), VectorLike::Dense(vec![1.0, -2.0, 0.5, 0.001]));
        assert_eq!(read("[]"), VectorLike::Dense(vec![]));
        assert_eq!(read("[18446744073709551615]"), VectorLike::Dense(vec![u64::MAX as f32]));
    }

    #[test]
    fn numbers_that_are_not_finite_floats_are_refused_with_their_place() {
        for json in ["[0.5, 1e39]", "[0.5, -1e39]", "[0.5, 1e999]", "[0.5, NaN]", "[0.5, Infinity]"]
        {
            let error = serde_json::from_str::<VectorLike>(json).unwrap_err();
            assert!(error.to_string().contains("column"), "{json}: {error}");
        }
    }

    #[test]
    fn points_take_a_list_or_lists_by_name() {
        let default = vec![(String::new(), vec![1.0])];
        assert_eq!(read("[1.0]").into_named("vector"), Ok(default.clone()));
        assert_eq!(read(r#"{"": [1.0]}"#).into_named("vector"), Ok(default));
        let named = vec![("a".to_owned(), vec![1.0]), ("text".to_owned(), vec![2.0])];
        assert_eq!(read(r#"{"a": [1], "text": [2]}"#).into_named("vector"), Ok(named));
    }

    #[test]
    fn what_is_not_there_yet_is_named() {
        let cases = [
            ("[[1, 2], [3, 4]]", 501, "multivectors"),
            (r#"{"a": {"indices": [1], "values": [0.5]}}"#, 501, "sparse"),
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

    #[test]
    fn deep_nesting_is_not_a_crash() {
        let deep =
            |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        // Lists in lists are read past without recursion; objects are read, and so have a bound.
        assert_eq!(read(&deep("[", "]")), VectorLike::Lists);
        assert!(serde_json::from_str::<VectorLike>(&deep(r#"{"a":"#, "}")).is_err());
    }

    #[test]
    fn wrong_sizes_and_names_are_told_as_the_dialect_does() {
        let vectors =
            [VectorConfig { name: String::new(), size: 4, distance: shoal_vector::Metric::Dot }];
        let text = |name, vector: &[f32]| check(&vectors, name, vector).unwrap_err().text;
        assert_eq!(check(&vectors, "", &[0.0; 4]), Ok(()));
        assert_eq!(
            text("", &[0.0; 3]),
            "Wrong input: Vector dimension error: expected dim: 4, got 3"
        );
        assert_eq!(text("a", &[0.0; 4]), "Wrong input: Not existing vector name error: a");
    }
}
