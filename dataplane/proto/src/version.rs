//! The protocol's version: what a server accepts, how it refuses the rest, and what a caller then speaks.
//!
//! An upgrade brings routers first, and shards only when their image is changed. So a caller stamps its own version, and
//! a shard that does not know that says which ones it knows: the caller then speaks the newest that both know. A refusal
//! comes before anything was done, so that writes may be sent again too.
//!
//! Invariant: `OLDEST_VERSION <= PROTOCOL_VERSION <= OLDEST_VERSION + 1`, so routers and shards may be upgraded in
//! any order, one version at a time.

use tonic::{Code, Status};

use crate::pb;

/// Metadata key under which a refusal tells the versions that are spoken, as `OLDEST-NEWEST`.
const SPOKEN_KEY: &str = "x-shoal-versions";

/// The version this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The oldest version this build still answers.
pub const OLDEST_VERSION: u32 = 1;

/// Versions that a build speaks, the newest of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
}

/// What this build speaks.
pub const HERE: Versions = Versions { oldest: OLDEST_VERSION, newest: PROTOCOL_VERSION };

/// Refuses a request of a version this build does not know.
pub fn check(version: u32) -> Result<(), Box<Status>> {
    HERE.check(version)
}

impl Versions {
    /// On a server: refuses a request of a version that is not spoken.
    pub fn check(self, version: u32) -> Result<(), Box<Status>> {
        let Self { oldest, newest } = self;
        if (oldest..=newest).contains(&version) {
            return Ok(());
        }
        let advice = match version < oldest {
            true => "upgrade the caller",
            false => "upgrade this shard first, or go back with the caller",
        };
        let mut status = Status::failed_precondition(format!(
            "protocol version {version} is not spoken here (this shard speaks {oldest} to {newest}): {advice}"
        ));
        if let Ok(spoken) = format!("{oldest}-{newest}").parse() {
            status.metadata_mut().insert(SPOKEN_KEY, spoken);
        }
        Err(Box::new(status))
    }

    /// On a caller: the version to ask in after a refusal; `None` where it was about something else, or no version is
    /// known to both.
    pub fn common(self, refusal: &Status) -> Option<u32> {
        if refusal.code() != Code::FailedPrecondition {
            return None;
        }
        let spoken = refusal.metadata().get(SPOKEN_KEY)?.to_str().ok()?;
        let (oldest, newest) = spoken.split_once('-')?;
        let (oldest, newest): (u32, u32) = (oldest.parse().ok()?, newest.parse().ok()?);
        let common = self.newest.min(newest);
        (common >= self.oldest.max(oldest)).then_some(common)
    }
}

/// A request that carries a version.
pub trait Stamped: Clone {
    /// Where it is.
    fn target(&mut self) -> &mut Option<pb::Target>;

    /// The same request in another version.
    #[must_use]
    fn in_version(mut self, version: u32) -> Self {
        if let Some(target) = self.target() {
            target.version = version;
        }
        self
    }
}

macro_rules! stamped {
    ($($request:ty),*) => {
        $(impl Stamped for $request {
            fn target(&mut self) -> &mut Option<pb::Target> {
                &mut self.target
            }
        })*
    };
}

stamped!(
    pb::WriteRequest,
    pb::SearchRequest,
    pb::RetrieveRequest,
    pb::ScrollRequest,
    pb::CountRequest,
    pb::InfoRequest,
    pb::SetIndexesRequest,
    pb::ReplicaRequest,
    pb::ReplicaMessage,
    pb::SnapshotRequest,
    pb::DigestRequest
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_version_is_accepted_and_others_are_told_what_to_upgrade() {
        assert!(check(PROTOCOL_VERSION).is_ok());
        let newer = check(PROTOCOL_VERSION + 1).unwrap_err();
        assert_eq!(newer.code(), tonic::Code::FailedPrecondition);
        assert!(newer.message().contains("upgrade this shard"));
        assert!(check(OLDEST_VERSION - 1).unwrap_err().message().contains("upgrade the caller"));
    }

    #[test]
    fn builds_one_version_apart_find_the_newest_both_know_and_others_do_not() {
        let build = |newest| Versions { oldest: newest - 1, newest };
        for newest in 2..9 {
            let (older, newer) = (build(newest), build(newest + 1));
            let refusal = older.check(newer.newest).unwrap_err();
            assert_eq!(newer.common(&refusal), Some(newest));
            assert!(older.check(newest).is_ok());
            assert!(newer.check(older.newest).is_ok(), "a newer server knows what the older says");
            let refusal = build(newest + 3).check(newest).unwrap_err();
            assert_eq!(older.common(&refusal), None, "{}", refusal.message());
        }
    }

    #[test]
    fn a_refusal_of_another_kind_changes_no_version() {
        let mut status = Status::failed_precondition("another shard");
        assert_eq!(HERE.common(&status), None);
        for odd in ["", "1", "-", "a-b", "2-1-0", "99999999999-1"] {
            status.metadata_mut().insert(SPOKEN_KEY, odd.parse().unwrap());
            assert_eq!(HERE.common(&status), None, "{odd}");
        }
        let refusal = Status::unavailable("x");
        assert_eq!(HERE.common(&refusal), None);
    }
}
