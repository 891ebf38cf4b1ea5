//! Finds and removes what an instance left on the machine: processes and mounts. Works after any crash, because it asks the
//! kernel and not our own notes; touches only what carries the instance's own paths or container ids.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::error::{Result, at};
use super::layout::Instance;

/// Programs of a Docker daemon; nothing else is ever taken for one, whatever its arguments say.
const DAEMON_PROGRAMS: &[&str] = &["dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "runc"];

/// The daemon of the instance, with its containerd and shims.
pub(crate) fn daemon_processes(instance: &Instance) -> Vec<Pid> {
    let run = instance.run().display().to_string();
    let namespace = namespace_id(&instance.netns_file());
    processes()
        .filter(|pid| {
            let arguments = arguments(*pid);
            is_daemon(&arguments, &run) || (is_proxy(&arguments) && namespace.is_some() && network_of(*pid) == namespace)
        })
        .collect()
}

/// Everything that runs in a container of the instance.
pub(crate) fn container_processes(instance: &Instance) -> Vec<Pid> {
    let ids = container_ids(instance);
    processes()
        .filter(|pid| {
            let cgroups = std::fs::read_to_string(proc_file(*pid, "cgroup")).unwrap_or_default();
            is_contained(&cgroups, &ids)
        })
        .collect()
}

/// Ends processes: asks first, insists after `grace`. Returns when all are gone.
pub(crate) fn end(pids: &[Pid], grace: Duration) {
    for pid in pids {
        // A process that is gone already is what is wanted.
        let _ = kill_process(*pid, Signal::TERM);
    }
    if !gone_within(pids, grace) {
        for pid in pids {
            let _ = kill_process(*pid, Signal::KILL);
        }
        gone_within(pids, grace);
    }
}

fn gone_within(pids: &[Pid], limit: Duration) -> bool {
    let started = Instant::now();
    while pids.iter().any(|pid| test_kill_process(*pid).is_ok() && !is_zombie(*pid)) {
        if started.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// Unmounts everything below the instance's folders, innermost first.
pub(crate) fn unmount_all(instance: &Instance) -> Result<()> {
    for folder in mounts(instance)? {
        // Detached at once; a mount that another unmount took along is as good.
        let _ = unmount(&folder, UnmountFlags::DETACH);
    }
    Ok(())
}

/// What is mounted below the instance's folders, innermost first.
pub(crate) fn mounts(instance: &Instance) -> Result<Vec<PathBuf>> {
    let table = Path::new("/proc/self/mounts");
    let text = std::fs::read_to_string(table).map_err(at("read", table))?;
    Ok(mounts_below(&text, &[instance.run(), instance.root().to_owned()]))
}

/// Removes the cgroups of killed containers; a daemon that ends by itself removes them on its own.
pub(crate) fn remove_cgroups(instance: &Instance) {
    let ids = container_ids(instance);
    let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
    for hierarchy in hierarchies.flatten() {
        for id in &ids {
            remove_cgroup(&hierarchy.path().join("docker").join(id));
        }
    }
}

fn remove_cgroup(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        remove_cgroup(&entry.path());
    }
    // An empty cgroup left behind costs nothing, so a failure is no reason to stop.
    let _ = std::fs::remove_dir(folder);
}

fn container_ids(instance: &Instance) -> HashSet<String> {
    let folder = instance.docker().join("containers");
    let Ok(entries) = std::fs::read_dir(folder) else { return HashSet::new() };
    entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).filter(|id| id.len() == 64).collect()
}

/// Every process of this machine.
pub(crate) fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
}

/// A file of /proc about a process.
pub(crate) fn proc_file(pid: Pid, file: &str) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join(file)
}

fn arguments(pid: Pid) -> Vec<String> {
    let bytes = std::fs::read(proc_file(pid, "cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).filter(|a| !a.is_empty()).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

fn is_zombie(pid: Pid) -> bool {
    let status = std::fs::read_to_string(proc_file(pid, "status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tZ"))
}

/// Identifies a network namespace; none when it does not exist.
pub(crate) fn namespace_id(file: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(file).ok().map(|m| (m.dev(), m.ino()))
}

fn network_of(pid: Pid) -> Option<(u64, u64)> {
    namespace_id(&proc_file(pid, "ns/net"))
}

fn is_daemon(arguments: &[String], run: &str) -> bool {
    let Some((program, rest)) = arguments.split_first() else { return false };
    let inside = format!("{run}/");
    DAEMON_PROGRAMS.contains(&base_name(program)) && rest.iter().any(|argument| argument.contains(&inside))
}

fn is_proxy(arguments: &[String]) -> bool {
    arguments.first().is_some_and(|program| base_name(program) == "docker-proxy")
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn is_contained(cgroups: &str, ids: &HashSet<String>) -> bool {
    // "/docker/<id>/…" with the cgroupfs driver, "docker-<id>.scope" with systemd's.
    cgroups.split(|c: char| !c.is_ascii_hexdigit()).any(|word| word.len() == 64 && ids.contains(word))
}

fn mounts_below(table: &str, folders: &[PathBuf]) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut found: Vec<_> = points.filter(|point| folders.iter().any(|f| point != f && point.starts_with(f))).collect();
    found.sort();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_programs_of_this_instances_daemon_are_ours() {
        for (line, ours) in [
            ("dockerd --host unix:///run/penstock/a/docker.sock", true),
            ("/usr/bin/containerd --config /run/penstock/a/exec/containerd/containerd.toml", true),
            ("/usr/bin/containerd-shim-runc-v2 -namespace moby -address /run/penstock/a/exec/containerd/containerd.sock", true),
            ("dockerd --host unix:///run/penstock/ab/docker.sock", false),
            ("dockerd --host fd://", false),
            ("bash -c ls /run/penstock/a/docker.sock", false),
            ("vim /run/penstock/a/docker.sock", false),
        ] {
            assert_eq!(is_daemon(&words(line), "/run/penstock/a"), ours, "{line}");
        }
    }

    #[test]
    fn a_process_belongs_to_the_container_whose_id_its_cgroup_names() {
        let id = "ab".repeat(32);
        let ids = HashSet::from([id.clone()]);
        for (cgroups, ours) in [
            (format!("4:memory:/docker/{id}/kubelet/pod1\n"), true),
            (format!("0::/system.slice/docker-{id}.scope\n"), true),
            (format!("4:memory:/docker/{}\n", "cd".repeat(32)), false),
            ("0::/\n".to_owned(), false),
        ] {
            assert_eq!(is_contained(&cgroups, &ids), ours, "{cgroups}");
        }
    }

    #[test]
    fn mounts_come_innermost_first_and_only_from_inside() {
        let table = "overlay /s/a/docker/overlay2/x/merged overlay rw 0 0\nnsfs /s/a/docker nsfs rw 0 0\n\
                     tmpfs /s/ab/x tmpfs rw 0 0\ntmpfs /s/a tmpfs rw 0 0\n";
        let found = mounts_below(table, &[PathBuf::from("/s/a")]);
        assert_eq!(found, [PathBuf::from("/s/a/docker/overlay2/x/merged"), PathBuf::from("/s/a/docker")]);
    }
}
