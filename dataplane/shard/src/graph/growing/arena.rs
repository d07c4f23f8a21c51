//! Memory that a graph grows into.

use std::cell::UnsafeCell;
use std::io;

use memmap2::MmapMut;

/// Memory that takes no room until it is written to, so that capacity may be generous.
pub(super) struct Arena(UnsafeCell<MmapMut>);

impl Arena {
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        MmapMut::map_anon(bytes.max(1)).map(|map| Self(UnsafeCell::new(map)))
    }

    /// # Safety
    /// `offset` must lie within the arena, and what is done with the pointer must keep to the graph's invariants.
    #[inline(always)]
    pub(super) unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: by the contract; the map itself is never replaced.
        unsafe { (*self.0.get()).as_ptr().cast_mut().add(offset) }
    }
}
