//! What a payload edit makes of one payload, and what an op makes of all points together before any of it counts.
//!
//! Invariant: the result depends on the op and the payloads alone, and an op that would hold more than
//! [`MAX_EDIT_BYTES`], or make one payload larger than [`MAX_PAYLOAD_BYTES`], is refused before it has taken that
//! memory. It stands in the log, so what is not refused here would come again at every start.

use std::sync::Arc;

use shoal_vector::payload::{self, KeyPath};
use shoal_vector::{Payload, PointId};

use crate::apply::{Refused, parse_payload};
use crate::limits::{MAX_EDIT_BYTES, MAX_PAYLOAD_BYTES, PAYLOAD_BLOCK_BYTES};
use crate::mutable::ENTRY_BYTES;
use crate::segment::Damage;

/// What an edit does to each payload.
pub(crate) enum Edit {
    /// Merges an object in. `len` are the bytes that each copy of it adds at least.
    Merge { at: Option<KeyPath>, change: Payload, len: usize },
    /// Replaces it with this one, which all points share.
    Replace(Arc<[u8]>),
    /// Removes keys.
    Remove(Vec<KeyPath>),
}

/// Why an edit has no result.
#[derive(Debug)]
pub(crate) enum EditError {
    Refused(Refused),
    Damage(Damage),
}

impl Edit {
    pub(crate) fn merge(change: &[u8], key: Option<&str>) -> Result<Self, Refused> {
        let at = key
            .map(str::parse)
            .transpose()
            .map_err(|error: payload::InvalidPath| Refused(error.to_string()))?;
        let bad = |error: &dyn std::fmt::Display| Refused(format!("payload: {error}"));
        let change = parse_payload(change).map_err(|error| bad(&error))?;
        // A null removes its key, so it adds nothing.
        let added: std::collections::BTreeMap<_, _> =
            change.iter().filter(|(_, value)| !value.is_null()).collect();
        let len = serde_json::to_vec(&added).map_err(|error| bad(&error))?.len();
        Ok(Edit::Merge { at, change, len })
    }

    pub(crate) fn replace(payload: &[u8]) -> Self {
        Edit::Replace(payload.into())
    }

    /// Bytes that a point's new payload takes.
    pub(crate) fn held(&self, payload: &[u8]) -> usize {
        match self {
            Edit::Replace(_) => shared_bytes(payload.len()),
            Edit::Merge { .. } | Edit::Remove(_) => payload.len(),
        }
    }

    /// The payload of a point after the edit, given what reads the one before.
    pub(crate) fn of<'p>(
        &self,
        id: PointId,
        old: impl FnOnce() -> Result<&'p [u8], Damage>,
    ) -> Result<Arc<[u8]>, EditError> {
        if let Edit::Replace(new) = self {
            return Ok(new.clone());
        }
        let damaged =
            |detail| EditError::Damage(Damage { file: format!("payload of point {id}"), detail });
        let mut payload = parse_payload(old().map_err(EditError::Damage)?).map_err(damaged)?;
        match self {
            Edit::Merge { at, change, len } => {
                let least = payload::merged_len_at_least(&payload, at.as_ref(), *len);
                check_len(id, least)?;
                payload::merge(&mut payload, at.as_ref(), change);
            }
            Edit::Remove(paths) => {
                paths.iter().for_each(|path| payload::remove(&mut payload, path))
            }
            Edit::Replace(_) => {}
        }
        if payload.is_empty() {
            return Ok(Arc::default());
        }
        let text = serde_json::to_vec(&payload).map_err(|error| damaged(error.to_string()))?;
        check_len(id, text.len())?;
        Ok(text.into())
    }
}

fn check_len(id: PointId, len: usize) -> Result<(), EditError> {
    match len > MAX_PAYLOAD_BYTES {
        true => Err(EditError::Refused(Refused(format!(
            "payload of point {id} would exceed {MAX_PAYLOAD_BYTES} bytes; nothing was changed. Set less of it, or \
             leave the point out"
        )))),
        false => Ok(()),
    }
}

