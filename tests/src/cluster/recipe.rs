//! Names what is costly to make by a hash of all that it is made from, so that it is made once and never stale.

use std::path::{Path, PathBuf};

use super::error::{Result, at};

/// The first 12 hexadecimal digits of a hash: enough to tell recipes apart, short enough for a tag.
pub(crate) fn short_hex(hash: &[u8]) -> String {
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Where the cache keeps an archive that was made from `recipe`.
pub(crate) fn archive(folder: &Path, what: &str, recipe: &str) -> PathBuf {
    folder.join(format!("{what}-{recipe}.tar"))
}

/// Where an archive is written before [`keep`] moves it in, so that an interruption leaves no half archive.
pub(crate) fn aside(archive: &Path) -> PathBuf {
    archive.with_extension("new")
}

/// Moves a finished archive in, and removes those of other recipes.
pub(crate) fn keep(archive: &Path, what: &str) -> Result<()> {
    let (folder, written) = (archive.parent().unwrap_or(archive), aside(archive));
    for entry in std::fs::read_dir(folder).map_err(at("read", folder))?.flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path != written && is_archive(&name, what) {
            std::fs::remove_file(&path).map_err(at("remove", &path))?;
        }
    }
    std::fs::rename(&written, archive).map_err(at("move", &written))
}

fn is_archive(name: &str, what: &str) -> bool {
    let rest = name.strip_prefix(what).and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|rest| rest.ends_with(".tar") || rest.ends_with(".new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_archives_of_the_same_thing_are_replaced() {
        for (name, replaced) in
            [("node-0123.tar", true), ("node-0123.new", true), ("nodes-0123.tar", false), ("node-0123.log", false), ("node.tar", false)]
        {
            assert_eq!(is_archive(name, "node"), replaced, "{name}");
        }
    }
}
