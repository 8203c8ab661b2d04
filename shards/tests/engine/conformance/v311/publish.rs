//! MQTT 3.1.1 section 3.3, PUBLISH.

use crate::conformance::v5::{publish as both, publish_properties};
use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::session::Author;
use shardmq_shards::shard::{Extensions, Permission};
use std::sync::Arc;

/// [MQTT-3.3.1-1] A PUBLISH that goes out again after a reconnect has DUP, however often.
#[test]
fn mqtt_3_3_1_1_a_repeated_publish_has_dup() {
    both::a_repeated_publish_has_dup(V311);
}

/// [MQTT-3.3.1-2] Copies of QoS 0 go out without DUP, and a PUBLISH of QoS 0 that comes with it closes the connection.
#[test]
fn mqtt_3_3_1_2_qos_0_never_has_dup() {
    both::qos_0_never_has_dup(V311);
}

/// [MQTT-3.3.1-3] DUP of a copy says whether we have sent it before, whatever the publisher's DUP was.
#[test]
fn mqtt_3_3_1_3_dup_is_not_passed_on() {
    both::dup_is_not_passed_on(V311);
}

/// [MQTT-3.3.1-4] A PUBLISH with both QoS bits set closes the connection.
#[test]
fn mqtt_3_3_1_4_qos_3_closes_the_connection() {
    both::qos_3_is_malformed(V311);
}

/// [MQTT-3.3.1-5] A PUBLISH with RETAIN is kept for its topic, with its QoS, and delivered to later subscribers.
#[test]
fn mqtt_3_3_1_5_a_retained_message_is_kept_with_its_qos() {
    both::a_retained_message_replaces_the_one_before(V311);
    let mut w = World::new(2);
    let ann = w.join(0, V311, "ann");
    w.publish(ann, retained(message("zero", "x")));
    w.publish(ann, retained(message_1(1, "one", "x")));
    w.publish(ann, retained(message_2(2, "two", "x")));
    w.run();
    let sub = w.join(1, V311, "sub");
    w.subscribe_all(sub, &[("zero", Q2), ("one", Q2), ("two", Q2)]);
    let mut seen = w.read(sub);
    assert_eq!(seen.remove(0), "SUBACK #1000 [02, 02, 02]");
    seen.sort();
    let qos = seen.iter().map(|line| line.split(' ').nth(2).unwrap_or_default());
    assert!(qos.eq(["q1", "q2", "retain"]), "one, two, zero: {seen:?}");
}

