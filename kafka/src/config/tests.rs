//! What a configuration becomes, and what is said of one that cannot be used.

use std::time::Duration;

use super::environment::Field;
use super::*;
use crate::{BreakerSettings, Compression, GroupProtocol, Isolation, StartFrom};

const NONE: [(&str, &str); 0] = [];

fn read(yaml: &str, variables: &[(&str, &str)]) -> std::result::Result<KafkaConfig, ConfigError> {
    ConfigLayers::new().yaml_str(yaml)?.variables("APP", variables.iter().copied())?.build()
}

#[test]
fn each_field_becomes_a_setting() {
    let yaml = "
connection: {bootstrapServers: [a:1, 'b:2'], clientId: shop}
producer:
  linger: 20ms
  batchBytes: 16384
  compression: snappy
  deliveryTimeout: 1m
  maxRecordBytes: 2000
  bufferRecords: 5
  bufferBytes: 2097152
  circuitBreaker: {failures: 3, pause: 1.5s}
transactions: {transactionalId: billing-0, timeout: 20s, startTimeout: 40s}
consumer:
  group: billing
  topics: [orders, payments]
  startFrom: Latest
  groupProtocol: Classic
  isolation: read_uncommitted
  sessionTimeout: 30s
  maxPollInterval: 10m
  bufferRecords: 7
  prefetchBytes: 2097152
  partitionFetchBytes: 1048576
  fetchMinBytes: 10
  fetchWait: 100ms
  coPartitioned: true
reader: {topics: [prices], refreshInterval: 5s, bufferRecords: 9, prefetchBytes: 4194304, fetchWait: 200ms}
topics:
  - name: orders
    partitions: 3
    replicationFactor: 1
    config: {retention.ms: 604800000, cleanup.policy: 'delete,compact', preallocate: true}
  - name: payments
";
    let config = KafkaConfig::from_yaml_str(yaml).unwrap();
    let ms = Duration::from_millis;
    assert_eq!(config.connection, ConnectionSettings::parse("a:1,b:2").unwrap().with_client_id("shop").unwrap());
    let producer = ProducerSettings {
        linger: ms(20),
        batch_bytes: 16_384,
        compression: Compression::Snappy,
        delivery_timeout: ms(60_000),
        max_record_bytes: 2_000,
        buffer_records: 5,
        buffer_bytes: 2 << 20,
        circuit_breaker: Some(BreakerSettings { failures: 3, pause: ms(1_500) }),
    };
    assert_eq!(config.producer, producer);
    let mut transactions = TransactionSettings::new("billing-0").with_timeout(ms(20_000));
    transactions.start_timeout = ms(40_000);
    transactions.producer = ProducerSettings { delivery_timeout: ms(20_000), circuit_breaker: None, ..producer };
    assert_eq!(config.transactions, Some(transactions));
    let settings = ReaderSettings { refresh_interval: ms(5_000), buffer_records: 9, prefetch_bytes: 4 << 20, fetch_wait: ms(200) };
    assert_eq!(config.reader, Some(ReaderConfig { topics: vec!["prices".to_owned()], settings }));
    let settings = ConsumerSettings {
        group: "billing".to_owned(),
        start_from: StartFrom::Latest,
        group_protocol: GroupProtocol::Classic,
        isolation: Isolation::ReadUncommitted,
        session_timeout: ms(30_000),
        max_poll_interval: ms(600_000),
        buffer_records: 7,
        prefetch_bytes: 2 << 20,
        partition_fetch_bytes: 1 << 20,
        fetch_min_bytes: 10,
        fetch_wait: ms(100),
        report_ends: false,
        co_partitioned: true,
    };
    assert_eq!(config.consumer, Some(ConsumerConfig { topics: vec!["orders".to_owned(), "payments".to_owned()], settings }));
    let orders = NewTopic::new("orders").with_partitions(3).with_replication_factor(1);
    let orders = orders.with_config("retention.ms", "604800000").with_config("cleanup.policy", "delete,compact");
    assert_eq!(config.topics, [orders.with_config("preallocate", "true"), NewTopic::new("payments")]);
    // And no field was forgotten here.
    for field in Field::all() {
        let name = field.path.last().unwrap();
        assert!(yaml.contains(&format!("{name}:")), "{}", field.name());
    }
}

