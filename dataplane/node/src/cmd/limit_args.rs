//! The limits of a shard that an operator may set: the same flags for `shoal serve` and `shoal shard`.
//!
//! What they may be and what each stands for is in `docs/limits.md`. Invariant: what parses here a shard can run with.

use std::fmt::Display;
use std::ops::RangeInclusive;

use clap::Args;
use shoal_shard::Limits;
use shoal_shard::limits::{MUTABLE_BYTES, MUTABLE_ENTRIES, MUTABLE_LOG_BYTES, WAL_FILE_BYTES};

/// Limits of each shard.
#[derive(Args, Clone, Debug)]
pub struct LimitArgs {
    /// Points, edits and deletes at which a shard makes a segment of what was written since the last.
    #[arg(long, env = "SHOAL_FLUSH_POINTS", default_value_t = Limits::default().mutable_entries as u64, value_parser = flush_points)]
    pub flush_points: u64,
    /// Bytes of vectors and payloads at which it does, such as 64Mi. A shard holds up to three times as many in memory.
    #[arg(long, env = "SHOAL_FLUSH_BYTES", default_value_t = Limits::default().mutable_bytes as u64, value_parser = flush_bytes)]
    pub flush_bytes: u64,
    /// Bytes of ops in the log at which it does, such as 256Mi: what a start has to read, and the log's size by three.
    #[arg(long, env = "SHOAL_FLUSH_LOG_BYTES", default_value_t = Limits::default().mutable_log_bytes, value_parser = flush_log_bytes)]
    pub flush_log_bytes: u64,
    /// Bytes at which a file of the log is closed and the next begun, such as 64Mi.
    #[arg(long, env = "SHOAL_WAL_FILE_BYTES", default_value_t = Limits::default().wal_file_bytes, value_parser = wal_file_bytes)]
    pub wal_file_bytes: u64,
}

impl LimitArgs {
    /// As a shard takes them.
    pub fn limits(&self) -> Limits {
        Limits {
            // The ranges end below what a usize holds.
            mutable_entries: self.flush_points as usize,
            mutable_bytes: self.flush_bytes as usize,
            mutable_log_bytes: self.flush_log_bytes,
            wal_file_bytes: self.wal_file_bytes,
            ..Limits::default()
        }
    }
}

fn flush_points(text: &str) -> Result<u64, String> {
    within(text.parse().ok(), MUTABLE_ENTRIES, "a number")
}

fn flush_bytes(text: &str) -> Result<u64, String> {
    within(bytes(text), MUTABLE_BYTES, "bytes, such as 64Mi,")
}

fn flush_log_bytes(text: &str) -> Result<u64, String> {
    within(bytes(text), MUTABLE_LOG_BYTES, "bytes, such as 256Mi,")
}

fn wal_file_bytes(text: &str) -> Result<u64, String> {
    within(bytes(text), WAL_FILE_BYTES, "bytes, such as 64Mi,")
}

fn within<T: PartialOrd + Display>(
    value: Option<T>,
    range: RangeInclusive<T>,
    what: &str,
) -> Result<T, String> {
    let (least, most) = (range.start(), range.end());
    let needed = || format!("{what} from {least} to {most} is needed");
    value.filter(|value| range.contains(value)).ok_or_else(needed)
}

/// A number of bytes, plain or with one of Kubernetes' binary suffixes.
fn bytes(text: &str) -> Option<u64> {
    let suffixes = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let found =
        suffixes.iter().find_map(|(suffix, shift)| Some((text.strip_suffix(suffix)?, shift)));
    let (digits, shift) = found.unwrap_or((text, &0));
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn parse(args: &[&str]) -> Result<Limits, String> {
        let cli = Cli::try_parse_from(["shoal"].iter().chain(args));
        cli.map(|cli| cli.limits.limits()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_limits_are_those_of_the_shard() {
        let (found, default) = (parse(&[]).unwrap(), Limits::default());
        assert_eq!(format!("{found:?}"), format!("{default:?}"));
    }

    #[test]
    fn bytes_are_read_with_binary_suffixes() {
        let limits =
            parse(&["--flush-bytes=128Mi", "--wal-file-bytes=1048576", "--flush-log-bytes", "1Gi"]);
        let limits = limits.unwrap();
        assert_eq!(limits.mutable_bytes, 128 << 20);
        assert_eq!(limits.wal_file_bytes, 1 << 20);
        assert_eq!(limits.mutable_log_bytes, 1 << 30);
    }

    #[test]
    fn what_is_out_of_range_or_no_number_is_refused_with_the_range() {
        for (arg, range) in [
            ("--flush-points=99", "from 100 to 1000000"),
            ("--flush-points=many", "from 100 to 1000000"),
            ("--flush-bytes=1Ki", "from 1048576 to 4294967296"),
            ("--flush-bytes=99999999999Gi", "from 1048576 to 4294967296"),
            ("--flush-bytes=64M", "such as 64Mi"),
            ("--flush-log-bytes=0", "from 1048576 to 17179869184"),
            ("--wal-file-bytes=2Gi", "from 1048576 to 1073741824"),
        ] {
            let error = parse(&[arg]).unwrap_err();
            assert!(error.contains(range), "{arg}: {error}");
        }
    }
}
