//! What an op does to a view.
//!
//! Invariant: the result depends on the view and the op alone, so that a replay, and every replica, ends in the same
//! state. That is why filters are evaluated here and not where the op comes in.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;

use shoal_vector::op::Selector;
use shoal_vector::payload::{self, KeyPath};
use shoal_vector::{Op, Payload, Point, PointId, PointVectors, SparseVector};

use crate::edit::{Edit, EditError, Staged};
use crate::mutable::{Entry, Put};
use crate::read::ReadError;
use crate::segment::{Damage, PayloadCache};
use crate::vectors::{Vectors, sparse_number_of};
use crate::view::{Home, Located, View};

/// Why an op had no effect. It stands in the log and will have none at a replay either.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

/// What applying came to: `Err` for damaged files, `Some` for an op that was refused.
pub(crate) type Applied = Result<Option<Refused>, Damage>;

impl View {
    /// Applies one op at its place in the log.
    pub(crate) fn apply(&mut self, seq: u64, op: &Op, log_bytes: u64) -> Applied {
        debug_assert_eq!(seq, self.applied_seq + 1);
        let refused = self.apply_op(seq, op);
        self.pass(seq, log_bytes);
        refused
    }

    /// Goes past a record that changes no points.
    pub(crate) fn pass(&mut self, seq: u64, log_bytes: u64) {
        self.applied_seq = seq;
        self.mutable.last_seq = seq;
        self.mutable.log_bytes += log_bytes;
    }

    fn apply_op(&mut self, seq: u64, op: &Op) -> Applied {
        let edit = match op {
            Op::Upsert(points) => {
                points.iter().for_each(|point| self.put(seq, point, &[]));
                return Ok(None);
            }
            Op::UpsertWithSparse(points) => {
                points.iter().for_each(|point| self.put(seq, &point.point, &point.sparse));
                return Ok(None);
            }
            Op::Delete(selector) => return self.delete(seq, selector),
            Op::UpdateVectors(points) => return self.update_vectors(seq, points),
            Op::DeleteVectors { names, points } => return self.delete_vectors(seq, names, points),
            Op::SetPayload { payload, key, .. } => Edit::merge(payload, key.as_deref()),
            Op::OverwritePayload { payload, .. } => Ok(Edit::replace(payload)),
            Op::DeletePayload { keys, .. } => parse_paths(keys).map(Edit::Remove),
            Op::ClearPayload(_) => Ok(Edit::replace(b"")),
        };
        let points = match op {
            Op::SetPayload { points, .. }
            | Op::OverwritePayload { points, .. }
            | Op::DeletePayload { points, .. } => points,
            Op::ClearPayload(points) | Op::Delete(points) => points,
            Op::Upsert(_)
            | Op::UpsertWithSparse(_)
            | Op::UpdateVectors(_)
            | Op::DeleteVectors { .. } => return Ok(None),
        };
        match edit {
            Ok(edit) => self.edit(seq, points, &edit),
            Err(refused) => Ok(Some(refused)),
        }
    }

    fn put(&mut self, seq: u64, point: &Point, sparse: &[(String, SparseVector)]) {
        let vectors = self.preprocessed(&point.vectors, sparse);
        let put = Put { seq, vectors, payload: point.payload.as_slice().into() };
        self.put_whole(point.id, put);
    }

    /// Makes this the newest version of a point, whether it lives or not.
    fn put_whole(&mut self, id: PointId, put: Put) {
        let lived = self.bury(id);
        match self.replaying {
            true => self.mutable.put_scattered(id, Arc::new(put)),
            false => self.mutable.put(id, Arc::new(put), &self.shapes),
        }
        self.points += u64::from(!lived);
    }