/// What an op makes of points, before it counts.
pub(crate) struct Staged<T> {
    pub(crate) points: Vec<(PointId, T)>,
    bytes: usize,
}

impl<T> Default for Staged<T> {
    fn default() -> Self {
        Self { points: Vec::new(), bytes: 0 }
    }
}

impl<T> Staged<T> {
    /// Takes what becomes of a point, which holds so many bytes, unless the op then held too much.
    pub(crate) fn push(&mut self, id: PointId, new: T, held: usize) -> Result<(), Refused> {
        self.bytes = self.bytes.saturating_add(ENTRY_BYTES + held);
        if self.bytes > MAX_EDIT_BYTES {
            return Err(Refused(format!(
                "the points that this request changes would take more than {MAX_EDIT_BYTES} bytes; nothing was \
                 changed. Narrow the filter, or split the request into several that each touch fewer points"
            )));
        }
        self.points.push((id, new));
        Ok(())
    }
}

/// Bytes that a point's copy of a shared payload takes once it is flushed: in memory there is one for all, and in a
/// segment a block of repetitions compresses to about one of them.
fn shared_bytes(len: usize) -> usize {
    match len < PAYLOAD_BLOCK_BYTES {
        true => len * len / PAYLOAD_BLOCK_BYTES,
        false => len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> PointId {
        PointId::Num(1)
    }

    fn merged(old: &str, change: &str, key: Option<&str>) -> Result<String, EditError> {
        let edit = Edit::merge(change.as_bytes(), key).unwrap();
        let new = edit.of(id(), || Ok(old.as_bytes()))?;
        Ok(String::from_utf8(new.to_vec()).unwrap())
    }

    #[test]
    fn a_merge_into_every_element_is_refused_before_the_copies_are_made() {
        let old = format!("{{\"a\":[{}0]}}", "0,".repeat(8_000_000));
        // 8 million copies of a megabyte: with them made first, this test does not end.
        let change = format!("{{\"b\":\"{}\"}}", "x".repeat(1 << 20));
        let refused = merged(&old, &change, Some("a[]")).unwrap_err();
        assert!(
            matches!(&refused, EditError::Refused(Refused(text)) if text.contains("point 1 would exceed")),
            "{refused:?}"
        );
        let long = format!("a[].\"{}\"[]", "k".repeat(1 << 20));
        assert!(matches!(merged(&old, "{\"b\":1}", Some(&long)), Err(EditError::Refused(_))));
    }

    #[test]
    fn a_merge_that_removes_or_fits_is_not_refused() {
        let old = format!("{{\"a\":[{}{{\"b\":1}}]}}", "{\"b\":1},".repeat(1_000_000));
        let gone = merged(&old, "{\"b\":null}", Some("a[]")).unwrap();
        assert_eq!(gone.len(), old.len() - 1_000_001 * "\"b\":1".len());
        assert_eq!(merged("", "{\"b\":1}", Some("x.y")).unwrap(), "{\"x\":{\"y\":{\"b\":1}}}");
    }

    #[test]
    fn payloads_of_their_own_count_in_full_and_a_shared_one_as_what_a_flush_makes_of_it() {
        let payload: Arc<[u8]> = vec![b'x'; 1 << 20].into();
        let mut staged = Staged::default();
        let own = Edit::Remove(vec![]).held(&payload);
        let pushed = (0..).take_while(|_| staged.push(id(), payload.clone(), own).is_ok());
        assert_eq!(pushed.count(), MAX_EDIT_BYTES / ((1 << 20) + ENTRY_BYTES));
        // A short payload over a few million points of one shard is an ordinary request.
        let short: Arc<[u8]> = vec![b'x'; 100].into();
        let mut staged = Staged::default();
        let shared = Edit::replace(&short).held(&short);
        for _ in 0..3_000_000 {
            staged.push(id(), short.clone(), shared).unwrap();
        }
        let refused = (0..10_000_000).find_map(|_| staged.push(id(), short.clone(), shared).err());
        assert!(refused.is_some_and(|Refused(text)| text.contains("Narrow the filter")));
    }
}
