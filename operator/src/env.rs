//! Time and randomness: the one place they come in, so that everything else can be given them.

#![cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is the one place"))]

use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use rand::TryRngCore;
use rand::rngs::OsRng;

/// The time, for what is written into objects.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The time, for measuring.
pub fn instant() -> Instant {
    Instant::now()
}

/// A number from 0 to 1, to spread retries.
pub fn jitter() -> f64 {
    rand::random()
}

/// 32 random bytes of the operating system, in hexadecimal: a key nobody guesses.
pub fn random_key() -> Result<String, rand::rand_core::OsError> {
    let mut bytes = [0_u8; 32];
    OsRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_64_hexadecimal_characters_and_never_the_same() {
        let (one, two) = (random_key().expect("random"), random_key().expect("random"));
        assert_eq!(one.len(), 64);
        assert!(one.chars().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(one, two);
    }
}