#[test]
fn what_is_left_out_is_the_default() {
    for yaml in [
        "connection: {bootstrapServers: ['a:1']}",
        "{connection: {bootstrapServers: ['a:1']}, producer: , consumer: ~, topics: []}",
        "{connection: {bootstrapServers: ['a:1'], clientId: }, producer: {linger: , circuitBreaker: }}",
    ] {
        let config = KafkaConfig::from_yaml_str(yaml).unwrap();
        let connection = ConnectionSettings::parse("a:1").unwrap();
        let (producer, topics) = (ProducerSettings::default(), Vec::new());
        assert_eq!(config, KafkaConfig { connection, producer, transactions: None, consumer: None, reader: None, topics }, "{yaml}");
    }
    #[derive(serde::Deserialize)]
    struct App {
        kafka: ConfigLayers,
    }
    for (yaml, expected) in [
        ("kafka: {connection: {bootstrapServers: ['a:1'], clientId: }, producer: , consumer: ~}", true),
        ("kafka: {connection: {bootstrapServers: ['a:1']}, producer: {linger: }}", true),
        ("kafka:", false),
    ] {
        let app: App = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(app.kafka.build().is_ok(), expected, "{yaml}");
    }
    let yaml = "{connection: {bootstrapServers: ['a:1']}, producer: {circuitBreaker: {}}, consumer: {group: g, topics: [t]}}";
    let config = KafkaConfig::from_yaml_str(yaml).unwrap();
    assert_eq!(config.producer.circuit_breaker, Some(BreakerSettings::default()));
    assert_eq!(config.consumer.unwrap().settings, ConsumerSettings::new("g"));
    let yaml = "{connection: {bootstrapServers: ['a:1']}, transactions: {transactionalId: t}, reader: {topics: [t]}}";
    let config = KafkaConfig::from_yaml_str(yaml).unwrap();
    assert_eq!(config.transactions, Some(TransactionSettings::new("t")));
    assert_eq!(config.reader.unwrap().settings, ReaderSettings::default());
}

