//! The objects' schemas and rules, asked of a real API server: what is refused and what it then says, what is accepted,
//! and what tools see.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod accepted;
mod refused;
mod seen;
mod support;
