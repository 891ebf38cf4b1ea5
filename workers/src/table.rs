//! State that is read from whole topics: every worker has all of it, and is ready once it has read to the end.

use penstock_kafka::ConsumedRecord;

/// The state. It is fed in the order of each partition; between partitions and topics there is no order.
pub trait TableSink: Send + Sync + 'static {
    /// Takes in one record. The same record may come again, and its bytes may be anything: this never fails.
    fn apply(&self, record: &ConsumedRecord);

    /// Forgets what came from that topic: it was deleted and created again, and its records come anew.
    fn forget(&self, topic: &str);
}
