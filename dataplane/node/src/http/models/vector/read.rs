//! Reading what stands in place of a vector from JSON.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::VectorLike;

impl<'de> Deserialize<'de> for VectorLike {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorVisitor)
    }
}

/// Numbers of a list that are gathered before memory is taken for them.
const AT_ONCE: usize = 1024;

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = VectorLike;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector: a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<VectorLike, A::Error> {
        // A list does not say how long it is. By way of the stack, most take memory once, and not more than they need.
        let (mut numbers, mut some, mut held) = (Vec::new(), [0.0; AT_ONCE], 0);
        while let Some(element) = list.next_element()? {
            let number = match element {
                Element::Number(n) => n,
                Element::Whole(n) => n as f32,
                other => {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(match other {
                        Element::List => VectorLike::Lists,
                        _ => VectorLike::Mixed,
                    });
                }
            };
            if held == AT_ONCE {
                numbers.extend_from_slice(&some);
                held = 0;
            }
            some[held] = number;
            held += 1;
        }
        numbers.extend_from_slice(&some[..held]);
        Ok(VectorLike::Dense(numbers))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorLike, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            // As floats they would not be exact.
            let value = match key.as_str() {
                "indices" => map.next_value::<Indices>()?.0,
                _ => map.next_value()?,
            };
            members.push((key, value));
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

/// What stands under the key `indices`.
struct Indices(VectorLike);

impl<'de> Deserialize<'de> for Indices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let elements = Vec::<Element>::deserialize(deserializer)?;
        let index = |element: &Element| match element {
            Element::Whole(n) => u32::try_from(*n).ok(),
            _ => None,
        };
        let number = |element: &Element| match element {
            Element::Whole(n) => Some(*n as f32),
            Element::Number(n) => Some(*n),
            _ => None,
        };
        if let Some(indices) = elements.iter().map(index).collect() {
            return Ok(Self(VectorLike::Indices(indices)));
        }
        // A vector that is called so.
        let numbers: Option<Vec<f32>> = elements.iter().map(number).collect();
        Ok(Self(numbers.map_or(VectorLike::Mixed, VectorLike::Dense)))
    }
}

/// One element of a list.
enum Element {
    Number(f32),
    /// A number without a sign or a fraction.
    Whole(u64),
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
        Ok(Element::Whole(n))
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
    fn deep_nesting_is_not_a_crash() {
        let deep =
            |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        // Lists in lists are read past without recursion; objects are read, and so have a bound.
        assert_eq!(read(&deep("[", "]")), VectorLike::Lists);
        assert!(serde_json::from_str::<VectorLike>(&deep(r#"{"a":"#, "}")).is_err());
    }
}
