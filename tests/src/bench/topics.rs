//! The topics of a benchmark: each run has outputs of its own, so that nothing of another run can be taken for its own.

use std::time::Duration;

use crate::scene::Result;
use penstock_kafka::{ConnectionSettings, NewTopic, TopicAdmin};

/// How many partitions each topic has.
pub const PARTITIONS: i32 = 8;
const LIMIT: Duration = Duration::from_secs(30);

/// Makes and removes topics.
pub struct Topics(TopicAdmin);

impl Topics {
    /// A client of its own.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(brokers: &str) -> Result<Self> {
        Ok(Self(TopicAdmin::new(&ConnectionSettings::parse(brokers)?)?))
    }

    /// Makes topics and waits until they are there.
    ///
    /// # Errors
    /// Kafka refuses one.
    pub async fn create(&self, names: &[&str]) -> Result {
        let new: Vec<_> = names.iter().map(|name| NewTopic::new(*name).with_partitions(PARTITIONS).with_replication_factor(1)).collect();
        for (name, created) in self.0.create(&new).await? {
            created?;
            self.0.wait_until_visible(&name, PARTITIONS, LIMIT).await?;
        }
        Ok(())
    }

    /// Removes topics: a million records for each run would fill the disk.
    ///
    /// # Errors
    /// Kafka refuses.
    pub async fn delete(&self, names: &[&str]) -> Result {
        let described = self.0.describe(names).await?;
        let mut found = Vec::new();
        for (name, topic) in described {
            found.push((name, topic?.id));
        }
        let doomed: Vec<_> = found.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        for (_, deleted) in self.0.delete(&doomed).await? {
            deleted?;
        }
        Ok(())
    }
}
