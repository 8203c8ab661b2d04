//! MQTT 5 section 3.3.2, the variable header of PUBLISH: topic name and properties.

use crate::conformance::bytes::{Sent, field, no_properties, packet, sent, variable_integer};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::{Client, World};
use shardmq_shards::wire::{
    Connect, ConnectProperties, Packet, Publish, PublishProperties, QoS, ReasonCode, Split,
    SubscriptionOptions, Version, split,
};
use std::num::NonZeroU16;

/// Topic, and what follows it and the packet id.
fn cut(publish: &Sent) -> (&[u8], &[u8]) {
    assert_eq!(publish.packet_type(), 3);
    let (length, rest) = publish.body.split_at(2);
    let (topic, rest) = rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
    (topic, if publish.first & 0b110 == 0 { rest } else { &rest[2..] })
}

/// Those of `sent` that are PUBLISH packets.
fn publishes(w: &mut World, client: Client) -> Vec<Sent> {
    sent(w, client).into_iter().filter(|sent| sent.packet_type() == 3).collect()
}

/// A PUBLISH of `a` with these property bytes arrives with the same: here, on another shard, from a queue, again after a reconnect, and as a
/// retained message.
fn reaches_everybody_unaltered(properties: &[u8]) {
    let payload: &[u8] = "paylöad".as_bytes();
    let mut section = vec![properties.len() as u8];
    if properties.len() > 0x7f {
        section = vec![properties.len() as u8 | 0x80, (properties.len() >> 7) as u8];
    }
    section.extend_from_slice(properties);
    let tail = [&section, payload].concat();
    for shard in [0, 1] {
        let mut w = World::new(2);
        let near = w.join(0, V5, "near");
        let away = w.connect(0, durable(V5, "away"));
        w.subscribe(near, "a", Q1);
        w.subscribe(away, "+", Q2);
        w.vanish(away);
        let bob = w.join(shard, V5, "bob");
        w.send_bytes(bob, &packet(0x33, &[&field(b"a"), &[0, 1], &tail]));
        let late = w.join(1, V5, "late");
        w.subscribe_with(late, "a", SubscriptionOptions::with_qos(Q0), None);
        for client in [near, late] {
            let seen = publishes(&mut w, client);
            assert_eq!(seen.len(), 1);
            assert_eq!(cut(&seen[0]), (&b"a"[..], &tail[..]), "from shard {shard}");
        }
        for _ in 0..2 {
            let away = w.dial(0, durable(V5, "away"));
            let seen = publishes(&mut w, away);
            assert_eq!(cut(&seen[0]), (&b"a"[..], &tail[..]), "queued");
            w.vanish(away);
        }
    }
}

/// What [MQTT-3.3.2-1] says of both versions.
pub fn the_topic_name_comes_first_and_is_utf_8(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(1, version, "ann");
    w.subscribe(ann, "#", Q2);
    let bob = w.join(0, version, "bob");
    for topic in ["a", "é/ü/日本語", "x y", "🦀"] {
        for first in [0x30, 0x32, 0x34] {
            let id: &[u8] = if first == 0x30 { &[] } else { &[0, 9] };
            w.send_bytes(bob, &packet(first, &[&field(topic.as_bytes()), id, no_properties(version), b"x"]));
            w.pubrel(bob, 9);
            let seen = publishes(&mut w, ann);
            assert!(seen[0].body.starts_with(&field(topic.as_bytes())), "{version}");
        }
    }
    for topic in [&b"\xc3\x28"[..], b"\xed\xa0\x80", b"\xff", b"a\xc3"] {
        let bytes = packet(0x30, &[&field(topic), no_properties(version), b"x"]);
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
    }
}

/// [MQTT-3.3.2-1] The topic name is the first field of every PUBLISH that we send, and one that is not UTF-8 is malformed.
#[test]
fn mqtt_3_3_2_1_the_topic_name_comes_first_and_is_utf_8() {
    the_topic_name_comes_first_and_is_utf_8(V5);
}

