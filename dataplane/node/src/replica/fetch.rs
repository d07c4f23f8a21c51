//! Fetching a snapshot from the primary into a folder. A stream that breaks is asked for again from the first file on that
//! is not whole here.
//!
//! Invariant: what is restored was checked, frame by frame, file by file and as a whole; anything else is an error, and
//! leaves a folder in which no shard opens.

use std::path::PathBuf;
use std::time::Duration;

use shoal_consensus::{DiskId, Epoch};
use shoal_proto::pb;
use shoal_proto::pb::snapshot_block::What;
use shoal_proto::version::{self, Stamped};
use shoal_shard::api::Identity;
use shoal_shard::snapshot::{Restore, RestoreError, Restored};
use tonic::{Code, Status};

use super::channel::connect;
use super::snapshots::{decode_id, encode_id};
use super::wire;
use crate::clock;
use crate::target::Addressee;
use crate::token::SharedToken;

/// Attempts in a row that bring no further file: with the pauses between them about a quarter of a minute.
const ATTEMPTS: u32 = 30;
/// Pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(500);

/// Where a snapshot is fetched from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The primary's `HOST:PORT`.
    pub address: String,
    /// The shard.
    pub addressee: Addressee,
    /// The token of the namespace.
    pub token: SharedToken,
}

/// Where it is fetched to: a folder that is empty, or holds a part of a snapshot.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The replica's folder. The snapshot is restored into one inside it.
    pub dir: PathBuf,
    /// Whose shard it will be.
    pub identity: Identity,
    /// The disk's id, which stays.
    pub disk: uuid::Uuid,
}

impl Destination {
    /// Begins to restore, or goes on.
    fn begin(&self) -> Result<Restore, RestoreError> {
        Restore::begin_replica(&self.dir, self.identity.clone(), self.disk)
    }
}

/// A snapshot that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The disk that sent it.
    pub from: DiskId,
    /// The epoch that it led when it began to send the last of it.
    pub epoch: Epoch,
    /// What the folder holds now.
    pub restored: Restored,
}

/// Why none came.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The sender could not be reached, or the stream broke, too often.
    #[error("no snapshot from {address} after {attempts} attempts: {}", status.message())]
    Broken {
        /// The sender.
        address: String,
        /// How often it was asked.
        attempts: u32,
        /// Why the last one failed.
        status: Box<Status>,
    },
    /// It refused, and will again.
    #[error("{address} gives no snapshot: {}", status.message())]
    Refused {
        /// The sender.
        address: String,
        /// What it said.
        status: Box<Status>,
    },
    /// What came is no snapshot for this folder.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// Why one attempt failed.
enum Failed {
    Stream(Box<Status>),
    Restore(RestoreError),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Failed::Stream(Box::new(status))
    }
}

impl From<RestoreError> for Failed {
    fn from(error: RestoreError) -> Self {
        match error {
            // The other side went away in good order.
            RestoreError::Short { .. } => Failed::from(Status::unavailable(error.to_string())),
            error => Failed::Restore(error),
        }
    }
}

/// Fetches a snapshot. Dropped before its end it leaves what is whole for the next attempt.
pub async fn fetch(source: &Source, to: &Destination) -> Result<Fetched, FetchError> {
    let (mut attempts, mut in_a_row, mut best) = (0, 0, None);
    let mut version = version::HERE.newest;
    loop {
        attempts += 1;
        let status = match attempt(source, to, version, &mut best, &mut in_a_row).await {
            Ok(fetched) => return Ok(fetched),
            Err(Failed::Restore(error)) => return Err(error.into()),
            Err(Failed::Stream(status)) => status,
        };
        let address = source.address.clone();
        let common = version::HERE.common(&status).filter(|common| *common != version);
        if let Some(common) = common {
            version = common;
            continue;
        }
        let refuses = [
            Code::InvalidArgument,
            Code::FailedPrecondition,
            Code::Unauthenticated,
            Code::Unimplemented,
            Code::DataLoss,
        ];
        if refuses.contains(&status.code()) {
            return Err(FetchError::Refused { address, status });
        }
        if in_a_row >= ATTEMPTS {
            return Err(FetchError::Broken { address, attempts, status });
        }
        tracing::info!(address, error = status.message(), "a snapshot broke off; going on with it");
        clock::sleep(PAUSE).await;
    }
}

/// Restores from one stream. `best` is what was in place when the last one began, `in_a_row` counts attempts since more was.
async fn attempt(
    source: &Source,
    to: &Destination,
    version: u32,
    best: &mut Option<(uuid::Uuid, u32)>,
    in_a_row: &mut u32,
) -> Result<Fetched, Failed> {
    let beginning = to.clone();
    let mut restore = blocking(move || beginning.begin()).await?;
    let held = restore.held().map(|held| (held.snapshot, held.files));
    let further = |(snapshot, files)| best.is_none_or(|(s, f)| s == snapshot && f < files);
    *in_a_row = if held.is_some_and(further) { 0 } else { *in_a_row + 1 };
    *best = held;

    let mut client = connect(&source.address, source.token.clone()).await?;
    let request = pb::SnapshotRequest {
        target: Some(source.addressee.target()),
        snapshot: held.map(|(snapshot, _)| encode_id(snapshot)).unwrap_or_default(),
        files: held.map_or(0, |(_, files)| files),
    };
    let mut blocks = client.snapshot(request.in_version(version)).await?.into_inner();
    let Some(What::Head(head)) = blocks.message().await?.and_then(|block| block.what) else {
        return Err(Status::internal("it does not begin with its head").into());
    };
    let from = wire::decode_disk(&head.from);
    let from = from.map_err(|error| Status::internal(error.to_string()))?;
    let epoch = wire::decode_epoch(head.epoch);
    tracing::info!(snapshot = %decode_id(&head.snapshot)?, ?held, "restoring a snapshot");
    while let Some(block) = blocks.message().await? {
        let Some(What::Block(block)) = block.what else {
            return Err(Status::internal("a second head").into());
        };
        restore = blocking(move || restore.push(&block).map(|()| restore)).await?;
    }
    let restored = blocking(move || restore.finish()).await?;
    Ok(Fetched { from, epoch, restored })
}

/// Runs something where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, Failed> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Failed::from),
        Err(error) => Err(Status::internal(error.to_string()).into()),
    }
}

#[cfg(test)]
mod tests;
