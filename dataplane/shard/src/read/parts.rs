//! What a reader wants back of each point.

use shoal_vector::payload::{self, KeyPath};
use shoal_vector::{Payload, PointId, SparseVectorConfig, VectorConfig};

use super::ReadError;
use super::matching::one_payload;
use crate::api::{Parts, Record, Want, WantPayload, WantVectors};
use crate::apply::{parse_paths, parse_payload};
use crate::cancel::Cancel;
use crate::limits::MAX_ANSWER_BYTES;
use crate::segment::PayloadCache;
use crate::store::Store;
use crate::validate::no_such_vector;
use crate::vectors::{number_of, sparse_number_of};
use crate::view::{Located, View};

/// A [`Want`] made ready: key paths are parsed once a request.
pub(crate) struct Projection<'a> {
    payload: WantedPayload,
    /// Numbers and names of the wanted vectors.
    vectors: Option<Vec<(usize, &'a str)>>,
    /// The same, of sparse vectors.
    sparse: Vec<(usize, &'a str)>,
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
    /// Fails where a key path is none, or a vector's name is not the collection's.
    pub(crate) fn new(
        want: &Want,
        configs: &'a [VectorConfig],
        sparse_configs: &'a [SparseVectorConfig],
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
        let all = || configs.iter().map(|config| config.name.as_str()).enumerate();
        let all_sparse = || sparse_configs.iter().map(|config| config.name.as_str()).enumerate();
        let (vectors, sparse) = match &want.vectors {
            WantVectors::No => (None, Vec::new()),
            WantVectors::All => (Some(all().collect()), all_sparse().collect()),
            WantVectors::Named(names) => {
                let is_known = |name: &&String| {
                    number_of(configs, name).is_some()
                        || sparse_number_of(sparse_configs, name).is_some()
                };
                if let Some(name) = names.iter().find(|name| !is_known(name)) {
                    return Err(ReadError::Invalid(no_such_vector(name)));
                }
                let wanted = |(_, name): &(usize, &str)| names.iter().any(|n| n == name);
                (Some(all().filter(wanted).collect()), all_sparse().filter(wanted).collect())
            }
        };
        Ok(Self {
            payload,
            vectors,
            sparse,
            store,
            cancel,
            cache: PayloadCache::default(),
            room: MAX_ANSWER_BYTES,
        })
    }

    /// Where single payloads are read.
    pub(super) fn store(&self) -> &'a Store {
        self.store
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
            one_payload(located, Some(store), cache, parse_payload).map(project).map(Some)
        };
        let payload = match &self.payload {
            WantedPayload::No => None,
            WantedPayload::All => read(&|whole| whole)?,
            WantedPayload::Include(paths) => read(&|whole| payload::include(&whole, paths))?,
            WantedPayload::Exclude(paths) => read(&|whole| payload::exclude(&whole, paths))?,
        };
        let one = |&(number, name): &(usize, &str)| {
            Some((name.to_owned(), located.vector(number)?.to_vec()))
        };
        let vectors = self.vectors.as_ref().map(|wanted| wanted.iter().filter_map(one).collect());
        let one =
            |&(number, name): &(usize, &str)| Some((name.to_owned(), located.sparse(number)?));
        let sparse = self.sparse.iter().filter_map(one).collect();
        let parts = Parts { payload, vectors, sparse };
        self.room = self.room.checked_sub(parts.bytes()).ok_or(ReadError::TooLong)?;
        Ok(parts)
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
