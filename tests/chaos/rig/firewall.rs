//! Cuts brokers off with the kernel's packet filter: packets from and to their ports on loopback are dropped.
//!
//! Only ports of the rig's own brokers are ever named. Rules are taken back when the firewall is dropped.

use std::{
    collections::BTreeSet,
    process::Command,
    sync::{Mutex, PoisonError},
};

use crate::Result;

/// The rules that are set.
#[derive(Debug, Default)]
pub struct Firewall {
    dropped: Mutex<BTreeSet<u16>>,
}

impl Firewall {
    /// Without rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this process may set rules.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self) -> Result {
        iptables(&["-w", "-L", "INPUT", "-n"])
    }

    /// Drops what goes to and comes from these ports of loopback.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(&self, ports: &[u16]) -> Result {
        for port in ports {
            self.dropped.lock().unwrap_or_else(PoisonError::into_inner).insert(*port);
            change("-I", *port)?;
        }
        Ok(())
    }

    /// Takes all rules back.
    ///
    /// # Errors
    /// The kernel refuses; it is tried again when this is dropped.
    pub fn heal(&self) -> Result {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(port) = dropped.first().copied() {
            change("-D", port)?;
            dropped.remove(&port);
        }
        Ok(())
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        if let Err(error) = self.heal() {
            eprintln!("chaos: rules of the packet filter are left: {error}. Look with `iptables -S INPUT` for penstock-chaos");
        }
    }
}

fn change(action: &str, port: u16) -> Result {
    let (port, comment) = (port.to_string(), format!("penstock-chaos-{}", std::process::id()));
    for end in ["--dport", "--sport"] {
        iptables(&["-w", action, "INPUT", "-i", "lo", "-p", "tcp", end, &port, "-m", "comment", "--comment", &comment, "-j", "DROP"])?;
    }
    Ok(())
}

fn iptables(arguments: &[&str]) -> Result {
    let output = Command::new("iptables").args(arguments).output().map_err(|error| format!("iptables cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("iptables {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into())
}
