//! File descriptors: how many the system lets this process have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What is kept for everything that is no connection to a front: brokers, files, the other port.
const RESERVE: usize = 512;

/// Raises the limit as far as it goes without rights. Container runtimes set a low one for programs of old, which cannot take more.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(why) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%why, "the limit of open files stays as it is");
    }
}

/// How many connections a front may have at once.
pub fn for_connections() -> usize {
    let limit = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    // Some are better than none, and what the system refuses is met with patience.
    limit.saturating_sub(RESERVE).max(limit / 2)
}
