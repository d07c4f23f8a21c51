//! Nodes of a graph that is being built, searched for by codes and compared by int8 rows.

use std::io;

use rayon::prelude::*;
use shoal_vector::Metric;
use shoal_vector::codes::{
    CodeBits, Coder, OwnStep, QueryCode, SketchQuery, sketch, sketch_bytes, sketches_pay,
};
use shoal_vector::simd::{Isa, Kernel, Line};

use super::beam::node_of;
use super::blocks::{Blocks, lay_out};
use super::connect::Space;
use super::pages::Pages;
use super::prune::Distances;
use super::rows::Rows;
use super::scorer::{Coded, Scorer, Sketched};
use super::search::TakeQuery;
use super::walk::{Everything, Scratch, Walk};

/// Codes by node.
pub(super) struct Codes {
    pub(super) coder: Coder,
    bytes: Vec<u8>,
    /// Empty where one step suits all.
    pub(super) own: Vec<OwnStep>,
    /// Empty where walks would gain nothing.
    sketches: Pages,
}

impl Codes {
    /// Encodes `nodes` vectors; `rotated(node, out)` writes one. Each gets a step of its own where lengths differ.
    pub(super) fn new(
        coder: Coder,
        nodes: usize,
        own_steps: bool,
        rotated: impl Fn(usize, &mut [f32]) + Sync,
    ) -> io::Result<Self> {
        let code_bytes = coder.code_bytes();
        let mut bytes = vec![0; nodes * code_bytes];
        let mut own: Vec<OwnStep> = bytes
            .par_chunks_exact_mut(code_bytes)
            .enumerate()
            .map_init(
                || vec![0.0; coder.mean().len()],
                |buffer, (node, code)| {
                    rotated(node, buffer);
                    match own_steps {
                        true => coder.encode_own_step(buffer, code),
                        false => {
                            coder.encode(buffer, code);
                            OwnStep::default()
                        }
                    }
                },
            )
            .collect();
        if !own_steps {
            own = Vec::new();
        }
        let sketched = if sketches_pay(coder.bits(), code_bytes) { nodes } else { 0 };
        let mut sketches = Pages::new(sketched * sketch_bytes(code_bytes))?;
        let places = sketches.bytes_mut().par_chunks_exact_mut(sketch_bytes(code_bytes));
        bytes
            .par_chunks_exact(code_bytes)
            .zip(places)
            .for_each(|(code, place)| sketch(code, place));
        Ok(Self { coder, bytes, own, sketches })
    }

    /// A node's code.
    pub(super) fn of(&self, node: u32) -> &[u8] {
        let code_bytes = self.coder.code_bytes();
        &self.bytes[node as usize * code_bytes..][..code_bytes]
    }
}

/// See the file's comment.
pub(super) struct ByCodes<'a> {
    pub(super) rows: &'a Rows,
    /// Which row a node is.
    pub(super) order: &'a [u32],
    pub(super) codes: &'a Codes,
    pub(super) metric: Metric,
}

impl Distances for ByCodes<'_> {
    #[inline(always)]
    fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32 {
        self.rows.distance_in_task::<K>(self.order[a as usize], self.order[b as usize])
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        self.rows.prefetch::<K>(self.order[node as usize]);
    }
}

/// What one thread needs to search.
pub(super) struct State {
    scratch: Scratch,
    query: QueryCode,
    sketched: SketchQuery,
}

impl Space for ByCodes<'_> {
    type State = State;

    fn nodes(&self) -> usize {
        self.order.len()
    }

    fn state(&self) -> State {
        State {
            scratch: Scratch::default(),
            query: QueryCode::new(self.codes.coder.mean().len()),
            sketched: SketchQuery::default(),
        }
    }

    fn lay_out(&self, links: &[Vec<u32>], max_links: usize) -> Vec<Line> {
        let code = |node: u32, out: &mut [u8]| out.copy_from_slice(self.codes.of(node));
        lay_out(links, max_links, self.codes.coder.code_bytes(), code)
    }

    fn code_bytes(&self) -> usize {
        self.codes.coder.code_bytes()
    }

    fn own(&self, nodes: usize) -> &[OwnStep] {
        self.codes.own.get(..nodes).unwrap_or_default()
    }

    fn near(&self, blocks: Blocks<'_>, node: u32, ef: usize, state: &mut State) -> Vec<u32> {
        let Self { codes, metric, .. } = *self;
        let State { scratch, query, sketched } = state;
        let (bytes, own) = (blocks.code_bytes(), blocks.own());
        let row = self.order[node as usize];
        let meta = self.rows.meta(row);
        query.set_row(self.rows.row(row), meta.sum, meta.squares, 1.0 / meta.scale);
        let sketches = codes.sketches.bytes().get(..blocks.nodes() * sketch_bytes(bytes));
        if let (Some(sketches), CodeBits::Four) = (sketches, codes.coder.bits()) {
            Isa::detect().run(TakeQuery { sketched, code: query, bytes });
            return if own.is_empty() {
                let coded = Coded::new(blocks, query, metric);
                nearest(blocks, Sketched::<false>::new(coded, sketches, sketched), ef, scratch)
            } else {
                let coded = Coded::new(blocks, query, metric);
                nearest(blocks, Sketched::<true>::new(coded, sketches, sketched), ef, scratch)
            };
        }
        match (codes.coder.bits(), own.is_empty()) {
            (CodeBits::Four, true) => {
                nearest(blocks, Coded::<false, false>::new(blocks, query, metric), ef, scratch)
            }
            (CodeBits::Four, false) => {
                nearest(blocks, Coded::<false, true>::new(blocks, query, metric), ef, scratch)
            }
            (CodeBits::Eight, true) => {
                nearest(blocks, Coded::<true, false>::new(blocks, query, metric), ef, scratch)
            }
            (CodeBits::Eight, false) => {
                nearest(blocks, Coded::<true, true>::new(blocks, query, metric), ef, scratch)
            }
        }
    }
}

/// Up to `ef` nodes that a walk finds.
pub(super) fn nearest(
    blocks: Blocks<'_>,
    scorer: impl Scorer,
    ef: usize,
    scratch: &mut Scratch,
) -> Vec<u32> {
    let (links, admit, ef) = (blocks, Everything, ef.max(1));
    let len = Isa::detect().run(Walk { links, scorer, admit, entries: None, ef, scratch });
    scratch.beam.keys(len).iter().map(|&key| node_of(key)).collect()
}
