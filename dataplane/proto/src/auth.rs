//! The token routers, shards and the operator show each other, from one Secret per namespace.
//!
//! Invariant: a token is compared in time that does not depend on where it differs, and never printed.

use std::fmt;

use subtle::ConstantTimeEq;
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

    /// Whether a call carries this token; says what is missing if not.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Box<Status>> {
        let shown = metadata.get(TOKEN_KEY).map(|v| v.as_encoded_bytes()).unwrap_or_default();
        match bool::from(shown.ct_eq(self.0.as_encoded_bytes())) {
            true => Ok(()),
            false => Err(Box::new(Status::unauthenticated(format!(
                "the {TOKEN_KEY} shown is not this shard's: both sides must read the same Secret, and be restarted \
                 after it changed"
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

/// On a server: lets only calls with the token pass.
#[derive(Clone, Debug)]
pub struct RequireToken(pub Token);

impl Interceptor for RequireToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.0.check(request.metadata()).map_err(|status| *status)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn token() -> Token {
        Token::parse(SECRET).unwrap()
    }

    #[test]
    fn a_client_with_the_token_passes_and_all_others_are_refused() {
        let sent = token().call(Request::new(())).unwrap();
        assert!(RequireToken(token()).call(sent).is_ok());

        let bare = RequireToken(token()).call(Request::new(())).unwrap_err();
        assert_eq!(bare.code(), tonic::Code::Unauthenticated);
        for other in
            [&SECRET[..31], "0123456789abcdef0123456789abcdeg", "0123456789abcdef0123456789abcdef0"]
        {
            let sent = Token::parse(other).unwrap().call(Request::new(())).unwrap();
            assert!(RequireToken(token()).call(sent).is_err(), "{other}");
        }
    }

    #[test]
    fn a_newline_at_the_end_of_the_file_does_not_count() {
        let sent = Token::parse(&format!("{SECRET}\n")).unwrap().call(Request::new(())).unwrap();
        assert!(token().check(sent.metadata()).is_ok());
    }

    #[test]
    fn short_and_unsendable_tokens_are_refused_and_none_is_printed() {
        assert_eq!(Token::parse(" abc \n").unwrap_err(), InvalidToken::Short);
        assert_eq!(Token::parse("0123456789abcdef\u{7}0123").unwrap_err(), InvalidToken::NotAscii);
        assert!(!format!("{:?}", token()).contains("0123"));
    }
}
