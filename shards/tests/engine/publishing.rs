//! What a PUBLISH carries, and how it comes: properties, aliases, payloads of any size, packets in any pieces.

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{
    Packet, Publish, PublishProperties, ReasonCode, SubscriptionOptions, UserProperties, Version,
};
use std::num::NonZeroU16;

fn aliased<'a>(topic: &'a str, payload: &'a str, alias: u16) -> Publish<'a> {
    let topic_alias = NonZeroU16::new(alias);
    Publish { properties: PublishProperties { topic_alias, ..Default::default() }, ..message(topic, payload) }
}

#[test]
fn every_property_crosses_shards_and_v3_gets_none() {
    let mut w = World::new(2);
    let near = w.join(0, V5, "near");
    let far = w.join(1, V5, "far");
    let old = w.join(1, V311, "old");
    for client in [near, far, old] {
        w.subscribe(client, "a", Q1);
    }
    let bob = w.join(0, V5, "bob");
    let user = [("first", "1"), ("", ""), ("first", "again"), ("é", "ü")];
    let properties = PublishProperties {
        payload_format_utf8: Some(true),
        message_expiry: Some(77),
        topic_alias: NonZeroU16::new(3),
        response_topic: Some("reply/to"),
        correlation_data: Some(&[0, 255, 7]),
        content_type: Some("text/plain"),
        user: UserProperties::from_pairs(&user),
        ..Default::default()
    };
    w.publish(bob, Publish { properties, ..message_1(1, "a", "payload") });
    w.run();
    let rest = "utf8=true expiry=77 response=reply/to type=text/plain correlation=[0, ff, 7]";
    let expected = format!(r#"a "payload" q1 #1 {rest} first=1 = first=again é=ü"#);
    assert_eq!(w.wires[near.0].from_broker, w.wires[far.0].from_broker, "byte for byte");
    assert_eq!(w.read(near), [expected.as_str()]);
    assert_eq!(w.read(far), [expected.as_str()]);
    assert_eq!(w.read(old), [r#"a "payload" q1 #1"#]);
}

#[test]
fn an_alias_is_set_used_and_set_anew() {
    let mut w = World::new(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "#", Q0);
    let bob = w.connect(0, durable(V5, "bob"));
    for (topic, alias) in [("a", 1), ("", 1), ("b", 32), ("", 32), ("c", 1), ("", 1), ("", 32)] {
        w.publish(bob, aliased(topic, "x", alias));
    }
    let topics: Vec<char> = w.read(sub).iter().filter_map(|line| line.chars().next()).collect();
    assert_eq!(topics, ['a', 'a', 'b', 'b', 'c', 'c', 'b']);
    // Aliases belong to the connection (section 3.3.2.3.4).
    let bob = w.connect(0, durable(V5, "bob"));
    w.publish(bob, aliased("", "x", 1));
    assert_eq!(w.read(bob), ["DISCONNECT 82", "closed"]);
}

#[test]
fn an_alias_of_a_parked_publish_is_kept() {
    let mut w = World::new(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "#", Q0);
    let bob = w.join(0, V5, "bob");
    w.places[1].frozen = true;
    for number in 0..40 {
        let topic = if number == 0 { "a" } else { "" };
        w.publish(bob, aliased(topic, &number.to_string(), 1));
    }
    w.publish(bob, aliased("b", "b", 1));
    w.publish(bob, aliased("", "b", 1));
    w.run();
    assert_eq!(w.shard(0).sizes().parked, 1);
    w.places[1].frozen = false;
    let lines = w.read(sub);
    assert_eq!(lines.len(), 42);
    assert!(lines[..40].iter().all(|line| line.starts_with("a ")));
    assert!(lines[40..].iter().all(|line| line == r#"b "b""#));
}

#[test]
fn large_payloads_arrive_whole_at_many_and_in_pieces() {
    let mut w = World::new(2);
    let payload: String = (0..700_000u32).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    let clients: Vec<Client> = (0..4)
        .map(|number| {
            let client = w.join(number % 2, [V311, V5][number / 2], &format!("s{number}"));
            w.subscribe(client, "big", Q1);
            client
        })
        .collect();
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message_1(1, "big", &payload));
    w.publish(bob, message("big", "small behind it"));
    for client in &clients {
        w.wires[client.0].space = 0;
    }
    w.run();
    for _ in 0..120 {
        for (number, client) in clients.iter().enumerate() {
            w.wires[client.0].space = 5_000 + number * 977;
        }
        w.run();
    }
    for client in clients {
        w.wires[client.0].space = usize::MAX;
        w.run();
        let bytes = &w.wires[client.0].from_broker;
        let at = bytes.windows(8).position(|window| window == b"abcdefgh").expect("the payload begins");
        assert_eq!(&bytes[at..at + payload.len()], payload.as_bytes());
        assert_eq!(w.read(client), ["big 700000 bytes q1 #1", r#"big "small behind it""#]);
    }
}

/// A conversation with everything in it; what the three clients see.
fn conversation(version: Version, read_bytes_max: usize) -> Vec<Vec<String>> {
    let mut w = World::new(2);
    let (near, far) = (w.join(0, V5, "near"), w.join(1, V311, "far"));
    w.subscribe(near, "#", Q2);
    w.subscribe(far, "a/#", Q1);
    w.read_bytes_max = read_bytes_max;
    let ann = w.dial(0, durable(version, "ann"));
    w.subscribe_all(ann, &[("b", Q1), ("c/+/d", Q0)]);
    w.publish(ann, message("a/b", "zero"));
    w.publish(ann, message_1(1, "a", "one"));
    w.publish(ann, message_2(2, "a/x", &"two ".repeat(2_000)));
    w.pubrel(ann, 2);
    w.send(ann, Packet::Pingreq);
    w.unsubscribe(ann, &["b", "c/+/d"]);
    w.publish(ann, retained(message("kept", "")));
    w.run();
    w.leave(ann, ReasonCode::Success);
    let mut seen: Vec<Vec<String>> = [ann, near, far].iter().map(|client| w.read(*client)).collect();
    // SUBACK may wait for the other shard.
    seen[0].sort();
    seen
}

#[test]
fn packets_may_be_cut_anywhere() {
    for version in Version::ALL {
        let whole = conversation(version, usize::MAX);
        assert_eq!((whole[0].len(), whole[1].len(), whole[2].len()), (8, 4, 3), "{whole:?}");
        for read_bytes_max in (1..40).chain([127, 128, 1_000, 8_000]) {
            assert_eq!(conversation(version, read_bytes_max), whole, "{version}, reads of {read_bytes_max}");
        }
    }
}

#[test]
fn a_reader_is_paused_for_a_lane_and_never_for_a_client() {
    let mut w = World::new(2);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V5, "bob"));
    w.subscribe(ann, "to/ann", Q1);
    w.subscribe(bob, "to/bob", Q1);
    // Both are full of messages from each other, and read each other's acknowledgements all the same.
    let payload = "x".repeat(100);
    for number in 1..=2_000 {
        w.publish(ann, message_1(number, "to/bob", &payload));
        w.publish(bob, message_1(number, "to/ann", &payload));
    }
    w.run();
    let count = |lines: Vec<String>| lines.iter().filter(|line| line.starts_with("PUBACK")).count();
    assert_eq!((count(w.read(ann)), count(w.read(bob))), (2_000, 2_000));
    w.send(ann, Packet::Pingreq);
    assert_eq!(w.read(ann), ["PINGRESP"]);
}

#[test]
fn a_message_expires_by_what_is_left_when_it_arrives() {
    let mut w = World::new(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "a", Q0);
    let bob = w.join(0, V5, "bob");
    let properties = PublishProperties { message_expiry: Some(10), ..Default::default() };
    w.places[1].frozen = true;
    w.publish(bob, Publish { properties, ..message("a", "late") });
    w.pass_secs(4);
    w.places[1].frozen = false;
    assert_eq!(w.read(sub), [r#"a "late" expiry=6"#], "3.3.2.3.3");
    w.subscribe_with(sub, "a", SubscriptionOptions::with_qos(Q1), Some(1));
    w.read(sub);
    w.places[1].frozen = true;
    w.publish(bob, Publish { properties, ..message("a", "too late") });
    w.pass_secs(11);
    w.places[1].frozen = false;
    assert!(w.read(sub).is_empty(), "it expired on the lane");
    assert_eq!(w.count("expired"), 1);
}
