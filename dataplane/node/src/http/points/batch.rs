//! `POST /collections/{collection_name}/points/batch`: changes of any kind, one after the other.
//!
//! Invariant: every change is checked before the first is made, so that a wrong one leaves all of them undone. Each is
//! atomic as it would be alone; when one fails on its way, those before it are done.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use shoal_vector::Op;

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Weighed;
use super::super::models::selector::PointsSelector;
use super::super::models::vector::Known;
use super::super::params::{Time, WriteParams};
use super::UpdateResult;
use super::payload::{DeletePayload, SetPayload};
use super::upsert::Upsert;
use super::vectors::{DeleteVectors, UpdateVectors};

/// Most changes in one batch: each waits for a sync of its shard's log.
const MAX_OPERATIONS: usize = 1000;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Batch {
    operations: Vec<Operation>,
}

/// One change, under its name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Upsert(Upsert),
    Delete(PointsSelector),
    SetPayload(SetPayload),
    OverwritePayload(SetPayload),
    DeletePayload(DeletePayload),
    ClearPayload(PointsSelector),
    UpdateVectors(UpdateVectors),
    DeleteVectors(DeleteVectors),
}

impl Operation {
    fn into_op(self, known: Known<'_>) -> Result<Op, Failure> {
        match self {
            Operation::Upsert(body) => body.into_op(known),
            Operation::Delete(body) => Ok(Op::Delete(body.into_selector()?)),
            Operation::SetPayload(body) => body.into_set(),
            Operation::OverwritePayload(body) => body.into_overwrite(),
            Operation::DeletePayload(body) => body.into_op(),
            Operation::ClearPayload(body) => Ok(Op::ClearPayload(body.into_selector()?)),
            Operation::UpdateVectors(body) => body.into_op(known),
            Operation::DeleteVectors(body) => body.into_op(known),
        }
    }
}

impl Batch {
    /// The ops, each checked.
    fn into_ops(self, known: Known<'_>) -> Result<Vec<Op>, Failure> {
        if self.operations.len() > MAX_OPERATIONS {
            let why = format!("{}, must be {MAX_OPERATIONS} or fewer", self.operations.len());
            return Err(Failure::field("operations", why));
        }
        let op = |(position, operation): (usize, Operation)| {
            operation
                .into_op(known)
                .map_err(|failure| failure.within(&format!("operations[{position}]")))
        };
        self.operations.into_iter().enumerate().map(op).collect()
    }
}

/// `POST /collections/{collection_name}/points/batch`
pub(in super::super) async fn batch(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Weighed(body, bytes): Weighed<Batch>,
) -> Result<Reply<Vec<UpdateResult>>, Failure> {
    let collection = state.router.collection(&name)?;
    let ops = shoal_shard::compute(bytes, || body.into_ops(Known::from(&*collection)))?;
    let wait = params.wait();
    let write_all = async |time: Time| {
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            let ack = state.router.write(&collection, op, wait, time.write()).await?;
            results.push(UpdateResult::new(ack, wait));
        }
        Ok(results)
    };
    let results = params.run(state.router.deadlines(), write_all).await?;
    Ok(Reply::whole(started, results))
}
