//! What a broker of ours is told. Pure.
//!
//! Every broker is a controller too. Brokers and this program talk over a listener of their own, so that what stands between
//! clients and brokers, such as a proxy, disturbs nobody but clients.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// The ports of one broker, on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub client: u16,
    pub internal: u16,
    pub controller: u16,
}

/// What Kafka writes to standard output.
pub(super) const LOG4J: &str = "\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = INFO
rootLogger.appenderRefs = console
rootLogger.appenderRef.console.ref = console
logger.config.name = org.apache.kafka.common.config
logger.config.level = WARN
";

/// The file `server.properties` of broker `id`; `given` comes last, so that it decides.
pub(super) fn text(id: usize, all: &[Ports], advertised: SocketAddr, data: &Path, given: &BTreeMap<String, String>) -> String {
    let mut properties = defaults(all.len());
    let own = |pick: fn(&Ports) -> u16| all.get(id).map(pick).unwrap_or_default();
    let (client, internal, controller) = (own(|p| p.client), own(|p| p.internal), own(|p| p.controller));
    let voters: Vec<_> = all.iter().enumerate().map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller)).collect();
    for (name, value) in [
        ("node.id", id.to_string()),
        ("process.roles", "broker,controller".to_owned()),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("inter.broker.listener.name", "INTERNAL".to_owned()),
        ("listener.security.protocol.map", "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
        ("listeners", format!("CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal},CONTROLLER://127.0.0.1:{controller}")),
        ("advertised.listeners", format!("CLIENT://{advertised},INTERNAL://127.0.0.1:{internal}")),
        ("log.dirs", data.display().to_string()),
    ] {
        properties.insert(name.to_owned(), value);
    }
    properties.extend(given.clone());
    properties.into_iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}={value}");
        text
    })
}

/// What holds for all of them: nothing that was acknowledged is lost while two of three brokers live.
fn defaults(brokers: usize) -> BTreeMap<String, String> {
    let replicas = brokers.min(3).to_string();
    let in_sync = if brokers >= 3 { "2" } else { "1" };
    let all = [
        ("auto.create.topics.enable", "false"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("default.replication.factor", &replicas),
        ("min.insync.replicas", in_sync),
        ("offsets.topic.replication.factor", &replicas),
        ("transaction.state.log.replication.factor", &replicas),
        ("transaction.state.log.min.isr", in_sync),
        ("share.coordinator.state.topic.replication.factor", &replicas),
        ("share.coordinator.state.topic.min.isr", in_sync),
        // Fifty each by default, which takes a while to make and spreads nothing over three brokers that six do not.
        ("offsets.topic.num.partitions", "6"),
        ("transaction.state.log.num.partitions", "6"),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(brokers: u16, given: &[(&str, &str)]) -> String {
        let all: Vec<_> = (0..brokers).map(|n| Ports { client: 100 + n, internal: 200 + n, controller: 300 + n }).collect();
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        text(0, &all, "127.0.0.1:999".parse().unwrap(), Path::new("/data"), &given)
    }

    #[test]
    fn what_a_broker_is_told() {
        for (brokers, given, line) in [
            (1, &[][..], "controller.quorum.voters=0@127.0.0.1:300"),
            (3, &[], "controller.quorum.voters=0@127.0.0.1:300,1@127.0.0.1:301,2@127.0.0.1:302"),
            (1, &[], "advertised.listeners=CLIENT://127.0.0.1:999,INTERNAL://127.0.0.1:200"),
            (1, &[], "transaction.state.log.min.isr=1"),
            (3, &[], "transaction.state.log.min.isr=2"),
            (3, &[], "offsets.topic.replication.factor=3"),
            (3, &[("min.insync.replicas", "3")], "min.insync.replicas=3"),
            (1, &[("message.max.bytes", "9")], "message.max.bytes=9"),
        ] {
            let text = properties(brokers, given);
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
