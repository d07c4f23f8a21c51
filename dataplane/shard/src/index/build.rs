//! Making the index of a field, payload by payload.

use serde_json::Value;
use shoal_vector::Payload;
use shoal_vector::filter::{DateTime, GeoPoint, parse_datetime};
use shoal_vector::payload::{IndexKind, KeyPath};
use shoal_vector::text::Tokenizer;

use super::bits::Bits;
use super::catalog::Field;
use super::dictionary::Dictionary;
use super::field::{FieldIndex, Keys, MAX_ENTRIES, MAX_TEXT_BYTES, TooLarge};
use super::number::Number;
use super::places::Places;
use super::presence::PresenceBuilder;
use super::texts::Texts;

/// An index being made.
pub(crate) struct FieldBuilder {
    path: KeyPath,
    len: u32,
    presence: PresenceBuilder,
    values: Values,
}

/// Values so far, of a kind.
struct Values {
    kind: IndexKind,
    tokenizer: Tokenizer,
    other: Bits,
    /// Points with a text.
    texts: Bits,
    /// Whether a point has more than one.
    several_texts: bool,
    strings: Vec<(String, u32)>,
    integers: Vec<(i64, u32)>,
    numbers: Vec<(Number, u32)>,
    bools: Vec<(bool, u32)>,
    times: Vec<(DateTime, u32)>,
    places: Vec<(GeoPoint, u32)>,
    text_bytes: usize,
}

impl FieldBuilder {
    /// For `len` points.
    pub(crate) fn new(field: &Field, len: u32) -> Self {
        let values = Values {
            kind: field.config.kind,
            tokenizer: field.config.tokenizer.unwrap_or_default(),
            texts: Bits::none(len),
            several_texts: false,
            other: Bits::none(len),
            strings: Vec::new(),
            integers: Vec::new(),
            numbers: Vec::new(),
            bools: Vec::new(),
            times: Vec::new(),
            places: Vec::new(),
            text_bytes: 0,
        };
        Self { path: field.path.clone(), len, presence: PresenceBuilder::new(len), values }
    }

    /// Takes a point's payload in, once.
    pub(crate) fn add(&mut self, ordinal: u32, payload: &Payload) -> Result<(), TooLarge> {
        let Self { path, presence, values, .. } = self;
        path.any(payload, &mut |value| {
            presence.add(ordinal, value);
            match value {
                Value::Array(elements) => {
                    elements.iter().for_each(|element| values.add(ordinal, element))
                }
                value => values.add(ordinal, value),
            }
            false
        });
        let entries = presence.entries() + values.entries();
        match entries > MAX_ENTRIES || values.text_bytes > MAX_TEXT_BYTES {
            true => Err(TooLarge),
            false => Ok(()),
        }
    }

    /// The index of what was added.
    pub(crate) fn finish(self) -> FieldIndex {
        let Self { len, presence, values, .. } = self;
        let keys = match values.kind {
            IndexKind::Integer | IndexKind::Float => Keys::Numbers(
                Dictionary::of(values.integers, len),
                Dictionary::of(values.numbers, len),
            ),
            IndexKind::Bool => Keys::Bools(Dictionary::of(values.bools, len)),
            IndexKind::Datetime => Keys::Times(Dictionary::of(values.times, len)),
            IndexKind::Geo => Keys::Places(Places::of(values.places)),
            IndexKind::Keyword | IndexKind::Uuid => {
                Keys::Strings(Dictionary::of(values.strings, len))
            }
            IndexKind::Text => Keys::Texts(Texts {
                tokenizer: values.tokenizer,
                tokens: Dictionary::of(values.strings, len),
                texts: values.texts,
                several: values.several_texts,
            }),
        };
        FieldIndex::new(len, presence.finish(len), values.other, keys)
    }
}

impl Values {
    fn entries(&self) -> usize {
        self.strings.len()
            + self.integers.len()
            + self.numbers.len()
            + self.bools.len()
            + self.times.len()
            + self.places.len()
    }

    fn add(&mut self, ordinal: u32, value: &Value) {
        match (self.kind, value) {
            (_, Value::Null) => {}
            (IndexKind::Keyword | IndexKind::Uuid, Value::String(text)) => {
                self.text_bytes += text.len();
                self.strings.push((text.clone(), ordinal));
            }
            (IndexKind::Text, Value::String(text)) => {
                self.several_texts |= self.texts.contains(ordinal);
                self.texts.set(ordinal);
                self.tokenizer.each_token(text, &mut |token| {
                    self.text_bytes += token.len();
                    self.strings.push((token.to_owned(), ordinal));
                    self.strings.len() <= MAX_ENTRIES
                });
            }
            (IndexKind::Integer | IndexKind::Float, Value::Number(number)) => {
                match (number.as_i64(), number.as_f64()) {
                    (Some(integer), _) => self.integers.push((integer, ordinal)),
                    (None, Some(float)) => self.numbers.push((Number(float), ordinal)),
                    (None, None) => self.other.set(ordinal),
                }
            }
            (IndexKind::Bool, Value::Bool(bool)) => self.bools.push((*bool, ordinal)),
            (IndexKind::Datetime, Value::String(text)) => match parse_datetime(text) {
                Some(time) => self.times.push((time, ordinal)),
                None => self.other.set(ordinal),
            },
            (IndexKind::Geo, value) => match GeoPoint::from_value(value) {
                Some(place) => self.places.push((place, ordinal)),
                None => self.other.set(ordinal),
            },
            _ => self.other.set(ordinal),
        }
    }
}
