//! A graph laid out to be walked: one block a node, its code and then its links, so that what one step of a walk needs
//! lies together. It is read where it lies, in a segment's file or in memory.
//!
//! Layout: `code_bytes` of code · `slots` u32 links, those that are not used hold the node itself, which a walk has
//! always seen. Both are whole cache lines. Invariant: lengths fit each other, checked once in [`Blocks::new`]; link
//! values are not checked there, so a walk takes none of them on trust.

use std::sync::atomic::AtomicU32;

use shoal_vector::codes::OwnStep;
use shoal_vector::simd::Line;

use super::walk::Links;

/// Nodes of a graph at most: a node's number shares 32 bits with a flag.
pub(super) const MAX_NODES: usize = 1 << 31;

/// Links to a block in multiples of this, which is one cache line.
pub(super) const SLOT_STEP: usize = 16;

/// See the file's comment.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    bytes: &'a [u8],
    /// Steps of nodes' codes, where each has its own; else empty.
    own: &'a [OwnStep],
    nodes: usize,
    code_bytes: usize,
    slots: usize,
}

impl<'a> Blocks<'a> {
    /// Blocks of `nodes` nodes; says what does not fit.
    pub(crate) fn new(
        bytes: &'a [u8],
        own: &'a [OwnStep],
        nodes: usize,
        code_bytes: usize,
        slots: usize,
    ) -> Result<Self, String> {
        if !code_bytes.is_multiple_of(64) || slots == 0 || !slots.is_multiple_of(SLOT_STEP) {
            return Err(format!("{code_bytes} bytes of code and {slots} links are no whole lines"));
        }
        let block = slots.checked_mul(4).and_then(|links| links.checked_add(code_bytes));
        if block.and_then(|block| block.checked_mul(nodes)) != Some(bytes.len()) {
            return Err(format!("blocks of {nodes} nodes have {} bytes", bytes.len()));
        }
        if !(own.is_empty() || own.len() == nodes) {
            return Err(format!("{} steps for {nodes} nodes", own.len()));
        }
        if nodes > MAX_NODES || bytes.as_ptr().align_offset(64) != 0 {
            return Err("blocks that cannot be walked".into());
        }
        Ok(Self { bytes, own, nodes, code_bytes, slots })
    }

    #[inline(always)]
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    #[inline(always)]
    pub(super) fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    #[inline(always)]
    pub(super) fn own(&self) -> &'a [OwnStep] {
        self.own
    }

    /// Where a node's block begins: its code. The node must be in the graph.
    #[inline(always)]
    pub(super) fn code(&self, node: u32) -> *const u8 {
        debug_assert!((node as usize) < self.nodes);
        // SAFETY: blocks of nodes below `nodes` lie within `bytes`.
        unsafe { self.bytes.as_ptr().add(node as usize * (self.code_bytes + self.slots * 4)) }
    }

    /// A node's code. The node must be in the graph.
    pub(super) fn code_of(&self, node: u32) -> &'a [u8] {
        &self.bytes[node as usize * (self.code_bytes + self.slots * 4)..][..self.code_bytes]
    }
}

impl Links for Blocks<'_> {
    #[inline(always)]
    fn nodes(&self) -> usize {
        self.nodes
    }

    #[inline(always)]
    fn slots(&self) -> usize {
        self.slots
    }

    #[inline(always)]
    fn row(&self, node: u32) -> *const AtomicU32 {
        // SAFETY: the links follow the code inside the block.
        unsafe { self.code(node).add(self.code_bytes).cast() }
    }
}

/// Makes blocks: `encode(node, code)` writes a node's code. Lists are cut to `max_links`, rounded up to whole lines.
pub(super) fn lay_out(
    links: &[Vec<u32>],
    max_links: usize,
    code_bytes: usize,
    encode: impl Fn(u32, &mut [u8]) + Sync,
) -> Vec<Line> {
    use rayon::prelude::*;
    let slots = slots_for(max_links);
    let block = code_bytes + slots * 4;
    let mut lines = vec![Line([0; 64]); links.len() * (block / 64)];
    lines.par_chunks_exact_mut(block / 64).with_min_len(64).enumerate().for_each(
        |(node, lines)| {
            let bytes: &mut [u8] = lines_as_bytes(lines);
            let (code, row) = bytes.split_at_mut(code_bytes);
            encode(node as u32, code);
            let padding = std::iter::repeat(node as u32);
            let places = row.chunks_exact_mut(4);
            for (place, link) in places.zip(links[node].iter().copied().chain(padding)) {
                place.copy_from_slice(&link.to_le_bytes());
            }
        },
    );
    lines
}

/// Links that a block has room for.
pub(super) fn slots_for(max_links: usize) -> usize {
    max_links.max(1).next_multiple_of(SLOT_STEP)
}

pub(super) fn lines_as_bytes(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: a line is 64 bytes, any bits are valid, and the borrow goes with the slice.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

/// The bytes of lines.
pub(crate) fn bytes_of(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 64 bytes, any bits are valid.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}
