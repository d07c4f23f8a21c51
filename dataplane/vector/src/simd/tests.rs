//! Every kernel that this processor has gives what the portable one gives.

use proptest::prelude::*;

use super::*;

/// Bytes that begin on a cache line.
fn aligned(bytes: &[u8]) -> Vec<Line> {
    let mut lines = vec![Line([0xaa; 64]); bytes.len().div_ceil(64)];
    for (line, bytes) in lines.iter_mut().zip(bytes.chunks(64)) {
        line.0[..bytes.len()].copy_from_slice(bytes);
    }
    lines
}

/// Four codes and a query of twice as many elements as a code has bytes.
struct Dots<'a> {
    codes: [&'a [Line]; 4],
    query: &'a [Line],
}

impl Task for Dots<'_> {
    type Output = ([i32; 4], [i32; 4], [i32; 4], [i32; 16], i32);

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> Self::Output {
        let bytes = self.codes[0].len() * 64;
        let codes = self.codes.map(|code| code.as_ptr().cast::<u8>());
        let query = self.query.as_ptr().cast::<i8>();
        let row = self.codes[0].iter().chain(self.codes[1]).flat_map(|line| line.0);
        let row: Vec<i8> = row.map(|byte| (byte as i8).max(-127)).collect();
        let sum = row.iter().map(|&x| i32::from(x)).sum();
        let planes = [self.query, self.query].concat();
        let sixteen = std::array::from_fn(|i| codes[i * i % 4]);
        let mut sums = [0; 16];
        // SAFETY: the query and the row have twice the codes' bytes; the caller vouches for the processor.
        unsafe {
            (
                K::dot4_nibbles(codes, query, bytes),
                K::dot4_bytes(codes, query, bytes),
                K::sum4_set(codes, planes.as_ptr().cast(), bytes),
                {
                    K::sum16_set(&sixteen, planes.as_ptr().cast(), bytes, &mut sums);
                    sums
                },
                K::dot_i8(query, row.as_ptr(), sum, 2 * bytes),
            )
        }
    }
}

/// What becomes of a query: its transform as bits, the int8 and their sums, the planes and theirs.
struct Forms<'a>(&'a [f32], f32);

impl Task for Forms<'_> {
    type Output = (Vec<u32>, Vec<i8>, (i32, i32), Vec<u64>, i32);

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> Self::Output {
        let Self(values, scale) = self;
        let (len, words) = (values.len(), values.len() / 64 + 1);
        let (mut transformed, mut out) = (values.to_vec(), vec![0; len]);
        let mut planes = vec![u64::MAX; 4 * words];
        // SAFETY: all are as long as is said; planes are a word apart from each other; the caller vouches for the processor.
        unsafe {
            K::hadamard(transformed.as_mut_ptr(), len, scale);
            let sums = K::quantise(values.as_ptr(), len, scale, out.as_mut_ptr());
            let sum = K::planes(out.as_ptr(), len, planes.as_mut_ptr().cast(), 8 * words);
            let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
            (transformed.iter().map(bits).collect(), out, sums, planes, sum)
        }
    }
}

struct AtMost<'a>(&'a [i32; 16], i32);

impl Task for AtMost<'_> {
    type Output = u32;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> u32 {
        // SAFETY: sixteen elements.
        unsafe { K::at_most(self.0.as_ptr(), self.1) }
    }
}

struct Ones(u64, u32);

impl Task for Ones {
    type Output = Vec<u32>;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> Vec<u32> {
        let mut numbers = vec![0; ONES_ROOM];
        // SAFETY: there is room.
        let count = unsafe { K::ones(self.0, self.1, numbers.as_mut_ptr()) };
        numbers.truncate(count);
        numbers
    }
}

/// Inserts keys as a walk does: those less than the worst of a full beam.
struct Inserts<'a> {
    keys: &'a [u64],
    ef: usize,
}

impl Task for Inserts<'_> {
    /// The beam, and where each key went.
    type Output = (Vec<u64>, Vec<usize>);

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> Self::Output {
        let mut lines = vec![Line([0xff; 64]); self.ef / BEAM_LANES + 2];
        let beam = lines.as_mut_ptr().cast::<u64>();
        let (mut len, mut places) = (0, Vec::new());
        for &key in self.keys {
            // SAFETY: the beam has the room that the contract asks for, and the last of a full one is greater.
            unsafe {
                if key < *beam.add(self.ef - 1) {
                    places.push(K::insert(beam, &mut len, self.ef, key));
                }
            }
        }
        // SAFETY: the lines hold that many.
        let all = unsafe { std::slice::from_raw_parts(beam, self.ef + BEAM_LANES) };
        assert!(all[len..].iter().all(|&key| key == u64::MAX), "behind the beam's end: {all:x?}");
        (all[..len].to_vec(), places)
    }
}

fn bytes(lines: usize) -> impl Strategy<Value = Vec<u8>> {
    // The extremes are frequent: that is where something could overflow.
    let byte = prop_oneof![any::<u8>(), Just(0u8), Just(255u8), Just(127u8), Just(129u8)];
    prop::collection::vec(byte, lines * 64)
}

fn four_codes_and_a_query() -> impl Strategy<Value = ([Vec<u8>; 4], Vec<u8>)> {
    (1usize..5).prop_flat_map(|lines| {
        let query = bytes(2 * lines).prop_map(|mut query| {
            // No element is -128: queries are scaled to -127..=127.
            query.iter_mut().for_each(|byte| *byte = if *byte == 128 { 129 } else { *byte });
            query
        });
        ([bytes(lines), bytes(lines), bytes(lines), bytes(lines)], query)
    })
}

