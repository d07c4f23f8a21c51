//! Values of a field, sorted, and for each the ordinals of the points that have it.
//!
//! Ordinals stand one after the other in order of values, so the points of one value and the points of a range of values
//! are alike a slice. A long slice becomes bits block by block: for every so many ordinals their bits are kept ready, which
//! doubles the memory and makes half of a segment cost what a few hundred points would.
//! Invariant: keys ascend strictly; `starts` ascends from 0 to the number of ordinals; ordinals of a key ascend strictly.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use shoal_vector::filter;

use super::bits::Bits;

/// Blocks whose bits are kept ready, at most. A block of a thirty-second of all takes as much memory as its ordinals, and
/// what a slice covers of the two blocks at its ends is set bit by bit.
const BLOCKS: usize = 32;

/// Below this many ordinals a block is not worth its bits.
const LEAST_BLOCK: usize = 1_024;

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dictionary<K> {
    keys: Vec<K>,
    starts: Vec<u32>,
    ordinals: Vec<u32>,
    #[serde(skip)]
    blocks: Vec<Bits>,
}

impl<K: Ord> Dictionary<K> {
    /// Of values and the ordinals that have them, in any order. There must be at most `u32::MAX`.
    pub(super) fn of(mut entries: Vec<(K, u32)>, len: u32) -> Self {
        entries.sort_unstable();
        entries.dedup();
        let mut made = Self {
            keys: Vec::new(),
            starts: Vec::new(),
            ordinals: Vec::with_capacity(entries.len()),
            blocks: Vec::new(),
        };
        for (key, ordinal) in entries {
            if made.keys.last() != Some(&key) {
                made.starts.push(made.ordinals.len() as u32);
                made.keys.push(key);
            }
            made.ordinals.push(ordinal);
        }
        made.starts.push(made.ordinals.len() as u32);
        made.keys.shrink_to_fit();
        made.starts.shrink_to_fit();
        made.make_blocks(len);
        made
    }

    /// Checks what was read from a disk, and makes what is not stored.
    pub(super) fn revive(&mut self, len: u32) -> Result<(), &'static str> {
        let starts_at_keys = self.starts.len() == self.keys.len() + 1
            && self.starts.first() == Some(&0)
            && self.starts.last().map(|end| *end as usize) == Some(self.ordinals.len())
            && self.starts.is_sorted_by(|a, b| a < b);
        if !starts_at_keys {
            return Err("keys and ordinals do not fit together");
        }
        if !self.keys.is_sorted_by(|a, b| a < b) {
            return Err("keys do not ascend");
        }
        let ascend = |at: usize| self.slice(at..at + 1).is_sorted_by(|a, b| a < b);
        if !(0..self.keys.len()).all(ascend) || self.ordinals.iter().any(|&o| o >= len) {
            return Err("ordinals are out of order or too great");
        }
        self.make_blocks(len);
        Ok(())
    }

    fn make_blocks(&mut self, len: u32) {
        let size = self.block_size();
        self.blocks = match self.ordinals.len() > size {
            true => self.ordinals.chunks_exact(size).map(|some| bits_of(some, len)).collect(),
            false => Vec::new(),
        };
    }

    fn block_size(&self) -> usize {
        self.ordinals.len().div_ceil(BLOCKS).max(LEAST_BLOCK)
    }

    pub(super) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// Ordinals of a range of keys, given by their places.
    fn slice(&self, places: Range<usize>) -> &[u32] {
        let at = |place: usize| self.starts.get(place).map_or(0, |start| *start as usize);
        self.ordinals.get(at(places.start)..at(places.end)).unwrap_or_default()
    }

    /// Where a key stands, if it is there.
    pub(super) fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.keys.binary_search_by(|probe| probe.borrow().cmp(key)).ok()
    }

    /// Adds the points of some keys, given by their places.
    pub(super) fn add_to(&self, bits: &mut Bits, places: Range<usize>) {
        let at = |place: usize| self.starts.get(place).map_or(0, |start| *start as usize);
        let (mut from, end) = (at(places.start), at(places.end));
        let size = self.block_size();
        while from < end {
            let next = (from / size + 1) * size;
            match self.blocks.get(from / size) {
                Some(block) if from % size == 0 && next <= end => bits.add(block),
                _ => set_all(bits, &self.ordinals[from..next.min(end)]),
            }
            from = next;
        }
    }

    /// Adds the points whose keys lie within a range, of what `of` makes of them, in which they ascend as well.
    pub(super) fn add_within<T: PartialOrd + Copy>(
        &self,
        bits: &mut Bits,
        range: &filter::Range<T>,
        of: impl Fn(&K) -> T,
    ) {
        let below = |key: &K| {
            range.gt.is_some_and(|bound| of(key) <= bound)
                || range.gte.is_some_and(|bound| of(key) < bound)
        };
        let above = |key: &K| {
            range.lt.is_some_and(|bound| of(key) >= bound)
                || range.lte.is_some_and(|bound| of(key) > bound)
        };
        let start = self.keys.partition_point(below);
        let end = self.keys.partition_point(|key| !above(key));
        self.add_to(bits, start..end.max(start));
    }

    /// Adds the points of one key.
    pub(super) fn add_one<Q: Ord + ?Sized>(&self, bits: &mut Bits, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(place) = self.place(key) {
            self.add_to(bits, place..place + 1);
        }
    }

    /// Adds all points; the number of values that is.
    pub(super) fn add_all(&self, bits: &mut Bits) -> usize {
        self.add_to(bits, 0..self.keys.len());
        self.ordinals.len()
    }

    /// Bytes in memory, but for what keys hold outside of themselves.
    pub(super) fn bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| size_of_val(block.words())).sum::<usize>();
        self.keys.len() * (size_of::<K>() + 4) + self.ordinals.len() * 4 + blocks
    }
}

