//! The Walsh-Hadamard transform over vectors of any width: as many stages as registers hold at once, then two at a time.

/// Floats in one register.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
pub(super) trait Floats: Copy {
    /// How many.
    const LANES: usize;

    /// # Safety
    /// For all of these: the processor must have what they use, and pointers must lead to as many floats.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// See [`load`](Self::load).
    unsafe fn store(self, to: *mut f32);

    /// # Safety
    /// See [`load`](Self::load).
    unsafe fn splat(value: f32) -> Self;

    /// # Safety
    /// See [`load`](Self::load).
    unsafe fn add(self, other: Self) -> Self;

    /// # Safety
    /// See [`load`](Self::load).
    unsafe fn sub(self, other: Self) -> Self;

    /// # Safety
    /// See [`load`](Self::load).
    unsafe fn mul(self, other: Self) -> Self;

    /// The stages whose pairs lie in one register.
    ///
    /// # Safety
    /// See [`load`](Self::load).
    unsafe fn within(self) -> Self;
}

/// What [`Kernel::hadamard`](super::Kernel::hadamard) is, holding `HELD` registers at a time: a power of two up to 16, no
/// more of them than `len` has.
///
/// # Safety
/// `x` must lead to `len` floats, a power of two; the processor must have what `V` uses.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
#[inline(always)]
pub(super) unsafe fn hadamard<V: Floats, const HELD: usize>(x: *mut f32, len: usize, scale: f32) {
    // SAFETY: all that is read and written lies within `len`.
    unsafe {
        let one = V::splat(1.0);
        let scale = V::splat(scale);
        let mut half = HELD * V::LANES;
        for at in (0..len).step_by(half) {
            let mut held = [one; HELD];
            for (i, v) in held.iter_mut().enumerate() {
                *v = V::load(x.add(at + i * V::LANES)).within();
            }
            across::<V, HELD, 1>(&mut held);
            across::<V, HELD, 2>(&mut held);
            across::<V, HELD, 4>(&mut held);
            across::<V, HELD, 8>(&mut held);
            let factor = if half == len { scale } else { one };
            for (i, v) in held.into_iter().enumerate() {
                v.mul(factor).store(x.add(at + i * V::LANES));
            }
        }
        while 4 * half <= len {
            let factor = if 4 * half == len { scale } else { one };
            for first in (0..len).step_by(4 * half) {
                for at in (first..first + half).step_by(V::LANES) {
                    let place = |i: usize| x.add(at + i * half);
                    let (a, b) = (V::load(place(0)), V::load(place(1)));
                    let (c, d) = (V::load(place(2)), V::load(place(3)));
                    let (a, b, c, d) = (a.add(b), a.sub(b), c.add(d), c.sub(d));
                    a.add(c).mul(factor).store(place(0));
                    b.add(d).mul(factor).store(place(1));
                    a.sub(c).mul(factor).store(place(2));
                    b.sub(d).mul(factor).store(place(3));
                }
            }
            half *= 4;
        }
        if half < len {
            for at in (0..half).step_by(V::LANES) {
                let (a, b) = (V::load(x.add(at)), V::load(x.add(at + half)));
                a.add(b).mul(scale).store(x.add(at));
                a.sub(b).mul(scale).store(x.add(at + half));
            }
        }
    }
}

/// The stage whose pairs are `HALF` registers apart.
///
/// # Safety
/// The processor must have what `V` uses.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
#[inline(always)]
unsafe fn across<V: Floats, const HELD: usize, const HALF: usize>(held: &mut [V; HELD]) {
    if HALF >= HELD {
        return;
    }
    for i in 0..HELD {
        if i & HALF == 0 {
            let (a, b) = (held[i], held[i + HALF]);
            // SAFETY: by the contract.
            (held[i], held[i + HALF]) = unsafe { (a.add(b), a.sub(b)) };
        }
    }
}
