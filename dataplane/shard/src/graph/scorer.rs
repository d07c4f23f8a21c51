//! How a walk measures nodes: by codes of either width, with one step or one each, or by the vectors themselves.

use shoal_vector::Metric;
use shoal_vector::codes::{CodeBits, QueryCode, SketchQuery};
use shoal_vector::simd::{Element, Kernel};

use super::beam::ordered;
use super::blocks::Blocks;

/// Measures nodes for one query.
pub(super) trait Scorer: Copy {
    /// Distances of four nodes as integers in their order: smaller is nearer.
    ///
    /// # Safety
    /// The processor must have what `K` uses, and the nodes must be in the graph.
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4];

    /// Asks for what measuring a node will read.
    fn prefetch<K: Kernel>(&self, node: u32);

    /// Whether nodes have sketches, which tell at less cost that a node is too far.
    const SKETCHED: bool = false;

    /// What the distances of four nodes are at least, all but certainly, by their sketches.
    ///
    /// # Safety
    /// As for [`distance4`](Self::distance4).
    #[inline(always)]
    unsafe fn least4<K: Kernel>(&self, _: [u32; 4]) -> [i32; 4] {
        [i32::MIN; 4]
    }

    /// The same of sixteen.
    ///
    /// # Safety
    /// As for [`distance4`](Self::distance4).
    #[inline(always)]
    unsafe fn least16<K: Kernel>(&self, _: &[u32; 16], least: &mut [i32; 16]) {
        least.fill(i32::MIN);
    }

    /// Asks for a node's sketch.
    #[inline(always)]
    fn prefetch_sketch<K: Kernel>(&self, _: u32) {}
}

/// By codes of `EIGHT ? 8 : 4` bits, whose steps are one for all or, if `OWN`, one each.
#[derive(Clone, Copy)]
pub(super) struct Coded<'a, const EIGHT: bool, const OWN: bool> {
    blocks: Blocks<'a>,
    query: &'a QueryCode,
    /// What the inner product of a code of middle levels would be.
    offset: f32,
    /// Weight of a vector's own square; 0 where its length does not matter.
    square_weight: f32,
}

impl<'a, const EIGHT: bool, const OWN: bool> Coded<'a, EIGHT, OWN> {
    /// The blocks' codes must be of this kind. For Euclid the query must be centred as the codes are.
    pub(super) fn new(blocks: Blocks<'a>, query: &'a QueryCode, metric: Metric) -> Self {
        let bits = if EIGHT { CodeBits::Eight } else { CodeBits::Four };
        // |x - q|^2 = |x|^2 - 2 <q, x> + a constant; <q, x> in levels is the inner product over the query's scale.
        let square_weight = if metric == Metric::Euclid { query.scale() / 2.0 } else { 0.0 };
        Self { blocks, query, offset: bits.middle() * query.sum() as f32, square_weight }
    }

    /// The distance of a node that has a step of its own, given the inner product with its code.
    #[inline(always)]
    fn own_distance(&self, node: u32, product: f32) -> i32 {
        let own = self.blocks.own()[node as usize];
        ordered(own.step * (product - self.offset) + own.square * self.square_weight)
    }
}

impl<const EIGHT: bool, const OWN: bool> Scorer for Coded<'_, EIGHT, OWN> {
    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let (codes, query) = (nodes.map(|node| self.blocks.code(node)), self.query.as_ptr());
        // SAFETY: the blocks have codes of that many bytes, aligned, and the query is as long; the processor is the
        // caller's word.
        let raw = unsafe {
            match EIGHT {
                true => K::dot4_bytes(codes, query, self.blocks.code_bytes()),
                false => K::dot4_nibbles(codes, query, self.blocks.code_bytes()),
            }
        };
        if !OWN {
            return raw;
        }
        let mut distances = [0; 4];
        for i in 0..4 {
            distances[i] = self.own_distance(nodes[i], raw[i] as f32);
        }
        distances
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        let code = self.blocks.code(node);
        for line in (0..self.blocks.code_bytes()).step_by(64) {
            K::prefetch(code.wrapping_add(line));
        }
        if OWN {
            K::prefetch(self.blocks.own().as_ptr().wrapping_add(node as usize).cast());
        }
    }
}

/// By codes of 4 bits, of those nodes that sketches do not show to be too far.
#[derive(Clone, Copy)]
pub(super) struct Sketched<'a, const OWN: bool> {
    coded: Coded<'a, false, OWN>,
    sketches: &'a [u8],
    query: &'a SketchQuery,
}

