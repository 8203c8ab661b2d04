//! The permission hook: PUBLISH, each filter of a SUBSCRIBE, and wills when they are published (MQTT 5 section 5.4.2).

use crate::authenticating::with_method;
use crate::toy::toys;
use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::session::Author;
use shardmq_shards::shard::{Extensions, Permission};
use shardmq_shards::wire::{Connect, Will, WillProperties};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Everybody may everything below `open/`, who is called ann everything below `ann/`, and who has the user name root simply everything.
/// Nobody may anything while `closed`.
#[derive(Debug, Default)]
struct Rules {
    closed: AtomicBool,
}

impl Rules {
    fn allow(&self, author: Author<'_>, topic: &str) -> bool {
        assert_eq!(author.peer.ip().to_string(), "127.0.0.1");
        let own = topic.split('/').next() == Some(author.client_id);
        !self.closed.load(Ordering::Relaxed)
            && (topic.starts_with("open/") || own || author.user_name == Some("root"))
    }
}

impl Permission for Rules {
    fn may_publish(&self, author: Author<'_>, topic: &str) -> bool {
        self.allow(author, topic)
    }

    fn may_subscribe(&self, author: Author<'_>, filter: &str) -> bool {
        self.allow(author, filter)
    }
}

/// Two shards under the rules.
fn ruled() -> (World, Arc<Rules>) {
    let rules = Arc::new(Rules::default());
    let extensions = Extensions { permission: Some(rules.clone()), ..Extensions::default() };
    (World::with(Settings { shards: 2, extensions, ..Settings::default() }), rules)
}

#[test]
fn a_user_name_counts_only_if_it_is_proven_where_it_can_be() {
    let extensions = Extensions { permission: Some(Arc::new(Rules::default())), ..Extensions::default() };
    let authentication = toys(false);
    let mut w = World::with(Settings { shards: 2, extensions, authentication, ..Settings::default() });
    let liar = w.connect(0, Connect { username: Some("root"), ..Connect::new(V5, "any", true) });
    w.subscribe_all(liar, &[("secret/#", Q1)]);
    assert_eq!(w.read(liar), ["SUBACK #1000 [87]"]);
    let proven = with_method(Connect::new(V5, "other", true), "toy", "root");
    let root = w.prove(1, Connect { username: Some("nobody"), ..proven });
    w.read(root);
    w.subscribe(root, "secret/#", Q1);
}

