//! The index of one field of one segment: which points have which values.
//!
//! A value is what the field's path leads to, or each element of it where that is an array, as in the dialect's tests.
//! Values of the index's kind are keys of a dictionary; points with any other value are remembered as having one, so that
//! a test which those could pass gets an answer that says "at most". Invariant: what a [`FieldIndex`] says of a condition
//! is what a matcher says of the payloads it was made of, where exact, and never less.

use serde::{Deserialize, Serialize};
use shoal_vector::filter::{DateTime, MatchValue, Range, Test};

use super::answer::Answer;
use super::bits::Bits;
use super::dictionary::Dictionary;
use super::number::Number;
use super::places::Places;
use super::presence::Presence;
use super::texts::Texts;

/// Values of one field's index at most: 16 million values of 16 bytes make 512 MB while an index is made, and then half.
/// A field beyond is not indexed, and filters on it look at payloads.
pub(super) const MAX_ENTRIES: usize = 16 << 20;

/// Bytes of strings that an index holds at most, for the same reason.
pub(super) const MAX_TEXT_BYTES: usize = 256 << 20;

/// See the file's comment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldIndex {
    pub(super) len: u32,
    pub(super) presence: Presence,
    /// Points with a value that is not null and no key.
    pub(super) other: Bits,
    /// Whether a point has more than one key.
    pub(super) several: bool,
    pub(super) keys: Keys,
}

/// Values by kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Keys {
    Strings(Dictionary<String>),
    /// Integers that are 64 bits wide and signed, and all other numbers.
    Numbers(Dictionary<i64>, Dictionary<Number>),
    Bools(Dictionary<bool>),
    /// In microseconds.
    Times(Dictionary<DateTime>),
    Places(Places),
    Texts(Texts),
}

/// The index has more values than one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the field has more than {MAX_ENTRIES} values, or {MAX_TEXT_BYTES} bytes of them, in one segment"
)]
pub(crate) struct TooLarge;

impl FieldIndex {
    pub(super) fn new(len: u32, presence: Presence, other: Bits, keys: Keys) -> Self {
        let mut any = Bits::none(len);
        let entries = match &keys {
            Keys::Strings(strings) => strings.add_all(&mut any),
            Keys::Numbers(integers, numbers) => {
                integers.add_all(&mut any) + numbers.add_all(&mut any)
            }
            Keys::Bools(bools) => bools.add_all(&mut any),
            Keys::Times(times) => times.add_all(&mut any),
            Keys::Places(places) => places.add_all(&mut any),
            // These keep count of it themselves.
            Keys::Texts(_) => 0,
        };
        let several = entries > any.count();
        Self { len, presence, other, several, keys }
    }

