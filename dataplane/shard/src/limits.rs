//! Every bound of a shard, by name, with where it comes from.
//!
//! What a test wants smaller is a field of [`Limits`]; what must not differ between two builds that share a disk, or
//! that is a property of the code, is a constant.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::mutable::MutableSegment;

/// Bytes of one encoded op. A router's request body is at most 32 MiB of JSON, and no op is larger encoded than as
/// JSON (a float takes 4 bytes here and at least 2 there, an id 17), so twice that is room enough.
pub const MAX_OP_BYTES: usize = 64 << 20;

/// Bytes of one payload, also after edits. Qdrant has no such bound; it is here so that no edit can grow a payload
/// until it cannot be read in one piece.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// Bytes that what one op makes of points may take together, an entry for each point included: new payloads, or all of a
/// point where its vectors change. All of them are made
/// before the first counts, and no freeze comes between them, so they stand in memory beside the three mutable segments
/// of 64 MiB that there can be: this is eight of those more. One short payload set on three million points fits.
pub const MAX_EDIT_BYTES: usize = 512 << 20;

/// Levels of nesting in a payload that is written. An edit at the deepest key path (32 steps) adds to it, and the sum
/// stays under the 128 levels that serde_json reads.
pub const MAX_PAYLOAD_DEPTH: usize = 64;

/// Points in one op: what fits into [`MAX_OP_BYTES`] at one dimension is more than anyone needs in one batch.
pub const MAX_POINTS_PER_OP: usize = 100_000;

/// Bytes of payloads and vectors in one answer of a shard, as [`Parts::bytes`](crate::api::Parts::bytes) counts them: what
/// fits into a message to a router, and so the same where there is none. Parsed it takes some times as much memory, on
/// twice as many threads as there are cores.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Bytes of names (collection, shard, vector): a file name's on Linux, and Qdrant's.
pub const MAX_NAME_BYTES: usize = 255;

/// Vectors of a point. Each has a graph of its own in every segment and in memory, which costs some megabytes however few
/// points have it, and a collection's object lists them all.
pub const MAX_VECTORS: usize = 16;

/// Values of one sparse vector: as many as a dense one may have. Each costs a place in an inverted index.
pub const MAX_SPARSE_VALUES: usize = shoal_vector::MAX_DIMENSIONS;

/// Links of a node in a segment's graph: three cache lines of them. More make walks longer, fewer make them lose their
/// way; at 384 dimensions recall .99 was fastest with 48.
pub(crate) const MAX_LINKS: usize = 48;

/// Candidates for each node when a graph is refined.
pub(crate) const REFINE_EF: usize = 128;

/// Ops that wait for the writer. A group takes some milliseconds to sync; at 100,000 ops a second this is 10 ms of them.
pub(crate) const QUEUE_OPS: usize = 1024;

/// Bytes of ops that wait for the writer or are being written: one largest op and as much again beside it.
pub(crate) const QUEUE_BYTES: usize = 2 * MAX_OP_BYTES;

/// Seqs for which the ops of clients are recognised when they are repeated. At 1,000 ops a second this is a minute, longer
/// than a client repeats; in the manifest it takes some 300 kB.
pub const RECENT_OPS: u64 = 1 << 16;

/// How often it is noted up to where the log is committed: what a start does not show before it hears from the others.
pub(crate) const COMMIT_NOTE: Duration = Duration::from_secs(1);

/// Files of what was cut off the log. Each is of one change of the primary, and rarely has more than a few ops.
pub(crate) const KEPT_ASIDE: usize = 8;

/// Bytes of a group: one write and one sync. Above this a larger group no longer makes the sync cheaper.
pub(crate) const GROUP_BYTES: usize = 8 << 20;

/// Mutable segments that are full and not flushed yet, at most, before writes wait: one being built, one behind it.
pub(crate) const MAX_FROZEN: usize = 2;

/// Pause before a flush that failed is tried again; doubled after each further failure, up to the next.
pub(crate) const FLUSH_RETRY: Duration = Duration::from_secs(1);

/// Longest such pause: a build of ten seconds then takes a quarter of the machine at most, and a disk that got room
/// where nobody could see it is used again within the time a person would wait.
pub(crate) const FLUSH_RETRY_MOST: Duration = Duration::from_secs(30);

