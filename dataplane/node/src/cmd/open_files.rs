//! The files that the process may have open.
//!
//! Shells and older systems start programs with a soft limit of 1,024, which clients' connections and a laptop's many
//! shards reach, while the hard one is far above. So the soft one is raised as far as that allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shoal_shard::limits::OPEN_FILES;

/// Raises the soft limit to the hard one, and warns if that is too few for so many shards.
pub(super) fn raise(shards: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return warn_if_few(limit.current, shards);
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    match raised {
        Ok(()) => warn_if_few(limit.maximum, shards),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            warn_if_few(limit.current, shards);
        }
    }
}

/// `None` stands for no limit.
fn warn_if_few(files: Option<u64>, shards: u64) {
    let needed = needed(shards);
    if let Some(files) = files.filter(|files| *files < needed) {
        tracing::warn!(
            files,
            needed,
            "few files may be open: raise the limit (ulimit -n), or clients may be refused"
        );
    }
}

/// A connection takes one too; a thousand of them is what a small server is asked for.
fn needed(shards: u64) -> u64 {
    shards.saturating_mul(OPEN_FILES).saturating_add(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let before = getrlimit(Resource::Nofile);
        let lower = before.maximum.map_or(4_096, |most| most.min(4_096));
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), ..before }).unwrap();
        raise(1);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
