//! See `shoal_shard::fuzz`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_shard::fuzz::run("segment", bytes));
