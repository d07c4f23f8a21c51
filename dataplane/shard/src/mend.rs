//! Mending a replica's copy of a shard where it differs from the others': buckets of its points are made those of another
//! replica, at one seq at which both hold all that the log says.
//!
//! What is to change goes into the mutable segment, which freezes at once: so it lies above all that was there, whatever
//! seqs its points have, and becomes a segment in one step with all up to the seq. A crash before that leaves the copy as it
//! was, to be mended again; a start replays nothing at or below the seq after it.
//!
//! Invariant: nothing is changed unless the shard is at the very seq of the comparison.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shoal_vector::{Elements, Op, PointId, PointWithSparse, SparseVectorConfig, VectorConfig};

use crate::api::ShardError;
use crate::apply::parse_payload;
use crate::cancel::Cancel;
use crate::codec::decode_op;
use crate::digest::BucketSet;
use crate::moment::{Block, Moment};
use crate::mutable::{Entry, Put};
use crate::segment::{Damage, PayloadCache};
use crate::validate;
use crate::vectors::{Vectors, number_of, sparse_number_of};
use crate::view::View;

/// Bytes of points that one mending changes at most, unless one block alone has more: what of a segment in memory.
const MAX_BYTES: usize = 32 << 20;

/// Points that are connected in memory; of more, a search looks at all until they are a segment.
const CONNECTED: usize = 1_000;

/// What makes a copy that of another replica. See the file's comment.
#[derive(Debug)]
pub struct Fixes {
    seq: u64,
    puts: Vec<(PointId, Put)>,
    removals: Vec<PointId>,
}

/// What was mended.
#[derive(Clone, Debug)]
pub struct Mended {
    /// Points that are now what the other replica holds.
    pub put: usize,
    /// Points that the other replica does not hold.
    pub removed: usize,
    durable: Arc<AtomicBool>,
}

impl Mended {
    /// Whether a crash leaves it.
    pub fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Acquire)
    }
}

impl Fixes {
    /// The seq at which they are to be made.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.removals.is_empty()
    }
}

/// Why blocks of points are not those of another replica.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// The shard could not be read.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// What came does not hold together.
    #[error("the points that came are not the other replica's: {0}")]
    Invalid(String),
}

/// A comparison under way of a shard's points with those of another replica at the same seq.
#[derive(Debug)]
pub struct Comparison {
    moment: Moment,
    buckets: BucketSet,
    configs: (Vec<VectorConfig>, Vec<SparseVectorConfig>),
    theirs: HashSet<PointId>,
    puts: Vec<(PointId, Put)>,
    bytes: usize,
}

impl Comparison {
    /// Of the points of some buckets.
    pub fn new(moment: Moment, buckets: BucketSet) -> Result<Self, ShardError> {
        let configs = moment.configs()?;
        let (theirs, puts) = (HashSet::new(), Vec::new());
        Ok(Self { moment, buckets, configs, theirs, puts, bytes: 0 })
    }

    /// Takes points of the other replica; each of its points in the buckets has to come once.
    pub fn take(&mut self, block: &Block) -> Result<(), MendError> {
        let invalid = |text: String| MendError::Invalid(text);
        let points = match decode_op(&block.points) {
            Ok(Op::UpsertWithSparse(points)) => points,
            Ok(_) => return Err(invalid("an op that is no upsert".into())),
            Err(error) => return Err(invalid(error.to_string())),
        };
        if points.len() != block.seqs.len() {
            return Err(invalid("there are not as many seqs as points".into()));
        }
        let mut cache = PayloadCache::default();
        for (point, &seq) in points.into_iter().zip(&block.seqs) {
            let id = point.point.id;
            if seq > self.moment.seq() || !self.buckets.contains(id) || !self.theirs.insert(id) {
                return Err(invalid(format!("point {id} of seq {seq} was not asked for")));
            }
            let put = self.put(point, seq)?;
            let differs = self.differs(id, &put, &mut cache);
            // What there is no room for is found again.
            if differs.map_err(|damage| self.moment.damaged(damage))? && self.bytes < MAX_BYTES {
                self.bytes += put.vectors.bytes() + put.payload.len();
                self.puts.push((id, put));
            }
        }
        Ok(())
    }

    /// Vectors are stored as they come: the other replica stored them.
    fn put(&self, point: PointWithSparse, seq: u64) -> Result<Put, MendError> {
        let (dense, sparse) = &self.configs;
        validate::check_stored(&point, dense, sparse)
            .map_err(|error| MendError::Invalid(error.to_string()))?;
        parse_payload(&point.point.payload).map_err(MendError::Invalid)?;
        let numbered = point.point.vectors.into_iter();
        let numbered = numbered
            .filter_map(|(name, vector)| Some((number_of(dense, &name)?, Arc::from(vector))));
        let sparse_numbered = point.sparse.into_iter().filter_map(|(name, vector)| {
            Some((sparse_number_of(sparse, &name)?, Arc::new(vector)))
        });
        let vectors = numbered.collect::<Vectors>().with_sparse(sparse_numbered);
        Ok(Put { seq, vectors, payload: point.point.payload.into() })
    }

    /// Whether the point is not this here. Vectors and payloads are compared too, since they came anyway.
    fn differs(&self, id: PointId, put: &Put, cache: &mut PayloadCache) -> Result<bool, Damage> {
        let Some(own) = self.moment.view.locate(id) else { return Ok(true) };
        let (dense, sparse) = &self.configs;
        let is = |own: Option<Elements<'_>>, theirs: Option<&Arc<[f32]>>| {
            own.map(|own| own.to_vec()).as_deref() == theirs.map(|theirs| &**theirs)
        };
        Ok(own.seq() != put.seq
            || !(0..dense.len()).all(|n| is(own.vector(n), put.vectors.get(n)))
            || !(0..sparse.len())
                .all(|n| own.sparse(n).as_ref() == put.vectors.sparse(n).map(|v| &**v))
            || own.payload(cache)? != &*put.payload)
    }

    /// All points of the buckets came. Looks at every point, on the calling thread.
    pub fn finish(self, cancel: &Cancel) -> Result<Fixes, ShardError> {
        let mut removals = self.moment.ids_in(&self.buckets, cancel)?;
        removals.retain(|id| !self.theirs.contains(id));
        Ok(Fixes { seq: self.moment.seq(), puts: self.puts, removals })
    }
}

impl View {
    /// Makes changes at the seq that this view is at, in a segment of memory that ends there.
    pub(crate) fn mend(&mut self, fixes: Fixes) -> Mended {
        debug_assert_eq!(fixes.seq, self.applied_seq);
        let durable = Arc::new(AtomicBool::new(false));
        let mended = Mended {
            put: fixes.puts.len(),
            removed: fixes.removals.len(),
            durable: durable.clone(),
        };
        let seq = self.applied_seq;
        for id in fixes.removals {
            if self.bury(id) {
                self.mutable.set(id, Entry::Tombstone { seq });
                self.points -= 1;
            }
        }
        let connected = fixes.puts.len() <= CONNECTED;
        for (id, put) in fixes.puts {
            let lived = self.bury(id);
            match connected {
                true => self.mutable.put(id, Arc::new(put), &self.shapes),
                false => self.mutable.put_scattered(id, Arc::new(put)),
            }
            self.points += u64::from(!lived);
        }
        // Also where nothing was applied since the last segment.
        self.mutable.last_seq = seq;
        self.mutable.mended = Some(durable);
        self.freeze();
        mended
    }
}
