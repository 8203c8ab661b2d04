//! Topic aliases towards clients (MQTT 5 section 3.3.2.3.4): whatever is aliased, the client knows every topic.

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Connect, ConnectProperties, Packet, Split, split};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// A durable client that takes so many aliases.
fn taking(client_id: &str, topic_alias_maximum: u16) -> Connect<'_> {
    let properties = ConnectProperties {
        topic_alias_maximum: Some(topic_alias_maximum),
        session_expiry: Some(1_000),
        ..Default::default()
    };
    Connect { properties, ..Connect::new(V5, client_id, false) }
}

/// The topics and payloads that wait for `client`, as one that takes `max` aliases and knows `aliases` understands them; and their bytes.
fn understood(
    w: &mut World,
    client: Client,
    aliases: &mut BTreeMap<u16, String>,
    max: u16,
) -> (Vec<(String, String)>, usize) {
    w.run();
    let bytes = std::mem::take(&mut w.wires[client.0].from_broker);
    let mut rest = &bytes[..];
    let mut messages = Vec::new();
    while let Ok(Split::Whole(frame)) = split(rest, usize::MAX) {
        rest = &rest[frame.wire_bytes()..];
        let Ok(Packet::Publish(publish)) = Packet::decode(frame, V5) else { continue };
        let mut topic = publish.topic.to_owned();
        if let Some(alias) = publish.properties.topic_alias {
            assert!(alias.get() <= max, "MQTT-3.1.2-26: {alias} of {max}");
            if topic.is_empty() {
                topic = aliases.get(&alias.get()).expect("an alias that was defined").clone();
            } else {
                aliases.insert(alias.get(), topic.clone());
            }
        }
        messages.push((topic, String::from_utf8_lossy(publish.payload).into_owned()));
    }
    (messages, bytes.len())
}

#[test]
fn a_topic_that_repeats_is_said_once_with_its_alias_and_then_by_it() {
    let mut w = World::new(2);
    let (ann, bob) = (w.connect(0, taking("ann", 5)), w.join(1, V5, "bob"));
    w.subscribe(ann, "#", Q1);
    for number in 1..=4 {
        w.publish(bob, message_1(number, "some/topic", "x"));
    }
    w.publish(bob, message("abc", "short"));
    w.publish(bob, message("abc", "short"));
    let seen = w.read(ann);
    assert_eq!(
        seen,
        [
            r#"some/topic "x" q1 #1"#,
            r#"some/topic "x" q1 #2 alias=1"#,
            r#" "x" q1 #3 alias=1"#,
            r#" "x" q1 #4 alias=1"#,
            r#"abc "short""#,
            r#"abc "short""#,
        ]
    );
}

