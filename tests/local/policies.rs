//! Brokers with a policy of their owner (KIP-108, KIP-133): what it forbids is told in its words, and nothing else is held up.

use std::path::Path;

use penstock_crds::condition::Reason;
use penstock_kafka::{ConfigDelta, ConnectionSettings, Error, NewTopic, PerTopic, TopicAdmin};
use penstock_operator::refusal::Refusal;
use penstock_tests::{
    local::{BrokerSettings, Brokers},
    scene::{LIMIT, Result},
};

const WORDS: &str = "records are to be kept for a minute at least";
const FORBIDDEN: &str = "59999";
const PERMITTED: &str = "60000";

/// The one topic is refused by the policy, and the other is not.
fn one_is_refused(answers: &PerTopic<()>) {
    let refused = answers["short"].as_ref().unwrap_err();
    assert!(matches!(refused, Error::PolicyViolation { message } if message.contains(WORDS)), "{refused:?}");
    let told = Refusal::from(refused);
    assert!(told.reason == Reason::PolicyViolation && told.message.contains(WORDS), "{told:?}");
    assert_eq!(answers["long"], Ok(()));
}

#[tokio::test]
async fn what_a_policy_forbids_is_told_in_its_words() -> Result {
    let properties = ["create.topic.policy.class.name", "alter.config.policy.class.name"];
    let settings = BrokerSettings {
        properties: properties.map(|key| (key.to_owned(), "LeastRetention".to_owned())).into(),
        plugins: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("local/policies/LeastRetention.java")],
        ..BrokerSettings::default()
    };
    let brokers = Brokers::start(1, settings).await?;
    let admin = TopicAdmin::new(&ConnectionSettings::new(brokers.bootstrap())?)?;
    let topic = |name: &str, retention: &str| NewTopic::new(name).with_partitions(1).with_config("retention.ms", retention);
    let both = [topic("short", FORBIDDEN), topic("long", PERMITTED)];
    one_is_refused(&admin.validate_create(&both).await?);
    one_is_refused(&admin.create(&both).await?);
    admin.wait_until_visible("long", 1, LIMIT).await?;
    assert!(matches!(admin.describe(&["short"]).await?["short"], Err(Error::UnknownTopic { .. })), "it was made all the same");

    admin.create(&[topic("short", PERMITTED)]).await?.remove("short").ok_or("no answer")??;
    admin.wait_until_visible("short", 1, LIMIT).await?;
    let change = |name: &str, retention: &str| ConfigDelta {
        topic: name.to_owned(),
        set: [("retention.ms".to_owned(), retention.to_owned())].into(),
        ..ConfigDelta::default()
    };
    one_is_refused(&admin.alter_configs_incremental(&[change("short", FORBIDDEN), change("long", "70000")]).await?);
    let kept = admin.describe_configs(&["short"]).await?.remove("short").ok_or("no answer")??;
    assert_eq!(kept.value("retention.ms"), Some(PERMITTED));
    Ok(())
}
