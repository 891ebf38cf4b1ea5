//! Free TCP ports of loopback, below those that the kernel gives to outgoing connections: nobody takes one by chance between
//! its choice and its use, and none is given out twice by one program.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::cluster::{HarnessError, Result};

const RANGE: Range<u16> = 20_000..32_000;

static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// That many free ports.
///
/// # Errors
/// None are free.
pub fn free(count: usize) -> Result<Vec<u16>> {
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = Vec::with_capacity(count);
    for _ in RANGE {
        if ports.len() == count {
            break;
        }
        let port = next.unwrap_or_else(first);
        *next = Some(if port + 1 < RANGE.end { port + 1 } else { RANGE.start });
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    if ports.len() == count {
        Ok(ports)
    } else {
        Err(HarnessError::Input(format!("no {count} free ports from {} to {}: end what listens there", RANGE.start, RANGE.end)))
    }
}

/// Programs that run side by side begin at different places.
fn first() -> u16 {
    let places = u32::from(RANGE.end - RANGE.start);
    let place = std::process::id().wrapping_mul(97) % places;
    RANGE.start + u16::try_from(place).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_free() {
        let taken = free(1).unwrap();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, taken[0])).unwrap();
        let mut ports = free(20).unwrap();
        assert!(ports.iter().all(|port| RANGE.contains(port) && *port != taken[0]));
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
