//! `with_payload` and `with_vector`: what of a point to return.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use shoal_shard::api::{Want, WantPayload, WantVectors};

use super::super::error::Failure;
use super::vector::{self, Known};

/// `with_payload`: a boolean, a list of key paths, or an object that includes or excludes some.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct WithPayload(WantPayload);

/// `with_vector`: a boolean or a list of names.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum WithVector {
    All(bool),
    Named(Vec<String>),
}

/// What a reader wants, from both options and what they are when absent.
pub(in super::super) fn want(
    with_payload: Option<WithPayload>,
    payload_by_default: bool,
    with_vector: Option<WithVector>,
    known: Known<'_>,
) -> Result<Want, Failure> {
    let payload = match (with_payload, payload_by_default) {
        (Some(WithPayload(payload)), _) => payload,
        (None, true) => WantPayload::All,
        (None, false) => WantPayload::No,
    };
    let vectors = match with_vector {
        None | Some(WithVector::All(false)) => WantVectors::No,
        Some(WithVector::All(true)) => WantVectors::All,
        Some(WithVector::Named(names)) => {
            names.iter().try_for_each(|name| vector::named(known, name))?;
            if names.is_empty() { WantVectors::No } else { WantVectors::Named(names) }
        }
    };
    Ok(Want { payload, vectors })
}

impl<'de> Deserialize<'de> for WithPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = WithPayload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`with_payload`: a boolean, a list of keys, {\"include\": [keys]} or {\"exclude\": [keys]}")
    }

    fn visit_bool<E>(self, all: bool) -> Result<WithPayload, E> {
        Ok(WithPayload(if all { WantPayload::All } else { WantPayload::No }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<WithPayload, A::Error> {
        Ok(WithPayload(WantPayload::Include(strings(list)?)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WithPayload, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(de::Error::custom("`with_payload`: expected `include` or `exclude`"));
        };
        let payload = match key.as_str() {
            "include" => WantPayload::Include(map.next_value()?),
            "exclude" => WantPayload::Exclude(map.next_value()?),
            other => return Err(de::Error::unknown_field(other, &["include", "exclude"])),
        };
        match map.next_key::<IgnoredAny>()? {
            None => Ok(WithPayload(payload)),
            Some(_) => Err(de::Error::custom(
                "`with_payload`: expected one of `include` and `exclude`, not both",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for WithVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WithVectorVisitor)
    }
}

struct WithVectorVisitor;

impl<'de> Visitor<'de> for WithVectorVisitor {
    type Value = WithVector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`with_vector`: a boolean or a list of names")
    }

    fn visit_bool<E>(self, all: bool) -> Result<WithVector, E> {
        Ok(WithVector::All(all))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<WithVector, A::Error> {
        strings(list).map(WithVector::Named)
    }
}

fn strings<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<String>, A::Error> {
    let mut all = Vec::new();
    while let Some(one) = list.next_element()? {
        all.push(one);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use shoal_vector::{Metric, VectorConfig};

    use super::*;

    fn payload(json: &str) -> Result<WantPayload, serde_json::Error> {
        serde_json::from_str::<WithPayload>(json).map(|with| with.0)
    }

    #[test]
    fn payloads_are_selected_in_every_form_of_the_dialect() {
        let keys = || vec!["a".to_owned(), "b.c".to_owned()];
        assert_eq!(payload("true").unwrap(), WantPayload::All);
        assert_eq!(payload("false").unwrap(), WantPayload::No);
        assert_eq!(payload(r#"["a", "b.c"]"#).unwrap(), WantPayload::Include(keys()));
        assert_eq!(payload(r#"{"include": ["a", "b.c"]}"#).unwrap(), WantPayload::Include(keys()));
        assert_eq!(payload(r#"{"exclude": ["a", "b.c"]}"#).unwrap(), WantPayload::Exclude(keys()));
        for wrong in
            ["1", "{}", r#"{"include": ["a"], "exclude": ["b"]}"#, r#"{"only": ["a"]}"#, "[1]"]
        {
            assert!(payload(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn defaults_hold_where_options_are_absent_and_vectors_are_known_by_name() {
        let dense = [VectorConfig::new("", 1, Metric::Dot)];
        let vectors = Known { dense: &dense, sparse: &[] };
        let with_vector = |json: &str| serde_json::from_str::<WithVector>(json).unwrap();
        let wanted = want(None, true, None, vectors).unwrap();
        assert_eq!(wanted, Want { payload: WantPayload::All, vectors: WantVectors::No });
        assert_eq!(want(None, false, None, vectors).unwrap().payload, WantPayload::No);
        let unnamed = || WantVectors::Named(vec![String::new()]);
        for (json, vectors_wanted) in [
            ("true", WantVectors::All),
            ("false", WantVectors::No),
            (r#"[""]"#, unnamed()),
            ("[]", WantVectors::No),
        ] {
            let wanted = want(None, false, Some(with_vector(json)), vectors).unwrap();
            assert_eq!(wanted.vectors, vectors_wanted, "{json}");
        }
        let failure = want(None, false, Some(with_vector(r#"["a"]"#)), vectors).unwrap_err();
        assert!(failure.text.contains("Not existing vector name"), "{}", failure.text);
    }
}
