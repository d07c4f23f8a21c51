//! A set of a segment's ordinals, a bit each.
//!
//! Ordinals are dense and segments bounded (150,000 points of 384 dimensions, 19 kB here), and a walk asks for a bit per
//! node it meets, so a plain array beats compressed bitmaps: intersecting two costs a microsecond. Invariant: bits from
//! `len` on are zero.

use serde::{Deserialize, Serialize};

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    /// None of `len` ordinals.
    pub(crate) fn none(len: u32) -> Self {
        Self { words: vec![0; (len as usize).div_ceil(64)], len }
    }

    /// All of `len` ordinals.
    pub(crate) fn all(len: u32) -> Self {
        let mut bits = Self { words: vec![u64::MAX; (len as usize).div_ceil(64)], len };
        bits.cut();
        bits
    }

    fn cut(&mut self) {
        if let (Some(last), rest @ 1..) = (self.words.last_mut(), self.len % 64) {
            *last &= (1u64 << rest) - 1;
        }
    }

    /// Whether it is a set of so many ordinals, and whole: to be asked of what was read from a disk.
    pub(super) fn is_whole(&self, len: u32) -> bool {
        let mut cut = self.clone();
        cut.cut();
        self.len == len && self.words.len() == (len as usize).div_ceil(64) && cut == *self
    }

    /// Those below `len`, of as many.
    pub(crate) fn cut_to(mut self, len: u32) -> Self {
        self.words.resize((len as usize).div_ceil(64), 0);
        self.len = len;
        self.cut();
        self
    }

    /// Of how many ordinals it is a set.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds an ordinal below `len`.
    #[inline]
    pub(crate) fn set(&mut self, ordinal: u32) {
        debug_assert!(ordinal < self.len);
        self.words[ordinal as usize / 64] |= 1 << (ordinal % 64);
    }

    /// Takes an ordinal out; one that is too great was not in it.
    #[inline]
    pub(crate) fn unset(&mut self, ordinal: u32) {
        if let Some(word) = self.words.get_mut(ordinal as usize / 64) {
            *word &= !(1 << (ordinal % 64));
        }
    }

    #[inline]
    pub(crate) fn contains(&self, ordinal: u32) -> bool {
        let word = self.words.get(ordinal as usize / 64);
        word.is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }

    /// Adds the ordinals of another set, each greater by this much; together they must be below `len`.
    pub(crate) fn add_at(&mut self, first: u32, other: &Bits) {
        let (word, shift) = (first as usize / 64, first % 64);
        for (at, bits) in (word..).zip(&other.words) {
            self.words[at] |= bits << shift;
            let rest = if shift == 0 { 0 } else { bits >> (64 - shift) };
            if rest != 0 {
                self.words[at + 1] |= rest;
            }
        }
    }

    /// Keeps what is in both. Both are of as many ordinals, here and below.
    pub(crate) fn keep(&mut self, other: &Bits) {
        self.zip(other, |a, b| a & b);
    }

    pub(crate) fn add(&mut self, other: &Bits) {
        self.zip(other, |a, b| a | b);
    }

    pub(crate) fn remove(&mut self, other: &Bits) {
        self.zip(other, |a, b| a & !b);
    }

    fn zip(&mut self, other: &Bits, of: impl Fn(u64, u64) -> u64) {
        debug_assert_eq!(self.len, other.len);
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word = of(*word, *other);
        }
    }

    /// What is not in it.
    pub(crate) fn complement(mut self) -> Self {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.cut();
        self
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// What is in it, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().zip(0u32..).flat_map(|(&word, at)| {
            std::iter::successors(Some(word), |left| Some(left & (left.wrapping_sub(1))))
                .take_while(|left| *left != 0)
                .map(move |left| at * 64 + left.trailing_zeros())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(len: u32, set: &BTreeSet<u32>) -> Bits {
        let mut bits = Bits::none(len);
        set.iter().for_each(|ordinal| bits.set(*ordinal));
        bits
    }

    fn two() -> impl Strategy<Value = (u32, BTreeSet<u32>, BTreeSet<u32>)> {
        (1u32..200).prop_flat_map(|len| {
            let set = prop::collection::btree_set(0..len, 0..40);
            (Just(len), set.clone(), set)
        })
    }

    proptest! {
        #[test]
        fn bits_are_a_set((len, a, b) in two()) {
            let (bits, other) = (of(len, &a), of(len, &b));
            prop_assert_eq!(bits.iter().collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(bits.count(), a.len());
            prop_assert_eq!(bits.is_empty(), a.is_empty());
            let with = |change: fn(&mut Bits, &Bits)| {
                let mut bits = bits.clone();
                change(&mut bits, &other);
                bits
            };
            prop_assert_eq!(with(Bits::keep), of(len, &(&a & &b)));
            prop_assert_eq!(with(Bits::add), of(len, &(&a | &b)));
            prop_assert_eq!(with(Bits::remove), of(len, &(&a - &b)));
            let all: BTreeSet<u32> = (0..len).collect();
            prop_assert_eq!(bits.clone().complement(), of(len, &(&all - &a)));
            prop_assert_eq!(Bits::all(len), of(len, &all));
            let mut shifted = Bits::none(len + 150);
            for first in [0, 1, 63, 64, 100, 150] {
                shifted.add_at(first, &bits);
                prop_assert!(bits.iter().all(|ordinal| shifted.contains(ordinal + first)));
            }
            let expected: BTreeSet<u32> =
                [0, 1, 63, 64, 100, 150].iter().flat_map(|first| a.iter().map(move |o| o + first)).collect();
            prop_assert_eq!(shifted.iter().collect::<BTreeSet<_>>(), expected);
            prop_assert!((0..len + 100).all(|n| of(len, &a).contains(n) == a.contains(&n)));
        }
    }
}
