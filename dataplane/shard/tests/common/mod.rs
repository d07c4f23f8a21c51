//! What the tests of a shard share: a folder, ways to write without an async runtime, and a plain model to compare with.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, though not inside of a test function"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use shoal_shard::api::{
    Identity, OpOrigin, ShardError, Tuning, Want, WantPayload, WantVectors, WriteAck,
};
use shoal_shard::{Limits, Shard, WantedIndexes, encode_op};
use shoal_vector::filter::Subject;
use shoal_vector::op::Selector;
use shoal_vector::payload::{KeyPath, PayloadIndex, merge, remove};
use shoal_vector::{
    Hit, Metric, Op, Payload, Point, PointId, PointWithSparse, Quantization, SparseVector,
    VectorConfig,
};

pub(crate) fn identity(size: usize, distance: Metric) -> Identity {
    identity_of(vec![VectorConfig::new("", size, distance)])
}

pub(crate) fn identity_of(vectors: Vec<VectorConfig>) -> Identity {
    let sparse = Vec::new();
    Identity { collection: "words".into(), shard: "words-0".into(), vectors, sparse }
}

pub(crate) fn tuning() -> Tuning {
    Tuning { ef_construct: 100, ef: 64, quantization: Quantization::default() }
}

/// Limits that make a flush of every few ops.
pub(crate) fn small_limits(entries: usize) -> Limits {
    Limits { mutable_entries: entries, wal_file_bytes: 2_000, ..Limits::default() }
}

pub(crate) fn open(dir: &Path, identity: Identity, limits: Limits) -> Shard {
    open_with(dir, identity, Quantization::default(), limits)
}

/// The same, with graphs walked by this from now on.
pub(crate) fn open_with(
    dir: &Path,
    identity: Identity,
    quantization: Quantization,
    limits: Limits,
) -> Shard {
    Shard::open(dir, identity, Tuning { quantization, ..tuning() }, limits).unwrap()
}

/// Has these fields indexed from now on.
pub(crate) fn set_indexes(shard: &Shard, fields: &[PayloadIndex]) {
    let wanted = WantedIndexes { fields: fields.to_vec(), ..WantedIndexes::default() };
    shard.set_payload_indexes(wanted).unwrap();
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Writes and waits until visible.
pub(crate) fn write(shard: &Shard, op: &Op) -> Result<WriteAck, ShardError> {
    block_on(shard.write(Bytes::from(encode_op(op)), OpOrigin::default(), true))
}

pub(crate) fn point(id: u64, vector: &[f32], payload: &str) -> Point {
    Point {
        id: PointId::Num(id),
        vectors: vec![(String::new(), vector.to_vec())],
        payload: payload.into(),
    }
}

pub(crate) fn everything() -> Want {
    Want { payload: WantPayload::All, vectors: WantVectors::All }
}

/// Waits, for at most a minute, until the shard is in a state.
pub(crate) fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if reached() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not reached within a minute: {what}");
}

/// Copies a shard's folder as a crash at one moment would leave it, while its threads go on. Files change under their
/// final names only all at once, so a copy during which none did is of one moment; unfinished ones may be cut anywhere.
pub(crate) fn crash_copy(from: &Path, to: &Path) {
    loop {
        let before = finished_files(from);
        copy_dir(from, to);
        if finished_files(from) == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}

/// Names, inodes and lengths of files that count.
fn finished_files(dir: &Path) -> Vec<(std::path::PathBuf, u64, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        match entry.metadata() {
            Ok(meta) if meta.is_dir() && !name.starts_with("store") => {
                found.extend(finished_files(&path))
            }
            Ok(meta) if meta.is_file() && !name.ends_with(".tmp") => {
                found.push((path, meta.ino(), meta.len()))
            }
            _ => {}
        }
    }
    found.sort();
    found
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    // Files, and the store's folder, may be renamed or deleted meanwhile.
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_dir(&entry.path(), &target),
            _ => drop(std::fs::copy(entry.path(), target)),
        }
    }
}

/// What a collection is, without logs, segments or graphs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) vectors: Vec<VectorConfig>,
    pub(crate) sparse: BTreeMap<PointId, Vec<(String, SparseVector)>>,
    pub(crate) points: BTreeMap<PointId, Stored>,
}

/// A point's vectors by name, in the order of the collection's, and its payload.
pub(crate) type Stored = (Vec<(String, Vec<f32>)>, Payload);

impl Model {
    pub(crate) fn new(vectors: Vec<VectorConfig>) -> Self {
        Self { vectors, sparse: BTreeMap::new(), points: BTreeMap::new() }
    }