/// What [MQTT-3.3.2-2] says of both versions.
pub fn a_topic_name_with_wildcards_closes(version: Version) {
    for topic in ["#", "+", "a/#", "a/+/b", "a#", "+a"] {
        closes(version, ReasonCode::TopicNameInvalid, |w, ann| w.publish(ann, message_1(1, topic, "")));
    }
}

/// [MQTT-3.3.2-2] A PUBLISH whose topic name has a wildcard closes the connection with 0x90.
#[test]
fn mqtt_3_3_2_2_a_topic_name_with_wildcards_closes() {
    a_topic_name_with_wildcards_closes(V5);
}

/// What [MQTT-3.3.2-3] says of both versions.
pub fn what_is_sent_matches_the_filter(version: Version) {
    let topics = ["a", "a/b", "a/b/c", "b", "/a", "a/", "A", "$a", "$a/b"];
    let expected: [(&str, &[&str]); 6] = [
        ("a", &["a"]),
        ("a/+", &["a/b", "a/"]),
        ("a/#", &["a", "a/b", "a/b/c", "a/"]),
        ("+/+", &["a/b", "/a", "a/"]),
        ("#", &["a", "a/b", "a/b/c", "b", "/a", "a/", "A"]),
        ("$a/+", &["$a/b"]),
    ];
    for (filter, expected) in expected {
        let mut w = World::new(2);
        let bob = w.join(0, version, "bob");
        w.publish(bob, retained(message("a/b", "")));
        let ann = w.join(1, version, "ann");
        w.subscribe(ann, filter, Q0);
        for topic in topics {
            w.publish(bob, message(topic, "x"));
        }
        let seen = publishes(&mut w, ann);
        let seen: Vec<&[u8]> = seen.iter().map(|publish| cut(publish).0).collect();
        let expected: Vec<&[u8]> = expected.iter().map(|topic| topic.as_bytes()).collect();
        assert_eq!(seen, expected, "{filter}, {version}");
    }
}

/// [MQTT-3.3.2-3] The topic names of what a subscriber is sent are those published, and match its filter.
#[test]
fn mqtt_3_3_2_3_what_is_sent_matches_the_filter() {
    what_is_sent_matches_the_filter(V5);
}

/// [MQTT-3.3.2-4] The Payload Format Indicator arrives as it was published: 0, 1, or not at all.
#[test]
fn mqtt_3_3_2_4_the_payload_format_is_unaltered() {
    for properties in [&[0x01, 0][..], &[0x01, 1], &[]] {
        reaches_everybody_unaltered(properties);
    }
}

fn expiring<'a>(publish: Publish<'a>, seconds: u32) -> Publish<'a> {
    let properties = PublishProperties { message_expiry: Some(seconds), ..publish.properties };
    Publish { properties, ..publish }
}

