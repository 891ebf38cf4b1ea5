//! Fails when the generated YAML is not what the types say now.

use std::{fs, path::Path};

use penstock_crds::manifest;

#[test]
fn generated_yaml_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for definition in manifest::definitions() {
        let file = manifest::file_name(&definition);
        for (path, expected) in [
            (root.join("crds").join(&file), manifest::yaml(&definition).unwrap()),
            (root.join("helm/penstock/templates/crds").join(&file), manifest::chart_template(&definition).unwrap()),
        ] {
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(found == expected, "{} is stale: run `make generate` and commit the result", path.display());
        }
    }
}
