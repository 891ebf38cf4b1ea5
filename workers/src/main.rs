//! The `penstock-worker` binary.

fn main() {}
