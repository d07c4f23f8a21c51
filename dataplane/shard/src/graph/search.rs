//! Searching one graph: choose how, walk or scan by codes or by vectors, compare the best by codes exactly.
//!
//! What is returned is at exact distances, and as many as were asked for if the graph has as many that are accepted: where
//! a walk finds fewer, because what is accepted is not connected, all that is accepted is scanned.

use std::cell::RefCell;

use roaring::RoaringBitmap;
use shoal_vector::codes::{CodeBits, Coder, QueryCode, SketchQuery};
use shoal_vector::simd::{Isa, Kernel, Task};
use shoal_vector::{Elements, Metric};

use super::beam::node_of;
use super::blocks::Blocks;
use super::rescore::{DOUBT, Near, Rescoring, rescored};
use super::residency::Residency;
use super::scan::Scan;
use super::scorer::{Coded, Exact, Scorer, Sketched};
use super::target::Target;
use super::walk::{Admit, Bits, Everything, Scratch, Set, Walk};

/// A filter that accepts this share of nodes or more is applied to what a plain, longer walk finds.
pub(super) const MOST: f64 = 0.4;

/// Nodes that a scan keeps, as many times what is asked for. At 384 dimensions, of the ten nearest .999 and more were among
/// the 32 nearest by codes of 4 bits, and .9988 among 16.
const SCANNED_TIMES: usize = 3;

/// A scan costs so many times less for a node than a walk among some nodes does for each of its beam's places: it visits
/// nodes in order, and asks for them long before it needs them. At 384 dimensions 5 ns a node, so it takes as long as two
/// or three walks without a filter when it ends to be worth it; and it misses nothing, however what is accepted lies.
const SCAN_PER_EF: usize = 320;

/// Nodes nearest to a target that tell how many are accepted there.
const PROBED: usize = 32;

/// Where fewer are accepted near a target than elsewhere, a beam is so many times longer at most.
const FARTHER: f64 = 4.0;

/// Nodes that a filtered walk begins with: the first accepted ones, a sample of them.
const ENTRIES: usize = 256;

/// A graph, to be searched.
#[derive(Clone, Copy)]
pub(crate) struct GraphRef<'a> {
    pub(crate) blocks: Blocks<'a>,
    /// How codes were made; `None` if the blocks hold no codes.
    pub(crate) coder: Option<&'a Coder>,
    /// Vectors by node, one after the other.
    pub(crate) vectors: Elements<'a>,
    /// Whether they are in memory.
    pub(crate) residency: &'a Residency,
    /// Sketches of the codes by node, or nothing.
    pub(crate) sketches: &'a [u8],
    pub(crate) metric: Metric,
}

