//! The protocol's version: what a server accepts and how it refuses the rest.
//!
//! Invariant: `OLDEST_VERSION <= PROTOCOL_VERSION <= OLDEST_VERSION + 1`, so routers and shards may be upgraded in
//! any order, one version at a time.

use tonic::Status;

/// The version this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The oldest version this build still answers.
pub const OLDEST_VERSION: u32 = 1;

/// Refuses a request of a version this build does not know.
pub fn check(version: u32) -> Result<(), Box<Status>> {
    if (OLDEST_VERSION..=PROTOCOL_VERSION).contains(&version) {
        return Ok(());
    }
    let advice = match version < OLDEST_VERSION {
        true => "upgrade the caller",
        false => "upgrade this shard first, or go back with the caller",
    };
    Err(Box::new(Status::failed_precondition(format!(
        "protocol version {version} is not spoken here (this shard speaks {OLDEST_VERSION} to {PROTOCOL_VERSION}): \
         {advice}"
    ))))
}

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
}