/// [MQTT-3.3.2-5] A copy that was not started before its expiry is deleted: in the queue of a client that is offline or behind, on its way between shards, kept.
#[test]
fn mqtt_3_3_2_5_a_copy_not_started_before_its_expiry_is_deleted() {
    let mut w = World::new(2);
    let away = w.connect(0, durable(V5, "away"));
    w.subscribe(away, "a", Q1);
    w.vanish(away);
    let slow = w.connect(0, durable_taking("slow", 1));
    w.subscribe(slow, "a", Q2);
    let far = w.join(1, V5, "far");
    w.subscribe(far, "a", Q0);
    w.places[1].frozen = true;
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message_1(1, "a", "stays"));
    w.publish(bob, expiring(retained(message_2(2, "a", "expires")), 10));
    w.pass_secs(11);
    w.places[1].frozen = false;
    assert_eq!(w.read(far), [r#"a "stays""#]);
    assert_eq!(w.read(slow), [r#"a "stays" q1 #1"#]);
    w.puback(slow, 1);
    assert!(w.read(slow).is_empty());
    let (_, seen) = w.connect_and_read(1, durable(V5, "away"));
    assert_eq!(seen, ["CONNACK 00 present", r#"a "stays" q1 #1"#]);
    let late = w.join(0, V5, "late");
    w.subscribe(late, "a", Q0);
    assert_eq!(w.count("expired"), 3, "the copies of three subscribers");
}

/// [MQTT-3.3.2-6] The expiry that is sent is what was received less the seconds that the message has waited here.
#[test]
fn mqtt_3_3_2_6_the_expiry_counts_down_while_a_message_waits() {
    let mut w = World::new(2);
    let near = w.join(1, V5, "near");
    w.subscribe(near, "a", Q0);
    let away = w.connect(0, durable(V5, "away"));
    w.subscribe(away, "a", Q1);
    w.vanish(away);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, expiring(retained(message_1(1, "a", "x")), 100));
    assert_eq!(w.read(near), [r#"a "x" expiry=100"#]);
    w.pass_secs(30);
    let (away, seen) = w.connect_and_read(0, durable(V5, "away"));
    assert_eq!(seen[1..], [r#"a "x" q1 #1 expiry=70"#], "queued");
    w.vanish(away);
    w.pass_secs(25);
    let (_, seen) = w.connect_and_read(0, durable(V5, "away"));
    assert_eq!(seen[1..], [r#"a "x" q1 #1 dup expiry=45"#], "sent again");
    let late = w.join(0, V5, "late");
    w.subscribe_with(late, "a", SubscriptionOptions::with_qos(Q0), None);
    assert_eq!(w.read(late)[1..], [r#"a "x" retain expiry=45"#], "kept");
    w.publish(bob, expiring(message("a", "y"), u32::MAX));
    w.pass_secs(1);
    assert_eq!(w.read(near), [format!(r#"a "y" expiry={}"#, u32::MAX)]);
    w.publish(bob, message("a", "no expiry"));
    assert_eq!(w.read(near), [r#"a "no expiry""#]);
}

fn aliased<'a>(topic: &'a str, alias: u16) -> Publish<'a> {
    let topic_alias = NonZeroU16::new(alias);
    Publish { properties: PublishProperties { topic_alias, ..Default::default() }, ..message(topic, "x") }
}

/// [MQTT-3.3.2-7] Topic aliases end with their connection, also when the session goes on: the next must set them anew.
#[test]
fn mqtt_3_3_2_7_aliases_end_with_their_connection() {
    let mut w = World::new(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "#", Q0);
    let bob = w.connect(0, durable(V5, "bob"));
    w.publish(bob, aliased("a", 1));
    w.publish(bob, aliased("", 1));
    assert_eq!(w.read(sub), [r#"a "x""#, r#"a "x""#]);
    for broken in [false, true] {
        if broken {
            w.vanish(bob);
        }
        let (bob, seen) = w.connect_and_read(1, durable(V5, "bob"));
        assert_eq!(seen, ["CONNACK 00 present"]);
        w.publish(bob, aliased("", 1));
        assert_eq!(w.read(bob), ["DISCONNECT 82", "closed"]);
        assert!(w.read(sub).is_empty());
    }
    let bob = w.connect(0, durable(V5, "bob"));
    w.publish(bob, aliased("b", 1));
    w.publish(bob, aliased("", 1));
    assert_eq!(w.read(sub), [r#"b "x""#, r#"b "x""#]);
}

/// The aliases of the PUBLISH packets that a subscriber with this Topic Alias Maximum is sent, 0 for none, and the topics that they stand for,
/// for twelve topics published three times. No other property is sent.
fn aliases_towards(maximum: Option<u16>) -> Vec<(u16, Vec<u8>)> {
    let mut w = World::new(2);
    let properties = ConnectProperties { topic_alias_maximum: maximum, ..Default::default() };
    let ann = w.connect(0, Connect { properties, ..Connect::new(V5, "ann", true) });
    w.subscribe(ann, "#", Q0);
    let bob = w.join(1, V5, "bob");
    for round in 0..3 {
        for number in 0..12 {
            let topic = format!("building/{number}/floor/ground/room/kitchen/temperature");
            w.publish(bob, message(&topic, &round.to_string()));
        }
    }
    let mut known = std::collections::BTreeMap::new();
    let seen = publishes(&mut w, ann);
    assert_eq!(seen.len(), 36);
    let resolved = seen.iter().map(|publish| {
        let (topic, rest) = cut(publish);
        let (length, taken) = variable_integer(rest);
        let alias = match &rest[taken..taken + length] {
            [] => 0,
            [0x23, high, low] => u16::from_be_bytes([*high, *low]),
            other => panic!("nothing but an alias is sent: {other:02x?}"),
        };
        if !topic.is_empty() {
            known.insert(alias, topic.to_vec());
        }
        (alias, known.get(&alias).expect("an alias is set before it is used").clone())
    });
    resolved.collect()
}

/// [MQTT-3.3.2-8] A PUBLISH with Topic Alias 0 closes the connection with 0x94; the aliases that we send are never 0.
#[test]
fn mqtt_3_3_2_8_alias_0_is_invalid() {
    for topic in ["a", ""] {
        let bytes = packet(0x30, &[&field(topic.as_bytes()), &[3, 0x23, 0, 0], b"x"]);
        closes(V5, ReasonCode::TopicAliasInvalid, |w, ann| w.send_bytes(ann, &bytes));
    }
    // `cut` and `aliases_towards` read 0 only where there is no property at all.
    for (at, (_, topic)) in aliases_towards(Some(20)).into_iter().enumerate() {
        let expected = format!("building/{}/floor/ground/room/kitchen/temperature", at % 12);
        assert_eq!(topic, expected.as_bytes());
    }
}

/// [MQTT-3.3.2-11] No alias above the client's Topic Alias Maximum is sent, and none at all to a client that did not ask for any.
#[test]
fn mqtt_3_3_2_11_the_clients_alias_maximum_is_respected() {
    for maximum in [None, Some(0), Some(1), Some(5), Some(u16::MAX)] {
        for (at, (alias, topic)) in aliases_towards(maximum).into_iter().enumerate() {
            assert!(alias <= maximum.unwrap_or(0), "{alias} with {maximum:?}");
            let expected = format!("building/{}/floor/ground/room/kitchen/temperature", at % 12);
            assert_eq!(topic, expected.as_bytes(), "{maximum:?}");
        }
    }
}

/// [MQTT-3.3.2-12] Every alias from 1 to the Topic Alias Maximum of our CONNACK is taken; one above closes with 0x94.
#[test]
fn mqtt_3_3_2_12_every_alias_up_to_our_maximum_is_taken() {
    let mut w = World::new(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "#", Q0);
    let bob = w.dial(0, Connect::new(V5, "bob", true));
    w.run();
    let connack = std::mem::take(&mut w.wires[bob.0].from_broker);
    let Ok(Split::Whole(frame)) = split(&connack, usize::MAX) else { panic!("a CONNACK") };
    let Ok(Packet::Connack(connack)) = Packet::decode(frame, V5) else { panic!("a CONNACK") };
    let maximum = connack.properties.topic_alias_maximum.expect("we take aliases");
    assert!(maximum >= 2);
    for alias in 1..=maximum {
        w.publish(bob, aliased(&format!("t/{alias}"), alias));
    }
    for alias in (1..=maximum).rev() {
        w.publish(bob, aliased("", alias));
    }
    let expected = (1..=maximum).chain((1..=maximum).rev()).map(|alias| format!(r#"t/{alias} "x""#));
    assert!(w.read(sub).into_iter().eq(expected));
    w.publish(bob, aliased("above", maximum + 1));
    assert_eq!(w.read(bob), ["DISCONNECT 94", "closed"]);
}

/// A property that is a string must be UTF-8.
fn must_be_utf_8(property: u8) {
    for text in [&b"\xff"[..], b"a\xed\xa0\x80", b"\xc3"] {
        let section = [&[text.len() as u8 + 3, property], &field(text)[..]].concat();
        let bytes = packet(0x30, &[&field(b"gone"), &section, b"x"]);
        closes(V5, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
    }
}

/// [MQTT-3.3.2-13] A Response Topic that is not UTF-8 makes the PUBLISH malformed.
#[test]
fn mqtt_3_3_2_13_the_response_topic_is_utf_8() {
    must_be_utf_8(0x08);
    reaches_everybody_unaltered(&[&[0x08], &field("é/🦀".as_bytes())[..]].concat());
}

/// [MQTT-3.3.2-14] A Response Topic with a wildcard closes the connection, and the message goes nowhere.
#[test]
fn mqtt_3_3_2_14_a_response_topic_has_no_wildcards() {
    for response_topic in ["#", "a/+", "a/#", "a+"] {
        closes(V5, ReasonCode::ProtocolError, |w, ann| {
            let properties = PublishProperties { response_topic: Some(response_topic), ..Default::default() };
            w.publish(ann, Publish { properties, ..message("gone", "x") });
        });
    }
}

/// [MQTT-3.3.2-15] The Response Topic arrives as it was published.
#[test]
fn mqtt_3_3_2_15_the_response_topic_is_unaltered() {
    for topic in ["a", "reply/to//x/", "$x/é", &"long/".repeat(200)] {
        reaches_everybody_unaltered(&[&[0x08], &field(topic.as_bytes())[..]].concat());
    }
}

/// [MQTT-3.3.2-16] Correlation Data of any bytes arrives as it was published.
#[test]
fn mqtt_3_3_2_16_correlation_data_is_unaltered() {
    let every_byte: Vec<u8> = (0..=255).collect();
    for data in [&[][..], &[0], b"\xff\xfe\x00#", &every_byte] {
        reaches_everybody_unaltered(&[&[0x09], &field(data)[..]].concat());
    }
}

fn user_properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    let pair = |(key, value): &(&str, &str)| {
        [&[0x26], &field(key.as_bytes())[..], &field(value.as_bytes())].concat()
    };
    pairs.iter().flat_map(pair).collect()
}

/// [MQTT-3.3.2-17] Every User Property arrives as it was published, empty ones and repeated ones too.
#[test]
fn mqtt_3_3_2_17_user_properties_are_unaltered() {
    reaches_everybody_unaltered(&user_properties(&[("key", "value")]));
    reaches_everybody_unaltered(&user_properties(&[("", ""), ("k", ""), ("", "v"), ("k", "")]));
    reaches_everybody_unaltered(&user_properties(&[("é", "🦀"), ("k", &"long ".repeat(300))]));
}

/// [MQTT-3.3.2-18] User Properties arrive in the order in which they were published, the same name included.
#[test]
fn mqtt_3_3_2_18_user_properties_keep_their_order() {
    let names = ["b", "a", "c", "a", "b", "z", "A", "a"];
    let values: Vec<String> = (0..names.len()).rev().map(|number| number.to_string()).collect();
    let pairs: Vec<(&str, &str)> = names.iter().copied().zip(values.iter().map(String::as_str)).collect();
    reaches_everybody_unaltered(&user_properties(&pairs));
    // With others between them: theirs is kept whatever happens to the rest.
    let mut w = World::new(2);
    let ann = w.join(1, V5, "ann");
    w.subscribe(ann, "a", QoS::AtMostOnce);
    let bob = w.join(0, V5, "bob");
    let (first, second) = (user_properties(&pairs[..3]), user_properties(&pairs[3..]));
    let section = [&first[..], &[0x01, 1], &second, &[0x02, 0, 0, 0, 9]].concat();
    w.send_bytes(bob, &packet(0x30, &[&field(b"a"), &[section.len() as u8], &section, b"x"]));
    let expected: String = pairs.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    assert_eq!(w.read(ann), [format!(r#"a "x" utf8=true expiry=9{expected}"#)]);
}

/// [MQTT-3.3.2-19] A Content Type that is not UTF-8 makes the PUBLISH malformed.
#[test]
fn mqtt_3_3_2_19_the_content_type_is_utf_8() {
    must_be_utf_8(0x03);
    reaches_everybody_unaltered(&[&[0x03], &field("text/é".as_bytes())[..]].concat());
}

/// [MQTT-3.3.2-20] The Content Type arrives as it was published.
#[test]
fn mqtt_3_3_2_20_the_content_type_is_unaltered() {
    for content_type in ["", "text/plain; charset=utf-8", " x ", &"y".repeat(1_000)] {
        reaches_everybody_unaltered(&[&[0x03], &field(content_type.as_bytes())[..]].concat());
    }
}
