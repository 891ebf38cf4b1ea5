//! Which broker coordinates each group, and how brokers are asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Lines, decode, outcome};
use crate::error::{Error, Result};
use crate::topic::BrokerInfo;

/// KIP-699: many groups at once.
const FIND: (ApiKey, i16) = (ApiKey::FindCoordinator, 4);
/// How many groups one request names.
pub(super) const GROUPS: usize = 500;

/// The coordinator of each group that was asked about.
#[derive(Default)]
pub(crate) struct Coordinators(Mutex<HashMap<String, BrokerInfo>>);

impl Coordinators {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, BrokerInfo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let unknown: Vec<&str> = {
            let known = self.lock();
            groups.iter().copied().filter(|group| !known.contains_key(*group)).collect()
        };
        for some in unknown.chunks(GROUPS) {
            let keys = some.iter().map(|group| StrBytes::from_string((*group).to_owned())).collect();
            let mut answer = asking.ask(asking.broker, FIND, &FindCoordinatorRequest::default().with_coordinator_keys(keys)).await?;
            let answer: FindCoordinatorResponse = decode(&mut answer, FIND.1)?;
            let mut known = self.lock();
            for found in answer.coordinators {
                match coordinator(&found) {
                    Ok(broker) => drop(known.insert(found.key.to_string(), broker)),
                    Err(error) => drop(without.insert(found.key.to_string(), error)),
                }
            }
        }
        let known = self.lock();
        let mut by_broker: BTreeMap<i32, (BrokerInfo, Vec<String>)> = BTreeMap::new();
        for (group, broker) in groups.iter().filter_map(|group| Some((group, known.get(*group)?))) {
            by_broker.entry(broker.id).or_insert_with(|| (broker.clone(), Vec::new())).1.push((*group).to_owned());
        }
        Ok((by_broker.into_values().collect(), without))
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
