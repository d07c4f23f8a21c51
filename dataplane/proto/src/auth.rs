//! The token routers, shards and the operator show each other, from one Secret per namespace.
//!
//! Invariant: a token is compared in time that does not depend on where it differs, and never printed.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Metadata key the token travels under.
pub const TOKEN_KEY: &str = "x-shoal-token";

/// Shortest token accepted: 128 bits in hexadecimal are 32 characters; half of that is left to tests and humans.
const MIN_LENGTH: usize = 16;

/// A shared secret.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

/// Why a text cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Too short to keep anyone out.
    #[error(
        "the token is shorter than {MIN_LENGTH} characters; use a random one, such as `openssl rand -hex 32` prints"
    )]
    Short,
    /// It could not be sent.
    #[error("the token holds characters other than visible ASCII; use hexadecimal or base64")]
    NotAscii,
}

impl Token {
    /// A token from the content of a Secret's file; white space around it does not count.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        if text.len() < MIN_LENGTH {
            return Err(InvalidToken::Short);
        }
        let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| InvalidToken::NotAscii)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_encoded_bytes().ct_eq(other.0.as_encoded_bytes()).into()
    }
}

impl Eq for Token {}

/// The tokens that count at one time: the Secret's, and the one before while a change of the Secret reaches one process
/// after another. Both sides hold both, so that a call passes while either side has heard of the change and the other has
/// not.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// What the Secret holds.
    pub current: Token,
    /// What it held before.
    pub former: Option<Token>,
}

impl Tokens {
    fn all(&self) -> impl Iterator<Item = &Token> {
        std::iter::once(&self.current).chain(&self.former)
    }

    /// On a client: adds them to a call.
    pub fn show(&self, metadata: &mut MetadataMap) {
        metadata.remove(TOKEN_KEY);
        for token in self.all() {
            metadata.append(TOKEN_KEY, token.0.clone());
        }
    }

    /// On a server: whether a call shows one of them; says what is missing if not.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Box<Status>> {
        let mut known = Choice::from(0);
        for shown in metadata.get_all(TOKEN_KEY) {
            for token in self.all() {
                known |= shown.as_encoded_bytes().ct_eq(token.0.as_encoded_bytes());
            }
        }
        match bool::from(known) {
            true => Ok(()),
            false => Err(Box::new(Status::unauthenticated(format!(
                "the {TOKEN_KEY} shown is not this shard's: both sides must read the same Secret; a change of it takes a \
                 minute or two to reach every pod"
            )))),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// On a client: adds the token to every call.
impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(TOKEN_KEY, self.0.clone());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    fn tokens(current: &str, former: Option<&str>) -> Tokens {
        let token = |text: &str| Token::parse(text).unwrap();
        Tokens { current: token(current), former: former.map(token) }
    }

    fn passes(shown: &Tokens, accepted: &Tokens) -> bool {
        let mut metadata = MetadataMap::new();
        shown.show(&mut metadata);
        accepted.check(&metadata).is_ok()
    }

    #[test]
    fn a_client_with_the_token_passes_and_all_others_are_refused() {
        let shard = tokens(SECRET, None);
        let sent = shard.current.clone().call(Request::new(())).unwrap();
        assert!(shard.check(sent.metadata()).is_ok());
        assert!(passes(&shard, &shard));

        let bare = shard.check(&MetadataMap::new()).unwrap_err();
        assert_eq!(bare.code(), tonic::Code::Unauthenticated);
        for other in
            [&SECRET[..31], "0123456789abcdef0123456789abcdeg", "0123456789abcdef0123456789abcdef0"]
        {
            assert!(!passes(&tokens(other, Some(OTHER)), &shard), "{other}");
        }
    }

    #[test]
    fn while_a_change_spreads_either_side_may_hear_of_it_first() {
        let (before, during, after) =
            (tokens(SECRET, None), tokens(OTHER, Some(SECRET)), tokens(OTHER, None));
        for (client, shard) in
            [(&before, &during), (&during, &before), (&during, &after), (&after, &during)]
        {
            assert!(passes(client, shard));
        }
        assert!(!passes(&before, &after), "in the end the former one is worth nothing");
    }

    #[test]
    fn a_newline_at_the_end_of_the_file_does_not_count() {
        assert!(passes(&tokens(&format!("{SECRET}\n"), None), &tokens(SECRET, None)));
    }

    #[test]
    fn short_and_unsendable_tokens_are_refused_and_none_is_printed() {
        assert_eq!(Token::parse(" abc \n").unwrap_err(), InvalidToken::Short);
        assert_eq!(Token::parse("0123456789abcdef\u{7}0123").unwrap_err(), InvalidToken::NotAscii);
        assert!(!format!("{:?}", tokens(SECRET, Some(SECRET))).contains("0123"));
    }
}
