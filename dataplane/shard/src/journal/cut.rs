//! What is cut off the log is kept aside, for people: it was never acknowledged, and is never replayed.

use std::fs;
use std::io;

use crate::disk;
use crate::limits::KEPT_ASIDE;
use crate::wal::{Place, Wal};

const ENDING: &str = "aside";

/// Copies what lies behind a place, to a file of its own. Of those, the oldest go.
pub(super) fn keep_aside(wal: &Wal, from: Place, after: u64) -> io::Result<()> {
    let named = |(name, path): (String, _)| {
        let number: u64 = name.strip_suffix(ENDING)?.split('.').next()?.parse().ok()?;
        Some((number, path))
    };
    let mut kept: Vec<_> = disk::list(wal.dir())?.into_iter().filter_map(named).collect();
    kept.sort();
    let number = kept.last().map_or(1, |(number, _)| number + 1);
    while kept.len() >= KEPT_ASIDE {
        disk::remove_if_there(&kept.remove(0).1)?;
    }
    let bytes = wal.bytes_behind(from)?;
    fs::write(wal.dir().join(format!("{number:06}.after-{after}.{ENDING}")), bytes)
}
