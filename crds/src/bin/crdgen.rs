//! Writes the CustomResourceDefinitions: `crds/*.yaml`, and the same as templates of the chart.

use std::{error::Error, fs, path::PathBuf};

use penstock_crds::manifest;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let templates = root.join("helm/penstock/templates/crds");
    fs::create_dir_all(&templates)?;
    for definition in manifest::definitions() {
        let file = manifest::file_name(&definition);
        fs::write(root.join("crds").join(&file), manifest::yaml(&definition)?)?;
        fs::write(templates.join(&file), manifest::chart_template(&definition)?)?;
    }
    Ok(())
}
