//! The Kafka binding, binary content mode (section 3.2): an attribute in each `ce_` header, the data as value.

use bytes::Bytes;
use penstock_kafka::Header;

use super::event::{CloudEvent, DATA_CONTENT_TYPE};
use crate::processor::Output;

const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";

impl CloudEvent {
    /// The event as a record, whose key is the attribute that `key` names; without that attribute it has no key. Every attribute is
    /// a header, the key's too. Without data the value is null.
    #[must_use]
    pub fn into_output(self, key: &str) -> Output {
        let key = self.attribute(key).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let (attributes, payload) = self.into_parts();
        let headers = attributes.into_iter().map(|(attribute, value)| {
            let name = if attribute == DATA_CONTENT_TYPE { CONTENT_TYPE.to_owned() } else { format!("{PREFIX}{attribute}") };
            Header { name, value: Some(value.into()) }
        });
        Output { key, payload, headers: headers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event_of_json;

    #[test]
    fn an_event_becomes_a_record() {
        let text = r#"{"specversion":"1.0","id":"1","source":"/orders","type":"order.placed","subject":"s-1","partitionkey":"p-1",
            "ähm":null,"data":{"b": 1.10}}"#;
        for (key, expected) in [("partitionkey", Some("p-1")), ("subject", Some("s-1")), ("id", Some("1")), ("tenant", None)] {
            let output = event_of_json(text, "").unwrap().into_output(key);
            assert_eq!(output.key.as_deref(), expected.map(str::as_bytes), "{key}");
            assert_eq!(output.payload.as_deref(), Some(&b"{\"b\": 1.10}"[..]));
            let headers: Vec<_> =
                output.headers.iter().map(|h| (h.name.as_str(), std::str::from_utf8(h.value.as_ref().unwrap()).unwrap())).collect();
            let expected = [
                ("content-type", "application/json"),
                ("ce_id", "1"),
                ("ce_partitionkey", "p-1"),
                ("ce_source", "/orders"),
                ("ce_specversion", "1.0"),
                ("ce_subject", "s-1"),
                ("ce_type", "order.placed"),
            ];
            assert_eq!(headers, expected);
        }
        let empty = event_of_json(r#"{"specversion":"1.0","id":"1","source":"/orders","type":"order.placed"}"#, "").unwrap();
        assert_eq!(empty.into_output("partitionkey").payload, None);
    }
}