/// [MQTT-3.3.1-6] A new subscription is sent the last retained message of each topic that matches.
#[test]
fn mqtt_3_3_1_6_a_new_subscription_gets_the_last_retained_messages() {
    let mut w = World::new(3);
    let ann = w.join(0, V311, "ann");
    for topic in ["a/1", "a/2", "b/1"] {
        for payload in ["old", "older still", "last"] {
            w.publish(ann, retained(message(topic, payload)));
        }
    }
    w.run();
    let sub = w.join(2, V311, "sub");
    assert_eq!(both::kept(&mut w, sub, "a/+"), [r#"a/1 "last" retain"#, r#"a/2 "last" retain"#]);
    assert_eq!(both::kept(&mut w, sub, "b/1"), [r#"b/1 "last" retain"#]);
    assert!(both::kept(&mut w, sub, "c/#").is_empty());
}

/// [MQTT-3.3.1-7] A retained message of QoS 0 takes the place of the one before, whatever that one's QoS was, and is kept like any other.
#[test]
fn mqtt_3_3_1_7_a_retained_message_of_qos_0_replaces_the_one_before() {
    let mut w = World::new(2);
    let ann = w.join(0, V311, "ann");
    w.publish(ann, retained(message_1(1, "a", "qos 1")));
    w.publish(ann, retained(message_2(2, "b", "qos 2")));
    w.run();
    for topic in ["a", "b"] {
        w.publish(ann, retained(message(topic, "qos 0")));
    }
    w.run();
    let sub = w.join(1, V311, "sub");
    assert_eq!(both::kept(&mut w, sub, "#"), [r#"a "qos 0" retain"#, r#"b "qos 0" retain"#]);
}

/// [MQTT-3.3.1-8] What is sent because of a new subscription has RETAIN.
#[test]
fn mqtt_3_3_1_8_what_a_new_subscription_gets_has_retain() {
    let mut w = World::new(2);
    let ann = w.join(0, V311, "ann");
    w.publish(ann, retained(message_1(1, "a", "x")));
    w.run();
    for shard in [0, 1] {
        let sub = w.join(shard, V311, "sub");
        for filter in ["a", "+", "a/#"] {
            for qos in [Q0, Q1] {
                w.subscribe_with(sub, filter, shardmq_shards::wire::SubscriptionOptions::with_qos(qos), None);
                let seen = w.read(sub);
                assert!(seen.len() == 2 && seen[1].ends_with(" retain"), "{seen:?}");
            }
        }
    }
}

/// [MQTT-3.3.1-9] What is sent because of a subscription that was there has no RETAIN, whatever the publication had.
#[test]
fn mqtt_3_3_1_9_what_a_standing_subscription_gets_has_no_retain() {
    let mut w = World::new(2);
    let ann = w.connect(1, durable(V311, "ann"));
    w.subscribe(ann, "a", Q1);
    let bob = w.join(0, V311, "bob");
    w.publish(bob, retained(message("a", "retained")));
    w.publish(bob, retained(message_1(1, "a", "retained")));
    w.publish(bob, message_1(2, "a", "not retained"));
    let live = [r#"a "retained""#, r#"a "retained" q1 #1"#, r#"a "not retained" q1 #2"#];
    assert_eq!(w.read(ann), live);
    w.puback(ann, 1);
    w.puback(ann, 2);
    w.vanish(ann);
    w.publish(bob, retained(message_1(3, "a", "retained")));
    w.run();
    let (_, seen) = w.connect_and_read(1, durable(V311, "ann"));
    assert_eq!(seen, ["CONNACK 00 present", r#"a "retained" q1 #3"#]);
}

/// [MQTT-3.3.1-10] An empty PUBLISH with RETAIN is delivered as any other and clears its topic: later subscribers get nothing.
#[test]
fn mqtt_3_3_1_10_an_empty_retained_message_clears_its_topic() {
    both::an_empty_retained_message_clears_its_topic(V311);
}

/// [MQTT-3.3.1-11] An empty message is never kept: the store stays empty, and a subscriber gets nothing from it.
#[test]
fn mqtt_3_3_1_11_an_empty_retained_message_is_not_kept() {
    both::an_empty_retained_message_is_not_kept(V311);
}

/// [MQTT-3.3.1-12] A PUBLISH without RETAIN is not kept, and neither replaces nor removes what is.
#[test]
fn mqtt_3_3_1_12_without_retain_nothing_kept_changes() {
    both::without_retain_nothing_kept_changes(V311);
}

/// [MQTT-3.3.2-1] The topic name is the first field of every PUBLISH that we send, and one that is not UTF-8 closes the connection.
#[test]
fn mqtt_3_3_2_1_the_topic_name_comes_first_and_is_utf_8() {
    publish_properties::the_topic_name_comes_first_and_is_utf_8(V311);
}

/// [MQTT-3.3.2-2] A PUBLISH whose topic name has a wildcard closes the connection.
#[test]
fn mqtt_3_3_2_2_a_topic_name_with_wildcards_closes() {
    publish_properties::a_topic_name_with_wildcards_closes(V311);
}

/// [MQTT-3.3.2-3] The topic names of what a subscriber is sent are those published, and match its filter.
#[test]
fn mqtt_3_3_2_3_what_is_sent_matches_the_filter() {
    publish_properties::what_is_sent_matches_the_filter(V311);
}

/// [MQTT-3.3.4-1] A PUBLISH of QoS 0 has no answer, of QoS 1 a PUBACK, of QoS 2 a PUBREC.
#[test]
fn mqtt_3_3_4_1_a_publish_is_answered_by_its_qos() {
    both::a_publish_is_answered_by_its_qos(V311);
}

/// [MQTT-3.3.5-1] Overlapping filters give one copy, of the highest QoS among those that match.
#[test]
fn mqtt_3_3_5_1_overlapping_filters_give_the_highest_qos() {
    both::overlapping_filters_give_the_highest_qos(V311);
}

/// [MQTT-3.3.5-2] A PUBLISH that its client may not make is acknowledged as any other and delivered to nobody.
#[test]
fn mqtt_3_3_5_2_a_denied_publish_is_acknowledged() {
    let extensions = Extensions { permission: Some(Arc::new(OnlyReading)), ..Extensions::default() };
    let mut w = World::with(Settings { shards: 2, extensions, ..Settings::default() });
    let sub = w.join(1, V311, "sub");
    w.subscribe(sub, "#", Q2);
    let ann = w.join(0, V311, "ann");
    w.publish(ann, message("a", "x"));
    w.publish(ann, retained(message_1(1, "a", "x")));
    w.publish(ann, message_2(2, "a", "x"));
    assert_eq!(w.read(ann), ["PUBACK #1", "PUBREC #2"]);
    w.pubrel(ann, 2);
    assert_eq!(w.read(ann), ["PUBCOMP #2"]);
    assert!(w.read(sub).is_empty());
    assert!(both::kept(&mut w, sub, "#").is_empty(), "and it is not retained");
}

/// Everybody may subscribe, nobody publish.
#[derive(Debug)]
struct OnlyReading;

impl Permission for OnlyReading {
    fn may_publish(&self, _: Author<'_>, _: &str) -> bool {
        false
    }

    fn may_subscribe(&self, _: Author<'_>, _: &str) -> bool {
        true
    }
}
