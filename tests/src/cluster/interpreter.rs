//! The bases of handlers in Python and Node where no registry has them: this machine's own interpreter, laid out as an image.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::command::{logged, output};
use super::error::{HarnessError, Result, at};
use super::image::{self, RECIPE};
use super::packages::{self, Need};
use super::recipe::short_hex;
use super::site::Site;
use super::{files, rootfs};

/// The interpreter of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interpreter {
    Python,
    Node,
}

/// Parts of Python's library that no program of a container needs.
const LEFT_OUT: [&str; 7] = ["__pycache__", "test", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo"];
const DOCKERFILE: &str = "FROM scratch\nCOPY root/ /\nENV PATH=/usr/bin\n";
const SHORT: Duration = Duration::from_secs(20);

impl Interpreter {
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// The sign that it is there, and its package. A version manager's comes first on the `PATH`, and cannot be moved.
    fn need(self) -> Need {
        match self {
            Self::Python => ("/usr/bin/python3", "python3"),
            Self::Node => ("/usr/bin/node", "nodejs"),
        }
    }

    /// Says the version, where the program really is, and then each file or folder that it loads from elsewhere.
    fn question(self) -> [&'static str; 2] {
        match self {
            Self::Python => [
                "-c",
                "import os, sys, sysconfig; print(sys.version.split()[0], os.path.realpath(sys.executable), sysconfig.get_path('stdlib'))",
            ],
            Self::Node => [
                "-p",
                "[process.version, require('fs').realpathSync(process.execPath), ...(process.config.variables.node_builtin_shareable_builtins ?? [])].join(' ')",
            ],
        }
    }
}

/// The base image, made unless the cluster's daemon has it; its name.
///
/// # Errors
/// The interpreter is not on this machine, or a step fails, with its log.
pub(crate) async fn ensure(site: &Site, interpreter: Interpreter) -> Result<String> {
    let need @ (program, _) = interpreter.need();
    packages::provide(site, &[need]).await?;
    let said = output(Command::new(program).args(interpreter.question()), SHORT).await?;
    let recipe = short_hex(&Sha256::new().chain_update(&said).chain_update(include_str!("interpreter.rs")).finalize());
    let name = format!("penstock/base-{}:{recipe}", interpreter.name());
    if image::recipe_in_daemon(site, &name).await.as_deref() == Some(&recipe) {
        return Ok(name);
    }
    let mut words = said.split_whitespace().skip(1).map(Path::new);
    let real = words.next().ok_or_else(|| HarnessError::Input(format!("{program} does not say where it is")))?;
    let context = site.instance.root().join(format!("context-{}", interpreter.name()));
    files::fresh(&context)?;
    lay_out(interpreter, real, words, &context.join("root")).await?;
    let dockerfile = context.join("Dockerfile");
    files::write(&dockerfile, DOCKERFILE)?;
    let mut build = site.docker();
    build.args(["build", "--label", &format!("{RECIPE}={recipe}"), "--tag", &name, "--file"]).arg(&dockerfile).arg(&context);
    logged(&format!("docker build {name}"), build, &site.instance.log(&format!("base-{}", interpreter.name()))).await?;
    files::remove(&context)?;
    Ok(name)
}

/// Copies the program, what it loads, and the libraries of all that, to the same places under `root`.
async fn lay_out(interpreter: Interpreter, real: &Path, loaded: impl Iterator<Item = &Path>, root: &Path) -> Result<()> {
    let mut programs = vec![real.to_owned()];
    files::copy(real, &rootfs::under(root, real))?;
    // What is compiled in has no absolute name.
    for path in loaded.filter(|path| path.is_absolute()) {
        let found = if path.is_dir() { files::below(path)? } else { vec![path.to_owned()] };
        for file in found.iter().filter(|file| file.is_file() && !is_left_out(file.strip_prefix(path).unwrap_or(file))) {
            files::copy(file, &rootfs::under(root, file))?;
            if file.extension() == Some(OsStr::new("so")) {
                programs.push(file.clone());
            }
        }
    }
    rootfs::libraries(&programs, root, None).await?;
    let usual = rootfs::under(root, Path::new(interpreter.need().0));
    if !usual.exists() {
        symlink(real, &usual).map_err(at("link", &usual))?;
    }
    Ok(())
}

fn is_left_out(file: &Path) -> bool {
    let mut parts = file.components().map(|part| part.as_os_str());
    parts.any(|part| LEFT_OUT.iter().any(|name| part == *name) || part.to_string_lossy().starts_with("config-"))
}

#[cfg(test)]
mod tests {
    use super::is_left_out;
    use std::path::Path;

    #[test]
    fn only_what_no_container_needs_is_left_out() {
        for (file, left_out) in [
            ("json/decoder.py", false),
            ("configparser.py", false),
            ("lib-dynload/_json.so", false),
            ("json/__pycache__/decoder.pyc", true),
            ("test/test_json.py", true),
            ("config-3.11-x86_64-linux-gnu/Makefile", true),
        ] {
            assert_eq!(is_left_out(Path::new(file)), left_out, "{file}");
        }
    }
}
