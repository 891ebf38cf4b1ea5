//! How the programs are linked.

#![expect(clippy::print_stdout, reason = "so cargo is told")]

fn main() {
    println!("cargo::rerun-if-changed=../.cargo/link.rs");
    // Places to relocate are kept as a bitmap: a program is 1.3 MB smaller, and so is what each process has read of it. A linker
    // that is too old for it says so and goes on; the C library must be glibc 2.36 or newer.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