/// Uncompressed bytes of a block of payloads. Larger compresses better, smaller reads one payload faster.
pub(crate) const PAYLOAD_BLOCK_BYTES: usize = 16 << 10;

/// Bytes that sled may keep in memory.
pub(crate) const STORE_CACHE_BYTES: u64 = 64 << 20;

/// Room that the disk must have for the store to be used: it writes by 8 MiB and keeps old values for a while, so this
/// is time enough for the log to be the first that finds the disk full.
pub(crate) const STORE_FREE_BYTES: u64 = 64 << 20;

/// How long closing a shard waits for the store.
pub(crate) const STORE_STOP: Duration = Duration::from_secs(5);

/// How long closing a shard waits for a compaction that is under way. What it was doing is done again after the next
/// start.
pub(crate) const COMPACTION_STOP: Duration = Duration::from_secs(20);

/// Points of one segment: a node's number shares 32 bits with a flag.
pub(crate) const MAX_SEGMENT_POINTS: usize = 1 << 31;

/// Bytes that merging segments may hold in memory: their vectors, and as much again for codes and a graph under way. So
/// a merged segment has up to 150,000 points of 384 dimensions.
const MAX_MERGED_BYTES: u64 = 256 << 20;

/// Bytes of a point besides its vector while it is merged: a short payload, its id, its places.
const MERGED_POINT_BYTES: u64 = 256;

/// Nodes of a mutable segment's graph at most, whatever the limits say: each takes some 60 bytes from the start.
const MAX_MUTABLE_NODES: usize = 1 << 20;

/// Bytes of a file in one frame of a snapshot: large enough that its 17 bytes of frame cost nothing, small enough that
/// a hundred transfers at once take little memory. Part of the format: a reader takes no larger ones.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;

/// Bytes of the manifest in a snapshot, which is read whole: two bitmaps a segment, so enough for a thousand million
/// points in the worst order.
pub(crate) const SNAPSHOT_MANIFEST_BYTES: usize = 256 << 20;

/// Bytes of the list of payload indexes in a snapshot, which is read whole: far above what a shard takes.
pub(crate) const SNAPSHOT_INDEXES_BYTES: usize = 1 << 20;

/// Snapshots of one shard that live at once: each keeps the space of what was compacted or trimmed since. A replica that
/// joins, a split and a backup need one each, and as many again may be on their way out.
pub(crate) const MAX_SNAPSHOTS: usize = 6;

/// Bytes at which a restored log begins its next file: they are read whole when a shard opens.
pub(crate) const RESTORED_WAL_FILE_BYTES: u64 = 64 << 20;

/// Files that a shard holds open: its lock, the log's last file, some of sled's, and two of each flush and compaction
/// under way. Segments are mapped and their files closed; a snapshot holds the log's files besides.
pub const OPEN_FILES: u64 = 32;

/// What [`Limits::mutable_entries`] may be. Fewer would make more segments than searches can afford, more would make a
/// start replay too much before the shard serves.
pub const MUTABLE_ENTRIES: RangeInclusive<u64> = 100..=1_000_000;

/// What [`Limits::mutable_bytes`] may be: at least some vectors of the most dimensions, at most what three of in memory
/// leave a large machine.
pub const MUTABLE_BYTES: RangeInclusive<u64> = 1 << 20..=4 << 30;

/// What [`Limits::mutable_log_bytes`] may be: a start replays all of it before the shard serves.
pub const MUTABLE_LOG_BYTES: RangeInclusive<u64> = 1 << 20..=16 << 30;

/// What [`Limits::wal_file_bytes`] may be: a start reads each file whole into memory.
pub const WAL_FILE_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;

/// Bounds that decide when a shard rolls something over.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Entries (points, edits, tombstones) at which the mutable segment freezes. Its graph is searched as fast as a
    /// segment's, so this bounds memory, and how much a start has to replay; larger segments make better graphs.
    pub mutable_entries: usize,
    /// Bytes at which it freezes, for large vectors and payloads: 8,000 points of 1,024 dimensions. It bounds memory,
    /// since three of these can exist.
    pub mutable_bytes: usize,
    /// Bytes of ops in the log at which it freezes, for ops that leave few entries: many writes of the same ids, or
    /// deletes of what is not there. It bounds the log, and so the time to open.
    pub mutable_log_bytes: u64,
    /// Bytes at which a file of the log is closed and the next begun; what is flushed is dropped by whole files.
    pub wal_file_bytes: u64,
    /// Bytes of the log that are kept at least, where there are as many, though they are flushed: for replicas that fell
    /// behind, which otherwise need a snapshot.
    pub kept_log_bytes: u64,
}

