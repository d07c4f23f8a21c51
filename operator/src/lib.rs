//! The operator: makes VectorCollections run, and keeps them running. Never on the path of a query or a write.
//!
//! [`collection`] and [`namespace`] are the two controllers; [`kubernetes`] is the API they stand on; [`run`] is the
//! process. Start reading at [`collection::reconcile`].
//!
//! Invariant: in a steady state nothing is written to the API server but the Lease, and rounded sizes at most once a
//! minute.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure and wait"))]

pub mod act;
pub mod admin;
pub mod ask;
pub mod backoff;
pub mod check;
pub mod collection;
pub mod context;
pub mod env;
pub mod error;
pub mod events;
pub mod kubernetes;
pub mod leader;
pub mod namespace;
pub mod pods;
pub mod quantity;
pub mod rbac;
pub mod run;
pub mod samples;
pub mod settings;
pub mod telemetry;
pub mod told;
