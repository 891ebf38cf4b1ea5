//! What the binary is asked to do: to run the operator, which is what it does without a word, or one of its commands.

use clap::{Parser, Subcommand};

use crate::{import::Import, settings::Settings};

/// Makes and keeps what `KafkaCluster`, `KafkaTopic` and `EventPipeline` objects declare.
#[derive(Clone, Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// What is done instead of running the operator.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What the operator is started with.
    #[command(flatten)]
    pub settings: Settings,
}

/// What is done instead of running the operator.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print KafkaTopic objects for topics that others have declared or made.
    ///
    /// Every printed object has `suspend: true`: applied, it shows in its status how the topic differs from it, and changes nothing. What
    /// cannot be carried over is told on standard error.
    Import(Import),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<CommandLine, String> {
        let words = ["penstock-operator"].into_iter().chain(line.split_whitespace());
        CommandLine::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_runs_the_operator_or_a_command() {
        CommandLine::command().debug_assert();
        for (line, is_command) in [
            ("", false),
            ("--resync 5s", false),
            ("import strimzi", true),
            ("import strimzi -A --cluster big --into shop --strimzi-cluster prod", true),
            ("import strimzi -f a.yaml -f -", true),
            ("import kafka --cluster big --match shop.* --match a", true),
            ("import kafka --cluster big --bootstrap a:1,b:2", true),
        ] {
            assert_eq!(parse(line).map(|line| line.command.is_some()), Ok(is_command), "{line}");
        }
        for (line, words) in [
            ("--resync 0s", "from 1s to 1h"),
            ("--resync 5s import strimzi", "import"),
            ("import", "Usage"),
            ("import kafka", "--cluster"),
            ("import strimzi -f a --namespace x", "cannot be used with"),
            ("import strimzi -A -n x", "cannot be used with"),
            ("import zookeeper", "unrecognized subcommand"),
        ] {
            let refused = parse(line).map(|_| ()).unwrap_err();
            assert!(refused.contains(words), "{line}: {refused}");
        }
    }

    #[test]
    fn help_tells_of_both() {
        let refused = parse("--help").map(|_| ()).unwrap_err();
        for words in ["Makes and keeps what `KafkaCluster`", "import", "Print KafkaTopic objects", "--resync", "current kubeconfig context"]
        {
            assert!(refused.contains(words), "{words} is missing in\n{refused}");
        }
        for (line, words) in [("import strimzi --help", "Examples:"), ("import kafka --help", "--match <PATTERN>")] {
            let told = parse(line).map(|_| ()).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }
}
