//! What a client must not do: its connection is closed with the right code, its will goes out, everybody else goes on.

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{
    Auth, Connack, Connect, Packet, Publish, PublishProperties, ReasonCode, Suback, SubscriptionIds,
    Unsuback, Version, Will,
};
use std::num::NonZeroU16;

/// A world with a client whose will tells of its end, and one that watches.
pub fn watched(version: Version) -> (World, Client, Client) {
    let mut w = World::new(2);
    let watcher = w.join(1, V5, "watcher");
    w.subscribe(watcher, "gone", Q0);
    let will = Will { qos: Q0, retain: false, topic: "gone", payload: b"x", properties: Default::default() };
    let ann = w.connect(0, Connect { will: Some(will), ..Connect::new(version, "ann", true) });
    (w, ann, watcher)
}

/// `breach` closes the connection, for `reason` in v5, and publishes the will.
pub fn closes(version: Version, reason: ReasonCode, breach: impl FnOnce(&mut World, Client)) {
    let (mut w, ann, watcher) = watched(version);
    breach(&mut w, ann);
    let told = format!("DISCONNECT {:02x}", reason as u8);
    let expected: &[&str] = if version.is_v5() { &[&told, "closed"] } else { &["closed"] };
    assert_eq!(w.read(ann), expected, "{version}");
    assert_eq!(w.read(watcher), [r#"gone "x""#], "{version}");
    assert_eq!(w.count("violations"), 1);
    w.ping(watcher);
}

fn closes_in_every_version(reason: ReasonCode, breach: impl Fn(&mut World, Client)) {
    for version in Version::ALL {
        closes(version, reason, &breach);
    }
}

#[test]
fn a_second_connect() {
    closes_in_every_version(ReasonCode::ProtocolError, |w, ann| {
        let version = w.wires[ann.0].version;
        w.send(ann, Packet::Connect(Connect::new(version, "ann", true)));
    });
    closes_in_every_version(ReasonCode::ProtocolError, |w, ann| {
        w.send_bytes(ann, b"\x10\x0f\x00\x04MQTX\x09\x02\x00\x00\x00\x03ann");
    });
}

#[test]
fn packets_that_only_a_server_sends() {
    let codes = [0];
    let properties = Default::default();
    closes_in_every_version(ReasonCode::ProtocolError, |w, ann| {
        w.send(ann, Packet::Connack(Connack::refusal(ReasonCode::Success)));
    });
    closes_in_every_version(ReasonCode::ProtocolError, |w, ann| {
        w.send(ann, Packet::Suback(Suback { packet_id: id(1), properties, codes: &codes }));
    });
    closes_in_every_version(ReasonCode::ProtocolError, |w, ann| {
        w.send(ann, Packet::Unsuback(Unsuback { packet_id: id(1), properties, codes: &codes }));
    });
    closes_in_every_version(ReasonCode::ProtocolError, |w, ann| w.send(ann, Packet::Pingresp));
}

#[test]
fn auth_without_a_method_in_connect() {
    closes(V5, ReasonCode::ProtocolError, |w, ann| {
        let auth = Auth { reason: ReasonCode::Reauthenticate, properties: Default::default() };
        w.send(ann, Packet::Auth(auth));
    });
    closes(V311, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, b"\xf0\x00"));
}

#[test]
fn bytes_that_are_no_packet() {
    closes_in_every_version(ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, b"\x00\x00"));
    closes_in_every_version(ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, b"\x36\x05\x00\x01ax"));
    closes_in_every_version(ReasonCode::MalformedPacket, |w, ann| {
        w.send_bytes(ann, b"\x30\xff\xff\xff\xff\x7f")
    });
    closes_in_every_version(ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, b"\xc1\x00"));
    closes_in_every_version(ReasonCode::MalformedPacket, |w, ann| {
        w.send_bytes(ann, b"\x30\x04\x00\x02\xc3\x28")
    });
    closes_in_every_version(ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, b"\xc0\x01\x00"));
}

#[test]
fn a_packet_larger_than_the_limit_is_refused_by_its_length_alone() {
    closes_in_every_version(ReasonCode::PacketTooLarge, |w, ann| w.send_bytes(ann, b"\x30\x81\x80\x80\x01"));
}

#[test]
fn topics_and_filters() {
    closes_in_every_version(ReasonCode::TopicNameInvalid, |w, ann| w.publish(ann, message("a/+", "")));
    closes_in_every_version(ReasonCode::TopicNameInvalid, |w, ann| {
        w.publish(ann, message(&"a/".repeat(200), ""));
    });
    closes_in_every_version(ReasonCode::TopicNameInvalid, |w, ann| {
        w.publish(ann, message(&"a".repeat(5_000), ""));
    });
    closes(V311, ReasonCode::ProtocolError, |w, ann| w.publish(ann, message("", "")));
    closes(V5, ReasonCode::ProtocolError, |w, ann| w.publish(ann, message("", "")));
}

#[test]
fn a_subscription_identifier_from_a_client() {
    closes(V5, ReasonCode::ProtocolError, |w, ann| {
        let subscription_ids = SubscriptionIds::from_slice(&[1]);
        let properties = PublishProperties { subscription_ids, ..Default::default() };
        w.publish(ann, Publish { properties, ..message("a", "") });
    });
}

#[test]
fn topic_aliases_unknown_and_too_large() {
    let with_alias = |topic, alias| {
        let topic_alias = NonZeroU16::new(alias);
        Publish { properties: PublishProperties { topic_alias, ..Default::default() }, ..message(topic, "") }
    };
    closes(V5, ReasonCode::ProtocolError, |w, ann| w.publish(ann, with_alias("", 1)));
    closes(V5, ReasonCode::TopicAliasInvalid, |w, ann| w.publish(ann, with_alias("a", 33)));
    closes(V5, ReasonCode::TopicAliasInvalid, |w, ann| {
        w.send_bytes(ann, b"\x30\x07\x00\x01a\x03\x23\x00\x00");
    });
}

#[test]
fn packets_before_connect() {
    for version in Version::ALL {
        let mut w = World::new(1);
        let ann = w.arrive(0, 0, version);
        w.send(ann, Packet::Pingreq);
        assert_eq!(w.read(ann), ["closed"], "MQTT-3.1.0-1");
        let bob = w.arrive(0, 0, version);
        w.publish(bob, message("a", ""));
        w.send(bob, Packet::Connect(Connect::new(version, "bob", true)));
        assert_eq!(w.read(bob), ["closed"]);
    }
}

#[test]
fn what_came_before_the_breach_counts_and_nothing_behind_it() {
    let (mut w, ann, watcher) = watched(V5);
    w.publish(ann, message_1(1, "gone", "before"));
    w.send_bytes(ann, b"\x00\x00");
    w.publish(ann, message_1(2, "gone", "behind"));
    assert_eq!(w.read(ann), ["PUBACK #1", "DISCONNECT 81", "closed"]);
    assert_eq!(w.read(watcher), [r#"gone "before""#, r#"gone "x""#]);
}

#[test]
fn packet_identifier_zero() {
    closes_in_every_version(ReasonCode::ProtocolError, |w, ann| {
        w.send_bytes(ann, b"\x32\x05\x00\x01a\x00\x00")
    });
    closes_in_every_version(ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, b"\x40\x02\x00\x00"));
}
