//! Cuts brokers off with the kernel's packet filter: packets from and to their ports on loopback are dropped.
//!
//! Only ports of the rig's own brokers are ever named. Rules are taken back when the firewall is dropped.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use crate::Result;

/// Begins the comment of a rule; this program's id follows.
const MARK: &str = "penstock-chaos-";

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

    /// Whether this process may set rules. Takes back those of programs that were killed.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self) -> Result {
        let rules = iptables(&["-w", "-S", "INPUT"])?;
        for rule in rules.lines().filter(|rule| is_left_over(rule)) {
            let rule: Vec<&str> = rule.split_whitespace().skip(1).map(|word| word.trim_matches('"')).collect();
            iptables(&[&["-w", "-D"], rule.as_slice()].concat())?;
        }
        Ok(())
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

/// A rule of a program that is no more.
fn is_left_over(rule: &str) -> bool {
    let mut words = rule.split_whitespace().map(|word| word.trim_matches('"'));
    words.find_map(|word| word.strip_prefix(MARK)).is_some_and(|id| !Path::new("/proc").join(id).exists())
}

fn change(action: &str, port: u16) -> Result {
    let (port, comment) = (port.to_string(), format!("{MARK}{}", std::process::id()));
    for end in ["--dport", "--sport"] {
        iptables(&["-w", action, "INPUT", "-i", "lo", "-p", "tcp", end, &port, "-m", "comment", "--comment", &comment, "-j", "DROP"])?;
    }
    Ok(())
}

fn iptables(arguments: &[&str]) -> Result<String> {
    let output = Command::new("iptables").args(arguments).output().map_err(|error| format!("iptables cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("iptables {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_of_the_dead_are_left_over() {
        let rule = |id: &str| format!("-A INPUT -i lo -p tcp -m tcp --dport 1 -m comment --comment \"penstock-chaos-{id}\" -j DROP");
        assert!(is_left_over(&rule("4294967295")));
        assert!(!is_left_over(&rule(&std::process::id().to_string())));
        assert!(!is_left_over("-A INPUT -i lo -j DROP"));
        assert!(!is_left_over("-P INPUT ACCEPT"));
    }
}
