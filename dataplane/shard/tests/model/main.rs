//! Random ops against a plain model: whatever was flushed, merged, reopened or crashed in between, a shard answers as the
//! model, and a crash at any fail point leaves all that was acknowledged and nothing that was not written.
//!
//! `SHOAL_SEED` is the first seed and `SHOAL_SEEDS` how many there are; `make model` sets them. What threads do beside each
//! other is theirs, so a seed repeats the ops and restarts, and most of the crashes.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "these are tests, though not inside of a test function"
)]

#[path = "../common/mod.rs"]
mod common;
mod compare;
mod crashes;
mod random;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use common::*;
use compare::compare;
use crashes::{Crash, Crashes};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use random::*;
use shoal_shard::api::OpOrigin;
use shoal_shard::snapshot::Restore;
use shoal_shard::{Limits, OpenError, Shard, encode_op};
use shoal_vector::payload::PayloadIndex;
use shoal_vector::{Op, Quantization, VectorConfig};

/// Enough that every fail point is met, and quick enough for every run of the tests.
const SEEDS: u64 = 60;

/// A shard on its way through a seed, and what it was asked to do.
struct Run<'a> {
    context: String,
    root: &'a Path,
    /// Names of folders are used once.
    folders: u64,
    data: PathBuf,
    configs: Vec<VectorConfig>,
    limits: Limits,
    indexes: Vec<PayloadIndex>,
    rng: StdRng,
    crashes: &'a Crashes,
    /// `None` only between two starts.
    shard: Option<Shard>,
    /// The op of seq 1, of seq 2, and so on.
    ops: Vec<Op>,
    model: Model,
}

/// Opens with settings drawn for this start, so that segments of all kinds lie beside each other and are merged.
fn open_random(dir: &Path, configs: &[VectorConfig], limits: &Limits, rng: &mut StdRng) -> Shard {
    let quantization = *Quantization::ALL.choose(rng).unwrap();
    open_with(dir, identity_with_sparse(configs), quantization, limits.clone())
}

/// The model after some ops.
fn model_after(configs: &[VectorConfig], ops: &[Op]) -> Model {
    let mut model = Model::new(configs.to_vec());
    ops.iter().for_each(|op| model.apply(op));
    model
}

