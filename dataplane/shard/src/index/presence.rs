//! Which points have a value in a field at all, which have null there, and how many values: what tests ask that look at
//! no value.
//!
//! A value is here what the field's path leads to, an array as one. Invariant: as in `field.rs`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shoal_vector::filter::Range;

use super::bits::Bits;
use super::dictionary::Dictionary;

/// See the file's comment. Of each, the points of which a value is so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Presence {
    /// There.
    pub(super) present: Bits,
    /// Neither null nor an empty array.
    pub(super) filled: Bits,
    /// Null or an empty array.
    pub(super) empty: Bits,
    /// Null.
    pub(super) null: Bits,
    /// Null, or an array with a null in it.
    pub(super) with_null: Bits,
    /// Neither.
    pub(super) without_null: Bits,
    /// One, and not more.
    one: Bits,
    /// An array of more, by its length.
    more: Dictionary<u64>,
}

/// A [`Presence`] being made.
pub(super) struct PresenceBuilder {
    made: Presence,
    lengths: Vec<(u64, u32)>,
}

impl PresenceBuilder {
    pub(super) fn new(len: u32) -> Self {
        let none = || Bits::none(len);
        let made = Presence {
            present: none(),
            filled: none(),
            empty: none(),
            null: none(),
            with_null: none(),
            without_null: none(),
            one: none(),
            more: Dictionary::of(Vec::new(), len),
        };
        Self { made, lengths: Vec::new() }
    }

    pub(super) fn add(&mut self, ordinal: u32, value: &Value) {
        let made = &mut self.made;
        made.present.set(ordinal);
        let (count, has_null) = match value {
            Value::Null => (0, true),
            Value::Array(elements) => (elements.len(), elements.iter().any(Value::is_null)),
            _ => (1, false),
        };
        if value.is_null() {
            made.null.set(ordinal);
        }
        match has_null {
            true => made.with_null.set(ordinal),
            false => made.without_null.set(ordinal),
        }
        match count {
            0 => made.empty.set(ordinal),
            1 => made.one.set(ordinal),
            many => self.lengths.push((many as u64, ordinal)),
        }
        if count > 0 {
            made.filled.set(ordinal);
        }
    }

    /// Values that are kept one by one.
    pub(super) fn entries(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn finish(self, len: u32) -> Presence {
        Presence { more: Dictionary::of(self.lengths, len), ..self.made }
    }
}

impl Presence {
    fn all(&self) -> [&Bits; 7] {
        [
            &self.present,
            &self.filled,
            &self.empty,
            &self.null,
            &self.with_null,
            &self.without_null,
            &self.one,
        ]
    }

    /// Checks what was read from a disk.
    pub(super) fn revive(&mut self, len: u32) -> Result<(), &'static str> {
        match self.all().iter().all(|bits| bits.is_whole(len)) {
            true => self.more.revive(len),
            false => Err("it is of another number of points"),
        }
    }

    /// Points without any value.
    pub(super) fn absent(&self) -> Bits {
        self.present.clone().complement()
    }

    /// Points with a value that counts as so many values.
    pub(super) fn counting(&self, range: &Range<u64>) -> Bits {
        let mut bits = Bits::none(self.present.len());
        if range.contains(0) {
            bits.add(&self.empty);
        }
        if range.contains(1) {
            bits.add(&self.one);
        }
        self.more.add_within(&mut bits, range, |count| *count);
        bits
    }

    pub(super) fn bytes(&self) -> usize {
        let bits = self.all().iter().map(|bits| size_of_val(bits.words())).sum::<usize>();
        bits + self.more.bytes()
    }
}