/// Nodes that may be returned.
#[derive(Clone, Copy)]
pub(crate) enum Accepted<'a> {
    /// All but the dead.
    Living { dead: &'a RoaringBitmap },
    /// Those whose bit is set: `len` of as many bits as the graph has nodes, rounded up to words.
    Set { bits: &'a [u64], len: usize },
}

/// Whether a set of so many nodes is scanned instead of walked, with a beam of `ef`.
pub(crate) fn is_scanned(len: usize, ef: usize) -> bool {
    len <= ef.saturating_mul(SCAN_PER_EF)
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The `k` accepted nodes nearest to the target, as far as a beam of `ef` finds them, nearest first.
pub(crate) fn search(
    graph: GraphRef<'_>,
    target: &Target<'_>,
    k: usize,
    ef: usize,
    accepted: Accepted<'_>,
) -> Vec<Near> {
    let nodes = graph.blocks.nodes();
    let ef = ef.max(k).clamp(1, nodes.max(1));
    if nodes == 0 || k == 0 {
        return Vec::new();
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let mut search = Search { graph, target, k, doubt: None, scratch };
        match accepted {
            Accepted::Living { dead } => search.living(dead, ef),
            Accepted::Set { bits, len } => search.set(bits, len, ef),
        }
    })
}

struct Search<'a, 's> {
    graph: GraphRef<'a>,
    target: &'a Target<'a>,
    k: usize,
    /// See [`Rescoring::doubt`].
    doubt: Option<f32>,
    scratch: &'s mut Scratch,
}

/// What to do with a scorer once it is known which.
enum Plan<'a> {
    /// Walk over all nodes.
    Walk,
    /// Walk over those of a set, beginning with some of them.
    WalkSet(Set<'a>, &'a [u32]),
    /// Look at each of a set.
    Scan(Set<'a>),
}

impl Search<'_, '_> {
    fn living(&mut self, dead: &RoaringBitmap, ef: usize) -> Vec<Near> {
        let nodes = self.graph.blocks.nodes();
        let living = nodes - (dead.len() as usize).min(nodes);
        let share = living as f64 / nodes as f64;
        if share < MOST {
            let bits = complement(dead, nodes);
            return self.set(&bits, living, ef);
        }
        let found = self.widened(share, ef, |node| !dead.contains(node));
        if found.len() >= self.k.min(living) {
            return found;
        }
        let bits = complement(dead, nodes);
        self.scan(&bits, ef)
    }

    fn set(&mut self, bits: &[u64], len: usize, ef: usize) -> Vec<Near> {
        let nodes = self.graph.blocks.nodes();
        let set = Set(bits);
        if is_scanned(len, ef) {
            return self.scan(bits, ef);
        }
        let share = len as f64 / nodes as f64;
        // What is accepted may have to do with where the target is: what counts is how many are accepted near it.
        let mut near = if share >= MOST { share } else { self.share_near(set) };
        if near >= MOST {
            let longer = self.walk_longer(near, ef);
            let accepted = self.accepted(longer, set);
            if 2 * accepted >= ef && accepted >= self.k {
                return self.rescore(longer, |node| set.admits(node));
            }
            near = accepted as f64 / longer.max(1) as f64;
        }
        let farther = (share / near.max(f64::EPSILON)).clamp(1.0, FARTHER);
        let ef = ((ef as f64 * farther) as usize).min(nodes);
        if is_scanned(len, ef) {
            return self.scan(bits, ef);
        }
        let entries: Vec<u32> = Bits::new(set).take(ENTRIES).collect();
        let found = self.run(Plan::WalkSet(set, &entries), ef);
        let found = self.rescore(found, |_| true);
        if found.len() >= self.k.min(len) { found } else { self.scan(bits, ef) }
    }

    /// The share of a set among the nodes nearest to the target.
    fn share_near(&mut self, set: Set<'_>) -> f64 {
        let found = self.run(Plan::Walk, PROBED);
        self.accepted(found, set) as f64 / found.max(1) as f64
    }

    /// How many of the beam are in a set.
    fn accepted(&self, len: usize, set: Set<'_>) -> usize {
        self.scratch.beam.keys(len).iter().filter(|&&key| set.admits(node_of(key))).count()
    }

    /// Walks over all nodes with a beam so much longer that it ends with `ef` accepted ones, more or less.
    fn widened(&mut self, share: f64, ef: usize, accepts: impl Fn(u32) -> bool) -> Vec<Near> {
        let found = self.walk_longer(share, ef);
        self.rescore(found, accepts)
    }

    fn walk_longer(&mut self, share: f64, ef: usize) -> usize {
        let longer = (ef as f64 / share).ceil() as usize;
        self.run(Plan::Walk, longer.min(self.graph.blocks.nodes()))
    }

    /// A scan misses nothing that codes tell, so it keeps what may be compared exactly and little more.
    fn scan(&mut self, bits: &[u64], ef: usize) -> Vec<Near> {
        let least = rescored(&self.target.params, self.k);
        let kept = self.k.saturating_mul(SCANNED_TIMES).max(ef / 2).max(least);
        let found = self.run(Plan::Scan(Set(bits)), kept.min(self.graph.blocks.nodes()));
        self.rescore(found, |_| true)
    }

    /// Fills the beam; returns its length.
    fn run(&mut self, plan: Plan<'_>, ef: usize) -> usize {
        let (blocks, metric) = (self.graph.blocks, self.graph.metric);
        let coder = self.graph.coder.filter(|_| !self.target.params.ignore);
        let Some(coder) = coder else {
            let query = self.target.query;
            return match self.graph.vectors {
                Elements::Float32(vectors) => {
                    self.planned(Exact { vectors, query, metric }, plan, ef)
                }
                Elements::Float16(vectors) => {
                    self.planned(Exact { vectors, query, metric }, plan, ef)
                }
            };
        };
        let centred;
        let code = match metric {
            // Euclid measures from the point itself, so the query is centred as the codes are.
            Metric::Euclid => {
                let pairs = self.target.rotated.iter().zip(coder.mean());
                let differences: Vec<f32> = pairs.map(|(x, mean)| x - mean).collect();
                let mut code = QueryCode::new(differences.len());
                code.set(&differences);
                centred = code;
                &centred
            }
            Metric::Cosine | Metric::Dot | Metric::Manhattan => &self.target.code,
        };
        self.doubt = Some(DOUBT * code.noise());
        let sketches = self.graph.sketches;
        let mut sketched = SketchQuery::default();
        if !sketches.is_empty() {
            Isa::detect().run(TakeQuery {
                sketched: &mut sketched,
                code,
                bytes: coder.code_bytes(),
            });
        }
        match (coder.bits(), blocks.own().is_empty()) {
            (CodeBits::Four, true) if !sketches.is_empty() => {
                let coded = Coded::new(blocks, code, metric);
                self.planned(Sketched::<false>::new(coded, sketches, &sketched), plan, ef)
            }
            (CodeBits::Four, false) if !sketches.is_empty() => {
                let coded = Coded::new(blocks, code, metric);
                self.planned(Sketched::<true>::new(coded, sketches, &sketched), plan, ef)
            }
            (CodeBits::Four, true) => {
                self.planned(Coded::<false, false>::new(blocks, code, metric), plan, ef)
            }
            (CodeBits::Four, false) => {
                self.planned(Coded::<false, true>::new(blocks, code, metric), plan, ef)
            }
            (CodeBits::Eight, true) => {
                self.planned(Coded::<true, false>::new(blocks, code, metric), plan, ef)
            }
            (CodeBits::Eight, false) => {
                self.planned(Coded::<true, true>::new(blocks, code, metric), plan, ef)
            }
        }
    }

    /// Keeps the nearest of the beam, those that `accepts` accepts.
    fn rescore(&self, len: usize, accepts: impl Fn(u32) -> bool) -> Vec<Near> {
        let Self { graph, target, k, doubt, .. } = *self;
        Rescoring { graph, target, k, doubt }.best(self.scratch.beam.keys(len), accepts)
    }

    fn planned<S: Scorer>(&mut self, scorer: S, plan: Plan<'_>, ef: usize) -> usize {
        let (isa, blocks, scratch) = (Isa::detect(), self.graph.blocks, &mut *self.scratch);
        match plan {
            Plan::Walk => {
                let (links, admit) = (blocks, Everything);
                isa.run(Walk { links, scorer, admit, entries: None, ef, scratch })
            }
            Plan::WalkSet(admit, entries) => {
                let (links, entries) = (blocks, Some(entries));
                isa.run(Walk { links, scorer, admit, entries, ef, scratch })
            }
            Plan::Scan(set) => isa.run(Scan { scorer, set, ef, scratch }),
        }
    }
}

/// Makes a query ready for sketches of codes of so many bytes.
pub(super) struct TakeQuery<'a> {
    pub(super) sketched: &'a mut SketchQuery,
    pub(super) code: &'a QueryCode,
    pub(super) bytes: usize,
}

impl Task for TakeQuery<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) {
        self.sketched.set::<K>(self.code, self.bytes);
    }
}

/// Bits of the nodes that are not dead.
fn complement(dead: &RoaringBitmap, nodes: usize) -> Vec<u64> {
    let mut bits = vec![u64::MAX; nodes.div_ceil(64)];
    if let (Some(last), rest @ 1..) = (bits.last_mut(), nodes % 64) {
        *last = (1 << rest) - 1;
    }
    for node in dead.iter().take_while(|&node| (node as usize) < nodes) {
        bits[node as usize / 64] &= !(1 << (node % 64));
    }
    bits
}
