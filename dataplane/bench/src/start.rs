//! How soon a shard answers after it was opened, what memory it takes, and how much of it are codes.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use shoal_vector::codes::{CodeBits, Rotation, sketch_bytes, sketches_pay};
use shoal_vector::{PointId, Quantization};

use crate::{Bench, K};

impl Bench {
    /// The first search since the shard was opened. Asked right after the start.
    pub(crate) fn first(&self) -> Result<Value> {
        let began = Instant::now();
        let found = self.shard.search(&self.request(0, 64))?;
        let took = began.elapsed();
        let truth = &self.truth.row(0)[..K];
        let right = found
            .iter()
            .filter(|f| matches!(f.hit.id, PointId::Num(id) if truth.contains(&(id as i32))));
        Ok(json!({
            "points": self.shard.info()?.points, "open": self.opened.as_secs_f64(), "search": took.as_secs_f64(),
            "first": (self.opened + took).as_secs_f64(), "recall": right.count() as f64 / K as f64,
        }))
    }

    /// Bytes of memory that came since just before the shard was opened: its own, and pages of its files.
    pub(crate) fn memory(&self) -> Result<Value> {
        let (anonymous, files) = resident()?;
        Ok(json!({
            "anonymous": anonymous.saturating_sub(self.resident.0), "files": files.saturating_sub(self.resident.1),
        }))
    }

    /// Bytes of a vector's code, which lies in the segment, and of the code's sketch, which is made in memory.
    pub(crate) fn code(&self) -> Value {
        let bits = match self.quantization {
            Quantization::Bits4 => CodeBits::Four,
            Quantization::Int8 => CodeBits::Eight,
            Quantization::None => return json!({"code": 0, "sketch": 0}),
        };
        let code = bits.bytes(Rotation::new(self.queries.columns).padded());
        let sketch = if sketches_pay(bits, code) { sketch_bytes(code) } else { 0 };
        json!({"code": code, "sketch": sketch})
    }
}

/// Bytes of this process that are in memory: its own, and those of files.
pub(crate) fn resident() -> Result<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let bytes = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
        Ok(kilobytes.with_context(|| format!("no {name}"))?.parse::<u64>()? * 1024)
    };
    Ok((bytes("RssAnon:")?, bytes("RssFile:")?))
}
