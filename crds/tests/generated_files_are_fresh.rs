//! The definitions, the chart's copies of them, and docs/api.md are what the types say.

use std::path::Path;

#[test]
fn generated_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in shoal_crds::generated::files().expect("generates") {
        let there = std::fs::read_to_string(root.join(file.path)).unwrap_or_default();
        assert!(there == file.content, "{} is stale: run `make generate`", file.path);
    }
}