#[test]
fn who_takes_none_is_sent_none() {
    for version in [V31, V311, V5] {
        let mut w = World::new(1);
        let (ann, bob) = (w.join(0, version, "ann"), w.join(0, V5, "bob"));
        w.subscribe(ann, "#", Q0);
        for _ in 0..5 {
            w.publish(bob, message("some/topic", "x"));
        }
        assert_eq!(w.read(ann), [r#"some/topic "x""#; 5]);
    }
    let mut w = World::limited(|limits| limits.topic_alias_to_client_max = 0);
    let (ann, bob) = (w.connect(0, taking("ann", 5)), w.join(0, V5, "bob"));
    w.subscribe(ann, "#", Q0);
    for _ in 0..5 {
        w.publish(bob, message("some/topic", "x"));
    }
    assert_eq!(w.read(ann), [r#"some/topic "x""#; 5], "switched off");
}

#[test]
fn every_topic_is_understood_whatever_was_queued_displaced_or_shared_by_reference() {
    let mut w = World::new(2);
    let (ann, bob) = (w.connect(0, taking("ann", 3)), w.join(1, V5, "bob"));
    w.subscribe(ann, "#", Q1);
    let mut aliases = BTreeMap::new();
    let (mut seen, mut sent) = (Vec::new(), Vec::new());
    let large = "y".repeat(5_000);
    for round in 0_u32..600 {
        // Which topics are hot changes, some come once, some payloads are large.
        let topic = match round % 7 {
            0 => format!("once/{round}"),
            1..=4 => format!("hot/{}/{}", round / 150, round % 3),
            _ => format!("warm/and/longer/{}", round % 5),
        };
        let payload = if round % 50 == 3 { format!("{round} {large}") } else { round.to_string() };
        if round % 2 == 0 {
            w.publish(bob, message(&topic, &payload));
        } else {
            w.publish(bob, message_1(1, &topic, &payload));
        }
        sent.push((topic, payload));
        // Not read for a while: copies wait and are written later.
        w.wires[ann.0].space = if round % 100 < 30 { 0 } else { usize::MAX };
        let (messages, _) = understood(&mut w, ann, &mut aliases, 3);
        seen.extend(messages);
        for number in 1..=64 {
            w.puback(ann, (round as u16 % 1000) * 64 + number);
        }
    }
    w.wires[ann.0].space = usize::MAX;
    for number in 1..=5_000 {
        w.puback(ann, number);
    }
    seen.extend(understood(&mut w, ann, &mut aliases, 3).0);
    seen.sort();
    sent.sort();
    assert_eq!(seen.len(), sent.len());
    assert_eq!(seen, sent);
    assert_eq!(aliases.len(), 3, "all slots are used");
}

#[test]
fn a_new_connection_knows_no_alias_and_what_is_sent_again_says_its_topic() {
    let mut w = World::new(2);
    let (ann, bob) = (w.connect(0, taking("ann", 5)), w.join(1, V5, "bob"));
    w.subscribe(ann, "#", Q1);
    for number in 1..=3 {
        w.publish(bob, message_1(number, "some/topic", "x"));
    }
    assert_eq!(w.read(ann).last().map(String::as_str), Some(r#" "x" q1 #3 alias=1"#));
    w.vanish(ann);
    let (ann, seen) = w.connect_and_read(1, taking("ann", 5));
    assert_eq!(
        seen,
        [
            "CONNACK 00 present",
            r#"some/topic "x" q1 #1 dup"#,
            r#"some/topic "x" q1 #2 dup"#,
            r#"some/topic "x" q1 #3 dup"#,
        ]
    );
    w.publish(bob, message("some/topic", "new"));
    assert_eq!(w.read(ann), [r#"some/topic "new""#]);
}

#[test]
fn an_alias_is_not_defined_where_it_does_not_fit() {
    let mut w = World::new(1);
    let mut connect = taking("ann", 5);
    // Exactly a PUBLISH of QoS 0 with this topic and one byte.
    connect.properties.maximum_packet_size = NonZeroU32::new(2 + 2 + 20 + 1 + 1);
    let (ann, bob) = (w.connect(0, connect), w.join(0, V5, "bob"));
    w.subscribe(ann, "#", Q0);
    let topic = "a/topic/of/20/bytes/";
    assert_eq!(topic.len(), 20);
    for _ in 0..4 {
        w.publish(bob, message(topic, "x"));
    }
    assert_eq!(w.read(ann), [r#"a/topic/of/20/bytes/ "x""#; 4]);
    assert_eq!(w.dropped(), []);
}

#[test]
fn long_topics_that_repeat_cost_a_fraction() {
    let bytes = |max| {
        let mut w = World::new(1);
        let (ann, bob) = (w.connect(0, taking("ann", max)), w.join(0, V5, "bob"));
        w.subscribe(ann, "#", Q0);
        for round in 0..200 {
            w.publish(bob, message(&format!("factory/hall-{}/sensor/temperature", round % 10), "21.5"));
        }
        let (messages, bytes) = understood(&mut w, ann, &mut BTreeMap::new(), max);
        assert_eq!(messages.len(), 200);
        bytes
    };
    assert!(bytes(32) * 2 < bytes(0), "{} {}", bytes(32), bytes(0));
}