#[test]
fn each_filter_is_asked_for_without_its_share_name() {
    let (mut w, _) = ruled();
    let filters =
        [("open/#", Q1), ("secret/#", Q1), ("$share/g/open/x", Q1), ("$share/g/secret", Q1), ("ann/+", Q2)];
    let ann = w.join(0, V5, "ann");
    w.subscribe_all(ann, &filters);
    assert_eq!(w.read(ann), ["SUBACK #1000 [01, 87, 01, 87, 02]"]);
    let bob = w.join(1, V311, "bob");
    w.subscribe_all(bob, &filters);
    assert_eq!(w.read(bob), ["SUBACK #1000 [01, 80, 01, 80, 80]"]);
    assert_eq!(w.count("subscribe_denied"), 5);
    let root = w.connect(1, Connect { username: Some("root"), ..Connect::new(V5, "any", true) });
    w.subscribe(root, "secret/#", Q1);
    w.publish(root, message("secret/x", "1"));
    assert_eq!(w.read(root), [r#"secret/x "1""#]);
    assert!(w.read(ann).is_empty(), "what was refused is not there");
}

#[test]
fn a_denied_publish_reaches_nobody_and_v5_is_told() {
    let (mut w, _) = ruled();
    let root = w.connect(1, Connect { username: Some("root"), ..Connect::new(V311, "watcher", true) });
    w.subscribe(root, "#", Q2);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message("secret", "0"));
    w.publish(ann, message_1(1, "secret", "1"));
    w.publish(ann, message_2(2, "secret", "2"));
    assert_eq!(w.read(ann), ["PUBACK #1 87", "PUBREC #2 87"]);
    // The error ends the flow: the packet id is free at once [MQTT-4.3.3-9].
    w.publish(ann, message_2(2, "ann/x", "2"));
    assert_eq!(w.read(ann), ["PUBREC #2"]);
    assert_eq!(w.read(root), [r#"ann/x "2" q2 #1"#]);
    assert_eq!(w.count("publish_denied"), 3);
    w.pubrel(ann, 2);
    assert_eq!(w.read(ann), ["PUBCOMP #2"]);
}

#[test]
fn a_denied_publish_of_v3_is_acknowledged_and_dropped() {
    for version in [V31, V311] {
        let (mut w, _) = ruled();
        let root = w.connect(1, Connect { username: Some("root"), ..Connect::new(V5, "watcher", true) });
        w.subscribe(root, "#", Q2);
        let ann = w.connect(0, durable(version, "ann"));
        w.publish(ann, message("secret", "0"));
        w.publish(ann, message_1(1, "secret", "1"));
        w.publish(ann, message_2(2, "secret", "2"));
        w.publish(ann, message_2(2, "secret", "2"));
        w.pubrel(ann, 2);
        assert_eq!(w.read(ann), ["PUBACK #1", "PUBREC #2", "PUBREC #2", "PUBCOMP #2"]);
        assert!(w.read(root).is_empty());
    }
}

#[test]
fn denied_publishes_leave_the_quota_as_it_was() {
    let (mut w, _) = ruled();
    w.places[0].log_held = true;
    let ann = w.dial(0, Connect::new(V5, "ann", true));
    assert_eq!(w.read(ann).len(), 1);
    for number in 1..=200 {
        w.publish(ann, message_1(number, "secret", "1"));
        w.publish(ann, message_2(1_000 + number, "secret", "2"));
    }
    let answers = w.read(ann);
    assert_eq!(answers.len(), 400, "the Receive Maximum of 64 is never used up: {:?}", answers.last());
    assert!(answers.iter().all(|line| line.ends_with(" 87")));
}

#[test]
fn a_will_is_asked_for_when_it_is_published() {
    let (mut w, rules) = ruled();
    let root = w.connect(1, Connect { username: Some("root"), ..Connect::new(V5, "watcher", true) });
    w.subscribe(root, "#", Q0);
    let properties = WillProperties { delay: Some(10), ..Default::default() };
    let will = |topic| Will { qos: Q1, retain: false, topic, payload: b"will", properties };
    let leave = |w: &mut World, topic: &'static str, username| {
        let client = w.connect(0, Connect { will: Some(will(topic)), username, ..durable(V5, "ann") });
        w.vanish(client);
        w.pass_secs(11);
    };
    leave(&mut w, "ann/gone", None);
    assert_eq!(w.read(root), [r#"ann/gone "will""#], "the client id is known without the connection");
    leave(&mut w, "secret", Some("root"));
    assert_eq!(w.read(root), [r#"secret "will""#], "and so is the user name");
    leave(&mut w, "secret", None);
    assert!(w.read(root).is_empty());
    assert_eq!(w.count("publish_denied"), 1);
    // Allowed at CONNECT, no more when it is due.
    let client = w.connect(0, Connect { will: Some(will("ann/gone")), ..durable(V5, "ann") });
    w.vanish(client);
    w.pass_secs(5);
    rules.closed.store(true, Ordering::Relaxed);
    w.pass_secs(6);
    assert!(w.read(root).is_empty());
    assert_eq!(w.count("publish_denied"), 2);
}

#[test]
fn aliases_are_set_by_denied_publishes_too() {
    let (mut w, rules) = ruled();
    rules.closed.store(true, Ordering::Relaxed);
    let ann = w.join(0, V5, "ann");
    let mut publish = message_1(1, "ann/x", "1");
    publish.properties.topic_alias = std::num::NonZeroU16::new(3);
    w.publish(ann, publish);
    assert_eq!(w.read(ann), ["PUBACK #1 87"]);
    rules.closed.store(false, Ordering::Relaxed);
    w.publish(ann, shardmq_shards::wire::Publish { topic: "", packet_id: Some(id(2)), ..publish });
    assert_eq!(w.read(ann), ["PUBACK #2 10"]);
}

#[test]
fn a_client_of_3_1_is_granted_qos_0_and_gets_nothing() {
    let (mut w, _) = ruled();
    let ann = w.join(0, V31, "ann");
    w.subscribe_all(ann, &[("secret/#", Q1), ("open/#", Q1)]);
    assert_eq!(w.read(ann), ["SUBACK #1000 [00, 01]"], "it has no code for a refusal");
    let root = w.connect(1, Connect { username: Some("root"), ..Connect::new(V5, "any", true) });
    w.publish(root, message("secret/x", "1"));
    w.publish(root, message("open/x", "2"));
    assert_eq!(w.read(ann), [r#"open/x "2""#]);
    assert_eq!(w.count("subscribe_denied"), 1);
}
