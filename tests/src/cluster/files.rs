//! Files and folders that the harness writes; every failure names the path.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{Result, at};

/// Copies one file, with its mode, and makes its folder.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    std::fs::copy(from, to).map(drop).map_err(at("copy", from))
}

pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    make_parent(file)?;
    std::fs::write(file, text).map_err(at("write", file))
}

/// Makes a folder anew, without what an earlier run left in it.
pub(crate) fn fresh(folder: &Path) -> Result<()> {
    remove(folder)?;
    std::fs::create_dir_all(folder).map_err(at("create", folder))
}

/// Removes a folder with everything in it; one that is not there is as good.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(at("remove", folder)(e)),
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is as good.
pub(crate) fn remove_file(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(at("remove", file)(e)),
        _ => Ok(()),
    }
}

/// All files below a folder, sorted, so that a hash over them does not depend on the file system.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).map_err(at("read", &next))? {
            let path = entry.map_err(at("read", &next))?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

fn make_parent(file: &Path) -> Result<()> {
    file.parent().map_or(Ok(()), |folder| std::fs::create_dir_all(folder).map_err(at("create", folder)))
}
