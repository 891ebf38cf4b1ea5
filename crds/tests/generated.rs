//! Fails when a generated file is not what the types say now.

use std::{fs, path::Path};

#[test]
fn generated_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in penstock_crds::manifest::generated().unwrap() {
        let path = root.join(&file.path);
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == file.text, "{} is stale: run `make generate` and commit the result", path.display());
    }
}
