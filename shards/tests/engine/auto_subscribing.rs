//! Subscriptions that every client gets at CONNECT.

use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::session::Author;
use shardmq_shards::shard::{AutoSubscription, Extensions, Permission};
use shardmq_shards::wire::{Connect, QoS, RetainHandling, SubscriptionOptions, Version};
use std::sync::Arc;

fn auto(filter: &str, qos: QoS) -> AutoSubscription {
    AutoSubscription { filter: filter.into(), options: SubscriptionOptions::with_qos(qos) }
}

fn world(shards: usize, subscriptions: &[AutoSubscription]) -> World {
    let extensions = Extensions { auto_subscribe: subscriptions.into(), ..Extensions::default() };
    World::with(Settings { shards, extensions, ..Settings::default() })
}

#[test]
fn every_client_has_its_own_without_a_suback() {
    for version in Version::ALL {
        let mut w = world(2, &[auto("clients/%c/in", Q1), auto("all", Q0)]);
        let ann = w.join(0, version, "ann");
        let bob = w.join(1, V5, "bob");
        w.publish(bob, message_1(1, "clients/ann/in", "1"));
        w.publish(bob, message("all", "2"));
        assert_eq!(w.read(ann), [r#"clients/ann/in "1" q1 #1"#, r#"all "2""#]);
        assert_eq!(w.read(bob), ["PUBACK #1", r#"all "2""#]);
        w.puback(ann, 1);
        w.unsubscribe(ann, &["all"]);
        assert!(w.read(ann)[0].starts_with("UNSUBACK"));
        w.publish(bob, message("all", "3"));
        assert!(w.read(ann).is_empty(), "it can be given up as any other");
    }
}

#[test]
fn connack_waits_for_the_interest() {
    let mut w = world(2, &[auto("a", Q0)]);
    let bob = w.join(1, V5, "bob");
    w.unsubscribe(bob, &["a"]);
    w.read(bob);
    w.places[1].frozen = true;
    let ann = w.dial(0, Connect::new(V5, "ann", true));
    assert!(w.read(ann).is_empty(), "what is published after CONNACK is to arrive");
    w.places[1].frozen = false;
    assert_eq!(w.read(ann).len(), 1);
    w.publish(bob, message("a", "1"));
    assert_eq!(w.read(ann), [r#"a "1""#]);
}

#[test]
fn a_resumed_session_has_them_once() {
    let mut w = world(2, &[auto("a", Q1)]);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "b", Q1);
    w.vanish(ann);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, message_1(1, "a", "1"));
    w.publish(bob, message_1(2, "b", "2"));
    let (ann, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(seen, ["CONNACK 00 present", r#"a "1" q1 #1"#, r#"b "2" q1 #2"#]);
    w.publish(bob, message_1(3, "a", "3"));
    assert_eq!(w.read(ann), [r#"a "3" q1 #3"#]);
    w.unsubscribe(ann, &["a", "a"]);
    assert_eq!(w.read(ann), ["UNSUBACK #1000 [00, 11]"], "it was there once");
}

#[test]
fn retained_messages_follow_connack_as_the_options_say() {
    let with = |filter: &str, retain_handling| AutoSubscription {
        filter: filter.into(),
        options: SubscriptionOptions { retain_handling, ..SubscriptionOptions::with_qos(Q1) },
    };
    let subscriptions = [
        with("r/always", RetainHandling::Send),
        with("r/new", RetainHandling::SendIfNew),
        with("r/never", RetainHandling::DoNotSend),
    ];
    let mut w = world(2, &subscriptions);
    let bob = w.join(1, V5, "bob");
    for topic in ["r/always", "r/new", "r/never"] {
        w.publish(bob, retained(message(topic, "kept")));
    }
    w.read(bob);
    let (ann, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(seen[0], "CONNACK 00");
    let mut rest = seen[1..].to_vec();
    rest.sort();
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert!(rest[0].starts_with(r#"r/always "kept""#), "{rest:?}");
    assert!(rest[1].starts_with(r#"r/new "kept""#), "{rest:?}");
    w.vanish(ann);
    let (_, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[1].starts_with(r#"r/always "kept""#), "{seen:?}");
}

#[test]
fn a_client_named_as_a_wildcard_does_not_get_what_is_for_others() {
    let mut w = world(1, &[auto("clients/%c", Q0), auto("users/%u", Q0)]);
    let sly = w.join(0, V5, "+");
    let hash = w.connect(0, Connect { username: Some("#"), ..Connect::new(V5, "hash", true) });
    let ann = w.connect(0, Connect { username: Some("u"), ..Connect::new(V5, "ann", true) });
    w.publish(ann, message("clients/ann", "1"));
    w.publish(ann, message("users/u", "2"));
    assert_eq!(w.read(ann), [r#"clients/ann "1""#, r#"users/u "2""#]);
    assert!(w.read(sly).is_empty() && w.read(hash).is_empty());
}

/// Nobody may subscribe to what is secret.
#[derive(Debug)]
struct NoSecrets;

impl Permission for NoSecrets {
    fn may_publish(&self, _: Author<'_>, _: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _: Author<'_>, filter: &str) -> bool {
        !filter.starts_with("secret")
    }
}

#[test]
fn permission_and_the_limit_of_filters_apply() {
    for version in Version::ALL {
        let extensions = Extensions {
            permission: Some(Arc::new(NoSecrets)),
            auto_subscribe: [auto("secret", Q0), auto("a", Q0), auto("b", Q0)].into(),
            ..Extensions::default()
        };
        let mut settings = Settings { extensions, ..Settings::default() };
        settings.limits.filters_per_client_max = 1;
        let mut w = World::with(settings);
        let ann = w.join(0, version, "ann");
        for topic in ["secret", "b", "a"] {
            w.publish(ann, message(topic, "1"));
        }
        assert_eq!(w.read(ann), [r#"a "1""#]);
        assert_eq!(w.count("subscribe_denied"), 1);
    }
}

#[test]
fn shared_ones_have_one_receiver() {
    let mut w = world(2, &[auto("$share/g/work", Q1)]);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V5, "bob"));
    for number in 0..10 {
        w.publish(ann, message("work", &number.to_string()));
    }
    assert_eq!((w.read(ann).len(), w.read(bob).len()), (5, 5));
}
