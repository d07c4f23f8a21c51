//! Searches while points come in: how long they take, second by second, and whether flushing keeps up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use shoal_shard::api::OpOrigin;
use shoal_shard::encode_op;
use shoal_vector::{Op, Point, PointId};

use crate::Bench;
use crate::npy::Matrix;

/// Time between two searches. They are due at fixed times, and what is counted is from then on, so that a search that
/// waits for the one before it is not better off for it.
const PACE: Duration = Duration::from_millis(5);
/// Points are written in so many batches a second.
const BATCHES: usize = 10;
/// A batch where points come as fast as they are taken.
const FULL_BATCH: usize = 1_000;
/// How far a new point's coordinates are from those of the row that it is like, in parts of one: so that no two are the
/// same, and each is as near to others as real ones are.
const NOISE: f32 = 0.02;
/// Candidates that are kept, as by default.
const EF: usize = 64;

impl Bench {
    /// Writes `rate` points a second for some seconds (0: none; the greatest number: as many as it takes) and searches
    /// meanwhile.
    pub(crate) fn ingest(&self, rate: usize, seconds: u64) -> Result<Value> {
        let (began, stop) = (Instant::now(), AtomicBool::new(false));
        let first = self.shard.info()?.points;
        let end = Duration::from_secs(seconds);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let outcome = self.write_steadily(first, rate, began, end);
                stop.store(true, Ordering::Relaxed);
                outcome
            });
            let searched = self.search_steadily(began, &stop);
            let written = writer.join().ok().context("the writer panicked")??;
            let took = began.elapsed().as_secs_f64();
            let mut answer = searched?;
            answer["written"] = json!(written);
            answer["rate"] = json!(written as f64 / took);
            Ok(answer)
        })
    }

    fn write_steadily(
        &self,
        first: u64,
        rate: usize,
        began: Instant,
        end: Duration,
    ) -> Result<u64> {
        let base = self.base()?;
        let batch = (rate / BATCHES).min(FULL_BATCH);
        let mut written = 0;
        while began.elapsed() < end {
            if batch == 0 {
                std::thread::sleep(PACE);
                continue;
            }
            let ids = first + written..first + written + batch as u64;
            let op = Op::Upsert(ids.map(|id| like_a_row(base, id)).collect());
            let bytes = Bytes::from(encode_op(&op));
            self.runtime.block_on(self.shard.write(bytes, OpOrigin::default(), true))?;
            written += batch as u64;
            let due = Duration::from_secs_f64(written as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        Ok(written)
    }

    fn search_steadily(&self, began: Instant, stop: &AtomicBool) -> Result<Value> {
        let (mut rows, mut times) = (Vec::new(), Vec::new());
        let (mut due, mut second, mut query) = (began.elapsed(), 0, 0);
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            std::hint::black_box(self.shard.search(&self.request(query, EF))?);
            times.push((began.elapsed() - due).as_secs_f64() * 1e3);
            (due, query) = (due + PACE, (query + 1) % self.queries.rows());
            if began.elapsed().as_secs() > second {
                second = began.elapsed().as_secs();
                let info = self.shard.info()?;
                let pending = info.points - info.indexed_points;
                times.sort_by(f64::total_cmp);
                rows.push(json!({
                    "second": second, "points": info.points, "pending": pending, "segments": info.segments,
                    "p50": quantile(&times, 0.5), "p95": quantile(&times, 0.95), "p99": quantile(&times, 0.99),
                }));
                times.clear();
            }
        }
        Ok(json!({"seconds": rows}))
    }
}

/// A new point, near to a row of the data.
fn like_a_row(base: &Matrix<f32>, id: u64) -> Point {
    let mut random = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let row = base.row(id as usize % base.rows()).iter();
    let vector = row.map(|x| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        x + NOISE * ((random >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
    });
    Point {
        id: PointId::Num(id),
        vectors: vec![(String::new(), vector.collect())],
        payload: Vec::new(),
    }
}

/// Of ascending values; 0 if there are none.
fn quantile(ascending: &[f64], part: f64) -> f64 {
    let at = (ascending.len() as f64 * part) as usize;
    ascending.get(at).or(ascending.last()).copied().unwrap_or(0.0)
}