impl<'a> Run<'a> {
    fn begin(seed: u64, root: &'a Path, crashes: &'a Crashes) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let configs = random_configs(&mut rng);
        let limits = small_limits(rng.random_range(3..30));
        let data = root.join("data");
        crashes.begin(seed, root, &data);
        let shard = open_random(&data, &configs, &limits, &mut rng);
        let (context, model) = (format!("seed {seed}"), Model::new(configs.clone()));
        let (ops, indexes, folders) = (Vec::new(), random_indexes(&mut rng), 0);
        set_indexes(&shard, &indexes);
        let mut run = Self {
            context,
            root,
            folders,
            data,
            configs,
            limits,
            indexes,
            rng,
            crashes,
            shard: Some(shard),
            ops,
            model,
        };
        run.look_at_crashes();
        run
    }

    fn shard(&self) -> &Shard {
        self.shard.as_ref().unwrap()
    }

    fn close(&mut self) {
        if let Some(shard) = self.shard.take() {
            shard.close();
        }
    }

    fn new_folder(&mut self, what: &str) -> PathBuf {
        self.folders += 1;
        self.root.join(format!("{what}-{}", self.folders))
    }

    fn reopen(&mut self) {
        self.close();
        self.shard = Some(open_random(&self.data, &self.configs, &self.limits, &mut self.rng));
        // Otherwise it has to know by itself.
        if self.rng.random_bool(0.5) {
            set_indexes(self.shard(), &self.indexes);
        }
    }

    fn compare(&mut self, what: &str) {
        let (shard, context) = (self.shard().clone(), format!("{what}, {}", self.context));
        compare(&shard, &self.model, &mut self.rng, &context);
    }

    /// Writes some ops at once, so that the log takes them in groups.
    fn write(&mut self) {
        let count = if self.rng.random_ratio(1, 5) { self.rng.random_range(2..6) } else { 1 };
        let ops: Vec<Op> = (0..count).map(|_| random_op(&self.configs, &mut self.rng)).collect();
        self.crashes.writing(ops.len() as u64);
        let shard = self.shard();
        let write = |op: &Op| shard.write(encode_op(op).into(), OpOrigin::default(), true);
        let acks = block_on(futures_in_order(ops.iter().map(write).collect()));
        for (op, ack) in ops.into_iter().zip(acks) {
            let ack = ack.unwrap_or_else(|error| panic!("{}: {error}", self.context));
            self.model.apply(&op);
            self.ops.push(op);
            assert_eq!(ack.seq, self.ops.len() as u64, "{}", self.context);
        }
        self.crashes.wrote(self.ops.len() as u64);
    }

    /// Goes on with what a snapshot of the shard was restored to.
    fn restore(&mut self) {
        let to = self.new_folder("restored");
        let snapshot = self.shard().snapshot().unwrap();
        assert_eq!(snapshot.seq(), self.ops.len() as u64, "{}", self.context);
        let stream: Vec<Vec<u8>> = snapshot.stream(0).map(Result::unwrap).collect();
        drop(snapshot);
        self.look_at_crashes();
        self.crashes.restores(Some(&to));
        restore_into(&to, &self.configs, &stream);
        self.crashes.restores(None);
        self.close();
        // Of the restore, and of what the shard did beside it.
        while let Some(crash) = self.crashes.next() {
            if crash.restoring {
                self.look_at_half_restored(&crash, &stream);
            }
        }
        self.go_on_in(to);
    }

    /// What a crash left of a restore is no shard before all of it is, and the next restore makes it one.
    fn look_at_half_restored(&mut self, crash: &Crash, stream: &[Vec<u8>]) {
        let context = format!("{crash}, {}", self.context);
        let is_half = crash.dir.join("restoring").exists();
        let identity = identity_with_sparse(&self.configs);
        let opened = Shard::open_existing(&crash.dir, identity, tuning(), self.limits.clone());
        let opened = match opened {
            Err(OpenError::HalfRestored(_)) if is_half => {
                restore_into(&crash.dir, &self.configs, stream);
                open_random(&crash.dir, &self.configs, &self.limits, &mut self.rng)
            }
            // Nothing is there yet.
            Err(OpenError::Missing(_)) if !is_half => return,
            Ok(opened) if !is_half => opened,
            other => panic!("{other:?}, {context}"),
        };
        compare(&opened, &self.model, &mut self.rng, &context);
        opened.close();
    }

    fn go_on_in(&mut self, data: PathBuf) {
        self.crashes.go_on_in(&data, self.ops.len() as u64);
        self.data = data;
        self.shard = Some(open_random(&self.data, &self.configs, &self.limits, &mut self.rng));
        set_indexes(self.shard(), &self.indexes);
    }

    /// Opens what the crashes since the last look left, and compares each with what it may be. Now and then the run goes on
    /// with one of them.
    fn look_at_crashes(&mut self) {
        while let Some(crash) = self.crashes.next() {
            let context = format!("{crash}, {}", self.context);
            self.crashes.watch(&crash);
            let opened = open_random(&crash.dir, &self.configs, &self.limits, &mut self.rng);
            if self.rng.random_bool(0.5) {
                set_indexes(&opened, &self.indexes);
            }
            let seq = opened.info().unwrap().last_seq;
            assert!(crash.seqs.contains(&seq), "seq {seq}, {context}");
            let model = model_after(&self.configs, &self.ops[..seq as usize]);
            compare(&opened, &model, &mut self.rng, &context);
            opened.close();
            self.crashes.unwatch();
            if self.rng.random_ratio(1, 10) {
                self.close();
                self.ops.truncate(seq as usize);
                self.model = model;
                self.crashes.forget_rest();
                self.go_on_in(crash.dir);
                return;
            }
            // All copies of a long run are more than memory holds.
            let _ = std::fs::remove_dir_all(crash.dir);
        }
    }

    fn steps(&mut self) {
        let seed = self.context.clone();
        for step in 0..self.rng.random_range(20..90) {
            self.context = format!("{seed}, step {step}");
            match self.rng.random_range(0..40) {
                0 | 1 => self.reopen(),
                2 => self.restore(),
                3 | 4 => {
                    self.indexes = random_indexes(&mut self.rng);
                    set_indexes(self.shard(), &self.indexes);
                }
                5..12 => self.compare("in between"),
                _ => self.write(),
            }
            self.look_at_crashes();
        }
        self.context = seed;
        self.compare("at the end");
        self.reopen();
        if self.rng.random_ratio(1, 3) {
            wait_until("all indexes are ready", || {
                self.shard().info().unwrap().filters.pending == 0
            });
        }
        self.compare("opened again");
        self.close();
        self.look_at_crashes();
        self.close();
    }
}

fn restore_into(dir: &Path, configs: &[VectorConfig], stream: &[Vec<u8>]) {
    let mut restore = Restore::begin(dir, identity_with_sparse(configs)).unwrap();
    stream.iter().for_each(|block| restore.push(block).unwrap());
    restore.finish().unwrap();
}

/// All of them, polled in their order, which is the order in which a shard takes ops.
async fn futures_in_order<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = pinned.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in pinned.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn a_shard_answers_as_a_plain_model_does_whatever_crashes() {
    let first = number("SHOAL_SEED");
    let count = number("SHOAL_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    let crashes = Crashes::observe();
    let mut ops = 0;
    for seed in first..first + count {
        let dir = scratch();
        let run = || {
            let mut run = Run::begin(seed, dir.path(), &crashes);
            run.steps();
            run.ops.len()
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(done) => ops += done,
            Err(panic) => {
                println!("seed {seed} failed; `make model SEED={seed}` repeats it");
                resume_unwind(panic);
            }
        }
    }
    println!("{count} seeds from {first}, {ops} ops, {}", crashes.summary());
    if count >= SEEDS {
        assert_eq!(crashes.never(), Vec::<String>::new(), "no run crashed there");
    }
}

/// In memory where that can be had: every op is synced.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
