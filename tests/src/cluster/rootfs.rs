//! Stages what a program needs in an image without a distribution: the glibc loader, the libraries that `ldd` names, root
//! certificates, and a user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::command::output;
use super::error::{Result, at};

/// Copies the libraries of `programs` to the same places under `root`; leaves out those below `besides`.
pub(crate) async fn libraries(programs: &[PathBuf], root: &Path, besides: Option<&Path>) -> Result<()> {
    let text = output(Command::new("ldd").args(programs), Duration::from_secs(30)).await?;
    for library in named_files(&text) {
        if besides.is_none_or(|folder| !library.starts_with(folder)) {
            copy(&library, &under(root, &library))?;
        }
    }
    Ok(())
}

/// Root certificates, and an entry for the user that the image runs as.
pub(crate) fn identity(root: &Path, user: &str, id: u32) -> Result<()> {
    let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
    copy(certificates, &under(root, certificates))?;
    write(&root.join("etc/passwd"), &format!("{user}:x:{id}:{id}::/nonexistent:/sbin/nologin\n"))?;
    write(&root.join("etc/group"), &format!("{user}:x:{id}:\n"))
}

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
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(at("remove", folder))?;
    }
    std::fs::create_dir_all(folder).map_err(at("create", folder))
}

/// All files below a folder, sorted, so that a hash over them does not depend on the file system.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
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

fn under(root: &Path, absolute: &Path) -> PathBuf {
    root.join(absolute.strip_prefix("/").unwrap_or(absolute))
}

/// The absolute paths in ldd's output, each once; its headings end with a colon.
fn named_files(ldd: &str) -> Vec<PathBuf> {
    let words = ldd.lines().filter(|line| !line.ends_with(':')).flat_map(str::split_whitespace);
    let mut paths: Vec<_> = words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_the_loader_and_each_library_once() {
        let text = "/bin/a:\n\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x1)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x2)\n/bin/b:\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x3)\n";
        assert_eq!(named_files(text), [PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]);
    }
}
