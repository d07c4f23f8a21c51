//! The network: messages are late, lost, doubled and overtaken, and lines are cut, also in one direction alone.

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::StdRng;

/// How bad it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    /// Of a hundred messages, how many are lost.
    pub(crate) lost: u32,
    /// Of a hundred, how many come twice.
    pub(crate) doubled: u32,
    /// Greatest delay in ms.
    pub(crate) late: u64,
    /// Lines that carry nothing, from whom to whom.
    pub(crate) lines_cut: BTreeSet<(usize, usize)>,
}

impl Network {
    /// When copies of a message arrive, in ms from now.
    pub(crate) fn delays(&self, from: usize, to: usize, random: &mut StdRng) -> Vec<u64> {
        if self.lines_cut.contains(&(from, to)) || random.random_range(0..100) < self.lost {
            return Vec::new();
        }
        let copies = if random.random_range(0..100) < self.doubled { 2 } else { 1 };
        (0..copies).map(|_| 1 + random.random_range(0..=self.late)).collect()
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.lines_cut.insert((from, to));
    }

    pub(crate) fn mend(&mut self) {
        *self = Self { late: 2, ..Self::default() };
    }

    pub(crate) fn join(&mut self) {
        self.lines_cut.clear();
    }
}
