//! Names that Kubernetes takes for objects of topics. Pure.
//!
//! No two topics get one name, and which name a topic gets does not depend on the order.

use std::collections::{BTreeMap, BTreeSet};

use penstock_crds::name::short_hash;

/// The longest name of an object.
const LONGEST: usize = 253;
/// The stem of names in which no character is left.
const NAMELESS: &str = "topic";

/// The object's name of each topic, by the topic's name in Kafka.
#[must_use]
pub fn of_objects<'a>(topics: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let topics: BTreeSet<&str> = topics.into_iter().collect();
    let mut of_stem: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for topic in topics {
        of_stem.entry(stem(topic)).or_default().push(topic);
    }
    let named = of_stem.into_iter().flat_map(|(stem, topics)| {
        let is_alone = topics.len() == 1;
        topics.into_iter().map(move |topic| (topic, if is_alone || topic == stem { stem.clone() } else { told_apart(&stem, topic) }))
    });
    named.collect()
}

/// The name with a hash of the topic's, which is another for each.
#[must_use]
pub fn told_apart(name: &str, topic: &str) -> String {
    let hash = short_hash(topic.as_bytes());
    let stem: String = name.chars().take(LONGEST - hash.len() - 1).collect();
    format!("{}-{hash}", stem.trim_end_matches(['-', '.']))
}

/// What is nearest to a topic's name: lower case, dashes, and no part between dots that begins or ends with one.
fn stem(topic: &str) -> String {
    let lower = topic.to_ascii_lowercase().replace('_', "-");
    let parts: Vec<&str> = lower.split('.').map(|part| part.trim_matches('-')).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { NAMELESS.to_owned() } else { parts.join(".") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_takes_and_tell_topics_apart() {
        let long = "A_".repeat(124);
        let hashed = |stem: &str, topic: &str| format!("{stem}-{}", short_hash(topic.as_bytes()));
        for (topics, expected) in [
            (vec!["orders"], vec!["orders".to_owned()]),
            (vec!["orders.DLT", "shop_orders"], vec!["orders.dlt".to_owned(), "shop-orders".to_owned()]),
            // The one that needs no change keeps its name.
            (vec!["Orders", "orders", "orders_"], vec![hashed("orders", "Orders"), "orders".to_owned(), hashed("orders", "orders_")]),
            (vec!["a.b", "a..b"], vec![hashed("a.b", "a..b"), "a.b".to_owned()]),
            (vec!["-", "..."], vec![hashed("topic", "-"), hashed("topic", "...")]),
            (vec!["_a._b-.c"], vec!["a.b.c".to_owned()]),
            (vec![long.as_str()], vec![long.to_lowercase().replace('_', "-").trim_end_matches('-').to_owned()]),
        ] {
            let names = of_objects(topics.iter().copied());
            assert_eq!(names.values().cloned().collect::<Vec<_>>(), expected, "{topics:?}");
            for name in names.values() {
                let fits = |part: &str| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-');
                assert!(name.len() <= LONGEST && name.split('.').all(fits), "{name}");
            }
        }
        assert_eq!(told_apart(&"a".repeat(253), "a").len(), LONGEST);
    }
}