    /// Vectors as they are stored, by number. Names and lengths were checked before the op was logged.
    fn preprocessed(
        &self,
        vectors: &[(String, Vec<f32>)],
        sparse: &[(String, SparseVector)],
    ) -> Vectors {
        let dense = vectors.iter().filter_map(|(name, vector)| {
            let number = self.number_of(name)?;
            Some((number, self.shapes[number].stored(vector.clone())))
        });
        let sparse = sparse.iter().filter_map(|(name, vector)| {
            Some((sparse_number_of(&self.sparse, name)?, Arc::new(vector.clone())))
        });
        dense.collect::<Vectors>().with_sparse(sparse)
    }

    fn number_of(&self, name: &str) -> Option<usize> {
        self.shapes.iter().position(|shape| shape.name == name)
    }

    /// Changes vectors of all points or of none.
    fn update_vectors(&mut self, seq: u64, points: &[PointVectors]) -> Applied {
        // Of an id that is there twice, the later one adds to the earlier.
        let mut merged: Vec<(PointId, Vectors)> = Vec::with_capacity(points.len());
        let mut places: HashMap<PointId, usize> = HashMap::new();
        for point in points {
            let vectors = self.preprocessed(&point.vectors, &point.sparse);
            match places.entry(point.id) {
                hash_map::Entry::Occupied(at) => {
                    let (_, earlier) = &mut merged[*at.get()];
                    *earlier = earlier.with(&vectors);
                }
                hash_map::Entry::Vacant(place) => {
                    place.insert(merged.len());
                    merged.push((point.id, vectors));
                }
            }
        }
        let mut staged = StagedPoints::default();
        for (id, new) in merged {
            let Some(located) = self.locate(id) else { continue };
            if let Err(refused) = staged.push(&located, located.vectors().with(&new))? {
                return Ok(Some(refused));
            }
        }
        self.put_staged(seq, staged);
        Ok(None)
    }

    /// Removes vectors of all points or of none.
    fn delete_vectors(&mut self, seq: u64, names: &[String], selector: &Selector) -> Applied {
        let ids = match self.select(selector)? {
            Ok(ids) => ids,
            Err(refused) => return Ok(Some(refused)),
        };
        let dense: Vec<usize> = names.iter().filter_map(|name| self.number_of(name)).collect();
        let sparse = names.iter().filter_map(|name| sparse_number_of(&self.sparse, name));
        let sparse: Vec<usize> = sparse.collect();
        let mut staged = StagedPoints::default();
        for id in ids {
            let Some(located) = self.locate(id) else { continue };
            let has = dense.iter().any(|number| located.vector(*number).is_some())
                || sparse.iter().any(|number| located.has_sparse(*number));
            if !has {
                continue;
            }
            let kept = located.vectors().without(&dense, &sparse);
            if let Err(refused) = staged.push(&located, kept)? {
                return Ok(Some(refused));
            }
        }
        self.put_staged(seq, staged);
        Ok(None)
    }

    fn put_staged(&mut self, seq: u64, staged: StagedPoints) {
        for (id, (vectors, payload)) in staged.staged.points {
            self.put_whole(id, Put { seq, vectors, payload });
        }
    }

    fn delete(&mut self, seq: u64, selector: &Selector) -> Applied {
        let ids = match self.select(selector)? {
            Ok(ids) => ids,
            Err(refused) => return Ok(Some(refused)),
        };
        for id in ids {
            if self.bury(id) {
                self.mutable.set(id, Entry::Tombstone { seq });
                self.points -= 1;
            }
        }
        Ok(None)
    }

    /// Has the newest layer decide about an id from now on; whether its point lived.
    pub(crate) fn bury(&mut self, id: PointId) -> bool {
        match self.in_memory(id) {
            Some(lived) => lived,
            None => self.bury_in_segments(id),
        }
    }

    /// Whether a layer in memory decides about an id, and if so whether the point lives.
    fn in_memory(&self, id: PointId) -> Option<bool> {
        self.memory().find_map(|layer| match layer.get(&id) {
            Some(Entry::Put(_)) => Some(true),
            Some(Entry::Tombstone { .. }) => Some(false),
            Some(Entry::Edit { .. }) | None => None,
        })
    }

