//! Sets of nodes.

/// Which nodes a walk may return.
pub(super) trait Admit: Copy {
    /// Whether that is all of them; then `admits` is not asked.
    const ALL: bool;

    fn admits(self, node: u32) -> bool;
}

/// All nodes.
#[derive(Clone, Copy)]
pub(super) struct Everything;

impl Admit for Everything {
    const ALL: bool = true;

    #[inline(always)]
    fn admits(self, _: u32) -> bool {
        true
    }
}

/// Nodes whose bit is set, as many bits as the graph has nodes.
#[derive(Clone, Copy)]
pub(super) struct Set<'a>(pub(super) &'a [u64]);

impl Admit for Set<'_> {
    const ALL: bool = false;

    #[inline(always)]
    fn admits(self, node: u32) -> bool {
        self.0[node as usize / 64] >> (node % 64) & 1 == 1
    }
}

/// The nodes of a set, ascending.
pub(super) struct Bits<'a> {
    words: &'a [u64],
    /// Of the word at `at`, what is left.
    left: u64,
    at: usize,
}

impl<'a> Bits<'a> {
    #[inline(always)]
    pub(super) fn new(Set(words): Set<'a>) -> Self {
        Self { words, left: words.first().copied().unwrap_or(0), at: 0 }
    }
}

impl Iterator for Bits<'_> {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            self.at += 1;
            self.left = *self.words.get(self.at)?;
        }
        let bit = self.left.trailing_zeros();
        self.left &= self.left - 1;
        Some(self.at as u32 * 64 + bit)
    }
}
