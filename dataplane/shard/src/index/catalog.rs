//! The fields that are to be indexed, and the indexes that are ready.
//!
//! Readers take what is ready at one moment, as they take a view; a segment never changes, so an index of it is right for
//! every view that has it. Invariant: what is ready takes at most [`MAX_INDEX_BYTES`].

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use shoal_vector::payload::{InvalidPath, KeyPath, PayloadIndex};

use super::field::FieldIndex;
use crate::api::FilterCounts;
use crate::codec::encode_index;
use crate::env;

/// Bytes of the indexes of one shard in memory: a keyword or a number of each of a million points takes 12 MB, so this is
/// twenty of those. What does not fit is left out, and told.
pub(crate) const MAX_INDEX_BYTES: usize = 256 << 20;

/// A field that is to be indexed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) config: PayloadIndex,
    pub(crate) path: KeyPath,
}

impl Field {
    /// Under what its indexes are stored.
    pub(super) fn stored_name(&self) -> Vec<u8> {
        encode_index(&self.config)
    }
}

/// The indexes of one segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentIndex {
    /// By field; `None` for one that is left out.
    fields: HashMap<KeyPath, (PayloadIndex, Option<Arc<FieldIndex>>)>,
}

impl SegmentIndex {
    pub(crate) fn field(&self, path: &KeyPath) -> Option<&FieldIndex> {
        self.fields.get(path)?.1.as_deref()
    }

    /// Adds the index of a field; `None` for one that could not be made.
    pub(super) fn insert(&mut self, field: &Field, index: Option<Arc<FieldIndex>>) {
        self.fields.insert(field.path.clone(), (field.config.clone(), index));
    }

    /// Whether nothing more is to be done about a field.
    pub(crate) fn settles(&self, field: &Field) -> bool {
        self.fields.get(&field.path).is_some_and(|(config, _)| *config == field.config)
    }

    fn bytes(&self) -> usize {
        self.fields.values().filter_map(|(_, index)| index.as_ref()).map(|i| i.bytes()).sum()
    }
}

/// Indexes that are ready, by the number of their segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ready {
    segments: HashMap<u64, Arc<SegmentIndex>>,
    bytes: usize,
}

impl Ready {
    pub(crate) fn segment(&self, number: u64) -> Option<&SegmentIndex> {
        self.segments.get(&number).map(|index| &**index)
    }

    /// Those that were left out.
    pub(crate) fn left_out(&self) -> u64 {
        let fields = self.segments.values().flat_map(|segment| segment.fields.values());
        fields.filter(|(_, index)| index.is_none()).count() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }
}

/// How a part of a filtered search was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    /// By comparing all points that an index says match.
    Scan,
    /// By a walk among points that an index says match.
    Walk,
    /// By looking at payloads, of all points or of those that a walk met.
    Payloads,
}

/// See the file's comment.
#[derive(Default)]
pub(crate) struct Indexes {
    wanted: ArcSwap<Vec<Field>>,
    ready: ArcSwap<Ready>,
    /// Held by whoever changes `ready`.
    changing: Mutex<()>,
    scans: AtomicU64,
    walks: AtomicU64,
    payloads: AtomicU64,
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexes").field("wanted", &self.wanted.load()).finish_non_exhaustive()
    }
}

impl Indexes {
    /// Says which fields are to be indexed from now on.
    pub(crate) fn want(&self, fields: &[PayloadIndex]) -> Result<(), InvalidPath> {
        let field =
            |config: &PayloadIndex| Ok(Field { config: config.clone(), path: config.path()? });
        let fields = fields.iter().map(field).collect::<Result<Vec<_>, InvalidPath>>()?;
        let _changing = env::lock(&self.changing);
        self.wanted.store(Arc::new(fields));
        Ok(())
    }

    pub(crate) fn wanted(&self) -> Arc<Vec<Field>> {
        self.wanted.load_full()
    }

    pub(crate) fn ready(&self) -> Arc<Ready> {
        self.ready.load_full()
    }

    /// Adds the index of a field of a segment; `None` for one that could not be made. False if there is no room for it.
    pub(super) fn add(&self, segment: u64, field: &Field, index: Option<Arc<FieldIndex>>) -> bool {
        let _changing = env::lock(&self.changing);
        if !self.wanted.load().contains(field) {
            return true;
        }
        let mut ready = Ready::clone(&self.ready.load());
        let more = index.as_ref().map_or(0, |index| index.bytes());
        let fits = ready.bytes + more <= MAX_INDEX_BYTES;
        let of_segment = Arc::make_mut(ready.segments.entry(segment).or_default());
        let index = index.filter(|_| fits);
        of_segment.insert(field, index);
        self.store(ready);
        fits
    }

    /// Drops what is neither wanted nor of a segment that there is, or that there may be soon: one of a number above all.
    pub(super) fn retain(&self, segments: &HashSet<u64>) {
        let _changing = env::lock(&self.changing);
        let (wanted, newest) = (self.wanted.load(), segments.iter().max().copied());
        let mut ready = Ready::clone(&self.ready.load());
        let before: usize = ready.segments.values().map(|segment| segment.fields.len()).sum();
        ready.segments.retain(|number, _| segments.contains(number) || Some(*number) > newest);
        for segment in ready.segments.values_mut() {
            let stays = |config: &PayloadIndex| wanted.iter().any(|field| field.config == *config);
            if !segment.fields.values().all(|(config, _)| stays(config)) {
                Arc::make_mut(segment).fields.retain(|_, (config, _)| stays(config));
            }
        }
        if before != ready.segments.values().map(|segment| segment.fields.len()).sum::<usize>() {
            // There is room again, so what was left out is tried again.
            for segment in ready.segments.values_mut() {
                Arc::make_mut(segment).fields.retain(|_, (_, index)| index.is_some());
            }
            self.store(ready);
        }
    }

    /// Drops the indexes of a segment.
    pub(super) fn forget(&self, segment: u64) {
        let _changing = env::lock(&self.changing);
        let mut ready = Ready::clone(&self.ready.load());
        if ready.segments.remove(&segment).is_some() {
            self.store(ready);
        }
    }

    fn store(&self, mut ready: Ready) {
        ready.bytes = ready.segments.values().map(|segment| segment.bytes()).sum();
        self.ready.store(Arc::new(ready));
    }

    pub(crate) fn count(&self, how: Counted) {
        let counter = match how {
            Counted::Scan => &self.scans,
            Counted::Walk => &self.walks,
            Counted::Payloads => &self.payloads,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> FilterCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FilterCounts {
            scans: read(&self.scans),
            walks: read(&self.walks),
            payloads: read(&self.payloads),
        }
    }
}
