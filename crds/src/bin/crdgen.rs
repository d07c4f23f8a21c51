//! Writes the files that are made from the types. Run from anywhere: they go into the repository this was built from,
//! or into the folder given as the only argument.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use shoal_crds::generated;

fn main() -> ExitCode {
    let root = std::env::args_os().nth(1).map_or_else(repository, PathBuf::from);
    match write(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crdgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn write(root: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for file in generated::files()? {
        let path = root.join(file.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        std::fs::write(&path, file.content)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("wrote {}", file.path);
    }
    Ok(())
}
