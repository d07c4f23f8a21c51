//! A copy of a graph's blocks in memory of its own, on huge pages where the system grants them.
//!
//! A walk touches memory at random; over a file's small pages a good part of its time goes to finding out where they
//! are. Until the copy is made, and where memory for it is refused, the file's own pages serve.

use std::io;

use memmap2::{MmapMut, MmapOptions};

/// What a huge page is on the systems that have them.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes that begin on a huge page.
pub(crate) struct Pages {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl Pages {
    /// Copies bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let mut pages = Self::new(bytes.len())?;
        pages.bytes_mut().copy_from_slice(bytes);
        Ok(pages)
    }

    /// Zeros.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(len + HUGE_PAGE).map_anon()?;
        let start = map.as_ptr().align_offset(HUGE_PAGE);
        // Before the first touch, which is when the system picks the page size. It may refuse.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        match start <= HUGE_PAGE {
            true => Ok(Self { map, start, len }),
            false => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.start..self.start + self.len]
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }
}
