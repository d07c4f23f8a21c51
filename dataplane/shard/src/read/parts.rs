//! What a reader wants back of each point.

use shoal_vector::payload::{self, KeyPath};
use shoal_vector::{Payload, PointId};

use super::ReadError;
use super::scan::read_payload;
use crate::api::{Parts, Record, Want, WantPayload};
use crate::apply::{parse_paths, parse_payload};
use crate::cancel::Cancel;
use crate::limits::MAX_ANSWER_BYTES;
use crate::segment::{Damage, PayloadCache};
use crate::store::Store;
use crate::view::{Located, View};

/// A [`Want`] made ready: key paths are parsed once a request.
pub(crate) struct Projection<'a> {
    payload: WantedPayload,
    vector_name: Option<&'a str>,
    store: &'a Store,
    cancel: &'a Cancel,
    cache: PayloadCache,
    /// Bytes that the answer may still grow by.
    room: usize,
}

enum WantedPayload {
    No,
    All,
    Include(Vec<KeyPath>),
    Exclude(Vec<KeyPath>),
}

impl<'a> Projection<'a> {
    /// Fails where a key path is none.
    pub(crate) fn new(
        want: &Want,
        vector_name: &'a str,
        store: &'a Store,
        cancel: &'a Cancel,
    ) -> Result<Self, ReadError> {
        let paths =
            |keys: &[String]| parse_paths(keys).map_err(|refused| ReadError::Invalid(refused.0));
        let payload = match &want.payload {
            WantPayload::No => WantedPayload::No,
            WantPayload::All => WantedPayload::All,
            WantPayload::Include(keys) => WantedPayload::Include(paths(keys)?),
            WantPayload::Exclude(keys) => WantedPayload::Exclude(paths(keys)?),
        };
        Ok(Self {
            payload,
            vector_name: want.vectors.then_some(vector_name),
            store,
            cancel,
            cache: PayloadCache::default(),
            room: MAX_ANSWER_BYTES,
        })
    }

    /// Fails once nobody waits for the read.
    pub(crate) fn go_on(&self) -> Result<(), ReadError> {
        Ok(self.cancel.check()?)
    }

    /// What is wanted of a live point. Fails once all that was asked for together is too long for an answer.
    pub(crate) fn parts(&mut self, located: &Located<'_>) -> Result<Parts, ReadError> {
        self.go_on()?;
        let (store, cache) = (self.store, &mut self.cache);
        let mut read = |project: &dyn Fn(Payload) -> Payload| {
            one_payload(located, store, cache).map(project).map(Some)
        };
        let payload = match &self.payload {
            WantedPayload::No => None,
            WantedPayload::All => read(&|whole| whole)?,
            WantedPayload::Include(paths) => read(&|whole| payload::include(&whole, paths))?,
            WantedPayload::Exclude(paths) => read(&|whole| payload::exclude(&whole, paths))?,
        };
        let vectors =
            self.vector_name.map(|name| vec![(name.to_owned(), located.vector().to_vec())]);
        let parts = Parts { payload, vectors };
        self.room = self.room.checked_sub(parts.bytes()).ok_or(ReadError::TooLong)?;
        Ok(parts)
    }
}

/// One point's payload: from the store where it has it, else from where the point is.
fn one_payload(
    located: &Located<'_>,
    store: &Store,
    cache: &mut PayloadCache,
) -> Result<Payload, Damage> {
    let stored = located.stored_item().and_then(|(segment, item)| store.payload(segment, item));
    // What the store holds is not the truth, so what does not parse there is read again where it is.
    match stored.and_then(|text| parse_payload(&text).ok()) {
        Some(payload) => Ok(payload),
        None => read_payload(located, cache),
    }
}

/// The points of these ids that live, in the order asked for.
pub(crate) fn retrieve(
    view: &View,
    ids: &[PointId],
    mut projection: Projection<'_>,
) -> Result<Vec<Record>, ReadError> {
    let found = ids.iter().filter_map(|id| view.locate(*id));
    found.map(|located| Ok(Record { id: located.id, parts: projection.parts(&located)? })).collect()
}
