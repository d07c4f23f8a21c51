//! A disk that is really full: a small tmpfs. Needs root to mount one; says so loudly where it cannot.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these are tests, though not inside of a test function"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::*;
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_shard::Limits;
use shoal_shard::api::{ShardError, Want};
use shoal_vector::{Metric, Op, PointId};

/// A file system of some bytes, gone when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(bytes: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mount = mount
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "shoal-test"])
            .arg(dir.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self { dir });
        }
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs: run as root");
        println!("SKIPPED: a full disk could not be tried, because mounting a tmpfs needs root");
        None
    }

    /// Leaves about a megabyte.
    fn fill(&self, ballast: &Path) {
        let room = rustix::fs::statvfs(self.path()).unwrap();
        let free = (room.f_bavail * room.f_frsize) as usize;
        fs::write(ballast, vec![1; free.saturating_sub(1 << 20)]).unwrap();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

fn upsert(id: u64) -> Op {
    // Random text, so that compression does not make room.
    let mut rng = StdRng::seed_from_u64(id);
    let text: String = (0..20_000).map(|_| rng.sample(Alphanumeric) as char).collect();
    let payload = format!("{{\"text\":\"{text}\"}}");
    Op::Upsert(vec![point(id, &[1.0, id as f32], &payload)])
}

/// Fills a disk that had `beside` bytes free at first besides the few that are left.
fn run(limits: Limits, beside: usize) {
    let Some(disk) = SmallDisk::mount(beside + (4 << 20)) else { return };
    let data = disk.path().join("data");
    let ballast = disk.path().join("ballast");
    let shard = open(&data, identity(2, Metric::Dot), limits.clone());
    write(&shard, &upsert(0)).unwrap();
    let mut next = 1;
    if beside > 0 {
        // Time for the store to be opened and used.
        for _ in 0..40 {
            write(&shard, &upsert(next)).unwrap();
            next += 1;
        }
        wait_until("a segment", || shard.info().unwrap().segments > 0);
        wait_until("the store", || fs::metadata(data.join("store/db")).is_ok());
    }
    disk.fill(&ballast);
    for round in 0..2 {
        let error = loop {
            assert!(next < 1_000, "the disk never filled");
            match write(&shard, &upsert(next)) {
                Ok(_) => next += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ShardError::DiskFull { .. }), "{error}");
        assert!(
            error.to_string().contains("words-0") && error.to_string().contains("Free space"),
            "{error}"
        );
        assert_eq!(shard.count(None).unwrap(), next, "reads go on");
        let last = PointId::Num(next - 1);
        assert_eq!(shard.retrieve(&[last], &Want::default()).unwrap().len(), 1);
        if round == 0 {
            // Room again, and no other step.
            fs::remove_file(&ballast).unwrap();
            wait_until("writes work again", || write(&shard, &upsert(next)).is_ok());
            next += 1;
            disk.fill(&ballast);
        }
    }
    let seqs = shard.info().unwrap();
    assert_eq!((seqs.last_seq, seqs.durable_seq, seqs.applied_seq), (next, next, next));
    shard.close();
    let bigger = tempfile::tempdir().unwrap();
    let moved = bigger.path().join("data");
    crash_copy(&data, &moved);
    let shard = open(&moved, identity(2, Metric::Dot), limits);
    assert_eq!(
        shard.count(None).unwrap(),
        next,
        "all that was acknowledged is there, and nothing else"
    );
    shard.close();
}

#[test]
fn a_disk_that_the_log_fills_refuses_writes_and_takes_them_again_when_there_is_room() {
    run(Limits::default(), 0);
}

#[test]
fn a_disk_that_flushes_fill_refuses_writes_and_takes_them_again_when_there_is_room() {
    run(small_limits(15), 0);
}

#[test]
fn a_disk_that_fills_while_the_store_is_in_use_refuses_writes_answers_reads_and_lets_the_shard_close()
 {
    run(small_limits(15), 100 << 20);
}