    /// Vectors as they are stored: those given, and else those there were.
    fn stored(
        &self,
        given: &[(String, Vec<f32>)],
        before: &[(String, Vec<f32>)],
    ) -> Vec<(String, Vec<f32>)> {
        let one = |config: &VectorConfig| {
            let named = |(name, _): &&(String, Vec<f32>)| *name == config.name;
            let new = given.iter().find(named);
            let new = new.map(|(_, vector)| {
                config.datatype.rounded(config.distance.preprocess(vector.clone()))
            });
            let vector = new.or_else(|| before.iter().find(named).map(|(_, old)| old.clone()))?;
            Some((config.name.clone(), vector))
        };
        self.vectors.iter().filter_map(one).collect()
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Upsert(points) => {
                for point in points {
                    let vectors = self.stored(&point.vectors, &[]);
                    self.points.insert(point.id, (vectors, parse(&point.payload)));
                    self.sparse.remove(&point.id);
                }
            }
            Op::UpsertWithSparse(points) => {
                for PointWithSparse { point, sparse } in points {
                    self.apply(&Op::Upsert(vec![point.clone()]));
                    let mut sparse = sparse.clone();
                    sparse.sort_by(|(a, _), (b, _)| a.cmp(b));
                    self.sparse.insert(point.id, sparse);
                }
            }
            Op::Delete(selector) => {
                for id in self.select(selector) {
                    self.points.remove(&id);
                    self.sparse.remove(&id);
                }
            }
            Op::SetPayload { payload, key, points } => {
                let at: Option<KeyPath> = key.as_ref().map(|key| key.parse().unwrap());
                self.edit(points, |old| merge(old, at.as_ref(), &parse(payload)));
            }
            Op::OverwritePayload { payload, points } => {
                self.edit(points, |old| *old = parse(payload))
            }
            Op::DeletePayload { keys, points } => {
                self.edit(points, |old| {
                    keys.iter().for_each(|key| remove(old, &key.parse().unwrap()))
                });
            }
            Op::ClearPayload(points) => self.edit(points, Payload::clear),
            Op::UpdateVectors(points) => {
                for point in points {
                    let Some((before, _)) = self.points.get(&point.id) else { continue };
                    let vectors = self.stored(&point.vectors, before);
                    self.points.get_mut(&point.id).unwrap().0 = vectors;
                    let sparse = self.sparse.entry(point.id).or_default();
                    sparse.retain(|(name, _)| point.sparse.iter().all(|(new, _)| new != name));
                    sparse.extend(point.sparse.iter().cloned());
                    sparse.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
            }
            Op::DeleteVectors { names, points } => {
                for id in self.select(points) {
                    let (vectors, _) = self.points.get_mut(&id).unwrap();
                    vectors.retain(|(name, _)| !names.contains(name));
                    let sparse = self.sparse.entry(id).or_default();
                    sparse.retain(|(name, _)| !names.contains(name));
                }
            }
        }
    }

    fn edit(&mut self, selector: &Selector, change: impl Fn(&mut Payload)) {
        for id in self.select(selector) {
            change(&mut self.points.get_mut(&id).unwrap().1);
        }
    }

    fn select(&self, selector: &Selector) -> Vec<PointId> {
        match selector {
            Selector::Ids(ids) => {
                ids.iter().filter(|id| self.points.contains_key(id)).copied().collect()
            }
            Selector::Filter(filter) => self.matching(filter).collect(),
        }
    }

    pub(crate) fn matching(&self, filter: &shoal_vector::Filter) -> impl Iterator<Item = PointId> {
        let matches = |(id, (vectors, payload)): (&PointId, &Stored)| {
            let sparse = self.sparse.get(id);
            let has_vector = |name: &str| {
                vectors.iter().any(|(n, _)| n == name)
                    || sparse.is_some_and(|sparse| sparse.iter().any(|(n, _)| n == name))
            };
            let subject = Subject { id: *id, payload, has_vector: &has_vector };
            filter.matches(&subject).unwrap().then_some(*id)
        };
        self.points.iter().filter_map(matches)
    }

    /// Ids and scores of the best `k` by a sparse vector, of those that share a dimension with the query.
    pub(crate) fn nearest_sparse(
        &self,
        using: &str,
        query: &SparseVector,
        k: usize,
        ids: impl Iterator<Item = PointId>,
    ) -> Vec<(PointId, f32)> {
        let hit = |id: PointId| {
            let (_, vector) = self.sparse.get(&id)?.iter().find(|(name, _)| name == using)?;
            let shares = vector.indices().iter().any(|index| query.indices().contains(index));
            let weight =
                |index: u32| query.pairs().find(|(i, _)| *i == index).map_or(0.0, |(_, w)| w);
            // From zero, so that none is a negative zero.
            let terms = vector.pairs().map(|(index, value)| weight(index) * value);
            let score = terms.fold(0.0, |sum, term| sum + term);
            shares.then_some(Hit { id, score, seq: 0 })
        };
        let mut hits: Vec<Hit> = ids.filter_map(hit).collect();
        hits.sort_by(|a, b| a.order(b, Metric::Dot));
        hits.into_iter().take(k).map(|hit| (hit.id, hit.score)).collect()
    }

    /// Ids and scores of the best `k` by a vector, of those that have it.
    pub(crate) fn nearest(
        &self,
        using: &VectorConfig,
        query: &[f32],
        k: usize,
        ids: impl Iterator<Item = PointId>,
    ) -> Vec<(PointId, f32)> {
        let metric = using.distance;
        let query = metric.preprocess(query.to_vec());
        let hit = |id: PointId| {
            let (_, vector) = self.points[&id].0.iter().find(|(name, _)| *name == using.name)?;
            Some(Hit { id, score: metric.score(&query, vector), seq: 0 })
        };
        let mut hits: Vec<Hit> = ids.filter_map(hit).collect();
        hits.sort_by(|a, b| a.order(b, metric));
        hits.into_iter().take(k).map(|hit| (hit.id, hit.score)).collect()
    }
}

fn parse(text: &[u8]) -> Payload {
    match text {
        [] => Payload::new(),
        text => serde_json::from_slice(text).unwrap(),
    }
}
