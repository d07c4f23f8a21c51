//! Drives one shard for benchmarks, line by line, so that a script can let it and its peers take turns.
//!
//! Answers each line on stdin with one line of JSON. `build ROWS` loads that many rows and waits for their graph; `walk
//! THREADS EF` searches the query set and says recall@10, how many of its ten each query found, and queries per second;
//! `walk THREADS EF vectors` ignores codes, on the same graph. `ingest RATE SECONDS` searches while points come in, `code`
//! says how long codes are, `first` how long the start took, `memory` what memory it takes. `build ROWS payloads` gives the
//! points payloads, `load ROWS payloads` leaves them in memory, `index` indexes them, and `filter EF` searches with filters
//! of several selectivities.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures and prints"
)]

mod filtered;
mod ingest;
mod npy;
mod start;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Parser;
use serde_json::{Value, json};
use shoal_shard::api::{Identity, OpOrigin, QuantizationParams, SearchRequest, Tuning, Want};
use shoal_shard::{Limits, Shard, encode_op};
use shoal_vector::{Datatype, Metric, Op, Point, PointId, Quantization, VectorConfig};

use filtered::payload;
use npy::Matrix;

const K: usize = 10;
const BATCH: usize = 1000;

#[derive(Parser)]
struct Arguments {
    /// Folder with base.f16.npy or base.f32.npy, queries.f16.npy and neighbors.i32.npy.
    data: PathBuf,
    /// Folder for the shard; made where there is none.
    #[arg(long)]
    dir: PathBuf,
    /// Points a mutable segment may hold.
    #[arg(long, default_value_t = 100_000)]
    segment: usize,
    #[arg(long, default_value_t = 100)]
    ef_construct: usize,
    /// By what segments that are built are walked: Bits4, Int8 or None.
    #[arg(long, default_value_t)]
    quantization: Quantization,
    /// What vectors are stored as: Float32 or Float16.
    #[arg(long, default_value_t)]
    datatype: Datatype,
    /// Times the query set is asked in one measurement.
    #[arg(long, default_value_t = 5)]
    passes: usize,
}

