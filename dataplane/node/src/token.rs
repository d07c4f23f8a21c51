//! The token of the namespace as its file has it now: shown to shards, and asked for by them.
//!
//! The Secret may be changed, or deleted and made anew, under a running process; Kubernetes then changes the file, in one
//! pod a minute or two after another. So the file is read again now and then, and for a while the token before counts too.
//!
//! Invariant: a file that cannot be read changes nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use shoal_proto::auth::{Token, Tokens};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::clock;

/// Reads of the file are at least this far apart, however many calls there are.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// How long a token counts after it was replaced: several times what Kubernetes takes to change the file in every pod.
const OVERLAP: Duration = Duration::from_secs(300);

/// The token of the namespace. Clones share what was read.
#[derive(Clone, Debug)]
pub struct SharedToken(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` for one that never changes.
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    tokens: Tokens,
    /// When `tokens.current` was first seen.
    since: Instant,
    read: Instant,
}

impl SharedToken {
    /// The token in a file.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        Ok(Self::new(read(path)?, Some(path.to_owned())))
    }

    fn new(current: Token, file: Option<PathBuf>) -> Self {
        let now = clock::now();
        let tokens = Tokens { current, former: None };
        Self(Arc::new(Shared { file, known: Mutex::new(Known { tokens, since: now, read: now }) }))
    }

    /// The tokens that count at a time. Reads the file if that was long ago: a few bytes of memory, as Kubernetes mounts
    /// Secrets, so the calls behind wait for no disk.
    fn at(&self, now: Instant) -> Tokens {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.0.file
            && now.saturating_duration_since(known.read) >= READ_AGAIN
        {
            known.read = now;
            match read(file) {
                Ok(token) => known.take(token, now),
                Err(error) => {
                    tracing::warn!("{error:#}; going on with the token read before");
                }
            }
        }
        if now.saturating_duration_since(known.since) >= OVERLAP {
            known.tokens.former = None;
        }
        known.tokens.clone()
    }
}

impl Known {
    fn take(&mut self, token: Token, now: Instant) {
        if token != self.tokens.current {
            tracing::info!("the token of the namespace changed; the one before counts for a while");
            self.tokens.former = Some(std::mem::replace(&mut self.tokens.current, token));
            self.since = now;
        }
    }
}

/// One that never changes.
impl From<Token> for SharedToken {
    fn from(token: Token) -> Self {
        Self::new(token, None)
    }
}

/// On a client: adds the token to every call.
impl Interceptor for SharedToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.at(clock::now()).show(request.metadata_mut());
        Ok(request)
    }
}

/// On a server: lets only calls with the token pass.
#[derive(Clone, Debug)]
pub struct RequireToken(pub SharedToken);

impl Interceptor for RequireToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.0.at(clock::now()).check(request.metadata()).map_err(|status| *status)?;
        Ok(request)
    }
}

fn read(path: &Path) -> anyhow::Result<Token> {
    let file = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
    Token::parse(&text).with_context(|| format!("{file}"))
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataMap;

    use super::*;

    const FIRST: &str = "0123456789abcdef";
    const SECOND: &str = "fedcba9876543210";

    fn token(text: &str) -> Token {
        Token::parse(text).unwrap()
    }

    fn of_file(text: &str) -> (SharedToken, tempfile::NamedTempFile, Instant) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let shared = SharedToken::of_file(file.path()).unwrap();
        let start = shared.0.known.lock().unwrap().read;
        (shared, file, start)
    }

    #[test]
    fn a_changed_file_is_read_again_and_the_token_before_counts_for_a_while() {
        let (shared, file, start) = of_file(FIRST);
        std::fs::write(file.path(), SECOND).unwrap();
        assert_eq!(shared.at(start).current, token(FIRST), "not with every call");

        let heard = start + READ_AGAIN;
        let tokens = shared.at(heard);
        assert_eq!((tokens.current, tokens.former), (token(SECOND), Some(token(FIRST))));
        assert_eq!(shared.at(heard + OVERLAP / 2).former, Some(token(FIRST)));
        let tokens = shared.at(heard + OVERLAP);
        assert_eq!((tokens.current, tokens.former), (token(SECOND), None));
    }

    #[test]
    fn a_file_that_is_gone_or_holds_no_token_changes_nothing() {
        let (shared, file, start) = of_file(FIRST);
        std::fs::write(file.path(), "").unwrap();
        assert_eq!(shared.at(start + READ_AGAIN).current, token(FIRST));
        std::fs::remove_file(file.path()).unwrap();
        let tokens = shared.at(start + 2 * READ_AGAIN);
        assert_eq!((tokens.current, tokens.former), (token(FIRST), None));
    }

    #[test]
    fn a_router_and_a_shard_that_hear_of_a_change_at_different_times_go_on() {
        let (mut router, _file, _) = of_file(FIRST);
        let (shard, file, start) = of_file(FIRST);
        std::fs::write(file.path(), SECOND).unwrap();
        shard.at(start + READ_AGAIN);
        let call = router.call(Request::new(())).unwrap();
        assert!(RequireToken(shard).call(call).is_ok());
        let mut stranger = SharedToken::from(token("0000000000000000"));
        let call = stranger.call(Request::new(())).unwrap();
        assert!(router.at(start).check(call.metadata()).is_err());
        assert!(router.at(start).check(&MetadataMap::new()).is_err());
    }
}
