//! Secrets from files, as Kubernetes mounts them.

use std::path::Path;

use anyhow::Context;
use shoal_proto::auth::Token;

/// The token that routers, shards and the operator show each other.
pub(super) fn token(path: &Path) -> anyhow::Result<Token> {
    let text = read(path)?;
    Token::parse(&text).with_context(|| format!("{}", path.display()))
}

/// The content of a secret's file.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
