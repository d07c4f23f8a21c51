//! libFuzzer's entry: the target that `SHOAL_FUZZ_TARGET` names, see `shoal_shard::fuzz`. One program for all of them,
//! since it is linked much longer than it is written.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<String> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("SHOAL_FUZZ_TARGET").unwrap_or_default();
        assert!(
            shoal_shard::fuzz::TARGETS.iter().any(|(target, _)| *target == name),
            "SHOAL_FUZZ_TARGET={name} is no target",
        );
        let _ = TARGET.set(name);
    },
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            shoal_shard::fuzz::run(target, bytes);
        }
    }
);
