//! Filtered search: recall and time over selectivities, beside the same searches without a filter.
//!
//! Points carry two random numbers, which have nothing to do with their vectors, and the category of their text where there
//! are payloads, which has much to do with it: the category of a query's nearest neighbour holds many that are near, and one
//! that none of its neighbours has holds none. What is right is what an exact search of the same shard finds.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use shoal_shard::WantedIndexes;
use shoal_shard::api::SearchRequest;
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::{Filter, PointId};

use crate::{Bench, K};

/// Values of the random numbers.
const VALUES: u64 = 1_000_000;
/// Shares of the points that pass.
const SELECTIVITIES: [f64; 6] = [0.5, 0.2, 0.1, 0.04, 0.01, 0.001];
/// Neighbours whose categories are not far from a query.
const NEAR: usize = 100;
/// Queries that are asked.
const QUERIES: usize = 500;

/// Categories by row, where the data have them.
pub(crate) fn categories(data: &Path) -> Result<Vec<String>> {
    let path = data.join("payloads.jsonl.gz");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines = BufReader::new(GzDecoder::new(File::open(&path)?)).lines();
    let category = |line: std::io::Result<String>| {
        let payload: Value = serde_json::from_str(&line?)?;
        payload["category"].as_str().map(str::to_owned).context("a payload without a category")
    };
    lines.map(category).collect()
}

/// A row's payload.
pub(crate) fn payload(row: usize, categories: &[String]) -> Vec<u8> {
    let number = |salt: u64| {
        let mut x = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % VALUES
    };
    let mut payload = json!({"a": number(1), "b": number(2)});
    if let Some(category) = categories.get(row) {
        payload["category"] = json!(category);
    }
    payload.to_string().into_bytes()
}

/// A search with a filter for each query.
struct Case {
    name: String,
    filters: Vec<Value>,
}

impl Bench {
    /// Indexes the fields of payloads and waits until that is done.
    pub(crate) fn index(&self) -> Result<Value> {
        let field = |name, kind| PayloadIndex::new(name, kind);
        let fields = vec![
            field("a", IndexKind::Integer)?,
            field("b", IndexKind::Integer)?,
            field("category", IndexKind::Keyword)?,
        ];
        let began = Instant::now();
        self.shard.set_payload_indexes(WantedIndexes { fields, ..WantedIndexes::default() })?;
        while self.shard.info()?.filters.pending > 0 {
            std::thread::sleep(Duration::from_millis(1));
            ensure!(began.elapsed() < Duration::from_secs(600), "no index after ten minutes");
        }
        let info = self.shard.info()?.filters;
        Ok(
            json!({"seconds": began.elapsed().as_secs_f64(), "bytes": info.bytes, "left_out": info.left_out}),
        )
    }

    /// Recall and time of each case, and the time's ratio to that of searches without a filter.
    pub(crate) fn filtered(&self, ef: usize) -> Result<Value> {
        let queries = self.queries.rows().min(QUERIES);
        let plain: Vec<SearchRequest> = (0..queries).map(|query| self.request(query, ef)).collect();
        let mut answers = Vec::new();
        for case in self.cases(queries)? {
            let mut requests = plain.clone();
            for (request, filter) in requests.iter_mut().zip(&case.filters) {
                request.filter = Some(Filter::parse(filter)?);
            }
            let (recall, matching) = self.recall_of(&requests)?;
            let mut times = (f64::INFINITY, f64::INFINITY);
            // In turns, so that what disturbs the machine disturbs both; the best of each is the least disturbed.
            for _ in 0..self.passes {
                times.0 = times.0.min(self.micros(&plain)?);
                times.1 = times.1.min(self.micros(&requests)?);
            }
            answers.push(json!({
                "case": case.name, "matching": matching, "recall": recall,
                "micros": times.1, "unfiltered": times.0, "ratio": times.1 / times.0,
            }));
        }
        let counts = self.shard.info()?.filters.counts;
        Ok(json!({
            "ef": ef, "cases": answers,
            "ways": {"scan": counts.scans, "walk": counts.walks, "payloads": counts.payloads},
        }))
    }

    fn cases(&self, queries: usize) -> Result<Vec<Case>> {
        let below = |key: &str, share: f64| json!({"key": key, "range": {"lt": (share * VALUES as f64).round()}});
        let mut cases = Vec::new();
        for share in SELECTIVITIES {
            let one = json!({"must": [below("a", share)]});
            let root = share.sqrt();
            let both = json!({"must": [below("a", root), below("b", root)]});
            for (name, filter) in [("one", one), ("and", both)] {
                let name = format!("{name} {}%", share * 100.0);
                cases.push(Case { name, filters: vec![filter; queries] });
            }
        }
        if self.categories.is_empty() {
            return Ok(cases);
        }
        let (mut near, mut far, mut all_far) = (Vec::new(), Vec::new(), Vec::new());
        let all: Vec<&String> =
            self.categories.iter().collect::<HashSet<_>>().into_iter().collect();
        for query in 0..queries {
            let request = SearchRequest { k: NEAR, exact: true, ..self.request(query, NEAR) };
            let found = self.shard.search(&request)?;
            let category = |id: PointId| match id {
                PointId::Num(row) => self.categories.get(row as usize),
                PointId::Uuid(_) => None,
            };
            let first = found.first().and_then(|found| category(found.hit.id));
            let met: HashSet<&String> =
                found.iter().filter_map(|found| category(found.hit.id)).collect();
            let other = all.iter().find(|category| !met.contains(**category));
            let is =
                |wanted: &String| json!({"must": {"key": "category", "match": {"value": wanted}}});
            near.push(is(first.context("a point without a category")?));
            far.push(is(other.context("all categories are near")?));
            let others: Vec<_> = all.iter().filter(|category| !met.contains(**category)).collect();
            all_far.push(json!({"must": {"key": "category", "match": {"any": others}}}));
        }
        cases.push(Case { name: "category of the nearest".into(), filters: near });
        cases.push(Case { name: "category far away".into(), filters: far });
        cases.push(Case { name: "all categories far away".into(), filters: all_far });
        Ok(cases)
    }

    /// Mean share of what an exact search finds, and mean number of points that match.
    fn recall_of(&self, requests: &[SearchRequest]) -> Result<(f64, f64)> {
        let (mut hits, mut wanted, mut matching) = (0, 0, 0);
        for request in requests {
            let ids = |request: &SearchRequest| -> Result<HashSet<PointId>> {
                Ok(self.shard.search(request)?.iter().map(|found| found.hit.id).collect())
            };
            let exact = ids(&SearchRequest { exact: true, ..request.clone() })?;
            let found = ids(request)?;
            ensure!(found.len() == exact.len().min(K), "{} of {}", found.len(), exact.len());
            hits += found.intersection(&exact).count();
            wanted += exact.len();
            matching += self.shard.count(request.filter.as_ref())?;
        }
        Ok((hits as f64 / wanted.max(1) as f64, matching as f64 / requests.len() as f64))
    }

    fn micros(&self, requests: &[SearchRequest]) -> Result<f64> {
        let began = Instant::now();
        for request in requests {
            std::hint::black_box(self.shard.search(request)?);
        }
        Ok(began.elapsed().as_secs_f64() * 1e6 / requests.len() as f64)
    }
}
