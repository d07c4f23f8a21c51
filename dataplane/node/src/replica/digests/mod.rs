//! Anti-entropy: whether the replicas of a shard hold the same points, and mending those that do not.
//!
//! The primary asks now and then ([`watch`]). It names a seq that is about to be applied, and all take their digests there
//! ([`round`]), while reads and writes go on; the log says nothing of it. What differs, and whose copy is believed, is
//! decided in [`judge`]. A replica that differs then holds still at another such seq, while the primary sends it the points
//! of the buckets that differ ([`send`], [`take`]).
//!
//! Invariant: copies are compared, and mended, at one seq alone, and the log up to a seq that was applied is the same
//! everywhere; so it does not matter who leads by the time.

mod judge;
mod round;
mod send;
mod take;
mod watch;
mod wire;

use std::time::Duration;

use shoal_consensus::Seq;
use shoal_proto::pb;
use shoal_proto::pb::digest_reply::Outcome;
use shoal_shard::Cancel;
use shoal_shard::api::ShardError;
use tonic::Status;

use super::driver::NotCaptured;
use super::handle::ReplicaHandle;
use crate::status::to_status;

pub(super) use take::{Mending, Replies, digest};
pub(super) use watch::Watch;

/// How long another replica may take to say what it holds: to look at every point of a large shard takes seconds.
const ANSWER: Duration = Duration::from_secs(60);

/// How far ahead of what is committed a seq is that all are asked to stop at.
#[derive(Clone, Copy, Debug)]
struct Lead(u64);

/// Time in which what is committed is counted, and how many times that a request takes to reach all, with room to spare.
const COUNT: (Duration, u64) = (Duration::from_millis(100), 4);

/// Ops that a seq is ahead at least, once one was too late.
const LEAST_LEAD: u64 = 16;

impl Lead {
    /// By how many ops are committed now.
    async fn measure(handle: &ReplicaHandle) -> Self {
        let before = handle.status().commit;
        crate::clock::sleep(COUNT.0).await;
        Lead(handle.status().commit.saturating_sub(before) * COUNT.1)
    }

    /// A seq for all to stop at.
    fn seq(self, handle: &ReplicaHandle) -> Seq {
        handle.status().commit.saturating_add(self.0)
    }

    /// What to try after some could not stop at a seq.
    fn after(self, why: NotCaptured) -> Self {
        match why {
            NotCaptured::Past => Lead((self.0 * 2).max(LEAST_LEAD)),
            // Ops ceased to come.
            NotCaptured::NotThere => Lead(0),
            NotCaptured::Busy => self,
        }
    }

    /// Lets some time pass before the next attempt.
    async fn pause() {
        crate::clock::sleep(COUNT.0).await;
    }
}

fn encode_outcome(outcome: Result<(), NotCaptured>) -> Outcome {
    match outcome {
        Ok(()) => Outcome::Reached,
        Err(NotCaptured::Past) => Outcome::Past,
        Err(NotCaptured::NotThere) => Outcome::NotThere,
        Err(NotCaptured::Busy) => Outcome::Busy,
    }
}

/// Whether a seq was reached, as another replica says.
fn decode_outcome(reply: &pb::DigestReply) -> Result<Result<(), NotCaptured>, Status> {
    match reply.outcome() {
        Outcome::Reached => Ok(Ok(())),
        Outcome::Past => Ok(Err(NotCaptured::Past)),
        Outcome::NotThere => Ok(Err(NotCaptured::NotThere)),
        Outcome::Busy => Ok(Err(NotCaptured::Busy)),
        Outcome::Unknown => Err(Status::internal("an outcome that is not known here")),
    }
}

/// Ends work whose caller went away.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Does something where blocking is allowed. It is cancelled if the future is dropped.
async fn blocking<T: Send + 'static, E: Into<Failure> + Send + 'static>(
    work: impl FnOnce(&Cancel) -> Result<T, E> + Send + 'static,
) -> Result<T, Status> {
    let cancel = CancelOnDrop(Cancel::default());
    let seen = cancel.0.clone();
    match tokio::task::spawn_blocking(move || work(&seen)).await {
        Ok(done) => done.map_err(|error| error.into().0),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

/// What other replicas are told of an error.
struct Failure(Status);

impl From<ShardError> for Failure {
    fn from(error: ShardError) -> Self {
        Failure(to_status(&error))
    }
}

impl From<shoal_shard::mend::MendError> for Failure {
    fn from(error: shoal_shard::mend::MendError) -> Self {
        match error {
            shoal_shard::mend::MendError::Shard(error) => error.into(),
            invalid => Failure(Status::invalid_argument(invalid.to_string())),
        }
    }
}
