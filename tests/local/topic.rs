//! Topics of a test, and what lies in them.

use penstock_kafka::{ConnectionSettings, ConsumedRecord, NewTopic, ReaderEvent, ReaderSettings, TopicAdmin, TopicReader};
use penstock_tests::scene::{LIMIT, Result};

/// Makes topics, each with the partitions that it names, and waits until they can be written.
pub async fn make(connection: &ConnectionSettings, topics: &[NewTopic]) -> Result {
    let admin = TopicAdmin::new(connection)?;
    let mut created = admin.create(topics).await?;
    for topic in topics {
        created.remove(&topic.name).ok_or("no answer")??;
        admin.wait_until_visible(&topic.name, topic.partitions.ok_or("no partitions are named")?, LIMIT).await?;
    }
    Ok(())
}

/// Everything that is committed in it.
pub async fn read(connection: &ConnectionSettings, topic: &str) -> Result<Vec<ConsumedRecord>> {
    let reader = TopicReader::start(connection, &ReaderSettings::default(), &[topic])?;
    let mut records = Vec::new();
    while let ReaderEvent::Record(record) = reader.next().await? {
        records.push(record);
    }
    reader.close().await;
    Ok(records)
}

/// The value of one of its headers.
pub fn header<'a>(record: &'a ConsumedRecord, name: &str) -> Option<&'a [u8]> {
    record.header(name)?.value.as_deref()
}
