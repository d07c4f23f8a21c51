//! Secrets from files, as Kubernetes mounts them.

use std::path::Path;

use anyhow::Context;

use crate::token::SharedToken;

/// The token that routers, shards and the operator show each other.
pub(super) fn token(path: &Path) -> anyhow::Result<SharedToken> {
    SharedToken::of_file(path)
}

/// The content of a secret's file.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
