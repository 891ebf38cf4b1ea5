//! Stages what a program needs in an image without a distribution: the glibc loader, the libraries that `ldd` names, root
//! certificates, and a user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::command::output;
use super::error::Result;
use super::files::{copy, write};

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

/// The place of an absolute path under `root`.
pub(crate) fn under(root: &Path, absolute: &Path) -> PathBuf {
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
