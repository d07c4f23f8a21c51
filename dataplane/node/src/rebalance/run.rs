//! Moving all that is marked, shard after shard, until nothing is.

use std::time::{Duration, Instant};

use super::{Shards, Step, step};
use crate::clock;

/// How it goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often it looks.
    pub look: Duration,
    /// How long one and the same thing may be waited for.
    pub patience: Duration,
    /// Calls in a row that may fail.
    pub failures: u32,
}

/// Why it gave up. Whoever begins again goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GaveUp {
    /// Nothing changed for too long.
    #[error("shard {shard}: after {patience:?} still {what}")]
    Waited {
        /// Which.
        shard: String,
        /// What was waited for.
        what: String,
        /// How long.
        patience: Duration,
    },
    /// The API server did not do as asked, again and again.
    #[error("shard {shard}: {failures} calls failed, the last one so: {detail}")]
    Failed {
        /// Which.
        shard: String,
        /// How many calls.
        failures: u32,
        /// How the last one did.
        detail: String,
    },
}

/// Moves what is marked in these shards; how many replicas others were named for.
pub async fn move_all(shards: &dyn Shards, names: &[String], pace: Pace) -> Result<usize, GaveUp> {
    let mut moved = 0;
    // What is lost meanwhile, in a shard that was done with, is found by another look at all.
    loop {
        let before = moved;
        for name in names {
            moved += move_marked(shards, name, pace).await?;
        }
        if moved == before {
            return Ok(moved);
        }
    }
}

/// Moves what is marked in a shard, until those that are named are those that vote.
async fn move_marked(shards: &dyn Shards, name: &str, pace: Pace) -> Result<usize, GaveUp> {
    let (mut moved, mut failures) = (0, 0);
    let mut waited: Option<(String, Instant)> = None;
    loop {
        let done = match shards.read(name).await {
            // It went with its collection, or comes back, and then the operator marks anew.
            Ok(None) => return Ok(moved),
            Ok(Some(shard)) => match step(&shard) {
                Step::Done => return Ok(moved),
                Step::Wait(what) => {
                    wait(name, what, &mut waited, pace)?;
                    Ok(())
                }
                Step::Replace(with) => shards.replace(&shard, &with).await.map(|replaced| {
                    // Somebody else changed it: what it is now decides.
                    if replaced {
                        let (lost, new) = (&with.lost, with.names.last());
                        tracing::info!(shard = name, lost, new, "named another replica");
                        moved += 1;
                    }
                }),
            },
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::warn!(shard = name, %error, failures, "a call failed; trying again");
                if failures >= pace.failures {
                    let (shard, detail) = (name.to_owned(), error.to_string());
                    return Err(GaveUp::Failed { shard, failures, detail });
                }
            }
        }
        clock::sleep(pace.look).await;
    }
}

fn wait(
    shard: &str,
    what: String,
    waited: &mut Option<(String, Instant)>,
    pace: Pace,
) -> Result<(), GaveUp> {
    let now = clock::now();
    match waited {
        Some((before, since)) if *before == what => {
            if now.saturating_duration_since(*since) < pace.patience {
                return Ok(());
            }
            Err(GaveUp::Waited { shard: shard.to_owned(), what, patience: pace.patience })
        }
        _ => {
            tracing::info!(shard, what, "waiting");
            *waited = Some((what, now));
            Ok(())
        }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
