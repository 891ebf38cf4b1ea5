//! What a worker tells of itself at its admin port.

use penstock_tests::{local::get, scene::Result};

/// The numbers of a worker's series of that name, each with its labels as they stand there.
pub async fn series(admin: u16, name: &str) -> Result<Vec<(String, f64)>> {
    let text = get(admin, "/metrics").await?.body;
    let own = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    Ok(own.filter_map(|(labels, value)| Some((labels.to_owned(), value.parse().ok()?))).collect())
}
