//! Whether a disk has room for a segment, and when to look again where it has not.
//!
//! Building a segment takes seconds of every core, and with a full disk it ends in nothing. So room is looked for first,
//! and an attempt that failed all the same is repeated after longer and longer pauses, or at once when there is more
//! room than it had. Invariant: no state is left that only a person could end.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::error::OpenError;
use crate::limits::{FLUSH_RETRY, FLUSH_RETRY_MOST};
use crate::mutable::{Entry, MutableSegment};

/// Bytes of an id in a segment.
const ID_BYTES: u64 = 17;

/// Bytes that the segment of a mutable segment has at least: an id and the vectors of each point. Its graph and its
/// payloads come on top, but nobody knows how well they compress before it is tried.
pub(crate) fn least_bytes(frozen: &MutableSegment) -> u64 {
    let bytes = |entry: &Entry| match entry {
        Entry::Put(put) => put.vectors.bytes() as u64 + ID_BYTES,
        Entry::Edit { .. } | Entry::Tombstone { .. } => 0,
    };
    frozen.iter().map(|(_, entry)| bytes(entry)).sum()
}

/// Fails as a write would if so many bytes cannot fit. `free` is `None` where nobody can tell.
pub(crate) fn check(path: &Path, least: u64, free: Option<u64>) -> Result<(), OpenError> {
    match free {
        Some(free) if free < least => {
            let text = format!("a segment takes at least {least} bytes, {free} are free");
            Err(OpenError::io(path)(io::Error::new(io::ErrorKind::StorageFull, text)))
        }
        _ => Ok(()),
    }
}

/// Free bytes with which an attempt is worth another, if it had `free` and failed. A megabyte more at least, so that what
/// others on the disk do meanwhile does not count.
pub(crate) fn worth_another(frozen: &MutableSegment, free: u64) -> u64 {
    free.saturating_add(least_bytes(frozen).max(1 << 20))
}

/// How long to wait after each failure in a row.
#[derive(Default)]
pub(crate) struct Pauses(Option<Duration>);

impl Pauses {
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0.map_or(FLUSH_RETRY, |last| (2 * last).min(FLUSH_RETRY_MOST));
        self.0 = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_vector::PointId;

    use super::*;
    use crate::mutable::Put;

    #[test]
    fn a_disk_without_room_for_the_vectors_is_full_before_anything_is_built() {
        let mut frozen = MutableSegment::default();
        let vectors = [(0, vec![0.0; 1000].into())].into_iter().collect();
        let put = Put { seq: 1, vectors, payload: Arc::default() };
        frozen.set(PointId::Num(1), Entry::Put(Arc::new(put)));
        frozen.set(PointId::Num(2), Entry::Tombstone { seq: 2 });
        let least = least_bytes(&frozen);
        assert!((4000..4100).contains(&least), "{least}");
        let path = Path::new("1.seg");
        assert!(check(path, least, Some(least - 1)).unwrap_err().is_disk_full());
        assert!(check(path, least, Some(least)).is_ok() && check(path, least, None).is_ok());
    }

    #[test]
    fn pauses_grow_to_half_a_minute_and_begin_anew_after_a_success() {
        let seconds = |pauses: &mut Pauses| pauses.next().as_secs();
        let mut pauses = Pauses::default();
        let waited: Vec<u64> = (0..7).map(|_| seconds(&mut pauses)).collect();
        assert_eq!(waited, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(seconds(&mut Pauses::default()), 1);
    }
}
