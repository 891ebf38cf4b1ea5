//! Writes what is generated from the API types: see [`penstock_crds::manifest::generated`].

use std::{error::Error, fs, path::Path};

use penstock_crds::manifest;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in manifest::generated()? {
        let path = root.join(file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, file.text)?;
    }
    Ok(())
}
