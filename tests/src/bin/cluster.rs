//! `cluster`: brings a kind cluster with Kafka up and down, and runs commands beside it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use penstock_tests::cluster::{self, KafkaSize, Result, Site};
use tokio::signal::unix::{SignalKind, signal};

/// A real kind cluster with real Kafka, on any Linux machine.
///
/// Where Docker and a container registry answer, the cluster is a stock `kind create cluster`; elsewhere (as root on Debian) a daemon and
/// the node image are made from packages, which takes about 20 minutes the first time and half a minute after that.
/// Costly things are kept in a cache outside the checkout. `down` leaves nothing but the cache and, in a Docker daemon that was
/// there before, images.
#[derive(Parser)]
#[command(
    name = "cluster",
    after_help = "Environment:\n  \
    PENSTOCK_CLUSTER     name of the cluster\n  \
    PENSTOCK_KIND        stock: the machine's Docker; local: a daemon of our own (default: stock if Docker and a registry answer)\n  \
    PENSTOCK_CACHE       the cache (default ~/.cache/penstock)\n  \
    PENSTOCK_STATE       the clusters' own files (default $PENSTOCK_CACHE/instances)\n  \
    PENSTOCK_BASE        base image for `build` (default: distroless; scratch on a local cluster, and where the C library is newer)\n  \
    PENSTOCK_NODE_IMAGE  node image of a stock cluster, such as kindest/node:v1.35.5 (default: kind's own)"
)]
struct Arguments {
    /// Name of the cluster; clusters of different names run side by side.
    #[arg(long, global = true, env = "PENSTOCK_CLUSTER", default_value = "penstock")]
    name: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Bring the cluster up; one that is well is left alone, a broken one is replaced.
    Up,
    /// Remove the cluster and everything that belongs to it.
    Down,
    /// Show what there is.
    Status,
    /// Run a command beside the cluster, with kubectl, helm, kind and docker pointed at it.
    ///
    /// Example: cluster exec -- kubectl get pods -A
    Exec {
        /// The program to run.
        program: String,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Compile operator and worker, build their images and load them into the cluster.
    Build,
    /// Build the images of handlers, the examples' and the tests', and load them into the cluster.
    Handlers,
    /// Get the Prometheus that the tests of the alerts need: the machine's own, or Debian's, unpacked into the cache.
    Prometheus,
    /// Kafka in the cluster.
    #[command(subcommand)]
    Kafka(Kafka),
}

#[derive(Subcommand)]
enum Kafka {
    /// Start Kafka and wait until its brokers can be reached.
    Up {
        /// How many brokers; another number than there are replaces them, with their data.
        #[arg(long, default_value = "1", value_parser = ["1", "3"])]
        brokers: String,
    },
    /// Remove Kafka with its data.
    Down,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let site = Site::find(Some(&arguments.name)).await?;
    match arguments.action {
        Action::Up => return up(&site).await,
        Action::Down => cluster::down(&site).await?,
        Action::Status => print(&cluster::report(&site).await?),
        Action::Exec { program, arguments } => return exec(&site, &program, &arguments),
        Action::Build => return or_interrupted(cluster::build(&site)).await,
        Action::Handlers => return or_interrupted(cluster::handlers(&site)).await,
        Action::Prometheus => return or_interrupted(cluster::prometheus::ensure()).await,
        Action::Kafka(Kafka::Up { brokers }) => {
            let size = if brokers == "3" { KafkaSize::Three } else { KafkaSize::One };
            return or_interrupted(cluster::kafka_up(&site, size)).await;
        }
        Action::Kafka(Kafka::Down) => return or_interrupted(cluster::kafka_down(&site)).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings the cluster up; interrupted, it takes down what it began.
async fn up(site: &Site) -> Result<ExitCode> {
    let mut began = false;
    let ended = or_interrupted(cluster::up(site, &mut began)).await;
    if ended.is_err() && began {
        eprintln!("    what was started stays for a look: `up` replaces it, `down` removes it");
    }
    let code = ended?;
    if code != ExitCode::SUCCESS && began {
        cluster::down(site).await?;
    }
    Ok(code)
}

/// Runs to the end, or stops at SIGINT, SIGTERM or SIGHUP together with every program that was started for it.
async fn or_interrupted(work: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    tokio::select! {
        result = work => result.map(|()| ExitCode::SUCCESS),
        number = interruption() => {
            eprintln!("    interrupted: stopping");
            // What a shell reports for a program that was ended by this signal.
            Ok(ExitCode::from(128 + number))
        }
    }
}

/// Ends with the number of the first signal that asks this program to stop.
async fn interruption() -> u8 {
    let listen = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => drop(signals.recv().await),
            // Without a listener the signal keeps its default: it ends this program.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = listen(SignalKind::interrupt()) => 2,
        () = listen(SignalKind::terminate()) => 15,
        () = listen(SignalKind::hangup()) => 1,
    }
}

/// Becomes the command, so that its exit code, its terminal and its signals are its own.
fn exec(site: &Site, program: &str, arguments: &[String]) -> Result<ExitCode> {
    site.require_up()?;
    let mut command = site.command(program).into_std();
    let error = command.args(arguments).exec();
    eprintln!("cluster: cannot run {program}: {error}");
    Ok(ExitCode::from(127))
}

fn print(text: &str) {
    // A reader that went away is no failure of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