    /// Bytes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::Strings(strings) => {
                strings.bytes() + strings.keys().iter().map(String::len).sum::<usize>()
            }
            Keys::Numbers(integers, numbers) => integers.bytes() + numbers.bytes(),
            Keys::Bools(bools) => bools.bytes(),
            Keys::Times(times) => times.bytes(),
            Keys::Places(places) => places.bytes(),
            Keys::Texts(texts) => texts.bytes(),
        };
        self.presence.bytes() + size_of_val(self.other.words()) + keys
    }

    /// Points with a value that is neither null nor an empty array.
    pub(crate) fn filled(&self) -> &Bits {
        &self.presence.filled
    }

    /// Points of which all values are empty, or that have none.
    pub(crate) fn is_empty(&self) -> Answer {
        Answer::exactly(self.presence.filled.clone().complement())
    }

    /// Points of which a value is null.
    pub(crate) fn is_null(&self) -> Answer {
        Answer::exactly(self.presence.null.clone())
    }

    /// Points of which a value passes.
    pub(crate) fn test(&self, test: &Test) -> Answer {
        match test {
            Test::Match(wanted) => self.any_of(std::slice::from_ref(wanted)),
            Test::MatchAny(wanted) => self.any_of(wanted),
            Test::MatchExcept(unwanted) => self.none_of(unwanted),
            Test::Range(range) => self.within(range),
            Test::Datetime(range) => match &self.keys {
                Keys::Times(times) => {
                    let mut bits = Bits::none(self.len);
                    times.add_within(&mut bits, range, |time| *time);
                    Answer::exactly(bits)
                }
                Keys::Strings(_) => Answer::UNKNOWN,
                Keys::Texts(texts) => Answer::at_most(texts.texts.clone()),
                _ => self.others(),
            },
            Test::ValuesCount(range) => Answer::exactly(self.presence.counting(range)),
            Test::GeoBox(area) => self.placed(|places| Some(places.in_box(area, self.len))),
            Test::GeoRadius(area) => self.placed(|places| places.in_circle(area, self.len)),
            Test::GeoPolygon(area) => self.placed(|places| places.in_polygon(area, self.len)),
            Test::Text(text) => self.worded(|texts| texts.with_all(text)),
            Test::TextAny(text) => self.worded(|texts| texts.with_any(text)),
            Test::Phrase(text) => self.worded(|texts| texts.with_phrase(text)),
            Test::IsEmpty(false) => Answer::exactly(self.presence.filled.clone()),
            Test::IsNull(true) => Answer::exactly(self.presence.with_null.clone()),
            Test::IsEmpty(true) => self.or_absent(&self.presence.empty),
            Test::IsNull(false) => self.or_absent(&self.presence.without_null),
        }
    }

    fn or_absent(&self, bits: &Bits) -> Answer {
        let mut absent = self.presence.absent();
        absent.add(bits);
        Answer::exactly(absent)
    }

    /// Of points with values that are no keys any may pass, and no others.
    fn others(&self) -> Answer {
        Answer::at_most(self.other.clone())
    }

    fn worded(&self, ask: impl Fn(&Texts) -> Answer) -> Answer {
        match &self.keys {
            Keys::Texts(texts) => ask(texts),
            Keys::Numbers(..) | Keys::Bools(_) | Keys::Places(_) => self.others(),
            Keys::Strings(_) | Keys::Times(_) => Answer::UNKNOWN,
        }
    }

    fn placed(&self, ask: impl Fn(&Places) -> Option<Bits>) -> Answer {
        match &self.keys {
            Keys::Places(places) => ask(places).map_or(Answer::UNKNOWN, Answer::exactly),
            _ => self.others(),
        }
    }

    fn any_of(&self, wanted: &[MatchValue]) -> Answer {
        let mut bits = Bits::none(self.len);
        let mut exact = true;
        for value in wanted {
            match (value, &self.keys) {
                (MatchValue::Keyword(keyword), Keys::Strings(strings)) => {
                    strings.add_one(&mut bits, keyword.as_str())
                }
                (MatchValue::Integer(integer), Keys::Numbers(integers, _)) => {
                    integers.add_one(&mut bits, integer)
                }
                (MatchValue::Bool(bool), Keys::Bools(bools)) => bools.add_one(&mut bits, bool),
                // Times are not kept as they are written.
                (MatchValue::Keyword(_), Keys::Times(times)) => {
                    times.add_all(&mut bits);
                    exact = false;
                }
                (MatchValue::Keyword(_), Keys::Texts(texts)) => {
                    bits.add(&texts.texts);
                    exact = false;
                }
                _ => exact = false,
            }
        }
        let as_written = !matches!(self.keys, Keys::Times(_) | Keys::Texts(_));
        if exact || self.other.is_empty() && as_written {
            return Answer::exactly(bits);
        }
        bits.add(&self.other);
        Answer::at_most(bits)
    }

    /// Points with a value, not null, that is none of these.
    fn none_of(&self, unwanted: &[MatchValue]) -> Answer {
        let mut bits = Bits::none(self.len);
        let mut exact = true;
        match &self.keys {
            Keys::Strings(strings) => {
                self.add_except(strings, &mut bits, unwanted, |value| match value {
                    MatchValue::Keyword(keyword) => strings.place(keyword.as_str()),
                    _ => None,
                })
            }
            Keys::Numbers(integers, numbers) => {
                self.add_except(integers, &mut bits, unwanted, |value| match value {
                    MatchValue::Integer(integer) => integers.place(integer),
                    _ => None,
                });
                numbers.add_all(&mut bits);
            }
            Keys::Bools(bools) => {
                self.add_except(bools, &mut bits, unwanted, |value| match value {
                    MatchValue::Bool(bool) => bools.place(bool),
                    _ => None,
                })
            }
            Keys::Times(times) => {
                times.add_all(&mut bits);
                exact = !unwanted.iter().any(|value| matches!(value, MatchValue::Keyword(_)));
            }
            Keys::Texts(texts) => {
                bits.add(&texts.texts);
                exact = !unwanted.iter().any(|value| matches!(value, MatchValue::Keyword(_)));
            }
            // A place is none of what may be unwanted.
            Keys::Places(places) => {
                places.add_all(&mut bits);
            }
        }
        // Others are none of what can only be a key.
        exact &= self.other.is_empty() || unwanted.iter().all(|value| self.is_key(value));
        bits.add(&self.other);
        Answer::of(bits, exact)
    }

    /// Whether a value like this one is always a key.
    fn is_key(&self, value: &MatchValue) -> bool {
        matches!(
            (value, &self.keys),
            (MatchValue::Keyword(_), Keys::Strings(_))
                | (MatchValue::Integer(_), Keys::Numbers(..))
                | (MatchValue::Bool(_), Keys::Bools(_))
        )
    }

    fn add_except<K: Ord>(
        &self,
        keys: &Dictionary<K>,
        bits: &mut Bits,
        unwanted: &[MatchValue],
        place: impl Fn(&MatchValue) -> Option<usize>,
    ) {
        let mut places: Vec<usize> = unwanted.iter().filter_map(place).collect();
        if !self.several {
            // Whoever has one of these has nothing else.
            keys.add_all(bits);
            let mut gone = Bits::none(self.len);
            places.into_iter().for_each(|place| keys.add_to(&mut gone, place..place + 1));
            bits.remove(&gone);
            return;
        }
        places.sort_unstable();
        let mut from = 0;
        for place in places {
            keys.add_to(bits, from..place.max(from));
            from = place + 1;
        }
        keys.add_to(bits, from..keys.keys().len().max(from));
    }

    fn within(&self, range: &Range) -> Answer {
        match &self.keys {
            Keys::Numbers(integers, numbers) => {
                let mut bits = Bits::none(self.len);
                integers.add_within(&mut bits, range, |key| *key as f64);
                numbers.add_within(&mut bits, range, |key| key.0);
                Answer::exactly(bits)
            }
            // Any of the others may be a number.
            _ => self.others(),
        }
    }
}
