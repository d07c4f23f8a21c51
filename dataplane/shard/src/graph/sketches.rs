//! The sketches of a graph's codes: made in memory from its blocks, because a walk looks at them before anything else
//! and what is on disk already says all.

use std::io;

use shoal_vector::codes::{Coder, sketch, sketch_bytes, sketches_pay};

use super::blocks::Blocks;
use super::pages::Pages;

/// Sketches by node, one after the other; `None` where walks would gain nothing.
pub(crate) fn sketches(blocks: Blocks<'_>, coder: Option<&Coder>) -> io::Result<Option<Pages>> {
    let bytes = blocks.code_bytes();
    if !coder.is_some_and(|coder| sketches_pay(coder.bits(), bytes)) {
        return Ok(None);
    }
    let mut pages = Pages::new(blocks.nodes() * sketch_bytes(bytes))?;
    let places = pages.bytes_mut().chunks_exact_mut(sketch_bytes(bytes));
    for (node, place) in (0..).zip(places) {
        sketch(blocks.code_of(node), place);
    }
    Ok(Some(pages))
}
