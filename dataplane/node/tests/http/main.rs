//! The HTTP dialect, asked as clients ask it, over real shards in a folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

mod collections;
mod dialect;
mod filters;
mod indexes;
mod late;
mod points;
mod refusals;
mod sample;
mod search;
mod support;
mod vectors;
