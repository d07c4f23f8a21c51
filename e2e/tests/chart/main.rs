//! The chart, as Helm renders and installs it on a real API server: what it makes is accepted and restricted, its rights
//! are the operator's and no more, wrong values are refused, and definitions outlive the release.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod helm;
mod installed;
mod rendered;
mod values;
