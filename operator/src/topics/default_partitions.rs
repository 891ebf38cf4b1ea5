//! How many partitions a topic is made with for which nobody names a number, where the `KafkaCluster` has a limit: as many as brokers would
//! give it, if those are few enough. They are named then, so that the limit holds whatever the controller is set to.

use penstock_crds::{KafkaClusterSpec, condition::Reason};
use penstock_kafka::Error;

use super::validate::{ValidatedTopic, max_partitions};
use crate::{clusters::ClusterConnection, refusal::Refusal};

/// The topic with the number, or why it may not be made.
///
/// # Errors
/// Kafka does not answer.
pub async fn named(
    connection: &ClusterConnection,
    desired: ValidatedTopic,
    cluster: &KafkaClusterSpec,
) -> Result<Result<ValidatedTopic, Refusal>, Error> {
    let Some(limit) = max_partitions(cluster).filter(|_| desired.initial_partitions.is_none()) else { return Ok(Ok(desired)) };
    let default = match connection.look("DescribeConfigs", connection.admin.default_partitions()).await {
        Err(error) if error.is_retriable() || error.is_fatal() => return Err(error),
        told => told.ok().flatten(),
    };
    Ok(within(limit, default).map(|partitions| ValidatedTopic { initial_partitions: Some(partitions), ..desired }))
}

fn within(limit: i32, default: Option<i32>) -> Result<i32, Refusal> {
    let refuse = |why: String| Err(Refusal::new(Reason::LimitExceeded, format!("{why}: name spec.partitions")));
    match default {
        Some(default) if default <= limit => Ok(default),
        Some(default) => refuse(format!("the brokers' num.partitions ({default}) are more than the KafkaCluster allows ({limit})")),
        None => {
            refuse(format!("the KafkaCluster allows {limit} partitions, and the brokers do not tell how many they make (num.partitions)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_brokers_make_by_themselves_is_limited_too() {
        for (limit, default, expected) in [
            (3, Some(1), Ok(1)),
            (3, Some(3), Ok(3)),
            (3, Some(6), Err("num.partitions (6) are more than the KafkaCluster allows (3): name spec.partitions")),
            (3, None, Err("do not tell")),
        ] {
            match (within(limit, default), expected) {
                (Err(refusal), Err(words)) => assert!(refusal.message.contains(words), "{}", refusal.message),
                (got, expected) => assert_eq!(got.map_err(|refusal| refusal.message), expected.map_err(str::to_owned)),
            }
        }
    }
}
