//! The racks of a Kafka cluster's brokers. Kafka tells those of brokers that are up alone: what was seen is remembered, in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use penstock_kafka::BrokerInfo;

/// The rack in which each broker was seen last. Clone: another handle of the same.
#[derive(Clone, Debug, Default)]
pub struct Racks(Arc<Mutex<BTreeMap<i32, String>>>);

impl Racks {
    /// Takes in which brokers are up. Returns all racks that are known.
    pub fn seen(&self, up: &[BrokerInfo]) -> BTreeMap<i32, String> {
        let mut racks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for broker in up {
            match &broker.rack {
                Some(rack) => drop(racks.insert(broker.id, rack.clone())),
                None => drop(racks.remove(&broker.id)),
            }
        }
        racks.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rack_of_a_broker_that_is_down_stays_known() {
        let racks = Racks::default();
        for (up, known) in [
            (&[(1, "a"), (2, "b")][..], &[(1, "a"), (2, "b")][..]),
            (&[(1, "a")], &[(1, "a"), (2, "b")]),
            (&[], &[(1, "a"), (2, "b")]),
            (&[(2, "c"), (1, "")], &[(2, "c")]),
        ] {
            let broker = |(id, rack): &(i32, &str)| {
                let rack = (!rack.is_empty()).then(|| (*rack).to_owned());
                BrokerInfo { id: *id, host: "kafka".to_owned(), port: 9092, rack }
            };
            let up: Vec<_> = up.iter().map(broker).collect();
            assert_eq!(racks.seen(&up), known.iter().map(|(id, rack)| (*id, (*rack).to_owned())).collect(), "{up:?}");
        }
    }
}
