//! Points of a collection: writing, reading, counting and removing them.

pub(super) mod batch;
pub(super) mod count;
pub(super) mod delete;
pub(super) mod payload;
pub(super) mod read;
pub(super) mod scroll;
pub(super) mod upsert;
pub(super) mod vectors;

use serde::Serialize;
use shoal_shard::api::WriteAck;
use shoal_vector::Op;

use super::AppState;
use super::envelope::{Reply, Started};
use super::error::Failure;
use super::params::WriteParams;
use crate::router::Collection;

/// What a change came to.
#[derive(Debug, Serialize)]
pub(super) struct UpdateResult {
    operation_id: u64,
    status: &'static str,
}

impl UpdateResult {
    /// A change that is no op in a log.
    pub(super) fn of_change(done: bool) -> Self {
        Self { operation_id: 0, status: if done { "completed" } else { "acknowledged" } }
    }
}

/// Sends an op on its way and waits as the client wishes. It is durable before this answers, with or without `wait`.
async fn write(
    state: &AppState,
    started: Started,
    params: &WriteParams,
    collection: &Collection,
    op: Op,
) -> Result<Reply<UpdateResult>, Failure> {
    let wait = params.wait();
    let ack = params
        .run(state.router.deadlines(), async |time| {
            Ok(state.router.write(collection, op, wait, time.write()).await?)
        })
        .await?;
    Ok(Reply::whole(started, UpdateResult::new(ack, wait)))
}

impl UpdateResult {
    /// What a client is told of a write that is durable.
    fn new(ack: WriteAck, wait: bool) -> Self {
        let status = if wait && ack.visible { "completed" } else { "acknowledged" };
        Self { operation_id: ack.seq, status }
    }
}
