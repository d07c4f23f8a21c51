//! Asking for vectors that are not in memory, all at once.
//!
//! Vectors are compared where they lie, in a mapped file. Mostly they are in memory, and to ask the system whether they are
//! would cost more than to compare them. Where they are not, each waits for the disk when it is compared, one after the
//! other. So the time tells: after comparisons that took longer than memory ever does, the next ones ask for all that they
//! will read first, and the disk brings it together; until that is no longer slow. It changes no answer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::env;

/// What comparisons of vectors in memory do not take, pages that are only to be mapped included; a disk takes longer once.
const IN_MEMORY: Duration = Duration::from_micros(50);
/// The same for each vector.
const IN_MEMORY_EACH: Duration = Duration::from_micros(1);

/// So many comparisons ask after a slow one. It may have been slow for another reason, so they are few: asking for a vector
/// that is there takes half a microsecond.
const ASKING: u32 = 32;

/// Whether the vectors of one graph seem to be in memory.
#[derive(Debug, Default)]
pub(crate) struct Residency {
    asking: AtomicU32,
}

impl Residency {
    /// Compares so many vectors. `ask` is called before, if they seem not to be in memory.
    pub(super) fn compare<T>(
        &self,
        vectors: usize,
        ask: impl FnOnce(),
        compare: impl FnOnce() -> T,
    ) -> T {
        let asking = self.asking.load(Ordering::Relaxed);
        if asking > 0 {
            ask();
        }
        let began = env::now();
        let compared = compare();
        if began.elapsed() > IN_MEMORY + IN_MEMORY_EACH * vectors as u32 {
            self.asking.store(ASKING, Ordering::Relaxed);
        } else if asking > 0 {
            // What others store meanwhile may be lost: one asks more or less.
            self.asking.store(asking - 1, Ordering::Relaxed);
        }
        compared
    }
}

/// Has the system begin to read what lies in a mapped file, and waits for nothing. It may refuse: then it is read later.
pub(super) fn will_need(bytes: &[u8]) {
    let page = rustix::param::page_size();
    let before = bytes.as_ptr().addr() % page;
    let start = bytes.as_ptr().wrapping_sub(before).cast_mut();
    // SAFETY: advice that changes nothing about what is mapped.
    let _ = unsafe {
        rustix::mm::madvise(start.cast(), before + bytes.len(), rustix::mm::Advice::WillNeed)
    };
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_slow_comparison_makes_the_next_ones_ask_until_none_is_slow() {
        let (residency, asked) = (Residency::default(), Cell::new(0));
        let compare = |slow: bool| {
            let wait = IN_MEMORY + 2 * IN_MEMORY_EACH;
            let answer = || {
                // From here on, since the clock of a comparison runs by now.
                let began = env::now();
                while slow && began.elapsed() <= wait {
                    std::hint::spin_loop();
                }
                7
            };
            assert_eq!(residency.compare(1, || asked.set(asked.get() + 1), answer), 7);
        };
        compare(true);
        assert_eq!(asked.get(), 0, "nothing was slow before");
        compare(true);
        assert_eq!(asked.get(), 1);
        // Others may be slow for a reason of the machine, and then more ask.
        for _ in 0..100 * ASKING {
            compare(false);
        }
        assert!((1 + ASKING..100 * ASKING).contains(&asked.get()), "{}", asked.get());
    }

    #[test]
    fn any_bytes_can_be_asked_for() {
        let bytes = vec![7u8; 20_000];
        for (start, end) in [(0, 0), (1, 2), (4_095, 4_097), (5, 20_000)] {
            will_need(&bytes[start..end]);
        }
        assert!(bytes.iter().all(|byte| *byte == 7));
    }
}
