//! The ring: 16,384 slots, and sets of them.
//!
//! A point's slot depends on its id alone and never changes; which shard holds a slot is told by an explicit table
//! ([`crate::routing`]), never recomputed from a count. [`initial`] makes the table a collection starts with.
//!
//! Invariant of [`SlotSet`]: its ranges ascend, do not touch, and end below [`SLOTS`], so equal sets are equal values
//! and print alike.

use std::fmt;
use std::str::FromStr;

pub use shoal_vector::slot::{SLOTS, slot_of};

/// Arcs a shard starts with: its virtual nodes. A split hands over whole arcs, so sixteen let a shard be halved four
/// times before an arc must be cut.
const ARCS_PER_SHARD: u32 = 16;

/// A set of slots, as inclusive ranges; prints and parses as `0-511,1024-1535`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlotSet {
    ranges: Vec<(u16, u16)>,
}

/// Why a text or a list of ranges is no set of slots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Not of the form `0-511,1024-1535`.
    #[error("`{0}` is not a range of slots such as 0-511")]
    Malformed(String),
    /// A range that ends before it begins.
    #[error("the range {0}-{1} ends before it begins")]
    Reversed(u16, u16),
    /// A slot past the end of the ring.
    #[error("slot {0} is past the end of the ring, {max}", max = SLOTS - 1)]
    PastEnd(u16),
    /// A slot that stands in two ranges.
    #[error("slot {0} is named twice")]
    Twice(u16),
}

impl SlotSet {
    /// A set of inclusive ranges, in any order; refuses ranges that overlap.
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>) -> Result<Self, SlotError> {
        let mut sorted: Vec<(u16, u16)> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            if first > last {
                return Err(SlotError::Reversed(first, last));
            }
            if last >= SLOTS {
                return Err(SlotError::PastEnd(last));
            }
            match merged.last_mut() {
                Some((_, end)) if first <= *end => return Err(SlotError::Twice(first)),
                Some((_, end)) if first == *end + 1 => *end = last,
                _ => merged.push((first, last)),
            }
        }
        Ok(Self { ranges: merged })
    }

    /// The ranges, inclusive, ascending, not touching.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|&(first, last)| usize::from(last - first) + 1).sum()
    }

    /// Whether it holds no slot.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether it holds this slot.
    pub fn contains(&self, slot: u16) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= slot);
        after.checked_sub(1).and_then(|i| self.ranges.get(i)).is_some_and(|&(_, last)| slot <= last)
    }

    /// Its slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(first, last)) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for SlotSet {
    type Err = SlotError;

    fn from_str(text: &str) -> Result<Self, SlotError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let ranges: Result<Vec<_>, _> = text.split(',').map(parse_range).collect();
        Self::new(ranges?)
    }
}

fn parse_range(text: &str) -> Result<(u16, u16), SlotError> {
    let slot = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain
            .then(|| digits.parse().ok())
            .flatten()
            .ok_or_else(|| SlotError::Malformed(text.to_owned()))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok((slot(first)?, slot(last)?))
}

/// The slots of each shard of a new collection: even within one slot, sixteen arcs a shard, dealt out in rounds.
/// Shards past the number of slots get none.
pub fn initial(shards: u32) -> Vec<SlotSet> {
    let slots = u32::from(SLOTS);
    let mut arcs: Vec<Vec<(u16, u16)>> = vec![Vec::new(); shards as usize];
    let mut next = 0;
    for round in 0..ARCS_PER_SHARD {
        for (shard, arcs) in (0..shards).zip(&mut arcs) {
            let quota = share(slots, shards, shard);
            let length = share(quota, ARCS_PER_SHARD, round);
            if length > 0 {
                // `next` never passes SLOTS: the shares of all shards and rounds add up to it.
                arcs.push((next as u16, (next + length - 1) as u16));
                next += length;
            }
        }
    }
    let set = |ranges: Vec<(u16, u16)>| {
        // Neighbouring arcs of a single shard are one range.
        SlotSet::new(ranges).unwrap_or_default()
    };
    arcs.into_iter().map(set).collect()
}

/// Part `index` of `whole` cut into `parts` that differ by at most one.
fn share(whole: u32, parts: u32, index: u32) -> u32 {
    whole / parts + u32::from(index < whole % parts)
}

#[cfg(test)]
mod tests;
