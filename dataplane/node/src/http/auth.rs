//! The API key: one secret that opens everything but the open paths.
//!
//! Invariant: how long a comparison takes tells nothing about the key, and the key is never printed.

use std::fmt;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::AppState;
use super::error::Failure;

/// Paths that ask for no key, as in Qdrant: what a client checks first, and probes.
const OPEN: [&str; 4] = ["/", "/healthz", "/livez", "/readyz"];

/// The secret that clients show.
#[derive(Clone)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// A key; `None` if it is empty or holds nothing but white space, which would be a door that only looks locked.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The key itself, for a client in this process.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    fn matches(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// What a request shows: the header `api-key`, else a bearer token.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

fn check(key: &ApiKey, headers: &HeaderMap) -> Result<(), Failure> {
    match shown(headers) {
        None => {
            Err(Failure::unauthorized("Must provide an API key or an Authorization bearer token"))
        }
        Some(shown) if key.matches(shown) => Ok(()),
        Some(_) => Err(Failure::unauthorized("Invalid API key or JWT")),
    }
}

/// Fails, with 401, where a request needs the key and does not show it.
pub(super) fn require_key(state: &AppState, request: &Request) -> Result<(), Failure> {
    match &state.api_key {
        Some(key) if !OPEN.contains(&request.uri().path()) => check(key, request.headers()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &'static str, value: &'static str) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(name, axum::http::HeaderValue::from_static(value));
        check(&ApiKey::new("secret").unwrap(), &headers)
    }

    #[test]
    fn the_key_opens_in_either_header_and_nothing_else_does() {
        assert_eq!(asked("api-key", "secret"), Ok(()));
        assert_eq!(asked("authorization", "Bearer secret"), Ok(()));
        for (name, value) in [
            ("api-key", "secre"),
            ("api-key", "secret2"),
            ("api-key", ""),
            ("authorization", "secret"),
            ("authorization", "Basic secret"),
            ("authorization", "Bearer "),
            ("authorization", "Bear"),
            ("x-key", "secret"),
        ] {
            assert_eq!(asked(name, value).unwrap_err().status.as_u16(), 401, "{name}: {value}");
        }
    }

    #[test]
    fn a_key_is_not_printed_and_is_not_empty() {
        assert_eq!(format!("{:?}", ApiKey::new("secret").unwrap()), "ApiKey(hidden)");
        assert!(ApiKey::new(" \n").is_none());
        // A Secret made with `echo` ends in a newline; the key does not.
        assert!(ApiKey::new("secret\n").unwrap().matches(b"secret"));
    }
}