proptest! {
    #[test]
    fn inner_products_are_the_portable_ones((codes, query) in four_codes_and_a_query()) {
        let (codes, query) = (codes.map(|code| aligned(&code)), aligned(&query));
        let dots = |isa: Isa| isa.run(Dots { codes: [&codes[0], &codes[1], &codes[2], &codes[3]], query: &query });
        for isa in Isa::available() {
            prop_assert_eq!(dots(isa), dots(Isa::Portable), "{:?}", isa);
        }
    }

    #[test]
    fn forms_of_a_query_are_the_portable_ones(
        values in (7u32..13).prop_flat_map(|log| {
            let odd = prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.5, -1.5, -0.0]);
            let value = prop_oneof![99 => -200.0f32..200.0, 1 => odd];
            prop::collection::vec(value, 1 << log)
        }),
        scale in prop_oneof![Just(1.0f32), Just(-0.5), -2.0f32..2.0],
    ) {
        let portable = Isa::Portable.run(Forms(&values, scale));
        for isa in Isa::available() {
            prop_assert!(isa.run(Forms(&values, scale)) == portable, "{isa:?}");
        }
    }

    #[test]
    fn comparisons_are_the_portable_ones(distances in any::<[i32; 16]>(), limit in any::<i32>(), at in 0usize..17) {
        let limit = distances.get(at).copied().unwrap_or(limit);
        for isa in Isa::available() {
            prop_assert_eq!(isa.run(AtMost(&distances, limit)), Isa::Portable.run(AtMost(&distances, limit)), "{:?}", isa);
        }
    }

    #[test]
    fn set_bits_are_numbered(word in any::<u64>(), mask in any::<u64>(), first in 0u32..1 << 30) {
        for word in [word, word & mask, word | mask, 0, u64::MAX] {
            let expected: Vec<u32> = (0..64).filter(|i| word >> i & 1 == 1).map(|i| first + i).collect();
            for isa in Isa::available() {
                prop_assert_eq!(&isa.run(Ones(word, first)), &expected, "{:?}", isa);
            }
        }
    }

    #[test]
    fn a_beam_keeps_the_least_keys_in_order(
        keys in prop::collection::hash_set(0u64..500, 0..120), ef in 1usize..40
    ) {
        let keys: Vec<u64> = keys.into_iter().map(|key| key << 33).collect();
        let mut least = keys.clone();
        least.sort_unstable();
        least.truncate(ef);
        let portable = Isa::Portable.run(Inserts { keys: &keys, ef });
        prop_assert_eq!(&portable.0, &least);
        for isa in Isa::available() {
            prop_assert_eq!(&isa.run(Inserts { keys: &keys, ef }), &portable, "{:?}", isa);
        }
    }
}

/// Every coordinate of a transform is the sum of all, each with the sign that its row of the Hadamard matrix says.
#[test]
fn a_transform_is_a_product_with_the_hadamard_matrix() {
    for len in [128, 256, 512, 1024, 2048] {
        let values: Vec<f32> = (0..len).map(|i| ((i * i) % 17) as f32 - 8.0).collect();
        let sign = |row: usize, at: usize| 1.0 - 2.0 * ((row & at).count_ones() % 2) as f32;
        let expected: Vec<u32> = (0..len)
            .map(|row| values.iter().enumerate().map(|(at, x)| sign(row, at) * x).sum::<f32>())
            .map(|sum| (0.5 * sum).to_bits())
            .collect();
        for isa in Isa::available() {
            let transformed = isa.run(Forms(&values, 0.5)).0;
            let same = transformed
                .iter()
                .zip(&expected)
                .all(|(&a, &b)| f32::from_bits(a) == f32::from_bits(b));
            assert!(same, "{isa:?} {len}");
        }
    }
}

#[test]
fn a_query_taken_apart_is_that_query_again() {
    let values: Vec<f32> = (0..256).map(|i| i as f32 - 128.0).collect();
    for isa in Isa::available() {
        let (_, elements, (sum, squares), planes, coarse_sum) = isa.run(Forms(&values, 1.0));
        assert_eq!(elements, (0..256).map(|i| (i - 128).max(-127) as i8).collect::<Vec<_>>());
        // The least two are -127.
        let squares_to_127 = (1..128).map(|i| i * i).sum::<i32>();
        assert_eq!((sum, squares), (-127, 2 * squares_to_127 + 127 * 127));
        let mut total = 0;
        for (i, &element) in elements.iter().enumerate() {
            let bit = |plane: usize| (planes[5 * plane + i / 64] >> (i % 64) & 1) as i32;
            let coarse = bit(0) + 2 * bit(1) + 4 * bit(2) - 8 * bit(3);
            assert_eq!(coarse, (f32::from(element) / 16.0 + 0.5).floor().clamp(-7.0, 7.0) as i32);
            total += coarse;
        }
        assert_eq!(coarse_sum, total);
        assert!((0..4).all(|plane| planes[5 * plane + 4] == u64::MAX), "behind a plane's end");
    }
}

#[test]
fn the_longest_rows_do_not_overflow() {
    let longest = aligned(&vec![255; 65_536]);
    let query = aligned(&vec![127u8; 2 * 65_536]);
    let codes = [longest.as_slice(); 4];
    let expected = Isa::Portable.run(Dots { codes, query: &query });
    assert_eq!(expected.1, [65_536 * 255 * 127; 4]);
    for isa in Isa::available() {
        assert_eq!(isa.run(Dots { codes, query: &query }), expected, "{isa:?}");
    }
}
