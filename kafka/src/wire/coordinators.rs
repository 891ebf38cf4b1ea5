//! Which broker coordinates each group, and how brokers are asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::{Lines, decode, outcome};
use crate::error::{Error, Result};
use crate::topic::BrokerInfo;

/// KIP-699: many groups at once.
const FIND: (ApiKey, i16) = (ApiKey::FindCoordinator, 4);
/// How many groups one request names.
pub(super) const GROUPS: usize = 500;

/// How long the coordinator of a group stays known that nobody asks about: groups come and go.
const KEPT: Duration = Duration::from_secs(600);

/// The coordinator of each group that was asked about lately, and when that was.
#[derive(Default)]
pub(crate) struct Coordinators(Mutex<HashMap<String, (BrokerInfo, Instant)>>);

impl Coordinators {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (BrokerInfo, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in who coordinates groups, and forgets those that nobody has asked about for long.
    pub(super) fn learn(&self, found: impl IntoIterator<Item = (String, BrokerInfo)>, now: Instant) {
        let mut known = self.lock();
        known.retain(|_, (_, asked)| now.saturating_duration_since(*asked) < KEPT);
        known.extend(found.into_iter().map(|(group, broker)| (group, (broker, now))));
    }

    #[cfg(test)]
    pub(super) fn knows(&self, group: &str) -> bool {
        self.lock().contains_key(group)
    }

    pub(super) fn forget(&self, group: &str) {
        self.lock().remove(group);
    }

    /// Which groups each broker coordinates; asks any broker for those that are not known.
    pub(super) async fn of(&self, asking: &Asking<'_>, groups: &[&str]) -> Result<Vec<(BrokerInfo, Vec<String>)>> {
        Ok(self.find(asking, groups).await?.0)
    }

    /// The same, with why the others have no coordinator.
    pub(super) async fn find(
        &self,
        asking: &Asking<'_>,
        groups: &[&str],
    ) -> Result<(Vec<(BrokerInfo, Vec<String>)>, BTreeMap<String, Error>)> {
        let mut without = BTreeMap::new();
        let unknown = self.unknown(groups, Instant::now());
        for some in unknown.chunks(GROUPS) {
            let keys = some.iter().map(|group| StrBytes::from_string((*group).to_owned())).collect();
            let mut answer = asking.ask(asking.broker, FIND, &FindCoordinatorRequest::default().with_coordinator_keys(keys)).await?;
            let answer: FindCoordinatorResponse = decode(&mut answer, FIND.1)?;
            let mut with = Vec::new();
            for found in answer.coordinators {
                match coordinator(&found) {
                    Ok(broker) => with.push((found.key.to_string(), broker)),
                    Err(error) => drop(without.insert(found.key.to_string(), error)),
                }
            }
            self.learn(with, Instant::now());
        }
        Ok((self.by_broker(groups), without))
    }

    /// Those of the groups whose coordinators are not known. The others stay known from now on.
    fn unknown<'a>(&self, groups: &[&'a str], now: Instant) -> Vec<&'a str> {
        let mut known = self.lock();
        let mut is_known = |group: &str| known.get_mut(group).map(|(_, asked)| *asked = now).is_some();
        groups.iter().copied().filter(|group| !is_known(group)).collect()
    }

    /// Those of the groups whose coordinators are known.
    fn by_broker(&self, groups: &[&str]) -> Vec<(BrokerInfo, Vec<String>)> {
        let known = self.lock();
        let mut by_broker: BTreeMap<i32, (BrokerInfo, Vec<String>)> = BTreeMap::new();
        for (group, (broker, _)) in groups.iter().filter_map(|group| Some((group, known.get(*group)?))) {
            by_broker.entry(broker.id).or_insert_with(|| (broker.clone(), Vec::new())).1.push((*group).to_owned());
        }
        by_broker.into_values().collect()
    }

    pub(super) async fn of_one(&self, asking: &Asking<'_>, group: &str) -> Result<BrokerInfo> {
        self.of(asking, &[group]).await?.into_iter().next().map(|(broker, _)| broker).ok_or_else(|| no_coordinator(group))
    }
}

pub(super) fn coordinator(found: &Coordinator) -> Result<BrokerInfo> {
    outcome(found.error_code, found.error_message.as_ref().map(ToString::to_string))?;
    let port = u16::try_from(found.port).map_err(|_| no_coordinator(&found.key))?;
    Ok(BrokerInfo { id: found.node_id.0, host: found.host.to_string(), port, rack: None })
}

pub(super) fn no_coordinator(group: &str) -> Error {
    Error::NotReady { code: 15, message: format!("the group {group} has no coordinator") }
}

/// Who is asked, and how.
pub(crate) struct Asking<'a> {
    pub lines: &'a Lines,
    pub client_id: &'a str,
    /// Any broker.
    pub broker: &'a BrokerInfo,
    pub limit: Duration,
}

impl Asking<'_> {
    pub(super) async fn ask(
        &self,
        broker: &BrokerInfo,
        question: (ApiKey, i16),
        body: &impl kafka_protocol::protocol::Encodable,
    ) -> Result<bytes::Bytes> {
        self.lines.ask(broker, self.client_id, question, body, self.limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_that_are_asked_about_stay_known() {
        let (known, begin) = (Coordinators::default(), Instant::now());
        let broker = BrokerInfo { id: 1, host: "kafka".to_owned(), port: 9092, rack: None };
        let at = |second| begin + Duration::from_secs(second);
        for (second, asked, unknown, left) in [
            (0, &["a", "b"][..], &["a", "b"][..], &["a", "b"][..]),
            (500, &["b"], &[], &["a", "b"]),
            (700, &["c"], &["c"], &["b", "c"]),
            // What is asked about after long is not forgotten over what is asked about beside it.
            (1500, &["b", "d"], &["d"], &["b", "d"]),
        ] {
            assert_eq!(known.unknown(asked, at(second)), unknown, "{second}");
            known.learn(unknown.iter().map(|group| ((*group).to_owned(), broker.clone())), at(second));
            let mut groups: Vec<String> = known.lock().keys().cloned().collect();
            groups.sort_unstable();
            assert_eq!(groups, left, "{second}");
        }
    }
}