    /// Edits all payloads or none: what the op would leave is made and counted first.
    fn edit(&mut self, seq: u64, selector: &Selector, edit: &Edit) -> Applied {
        let ids = match self.select(selector)? {
            Ok(ids) => ids,
            Err(refused) => return Ok(Some(refused)),
        };
        let mut cache = PayloadCache::default();
        let mut staged = Staged::default();
        for id in ids {
            let Some(located) = self.locate(id) else { continue };
            let payload = match edit.of(id, || located.payload(&mut cache)) {
                Ok(payload) => payload,
                Err(EditError::Refused(refused)) => return Ok(Some(refused)),
                Err(EditError::Damage(damage)) => return Err(damage),
            };
            let held = edit.held(&payload);
            if let Err(refused) = staged.push(id, payload, held) {
                return Ok(Some(refused));
            }
        }
        staged.points.into_iter().for_each(|(id, payload)| self.set_payload(seq, id, payload));
        Ok(None)
    }

    fn set_payload(&mut self, seq: u64, id: PointId, payload: Arc<[u8]>) {
        if let Some(Entry::Put(put)) = self.mutable.get(&id) {
            let put = Put { seq, vectors: put.vectors.clone(), payload };
            self.mutable.set(id, Entry::Put(Arc::new(put)));
            return;
        }
        let in_segment = self.locate(id).and_then(|located| match located.home {
            Home::Segment(placed, spot) => Some((placed.segment.number, spot.ordinal)),
            Home::Memory(_) => None,
        });
        if let Some((number, ordinal)) = in_segment
            && let Some(placed) =
                self.segments.iter_mut().find(|placed| placed.segment.number == number)
            && !placed.edited.contains(ordinal)
        {
            Arc::make_mut(&mut placed.edited).insert(ordinal);
        }
        self.mutable.set(id, Entry::Edit { seq, payload });
    }

    /// The ids that an op touches, each once.
    fn select(&self, selector: &Selector) -> Result<Result<Vec<PointId>, Refused>, Damage> {
        match selector {
            Selector::Ids(ids) => Ok(Ok(ids.clone())),
            Selector::Filter(filter) => match crate::read::matching_ids(self, filter) {
                Ok(ids) => Ok(Ok(ids)),
                Err(ReadError::Damage(damage)) => Err(damage),
                Err(ReadError::Invalid(text)) => Ok(Err(Refused(text))),
                // Neither is said of an op.
                Err(ReadError::TooLong | ReadError::Cancelled) => Ok(Ok(Vec::new())),
            },
        }
    }
}

/// New versions of points whose vectors change: all of their vectors, and their payloads.
#[derive(Default)]
struct StagedPoints {
    staged: Staged<(Vectors, Arc<[u8]>)>,
    cache: PayloadCache,
}

impl StagedPoints {
    /// Takes a point with other vectors and the payload it has.
    fn push(
        &mut self,
        located: &Located<'_>,
        vectors: Vectors,
    ) -> Result<Result<(), Refused>, Damage> {
        let payload: Arc<[u8]> = located.payload(&mut self.cache)?.into();
        let held = vectors.bytes() + payload.len();
        Ok(self.staged.push(located.id, (vectors, payload), held))
    }
}

/// Reads a stored payload.
pub(crate) fn parse_payload(text: &[u8]) -> Result<Payload, String> {
    match text.is_empty() {
        true => Ok(Payload::new()),
        false => serde_json::from_slice(text).map_err(|error| error.to_string()),
    }
}

/// Key paths of a request or an op.
pub(crate) fn parse_paths(keys: &[String]) -> Result<Vec<KeyPath>, Refused> {
    keys.iter()
        .map(|key| key.parse().map_err(|error: payload::InvalidPath| Refused(error.to_string())))
        .collect()
}