fn bits_of(ordinals: &[u32], len: u32) -> Bits {
    let mut bits = Bits::none(len);
    set_all(&mut bits, ordinals);
    bits
}

fn set_all(bits: &mut Bits, ordinals: &[u32]) {
    ordinals.iter().for_each(|ordinal| bits.set(*ordinal));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_of_keys_is_the_same_with_blocks_and_without() {
        let len = 40_000;
        let entries: Vec<(u32, u32)> =
            (0..len).map(|o: u32| (o.wrapping_mul(2_654_435_761) % 977, o)).collect();
        let dictionary = Dictionary::of(entries.clone(), len);
        assert!(dictionary.blocks.len() >= BLOCKS - 1);
        for (low, high) in [(0, 977), (0, 1), (100, 103), (31, 640), (500, 500), (976, 977)] {
            let mut bits = Bits::none(len);
            let range = filter::Range { gte: Some(low), lt: Some(high), ..Default::default() };
            dictionary.add_within(&mut bits, &range, |key| *key);
            let expected = entries.iter().filter(|(k, _)| (low..high).contains(k)).map(|(_, o)| *o);
            assert_eq!(bits.iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let good = || Dictionary::of(vec![(1, 0), (2, 1), (2, 2), (5, 0)], 3);
        assert!(good().revive(3).is_ok());
        assert!(good().revive(2).is_err());
        let spoil = |change: fn(&mut Dictionary<i32>)| {
            let mut bad = good();
            change(&mut bad);
            bad.revive(3)
        };
        assert!(spoil(|d| d.starts[1] = 3).is_err());
        assert!(spoil(|d| d.starts[3] = 9).is_err());
        assert!(spoil(|d| d.starts.clear()).is_err());
        assert!(spoil(|d| d.keys.swap(0, 1)).is_err());
        assert!(spoil(|d| d.ordinals.swap(1, 2)).is_err());
        assert!(spoil(|d| d.ordinals.clear()).is_err());
    }

    proptest! {
        #[test]
        fn a_dictionary_finds_what_it_was_made_of(entries in prop::collection::vec((0i64..20, 0u32..50), 0..200)) {
            let dictionary = Dictionary::of(entries.clone(), 50);
            for key in 0..20 {
                let mut bits = Bits::none(50);
                dictionary.add_one(&mut bits, &key);
                let expected = |o: u32| entries.contains(&(key, o));
                prop_assert!((0..50).all(|o| bits.contains(o) == expected(o)));
            }
            let bytes = postcard::to_stdvec(&dictionary).unwrap();
            let mut read: Dictionary<i64> = postcard::from_bytes(&bytes).unwrap();
            prop_assert!(read.revive(50).is_ok());
            prop_assert_eq!(read, dictionary);
        }
    }
}
