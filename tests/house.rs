//! Rules of the house that no compiler checks.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_the_architecture_facade_asks_what_is_compiled_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(root, &mut found);
    let asks = |path: &&PathBuf| fs::read_to_string(path).unwrap().contains("target_arch");
    let asking: Vec<_> = found.iter().filter(asks).collect();
    let (inside, outside): (Vec<_>, Vec<_>) = asking
        .into_iter()
        .filter(|path| !path.ends_with("tests/house.rs"))
        .partition(|path| path.starts_with(root.join("vmm/src/arch")));
    assert!(!inside.is_empty(), "the facade was not found");
    assert!(outside.is_empty(), "{outside:?}");
}
