//! Bounds on what one request may ask for.

use super::super::error::Failure;

/// Most points one page or one search may return, `offset` included. With a kilobyte of payload each that is an answer
/// of 100 MB; who needs more pages through it with `scroll`.
pub(in super::super) const MAX_POINTS: usize = 100_000;
/// Most candidates a search may keep. Beyond this a scan (`exact`) is faster than the walk.
pub(in super::super) const MAX_EF: usize = 100_000;
/// Most searches in one batch: each costs a walk of every shard.
pub(in super::super) const MAX_SEARCHES: usize = 1000;
/// Searches of one batch that run at a time; more would only queue at the shards, and keep other clients waiting.
pub(in super::super) const SEARCHES_AT_ONCE: usize = 8;

/// How many points to return: at least one.
pub(in super::super) fn limit(asked: Option<usize>, default: usize) -> Result<usize, Failure> {
    match asked.unwrap_or(default) {
        0 => Err(Failure::field("limit", "value 0 invalid, must be 1 or larger")),
        n if n > MAX_POINTS => {
            let why = format!(
                "value {n} invalid, must be {MAX_POINTS} or smaller; read on with `offset` of `scroll`"
            );
            Err(Failure::field("limit", why))
        }
        n => Ok(n),
    }
}

/// How many points to find in order to skip some and return others.
pub(in super::super) fn skip_and_take(offset: usize, limit: usize) -> Result<usize, Failure> {
    match offset.checked_add(limit) {
        Some(sum) if sum <= MAX_POINTS => Ok(sum),
        _ => Err(Failure::field(
            "offset",
            format!("`offset` and `limit` together must be {MAX_POINTS} or smaller"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_from_one_to_the_bound_and_sums_cannot_overflow() {
        assert_eq!(limit(None, 10), Ok(10));
        assert_eq!(limit(Some(MAX_POINTS), 10), Ok(MAX_POINTS));
        for wrong in [0, MAX_POINTS + 1, usize::MAX] {
            let failure = limit(Some(wrong), 10).unwrap_err();
            assert_eq!(failure.status.as_u16(), 422);
            assert!(
                failure.text.contains("limit") && failure.text.contains(&wrong.to_string()),
                "{}",
                failure.text
            );
        }
        assert_eq!(skip_and_take(5, 10), Ok(15));
        assert!(skip_and_take(usize::MAX, 1).unwrap_err().text.contains("offset"));
    }
}
