//! A shard as it is at one seq, held for as long as somebody looks at it: to make its digest, and to give copies of the
//! points of some buckets to a replica that holds others.
//!
//! It keeps the memory and the space of what is replaced since, and not the shard's folder.

use std::sync::{Arc, Weak};

use shoal_vector::{Op, Point, PointId, PointWithSparse, SparseVectorConfig, VectorConfig};

use crate::api::ShardError;
use crate::cancel::Cancel;
use crate::codec::encode_op;
use crate::digest::{self, BucketSet, Digest};
use crate::segment::{Damage, PayloadCache};
use crate::shared::Shared;
use crate::view::{Located, View};

/// Bytes of points in one block, unless one point alone has more.
const BLOCK_BYTES: usize = 512 << 10;

/// See the file's comment. Clones are of the same seq.
#[derive(Clone)]
pub struct Moment {
    pub(crate) view: Arc<View>,
    pub(crate) shared: Weak<Shared>,
    name: Arc<str>,
}

/// Points as another replica of the shard holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The newest op that touched each point, in the order of the points.
    pub seqs: Vec<u64>,
    /// The points as an encoded upsert, vectors as they are stored.
    pub points: Vec<u8>,
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment").field("shard", &self.name).field("seq", &self.seq()).finish()
    }
}

impl Moment {
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        let view = shared.view.load_full();
        let name = shared.identity.shard.as_str().into();
        Self { view, shared: Arc::downgrade(shared), name }
    }

    /// The last op whose effect is in it.
    pub fn seq(&self) -> u64 {
        self.view.applied_seq
    }

    /// Its digest. Looks at every point, on the calling thread.
    pub fn digest(&self, cancel: &Cancel) -> Result<Digest, ShardError> {
        self.shared()?.check_whole()?;
        digest::digest(&self.view, cancel).map_err(|_| self.cancelled())
    }

    /// Ids of the points in some buckets, ascending. Looks at every point, on the calling thread.
    pub fn ids_in(&self, buckets: &BucketSet, cancel: &Cancel) -> Result<Vec<PointId>, ShardError> {
        let mut ids = Vec::new();
        let all = digest::each(&self.view, cancel, |located| {
            if buckets.contains(located.id) {
                ids.push(located.id);
            }
        });
        all.map_err(|_| self.cancelled())?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Copies of the first of these points, as many as go into a block; how many were looked at, those among them that do
    /// not live here too.
    pub fn block(&self, ids: &[PointId]) -> Result<(Block, usize), ShardError> {
        let (mut seqs, mut points, mut bytes, mut taken) = (Vec::new(), Vec::new(), 0, 0);
        let mut cache = PayloadCache::default();
        for id in ids {
            if bytes >= BLOCK_BYTES {
                break;
            }
            taken += 1;
            let Some(located) = self.view.locate(*id) else { continue };
            let point = self.copy(&located, &mut cache);
            let point = point.map_err(|damage| self.damaged(damage))?;
            bytes += 64 + located.vectors().bytes() + point.point.payload.len();
            seqs.push(located.seq());
            points.push(point);
        }
        Ok((Block { seqs, points: encode_op(&Op::UpsertWithSparse(points)) }, taken))
    }

    fn copy(
        &self,
        located: &Located<'_>,
        cache: &mut PayloadCache,
    ) -> Result<PointWithSparse, Damage> {
        let vectors = located.vectors();
        let name = |number: usize| self.view.shapes.get(number).map(|shape| shape.name.clone());
        let dense = vectors.iter().filter_map(|(n, vector)| Some((name(n)?, vector.to_vec())));
        let sparse_name = |n: usize| self.view.sparse.get(n).map(|config| config.name.clone());
        let sparse = vectors.iter_sparse();
        let sparse = sparse.filter_map(|(n, vector)| Some((sparse_name(n)?, (**vector).clone())));
        let (id, payload) = (located.id, located.payload(cache)?.to_vec());
        let point = Point { id, vectors: dense.collect(), payload };
        Ok(PointWithSparse { point, sparse: sparse.collect() })
    }

    /// What its points are checked against.
    pub(crate) fn configs(
        &self,
    ) -> Result<(Vec<VectorConfig>, Vec<SparseVectorConfig>), ShardError> {
        let shared = self.shared()?;
        Ok((shared.identity.vectors.clone(), shared.identity.sparse.clone()))
    }

    fn shared(&self) -> Result<Arc<Shared>, ShardError> {
        self.shared.upgrade().ok_or_else(|| ShardError::NotReady {
            shard: self.name.to_string(),
            detail: "it was closed meanwhile".into(),
        })
    }

    pub(crate) fn cancelled(&self) -> ShardError {
        ShardError::Cancelled { shard: self.name.to_string() }
    }

    pub(crate) fn damaged(&self, damage: Damage) -> ShardError {
        match self.shared() {
            Ok(shared) => shared.report_damage(damage),
            Err(closed) => closed,
        }
    }
}
