//! What `import` is asked on the command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

/// What is imported, and from where.
#[derive(Args, Clone, Debug)]
pub struct Import {
    #[command(subcommand)]
    pub(super) source: Source,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Source {
    Strimzi(FromStrimzi),
    Kafka(FromKafka),
}

/// Print them for Strimzi's KafkaTopic objects (kafka.strimzi.io), from the apiserver of the current kubeconfig context or from YAML.
///
/// Names, partitions, replication factors, configuration and labels of one's own are carried over. A printed object has the name and the
/// namespace of Strimzi's. Topics of Kafka and of Strimzi itself are left out.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    penstock-operator import strimzi --all-namespaces > topics.yaml\n  \
    kubectl get kafkatopics.kafka.strimzi.io -n kafka -o yaml | penstock-operator import strimzi -f - --into shop | kubectl apply -f -")]
pub(super) struct FromStrimzi {
    /// Read YAML from this file instead of asking the apiserver; `-` is standard input. May be given more than once.
    #[arg(short = 'f', long = "filename", value_name = "FILE", conflicts_with_all = ["namespace", "all_namespaces"])]
    pub(super) filenames: Vec<PathBuf>,
    /// Only objects of this namespace. Default: that of the current context.
    #[arg(short = 'n', long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// Objects of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,
    /// Only objects of this Strimzi cluster, by their label `strimzi.io/cluster`. Needed where there are several.
    #[arg(long, value_name = "NAME")]
    pub(super) strimzi_cluster: Option<String>,
    /// The KafkaCluster that the printed objects refer to. Default: `default`.
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Option<String>,
    /// The namespace of the printed objects. Default: that of Strimzi's.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) into: Option<String>,
}

/// Print them for the topics that a Kafka cluster has.
///
/// Partitions, replication factor and the configuration that is set on the topic itself are printed as they are, so that the operator
/// changes nothing of the topic. Names that Kubernetes does not take become other names, with `topicName`. Kafka's own topics are left out.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("where").args(["cluster", "bootstrap"]).required(true).multiple(true), after_help = "Examples:\n  \
    penstock-operator import kafka --cluster default --match 'shop.*' --into shop > topics.yaml\n  \
    penstock-operator import kafka --bootstrap kafka-0.example:9092 --match 'orders*' --match payments")]
pub(super) struct FromKafka {
    /// The KafkaCluster that the printed objects refer to. Its servers are asked, unless --bootstrap names others.
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Option<String>,
    /// The brokers to ask, each as host:port: where those of the KafkaCluster are not reached from here.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(super) bootstrap: Vec<String>,
    /// Only topics whose names fit, in which `*` stands for any run of characters. May be given more than once. Default: all.
    #[arg(long = "match", value_name = "PATTERN", default_value = "*")]
    pub(super) patterns: Vec<String>,
    /// The namespace of the printed objects. Default: none is printed.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) into: Option<String>,
    /// Where the KafkaCluster stands.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "penstock-system")]
    pub(super) operator_namespace: String,
}
