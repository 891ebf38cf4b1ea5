use kube::ResourceExt;
use penstock_crds::{KafkaTopic, name};
use serde_json::{Value, json};

use super::{change::*, state::*, *};

fn topic(name: &str, version: u8, spec: Value) -> Guarded<KafkaTopic> {
    serde_json::from_value(json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": version, "resourceVersion": version.to_string()},
        "spec": spec,
    }))
    .unwrap()
}

fn watch() -> (Watch<KafkaTopic>, Writer<Guarded<KafkaTopic>>) {
    let writer = Writer::default();
    (Watch { store: writer.as_reader(), inner: Arc::default(), synced: Arc::default() }, writer)
}

fn told(receiver: &mut UnboundedReceiver<Change<KafkaTopic>>) -> Vec<(String, bool, bool)> {
    let mut told: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok())
        .map(|c| (c.latest().map(|o| o.name_any()).unwrap_or_default(), c.before.is_some(), c.after.is_some()))
        .collect();
    told.sort();
    told
}

fn rows(rows: &[(&str, bool, bool)]) -> Vec<(String, bool, bool)> {
    rows.iter().map(|(name, before, after)| ((*name).to_owned(), *before, *after)).collect()
}

#[test]
fn every_subscriber_learns_of_every_change_also_of_missed_ones() {
    let (watch, mut writer) = watch();
    let mut early = watch.subscribe();
    for name in ["a", "b"] {
        watch.apply(&mut writer, watcher::Event::InitApply(topic(name, 1, json!({}))));
    }
    assert_eq!((told(&mut early), watch.was_synced()), (vec![], false));
    watch.apply(&mut writer, watcher::Event::InitDone);
    assert_eq!((told(&mut early), watch.was_synced()), (rows(&[("a", false, true), ("b", false, true)]), true));
    let mut late = watch.subscribe();
    assert_eq!(told(&mut late), rows(&[("a", false, true), ("b", false, true)]));

    // A new list after a lost connection: `a` went, `b` is as it was, `c` is new.
    watch.apply(&mut writer, watcher::Event::Init);
    for (name, version) in [("b", 1), ("c", 2)] {
        watch.apply(&mut writer, watcher::Event::InitApply(topic(name, version, json!({}))));
    }
    watch.apply(&mut writer, watcher::Event::InitDone);
    let expected = rows(&[("a", true, false), ("c", false, true)]);
    assert_eq!((told(&mut early), told(&mut late)), (expected.clone(), expected));

    watch.apply(&mut writer, watcher::Event::Delete(topic("c", 3, json!({}))));
    assert_eq!(told(&mut late), rows(&[("c", true, false)]));
    assert!(watch.get("shop", "b").is_some() && watch.get("shop", "c").is_none());
}

#[test]
fn an_unreadable_object_stands_beside_the_others() {
    let (watch, mut writer) = watch();
    for object in [topic("good", 1, json!({})), topic("bad", 1, json!({"partitions": "many"}))] {
        watch.apply(&mut writer, watcher::Event::InitApply(object));
    }
    watch.apply(&mut writer, watcher::Event::InitDone);
    assert_eq!(watch.select(|_| true).len(), 1);
    assert!(watch.get("shop", "bad").is_some_and(|object| object.0.is_err()));
}

#[test]
fn failures_that_follow_one_another_are_one_outage() {
    let begin = Instant::now();
    let at = |second| begin + Duration::from_secs(second);
    let mut outage = None;
    for (second, lasts) in [(0, 0), (5, 5), (40, 40), (99, 99), (200, 0), (230, 30)] {
        let now = Outage::with(outage, at(second));
        assert_eq!(now.lasts(at(second)), Some(Duration::from_secs(lasts)), "{second}");
        assert_eq!((now.lasts(at(second + 60)).is_some(), now.lasts(at(second + 61))), (true, None), "{second}");
        outage = Some(now);
    }
}

