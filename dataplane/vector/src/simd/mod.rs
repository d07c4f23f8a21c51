//! Instruction sets: what depends on the processor stands behind one trait, chosen once when the program starts.
//!
//! A walk, a scan, anything hot is written once as a [`Task`], generic over a [`Kernel`], and compiled once for each.
//! [`Portable`] says in plain Rust what each operation means; the others must give the same results, bit for bit, which
//! is what makes the choice invisible. Invariant: [`Isa::detect`] never names a set that the processor lacks.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod element;
mod hadamard;
mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use element::Element;
pub use kernel::{BEAM_LANES, FLOAT_LANES, Kernel, LEAST_TRANSFORM, Line, ONES_ROOM, Pairs};
pub use portable::Portable;

/// An instruction set that there is a kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust, compiled for the least processor of the architecture.
    Portable,
    /// AVX2 and FMA: x86 processors since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with VNNI: server processors since 2019.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// That, and counting the bits of bytes: server processors since 2021.
    #[cfg(target_arch = "x86_64")]
    Avx512Counts,
    /// NEON: every 64-bit ARM processor.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// Work that is written once for every kernel.
pub trait Task {
    /// What comes of it.
    type Output;

    /// Must be `#[inline(always)]`, and so must all it calls that is hot, to be compiled for the kernel's instructions.
    ///
    /// # Safety
    /// The processor must have what `K` uses.
    unsafe fn run<K: Kernel>(self) -> Self::Output;
}

impl Isa {
    /// The best that this processor has.
    pub fn detect() -> Self {
        static FOUND: OnceLock<Isa> = OnceLock::new();
        *FOUND.get_or_init(|| Self::available().pop().unwrap_or(Isa::Portable))
    }

    /// All that this processor has, the best last.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("popcnt")
            {
                all.push(Isa::Avx2);
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                all.push(Isa::Avx512);
                if is_x86_feature_detected!("avx512bitalg") {
                    all.push(Isa::Avx512Counts);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        all.push(Isa::Neon);
        all
    }

    /// Runs a task compiled for this instruction set.
    #[inline(always)]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
        )]
        fn avx512<T: Task>(task: T) -> T::Output {
            // SAFETY: whoever calls this has the features that it is compiled for.
            unsafe { task.run::<avx512::Avx512<false>>() }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bitalg,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
        )]
        fn avx512_counts<T: Task>(task: T) -> T::Output {
            // SAFETY: as above.
            unsafe { task.run::<avx512::Avx512<true>>() }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,popcnt")]
        fn avx2<T: Task>(task: T) -> T::Output {
            // SAFETY: as above.
            unsafe { task.run::<avx2::Avx2>() }
        }
        match self {
            // SAFETY: asks for nothing.
            Isa::Portable => unsafe { task.run::<Portable>() },
            // SAFETY: a value of this name exists only where `available` found the features; processors with AVX-512
            // have the bit manipulation sets too.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Counts => unsafe { avx512_counts(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2(task) },
            // SAFETY: every aarch64 processor has NEON.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { task.run::<neon::Neon>() },
        }
    }
}
