//! Saying that something was not tested: loudly, and as a failure where everything must run.

use std::io::Write;

/// Says that `what` is skipped and why, past the capture of test output. With CI=true it fails the test instead, as there
/// a skip would be a test that never runs.
#[expect(clippy::panic, reason = "for tests: on CI a skip is a failure")]
pub fn skipped(what: &str, why: &str) {
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        panic!("{what} must not be skipped with CI=true: {why}");
    }
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {what}: {why}\n");
}