struct Bench {
    shard: Shard,
    data: PathBuf,
    /// Read when it is asked for: it takes more memory than most of what is measured.
    base: OnceLock<Matrix<f32>>,
    queries: Matrix<f32>,
    truth: Matrix<i32>,
    passes: usize,
    /// Points that become one segment together.
    segment: usize,
    quantization: Quantization,
    /// Time that opening the shard took.
    opened: Duration,
    /// Memory of the process before that.
    resident: (u64, u64),
    /// By row, where the data have them.
    categories: Vec<String>,
    runtime: tokio::runtime::Runtime,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let read = |name: &str| npy::read_floats(&arguments.data.join(name));
    let queries = read("queries.f16.npy")?;
    let truth = npy::read_integers(&arguments.data.join("neighbors.i32.npy"))?;
    let identity = Identity {
        collection: "bench".into(),
        shard: "bench-0".into(),
        vectors: vec![VectorConfig {
            datatype: arguments.datatype,
            ..VectorConfig::new("", queries.columns, Metric::Cosine)
        }],
        sparse: Vec::new(),
    };
    let limits = Limits {
        mutable_entries: arguments.segment,
        mutable_bytes: 1 << 40,
        mutable_log_bytes: 1 << 40,
        ..Limits::default()
    };
    let tuning = Tuning {
        ef_construct: arguments.ef_construct,
        ef: 64,
        quantization: arguments.quantization,
    };
    let resident = start::resident()?;
    let began = Instant::now();
    let shard = Shard::open(&arguments.dir, identity, tuning, limits)?;
    let opened = began.elapsed();
    let categories = filtered::categories(&arguments.data)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let Arguments { data, passes, segment, quantization, .. } = arguments;
    let bench = Bench {
        shard,
        data,
        base: OnceLock::new(),
        queries,
        truth,
        passes,
        segment,
        quantization,
        opened,
        resident,
        categories,
        runtime,
    };
    for line in std::io::stdin().lock().lines() {
        let answer = bench.answer(&line?)?;
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    bench.shard.close();
    Ok(())
}

impl Bench {
    fn answer(&self, line: &str) -> Result<Value> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["build", rows] => self.build(rows.parse()?, false),
            ["build", rows, "payloads"] => self.build(rows.parse()?, true),
            ["load", rows, "payloads"] => self.load(rows.parse()?, true),
            ["index"] => self.index(),
            ["filter", ef] => self.filtered(ef.parse()?),
            ["walk", threads, ef] => self.walk(threads.parse()?, ef.parse()?, false),
            ["walk", threads, ef, "vectors"] => self.walk(threads.parse()?, ef.parse()?, true),
            ["code"] => Ok(self.code()),
            ["ingest", rate, seconds] => self.ingest(rate.parse()?, seconds.parse()?),
            ["first"] => self.first(),
            ["memory"] => self.memory(),
            _ => Ok(json!({"error": format!("unknown: {line}")})),
        }
    }

    fn base(&self) -> Result<&Matrix<f32>> {
        if let Some(base) = self.base.get() {
            return Ok(base);
        }
        let names = ["base.f32.npy", "base.f16.npy"].map(|name| self.data.join(name));
        let base = npy::read_floats(names.iter().find(|path| path.exists()).unwrap_or(&names[1]))?;
        Ok(self.base.get_or_init(|| base))
    }

    fn load(&self, rows: usize, payloads: bool) -> Result<Value> {
        let base = self.base()?;
        let began = Instant::now();
        let rows = rows.min(base.rows());
        for first in (0..rows).step_by(BATCH) {
            let point = |row: usize| Point {
                id: PointId::Num(row as u64),
                vectors: vec![(String::new(), base.row(row).to_vec())],
                payload: if payloads { payload(row, &self.categories) } else { Vec::new() },
            };
            let op = Op::Upsert((first..(first + BATCH).min(rows)).map(point).collect());
            let bytes = Bytes::from(encode_op(&op));
            self.runtime.block_on(self.shard.write(bytes, OpOrigin::default(), true))?;
        }
        Ok(json!({"written": began.elapsed().as_secs_f64()}))
    }

    fn build(&self, rows: usize, payloads: bool) -> Result<Value> {
        let rows = rows.min(self.base()?.rows());
        let began = Instant::now();
        self.load(rows, payloads)?;
        let written = began.elapsed().as_secs_f64();
        // What does not fill a segment stays in memory.
        let whole = rows - rows % self.segment;
        while self.shard.info()?.indexed_points < whole as u64 {
            std::thread::sleep(Duration::from_millis(20));
            ensure!(began.elapsed() < Duration::from_secs(600), "no graph after ten minutes");
        }
        let (seconds, segments) = (began.elapsed().as_secs_f64(), self.shard.info()?.segments);
        Ok(json!({"written": written, "graph": seconds - written, "segments": segments}))
    }

    fn request(&self, query: usize, ef: usize) -> SearchRequest {
        SearchRequest {
            using: String::new(),
            sparse: None,
            vector: self.queries.row(query).to_vec(),
            filter: None,
            k: K,
            ef: Some(ef),
            exact: false,
            quantization: QuantizationParams::default(),
            score_threshold: None,
            want: Want::default(),
        }
    }

    fn walk(&self, threads: usize, ef: usize, by_vectors: bool) -> Result<Value> {
        let quantization =
            QuantizationParams { ignore: by_vectors, ..QuantizationParams::default() };
        let requests: Vec<SearchRequest> = (0..self.queries.rows())
            .map(|query| SearchRequest { quantization, ..self.request(query, ef) })
            .collect();
        let mut hits = Vec::with_capacity(requests.len());
        for (query, request) in requests.iter().enumerate() {
            let truth = &self.truth.row(query)[..K];
            let right = |id| matches!(id, PointId::Num(id) if truth.contains(&(id as i32)));
            let found = self.shard.search(request)?;
            hits.push(found.iter().filter(|f| right(f.hit.id)).count());
        }
        let recall = hits.iter().sum::<usize>() as f64 / (K * requests.len()) as f64;
        let requests = Arc::new(requests);
        let began = Instant::now();
        let failed = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let requests = requests.clone();
                    scope.spawn(move || -> Result<()> {
                        let share = requests.len() * thread / threads
                            ..requests.len() * (thread + 1) / threads;
                        for request in (0..self.passes).flat_map(|_| &requests[share.clone()]) {
                            std::hint::black_box(self.shard.search(request)?);
                        }
                        Ok(())
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().ok().context("a thread panicked").flatten())
                .find(Result::is_err)
        });
        if let Some(Err(error)) = failed {
            return Err(error);
        }
        let searches = requests.len() * self.passes;
        let qps = searches as f64 / began.elapsed().as_secs_f64();
        Ok(json!({"recall": recall, "hits": hits, "qps": qps}))
    }
}
