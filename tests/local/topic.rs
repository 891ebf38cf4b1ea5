//! What lies in a topic.

use penstock_kafka::{ConnectionSettings, ConsumedRecord, ReaderEvent, ReaderSettings, TopicReader};
use penstock_tests::scene::Result;

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