impl<'a, const OWN: bool> Sketched<'a, OWN> {
    /// There must be a sketch for each node, aligned to 64.
    pub(super) fn new(
        coded: Coded<'a, false, OWN>,
        sketches: &'a [u8],
        query: &'a SketchQuery,
    ) -> Self {
        assert_eq!(sketches.len(), coded.blocks.nodes() * query.bytes());
        Self { coded, sketches, query }
    }

    #[inline(always)]
    fn sketch(&self, node: u32) -> *const u8 {
        // SAFETY: there is one for each node.
        unsafe { self.sketches.as_ptr().add(node as usize * self.query.bytes()) }
    }
}

impl<const OWN: bool> Scorer for Sketched<'_, OWN> {
    const SKETCHED: bool = true;

    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        // SAFETY: passed on.
        unsafe { self.coded.distance4::<K>(nodes) }
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        self.coded.prefetch::<K>(node);
    }

    #[inline(always)]
    unsafe fn least4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let [a, b, c, d] = nodes;
        let rows = [self.sketch(a), self.sketch(b), self.sketch(c), self.sketch(d)];
        // SAFETY: sketches have that many bytes, aligned, and the planes as many each; the processor is the caller's
        // word.
        let products = unsafe {
            self.query.least4(rows, K::sum4_set(rows, self.query.as_ptr(), self.query.bytes()))
        };
        let mut least = [0; 4];
        for i in 0..4 {
            least[i] = match OWN {
                true => self.coded.own_distance(nodes[i], products[i]),
                // SAFETY: a factor is at most 7.5 and a sum below 2^19, so this is below 2^30.
                false => unsafe { products[i].to_int_unchecked() },
            };
        }
        least
    }

    #[inline(always)]
    unsafe fn least16<K: Kernel>(&self, nodes: &[u32; 16], least: &mut [i32; 16]) {
        let mut rows = [std::ptr::null(); 16];
        for i in 0..16 {
            rows[i] = self.sketch(nodes[i]);
        }
        let (mut sums, mut products) = ([0; 16], [0.0; 16]);
        // SAFETY: as for `least4`.
        unsafe {
            K::sum16_set(&rows, self.query.as_ptr(), self.query.bytes(), &mut sums);
            self.query.least16(&rows, &sums, &mut products);
        }
        for i in 0..16 {
            least[i] = match OWN {
                true => self.coded.own_distance(nodes[i], products[i]),
                // SAFETY: as above.
                false => unsafe { products[i].to_int_unchecked() },
            };
        }
    }

    #[inline(always)]
    fn prefetch_sketch<K: Kernel>(&self, node: u32) {
        let sketch = self.sketch(node);
        K::prefetch(sketch);
        let mut line = 64;
        while line < self.query.bytes() {
            K::prefetch(sketch.wrapping_add(line));
            line += 64;
        }
        if OWN {
            K::prefetch(self.coded.blocks.own().as_ptr().wrapping_add(node as usize).cast());
        }
    }
}

/// The least page of the systems that we know.
const PAGE: usize = 4096;

/// By the vectors as they are.
#[derive(Clone, Copy)]
pub(super) struct Exact<'a, E> {
    pub(super) vectors: &'a [E],
    pub(super) query: &'a [f32],
    pub(super) metric: Metric,
}

impl<'a, E: Element> Exact<'a, E> {
    #[inline(always)]
    pub(super) fn vector(&self, node: u32) -> &'a [E] {
        let dimensions = self.query.len();
        &self.vectors[node as usize * dimensions..][..dimensions]
    }

    /// Asks for a line of each page that a vector lies on, so that the others find their pages at once.
    #[inline(always)]
    pub(super) fn touch<K: Kernel>(&self, node: u32) {
        let vector = self.vector(node);
        let (start, bytes) = (vector.as_ptr().cast::<u8>(), size_of_val(vector));
        for at in (0..bytes).step_by(PAGE) {
            K::prefetch(start.wrapping_add(at));
        }
        K::prefetch(start.wrapping_add(bytes - 1));
    }

    #[inline(always)]
    pub(super) fn distance<K: Kernel>(&self, node: u32) -> f32 {
        self.metric.distance_in_task::<K, E>(self.query, self.vector(node))
    }
}

impl<E: Element> Scorer for Exact<'_, E> {
    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let mut distances = [0; 4];
        for (distance, node) in distances.iter_mut().zip(nodes) {
            *distance = ordered(self.distance::<K>(node));
        }
        distances
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        let vector = self.vector(node);
        for line in (0..size_of_val(vector)).step_by(64) {
            K::prefetch(vector.as_ptr().cast::<u8>().wrapping_add(line));
        }
    }
}
