//! What an op does to a view.
//!
//! Invariant: the result depends on the view and the op alone, so that a replay, and every replica, ends in the same
//! state. That is why filters are evaluated here and not where the op comes in.

use std::sync::Arc;

use shoal_vector::op::Selector;
use shoal_vector::payload::{self, KeyPath};
use shoal_vector::{Op, Payload, Point, PointId};

use crate::edit::{Edit, EditError, Staged};
use crate::mutable::{Entry, Put};
use crate::read::ReadError;
use crate::segment::{Damage, PayloadCache};
use crate::vectors::Vectors;
use crate::view::{Home, View};

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
                points.iter().for_each(|point| self.put(seq, point));
                return Ok(None);
            }
            Op::Delete(selector) => return self.delete(seq, selector),
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
            Op::Upsert(_) => return Ok(None),
        };
        match edit {
            Ok(edit) => self.edit(seq, points, &edit),
            Err(refused) => Ok(Some(refused)),
        }
    }

    fn put(&mut self, seq: u64, point: &Point) {
        let lived = match self.in_memory(point.id) {
            Some(lived) => lived,
            None => self.bury_in_segments(point.id),
        };
        let vectors = self.preprocessed(&point.vectors);
        let put = Put { seq, vectors, payload: point.payload.as_slice().into() };
        match self.replaying {
            true => self.mutable.put_scattered(point.id, Arc::new(put)),
            false => self.mutable.put(point.id, Arc::new(put), &self.shapes),
        }
        self.points += u64::from(!lived);
    }

    /// Vectors as they are stored. Names and lengths were checked before the op was logged.
    fn preprocessed(&self, vectors: &[(String, Vec<f32>)]) -> Vectors {
        let numbered = vectors.iter().filter_map(|(name, vector)| {
            let number = self.shapes.iter().position(|shape| shape.name == *name)?;
            Some((number, self.shapes[number].metric.preprocess(vector.clone()).into()))
        });
        numbered.collect()
    }

    fn delete(&mut self, seq: u64, selector: &Selector) -> Applied {
        let ids = match self.select(selector)? {
            Ok(ids) => ids,
            Err(refused) => return Ok(Some(refused)),
        };
        for id in ids {
            let lived = match self.in_memory(id) {
                Some(lived) => lived,
                None => self.bury_in_segments(id),
            };
            if lived {
                self.mutable.set(id, Entry::Tombstone { seq });
                self.points -= 1;
            }
        }
        Ok(None)
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
            if let Err(refused) = staged.push(id, payload, edit.is_shared()) {
                return Ok(Some(refused));
            }
        }
        staged.payloads.into_iter().for_each(|(id, payload)| self.set_payload(seq, id, payload));
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