#[test]
fn a_change_ends_an_outage() {
    let (watch, mut writer) = watch();
    assert_eq!(watch.outage(), None);
    watch.failed(&watcher::Error::NoResourceVersion);
    assert!(watch.outage().is_some());
    watch.apply(&mut writer, watcher::Event::Init);
    assert!(watch.outage().is_some(), "the list is not complete yet");
    watch.apply(&mut writer, watcher::Event::InitDone);
    assert_eq!((watch.outage(), watch.state()), (None, WatchState::Synced));
}

#[test]
fn a_status_does_not_concern_the_reconciler_that_wrote_it() {
    let same = topic("a", 1, json!({}));
    let mut with_status = same.clone();
    let (mut with_label, mut going, mut with_finalizer) = (same.clone(), same.clone(), same.clone());
    with_status.meta_mut().resource_version = Some("9".into());
    with_label.labels_mut().insert("a".into(), "b".into());
    with_finalizer.finalizers_mut().push("f".into());
    going.meta_mut().deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    for (name, after, concerns) in [
        ("status", Some(with_status), false),
        ("label", Some(with_label), true),
        ("finalizer", Some(with_finalizer), false),
        ("deletion", Some(going), true),
        ("spec", Some(topic("a", 2, json!({}))), true),
        ("unreadable", Some(topic("a", 1, json!({"partitions": "many"}))), true),
        ("gone", None, true),
    ] {
        let change = Change { before: Some(Arc::new(same.clone())), after: after.map(Arc::new) };
        assert_eq!(change.concerns_reconciler(), concerns, "{name}");
    }
    for (finalizer, concerns) in [("f", true), (name::FINALIZER_TOPIC, false)] {
        let mut held = same.clone();
        held.finalizers_mut().push(finalizer.into());
        let released = Change { before: Some(Arc::new(held)), after: Some(Arc::new(same.clone())) };
        assert_eq!(released.concerns_reconciler(), concerns, "{finalizer}");
    }
}

#[test]
fn a_cache_holds_no_copies_of_an_object() {
    let mut object = topic("a", 1, json!({}));
    let annotations = ["kubectl.kubernetes.io/last-applied-configuration", "penstock.dev/approve", "team.example/owner"];
    object.annotations_mut().extend(annotations.map(|annotation| (annotation.to_owned(), "{}".to_owned())));
    object.managed_fields_mut().push(Default::default());
    slimmed(&mut object);
    assert_eq!(object.annotations().keys().collect::<Vec<_>>(), ["penstock.dev/approve"]);
    assert!(object.managed_fields().is_empty());

    let mut unreadable = topic("a", 1, json!({"partitions": "many"}));
    slimmed(&mut unreadable);
    assert_eq!(unreadable.meta().name.as_deref(), Some("a"));
    let content = unreadable.0.map_err(|unreadable| unreadable.content).unwrap_err();
    assert_eq!(
        content.as_object().map(|fields| fields.keys().map(String::as_str).collect::<Vec<_>>()),
        Some(vec!["apiVersion", "kind", "spec"])
    );
}

#[test]
fn a_lookup_is_as_new_as_the_cache() {
    fn kind(object: &Guarded<KafkaTopic>) -> &str {
        if object.0.is_ok() { "readable" } else { "unreadable" }
    }
    let (watch, mut writer) = watch();
    watch.apply(&mut writer, watcher::Event::Apply(topic("early", 1, json!({}))));
    let lookup = watch.lookup(kind);
    let names = |text: &str| {
        let mut names: Vec<_> = lookup.find(text).iter().map(|object| object.name_any()).collect();
        names.sort();
        names
    };
    assert_eq!(names("readable"), ["early"]);
    watch.apply(&mut writer, watcher::Event::Apply(topic("late", 1, json!({}))));
    assert_eq!(names("readable"), ["early", "late"]);
    // A new list after a lost connection.
    watch.apply(&mut writer, watcher::Event::Init);
    watch.apply(&mut writer, watcher::Event::InitApply(topic("late", 2, json!({"partitions": "many"}))));
    watch.apply(&mut writer, watcher::Event::InitDone);
    assert_eq!((names("readable"), names("unreadable")), (vec![], vec!["late".to_owned()]));
}
