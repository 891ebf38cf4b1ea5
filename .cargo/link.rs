//! How the programs are linked.

#![expect(clippy::print_stdout, reason = "so cargo is told")]

use std::process::Command;

/// The first glibc whose loader knows of such places; a program that has them starts with no older one.
const KNOWS: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=../.cargo/link.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let is_for_here = std::env::var("HOST").is_ok_and(|host| is("TARGET", &host));
    // Places to relocate are kept as a bitmap: a program is 1.3 MB smaller.
    if is("CARGO_CFG_TARGET_ENV", "gnu") && is_for_here && glibc().is_some_and(|here| here >= KNOWS) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The C library of this machine, on which programs run that are no older.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