impl Limits {
    /// Nodes of a mutable segment's graph: room for as many points to be written again as it holds.
    pub(crate) fn mutable_nodes(&self) -> usize {
        self.mutable_entries.saturating_mul(2).clamp(16, MAX_MUTABLE_NODES)
    }

    /// Points that a merged segment may have, whose vectors have so many elements together, sparse ones aside.
    pub(crate) fn merged_points(&self, dimensions: usize) -> u64 {
        MAX_MERGED_BYTES / (4 * dimensions as u64 + MERGED_POINT_BYTES)
    }

    /// Whether the mutable segment is to freeze.
    pub(crate) fn is_full(&self, mutable: &MutableSegment) -> bool {
        mutable.len() >= self.mutable_entries
            || mutable.bytes() >= self.mutable_bytes
            || mutable.log_bytes >= self.mutable_log_bytes
            || mutable.is_graph_full(self.mutable_nodes())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mutable_entries: 20_000,
            mutable_bytes: 64 << 20,
            mutable_log_bytes: 256 << 20,
            wal_file_bytes: 64 << 20,
            kept_log_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/limits.md");

    fn assert_told(name: &str, value: impl std::fmt::Display) {
        let name = format!("`{name}`");
        let row = PAGE.lines().find(|line| line.starts_with('|') && line.contains(&name));
        let row = row.unwrap_or_else(|| panic!("docs/limits.md does not tell {name}"));
        assert!(row.contains(&format!("| {value} |")), "docs/limits.md, {name}: not {value}");
    }

    #[test]
    fn the_page_of_limits_tells_what_they_are() {
        macro_rules! told { ($($name:ident),* $(,)?) => { $(assert_told(stringify!($name), $name);)* } }
        use shoal_vector::MAX_DIMENSIONS;
        told!(MAX_DIMENSIONS, MAX_OP_BYTES, MAX_POINTS_PER_OP, MAX_PAYLOAD_BYTES, MAX_EDIT_BYTES);
        told!(MAX_PAYLOAD_DEPTH, MAX_ANSWER_BYTES, MAX_NAME_BYTES, QUEUE_OPS, QUEUE_BYTES);
        told!(GROUP_BYTES, MAX_FROZEN, MAX_SEGMENT_POINTS, MAX_MERGED_BYTES, STORE_CACHE_BYTES);
        told!(STORE_FREE_BYTES, MAX_SNAPSHOTS, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_MANIFEST_BYTES);
        told!(SNAPSHOT_INDEXES_BYTES, RECENT_OPS, KEPT_ASIDE);
        told!(OPEN_FILES);
    }

    #[test]
    fn the_page_of_limits_tells_defaults_and_ranges_and_the_defaults_lie_within() {
        let default = Limits::default();
        let size = |bytes: u64| match bytes >> 30 {
            0 => format!("{}Mi", bytes >> 20),
            gibibytes => format!("{gibibytes}Gi"),
        };
        let bytes = [
            ("--flush-bytes", default.mutable_bytes as u64, MUTABLE_BYTES),
            ("--flush-log-bytes", default.mutable_log_bytes, MUTABLE_LOG_BYTES),
            ("--wal-file-bytes", default.wal_file_bytes, WAL_FILE_BYTES),
        ];
        for (flag, value, range) in bytes {
            assert!(range.contains(&value), "{flag}");
            assert_told(flag, size(value));
            assert_told(flag, format!("{} to {}", size(*range.start()), size(*range.end())));
        }
        let entries = default.mutable_entries as u64;
        assert!(MUTABLE_ENTRIES.contains(&entries));
        assert_told("--flush-points", entries);
        let (least, most) = (MUTABLE_ENTRIES.start(), MUTABLE_ENTRIES.end());
        assert_told("--flush-points", format!("{least} to {most}"));
    }
}
