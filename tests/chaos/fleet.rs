//! The workers of a run, as processes: one that ends is started again, as a Deployment would.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use penstock_tests::local::{Process, ports};
use tokio::time::sleep;

use crate::{
    Result,
    proxy::{Blow, Ends},
    worker::WorkerSpec,
};

/// How often it is looked for workers that have ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long a worker may take to end when it is told to.
const FAREWELL: Duration = Duration::from_secs(40);

/// The workers of a run.
pub struct Fleet {
    /// What each of them is told, but for its number and port.
    template: WorkerSpec,
    /// Their specifications and logs.
    folder: PathBuf,
    workers: Mutex<Vec<Worker>>,
    wanted: AtomicUsize,
    starts: AtomicU64,
    /// How long a worker stands still that a rule pauses.
    pause: Duration,
}

struct Worker {
    number: usize,
    process: Arc<Process>,
}

impl Fleet {
    /// No worker yet; see [`Fleet::keep`].
    #[must_use]
    pub fn new(template: WorkerSpec, wanted: usize, folder: &Path, pause: Duration) -> Arc<Self> {
        Arc::new(Self {
            template,
            folder: folder.to_owned(),
            workers: Mutex::default(),
            wanted: AtomicUsize::new(wanted),
            starts: AtomicU64::new(0),
            pause,
        })
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are to be from now on.
    pub fn want(&self, count: usize) {
        self.wanted.store(count, Ordering::Relaxed);
    }

    /// How many are to be.
    pub fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// How often a worker was started.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// Starts what is missing and tells what is too much to end; until dropped.
    ///
    /// # Errors
    /// A worker cannot be started at all.
    pub async fn keep(&self) -> Result {
        loop {
            self.adjust()?;
            sleep(LOOK).await;
        }
    }

    fn adjust(&self) -> Result {
        let wanted = self.wanted();
        let mut workers = self.workers();
        workers.retain(|worker| worker.process.ended().is_none());
        for worker in workers.iter().filter(|worker| worker.number >= wanted) {
            worker.process.terminate();
        }
        for number in 0..wanted {
            if !workers.iter().any(|worker| worker.number == number) {
                workers.push(Worker { number, process: Arc::new(self.start(number)?) });
            }
        }
        Ok(())
    }

    fn start(&self, number: usize) -> Result<Process> {
        let admin_port = ports::free(1)?.first().copied().ok_or("no port is free")?;
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let name = if self.template.new_names { format!("chaos-{number}-{start}") } else { format!("chaos-{number}") };
        let spec = WorkerSpec { number, name: name.clone(), admin_port, ..self.template.clone() };
        let file = self.folder.join(format!("worker-{number}.json"));
        fs::write(&file, serde_json::to_vec(&spec)?)?;
        // This program itself, also where its file was replaced since, as cargo does.
        let mut command = Command::new(format!("/proc/{}/exe", std::process::id()));
        command.arg("worker").arg("--spec").arg(&file);
        command.env("POD_NAME", name).env("POD_NAMESPACE", "chaos");
        Ok(Process::start(&format!("worker {number}"), &command, &self.folder.join(format!("worker-{number}.log")), None)?)
    }

    /// The processes that run now.
    #[must_use]
    pub fn processes(&self) -> Vec<Arc<Process>> {
        self.workers().iter().filter(|worker| worker.process.ended().is_none()).map(|worker| Arc::clone(&worker.process)).collect()
    }

    /// Strikes the worker that has this connection. False: none has.
    pub fn strike(&self, ends: Ends, blow: Blow) -> bool {
        let Some(process) = inode_of(ends).and_then(|inode| self.processes().into_iter().find(|process| owns(process.id(), inode))) else {
            return false;
        };
        match blow {
            Blow::Cut => {}
            Blow::Kill => process.kill(),
            Blow::Pause => {
                process.pause();
                let pause = self.pause;
                tokio::spawn(async move {
                    sleep(pause).await;
                    process.resume();
                });
            }
        }
        true
    }

    /// Tells all to end and waits until they have. Those that have not in time are killed, and that is an error.
    ///
    /// # Errors
    /// One did not end in time; with the end of its log.
    pub async fn end(&self) -> Result {
        self.want(0);
        let processes = self.processes();
        for process in &processes {
            process.resume();
            process.terminate();
        }
        for process in processes {
            if let Err(error) = process.wait(FAREWELL).await {
                process.kill();
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// The socket of the client's end of a connection, as the kernel numbers it. One local address may have several connections.
fn inode_of(Ends { local, remote }: Ends) -> Option<u64> {
    let (local, remote) = (as_the_kernel_writes(local)?, as_the_kernel_writes(remote)?);
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let line = table.lines().find(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&local) && fields.next() == Some(&remote)
    })?;
    line.split_whitespace().nth(9)?.parse().ok()
}

fn as_the_kernel_writes(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

fn owns(pid: u32, inode: u64) -> bool {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|target| target == wanted))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_owner_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        let ends = Ends { local: peer, remote: listener.local_addr().unwrap() };
        let inode = inode_of(ends).unwrap();
        assert!(owns(std::process::id(), inode));
        assert!(!owns(1, inode));
        drop(client);
        assert_eq!(inode_of(Ends { remote: "127.0.0.1:1".parse().unwrap(), ..ends }), None);
    }
}