#[test]
fn variables_win_over_what_was_read_before() {
    let yaml = "{connection: {bootstrapServers: ['a:1']}, producer: {linger: 1ms, batchBytes: 100}, topics: [{name: old}]}";
    let variables = [
        ("APP_CONNECTION_BOOTSTRAP_SERVERS", "b:1, c:2"),
        ("APP_PRODUCER_LINGER", "5ms"),
        ("APP_PRODUCER_COMPRESSION", "Gzip"),
        ("APP_PRODUCER_CIRCUIT_BREAKER_FAILURES", "9"),
        ("APP_CONSUMER_GROUP", "123"),
        ("APP_CONSUMER_TOPICS", "orders,payments"),
        ("APP_CONSUMER_CO_PARTITIONED", "true"),
        ("APP_TOPICS", "[{name: new, partitions: 2}]"),
        // Not ours.
        ("APPLE", "1"),
        ("APP_KAFKA_SERVICE_HOST", "10.0.0.1"),
        ("APP_KAFKA_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
    ];
    let config = read(yaml, &variables).unwrap();
    assert_eq!(config.connection.bootstrap_servers(), ["b:1", "c:2"]);
    let expected = ProducerSettings {
        linger: Duration::from_millis(5),
        batch_bytes: 100,
        compression: Compression::Gzip,
        circuit_breaker: Some(BreakerSettings { failures: 9, ..BreakerSettings::default() }),
        ..ProducerSettings::default()
    };
    assert_eq!(config.producer, expected);
    let consumer = config.consumer.unwrap();
    assert_eq!((consumer.settings.group.as_str(), consumer.settings.co_partitioned), ("123", true));
    assert_eq!(consumer.topics, ["orders", "payments"]);
    assert_eq!(config.topics, [NewTopic::new("new").with_partitions(2)]);
    // Without a file, too.
    assert!(read("", &[("APP_CONNECTION_BOOTSTRAP_SERVERS", "b:1")]).is_ok());
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    const A: &str = "connection: {bootstrapServers: ['a:1']}\n";
    // (below a good connection, what is said)
    let table = [
        ("producer: {linger: 2s}", "producer.linger: must be at most 1 s"),
        ("producer: {linger: 5}", "producer.linger: invalid type: integer `5`, expected a string"),
        ("producer: {linger: soon}", "producer.linger: `soon` is no duration: write a number with a unit"),
        ("producer: {batchBytes: 0}", "producer.batchBytes: must be between 1 B and 16 MiB"),
        ("producer: {batchBytes: -1}", "producer.batchBytes: invalid value: integer `-1`"),
        ("producer: {compression: brotli}", "producer.compression: unknown variant `brotli`"),
        ("producer: {acks: 1}", "producer.acks: unknown field `acks`, expected one of `linger`"),
        ("producer: {circuitBreaker: {pause: 1ms}}", "producer.circuitBreaker.pause: must be between 100 ms and 10 min"),
        ("producer: 5", "producer: invalid type"),
        ("produce: {}", "produce: unknown field `produce`, expected one of `connection`"),
        ("consumer: {topics: [t]}", "consumer.group: must have 1 to 255 characters"),
        ("consumer: {group: g}", "consumer.topics: name at least one topic"),
        ("consumer: {group: g, topics: [t, t]}", "consumer.topics[1]: topic t is named twice"),
        ("consumer: {group: g, topics: ['a b']}", "consumer.topics[0]: invalid topic name"),
        ("consumer: {group: g, topics: [t], startFrom: AsTold}", "consumer.startFrom: unknown variant `AsTold`"),
        ("consumer: {group: g, topics: [t], sessionTimeout: 1s}", "consumer.sessionTimeout: must be between 6 s"),
        ("consumer: {group: g, topics: [t], sessionTimeout: 10s, groupProtocol: Consumer}", "consumer.sessionTimeout: leave it out"),
        ("transactions: {}", "transactions.transactionalId: must have 1 to 255 characters"),
        ("transactions: {transactionalId: t, startTimeout: 1ms}", "transactions.startTimeout: must be between 1 s and 1 h"),
        ("producer: {linger: 1s}\ntransactions: {transactionalId: t, timeout: 1s}", "transactions.timeout: must be longer than"),
        ("reader: {}", "reader.topics: name at least one topic"),
        ("reader: {topics: ['a b']}", "reader.topics[0]: invalid topic name"),
        ("reader: {topics: [t], refreshInterval: 1ms}", "reader.refreshInterval: must be between 1 s and 1 h"),
        ("topics: [{partitions: 1}]", "topics[0]: missing field `name`"),
        ("topics: [{name: t}, {name: t}]", "topics[1].name: topic t is named twice"),
        ("topics: [{name: t}, {name: u, partitions: 0}]", "topics[1].partitions: invalid partition count: 0 is not between"),
        ("topics: [{name: t, replicationFactor: 0}]", "topics[0].replicationFactor: invalid replication factor: it must be at least 1"),
        ("topics: [{name: t, config: {a: [1]}}]", "topics[0].config: a must be a text, a number or a flag"),
        ("topics: [{name: t, config: {a: }}]", "topics[0].config: a must be a text, a number or a flag"),
    ];
    for (yaml, expected) in table {
        let error = KafkaConfig::from_yaml_str(&format!("{A}{yaml}")).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{yaml}: {error}");
        assert_eq!(error.path(), expected.split(": ").next(), "{yaml}");
    }
    for (yaml, expected) in [
        ("", "connection.bootstrapServers: give between 1 and 64 bootstrap servers"),
        ("connection: {bootstrapServers: [kafka]}", "connection.bootstrapServers: bootstrap server \"kafka\" has no port"),
        ("connection: {bootstrapServers: [a:1], clientId: a b}", "connection.clientId: client id \"a b\" must have"),
    ] {
        let error = KafkaConfig::from_yaml_str(yaml).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{yaml}: {error}");
    }
}

#[test]
fn what_is_wrong_with_a_variable_names_it() {
    const A: (&str, &str) = ("APP_CONNECTION_BOOTSTRAP_SERVERS", "a:1");
    for (variable, value, expected) in [
        ("APP_PRODUCER_LINGER", "2s", "producer.linger (set by APP_PRODUCER_LINGER): must be at most 1 s"),
        ("APP_PRODUCER_LINGER", "", "producer.linger (set by APP_PRODUCER_LINGER): `` is no duration"),
        ("APP_PRODUCER_BATCH_BYTES", "16k", "producer.batchBytes (set by APP_PRODUCER_BATCH_BYTES): `16k` is no whole number"),
        ("APP_CONSUMER_CO_PARTITIONED", "yes", "consumer.coPartitioned (set by APP_CONSUMER_CO_PARTITIONED): `yes` is neither"),
        ("APP_CONSUMER_TOPICS", "a b", "consumer.topics[0] (set by APP_CONSUMER_TOPICS): invalid topic name"),
        ("APP_TOPICS", "[{name: a b}]", "topics[0].name (set by APP_TOPICS): invalid topic name"),
        ("APP_TOPICS", "[", "topics (set by APP_TOPICS): it must be a list in YAML"),
        (
            "APP_PRODUCER_LINGR",
            "5ms",
            "APP_PRODUCER_LINGR sets no field: change its name or unset it. The variables near to it are APP_PRODUCER_",
        ),
        ("APP_RETRY_MAX", "5", "APP_RETRY_MAX sets no field: change its name or unset it. The variables near to it are APP_CONNECTION_"),
    ] {
        let error = read("", &[A, (variable, value)]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{variable}={value}: {error}");
    }
    // What a later document sets is not the variable's fault.
    let layers = ConfigLayers::new().variables("APP", [A, ("APP_PRODUCER_LINGER", "5ms")]).unwrap();
    let error = layers.yaml_str("producer: {linger: 3s}").unwrap().build().unwrap_err().to_string();
    assert!(error.starts_with("producer.linger: must"), "{error}");
    for prefix in ["", "app", "APP_", "A B"] {
        assert!(matches!(ConfigLayers::new().variables(prefix, NONE), Err(ConfigError::Variable { .. })), "{prefix:?}");
    }
}

#[test]
fn what_is_no_yaml_tells_the_place() {
    for (yaml, part) in [
        ("connection: {bootstrapServers: [a:1]", "line 1"),
        ("producer:\n  linger: 1ms\n  linger: 2ms\n", "linger"),
        ("- a", "expected the sections"),
        ("5", "expected the sections"),
    ] {
        let error = KafkaConfig::from_yaml_str(yaml).unwrap_err();
        assert!(matches!(error, ConfigError::Yaml { file: None, .. }), "{yaml}: {error:?}");
        assert!(error.to_string().contains(part), "{yaml}: {error}");
    }
    let error = KafkaConfig::from_yaml_file("/is/not/there.yaml").unwrap_err().to_string();
    assert!(error.starts_with("/is/not/there.yaml: "), "{error}");
}

#[test]
fn the_example_can_be_read() {
    let config = KafkaConfig::from_yaml_str(include_str!("../../examples/app.yaml")).unwrap();
    assert!(config.consumer.is_some_and(|consumer| consumer.topics == ["orders"]));
}

#[test]
fn the_readme_tells_of_each_field() {
    let readme = include_str!("../../README.md");
    let topics = ["name", "partitions", "replicationFactor", "config"].map(|field| format!("topics[].{field}"));
    for field in Field::all().iter().map(Field::name).chain(topics) {
        assert!(readme.contains(&format!("| `{field}` |")), "{field}");
    }
}
