//! MQTT 5 section 2, the control packet's format.

use crate::conformance::bytes::{Sent, field, no_properties, packet, sent};
use crate::verbs::*;
use crate::violations::{closes, watched};
use crate::world::World;
use shardmq_shards::wire::{Packet, ReasonCode, Version};
use std::collections::BTreeSet;

/// A whole packet of each type that a client sends after CONNECT, but PUBLISH, with the flags prescribed.
fn packets_of_clients(version: Version) -> Vec<Vec<u8>> {
    let (filter, none) = (field(b"a"), no_properties(version));
    let mut packets: Vec<_> = [0x40, 0x50, 0x62, 0x70].map(|first| packet(first, &[&[0, 1]])).into();
    packets.push(packet(0x82, &[&[0, 1], none, &filter, &[0]]));
    packets.push(packet(0xa2, &[&[0, 1], none, &filter]));
    packets.push(packet(0xc0, &[]));
    packets.push(packet(0xe0, &[]));
    packets
}

/// The flags in which `packet` may not come.
fn wrong_flags(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..16u8).filter(|flags| *flags != packet[0] & 0x0f).map(|flags| {
        let mut wrong = packet.to_vec();
        wrong[0] = packet[0] & 0xf0 | flags;
        wrong
    })
}

/// What [MQTT-2.1.3-1] says of what comes in, and [MQTT-2.2.2-2] of 3.1.1.
pub fn reserved_flags_close_the_connection(version: Version) {
    for packet in packets_of_clients(version) {
        for wrong in wrong_flags(&packet) {
            closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &wrong));
        }
    }
}

/// One packet of each type that we send, PUBLISH apart, by its first byte: what [MQTT-2.1.3-1] says of them, and [MQTT-2.2.2-1] of 3.1.1.
pub fn our_reserved_flags_are_as_prescribed(version: Version) {
    let mut w = World::new(1);
    let ann = w.dial(0, durable(version, "ann"));
    w.subscribe_all(ann, &[("a", Q2)]);
    w.publish(ann, message_1(1, "b", ""));
    w.publish(ann, message_2(2, "a", ""));
    w.pubrel(ann, 2);
    w.unsubscribe(ann, &["b"]);
    w.send(ann, Packet::Pingreq);
    w.run();
    w.pubrec(ann, 1);
    w.run();
    w.pubcomp(ann, 1);
    let other = w.join(0, version, "ann");
    let mut firsts: BTreeSet<u8> = sent(&mut w, ann).iter().map(|sent| sent.first).collect();
    assert!(firsts.remove(&0x34), "the PUBLISH of QoS 2");
    let mut expected = BTreeSet::from([0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xb0, 0xd0]);
    if version.is_v5() {
        expected.insert(0xe0);
    }
    assert_eq!(firsts, expected, "{version}");
    w.ping(other);
}

/// What [MQTT-2.2.1-2] says, and [MQTT-2.3.1-5] of 3.1.1.
pub fn a_publish_of_qos_0_has_no_packet_id(version: Version) {
    let mut w = World::new(1);
    let ann = w.join(0, version, "ann");
    w.subscribe(ann, "a", Q2);
    // Two bytes behind the topic would be an id: in v5 they are no properties, in v3 they are payload.
    let bytes = packet(0x30, &[&field(b"a"), no_properties(version), b"\x00\x07"]);
    w.send_bytes(ann, &bytes);
    let seen = sent(&mut w, ann);
    assert_eq!(seen.len(), 1);
    let expected = [b"\x00\x01a", no_properties(version), b"\x00\x07"].concat();
    assert_eq!((seen[0].first, &seen[0].body), (0x30, &expected));
    let publisher = w.join(0, version, "bob");
    w.subscribe(ann, "a", Q0);
    w.publish(publisher, message_2(9, "a", "\0\u{7}"));
    let seen = sent(&mut w, ann);
    assert_eq!(
        (seen[0].first, &seen[0].body),
        (0x30, &expected),
        "granted QoS 0: the publisher's id is not ours"
    );
}

/// The id of a PUBLISH of QoS > 0 of topic `a`.
fn publish_id(publish: &Sent) -> u16 {
    assert_eq!(publish.packet_type(), 3);
    assert_ne!(publish.first & 0b110, 0);
    u16::from_be_bytes([publish.body[3], publish.body[4]])
}

/// What [MQTT-2.2.1-4] says, and [MQTT-2.3.1-4] of 3.1.1: past the largest id, with one message always unacknowledged.
pub fn ids_of_the_server_are_unused_and_not_zero(version: Version) {
    let mut w = World::new(1);
    let ann = w.join(0, version, "ann");
    w.subscribe(ann, "a", Q1);
    let bob = w.join(0, version, "bob");
    let mut unacknowledged = BTreeSet::new();
    let mut largest = 0;
    for round in 0..1_400 {
        for _ in 0..50 {
            // The publisher's id does not matter: it is free again each time.
            w.publish(bob, message_1(3, "a", ""));
        }
        let seen = sent(&mut w, ann);
        assert_eq!(seen.len(), 50, "round {round}");
        for publish in &seen {
            let id = publish_id(publish);
            assert_ne!(id, 0);
            assert!(unacknowledged.insert(id), "{id} is in use");
            largest = largest.max(id);
        }
        let oldest: Vec<u16> = seen.iter().map(publish_id).collect();
        // One of each round stays until the next has begun.
        let keep = oldest[round % 50];
        let done: Vec<u16> = unacknowledged.iter().copied().filter(|id| *id != keep).collect();
        for id in done {
            unacknowledged.remove(&id);
            w.puback(ann, id);
        }
        w.run();
        w.wires[bob.0].from_broker.clear();
    }
    assert_eq!(largest, u16::MAX, "the ids were used up once");
    w.wires[ann.0].from_broker.clear();
}

/// What [MQTT-2.2.1-5] says, and [MQTT-2.3.1-6] of 3.1.1.
pub fn acknowledgements_carry_the_id_of_the_publish(version: Version) {
    for id in [1, 2, 255, 256, 0x1234, u16::MAX] {
        let mut w = World::new(1);
        let ann = w.join(0, version, "ann");
        w.publish(ann, message_1(id, "nobody/listens", ""));
        w.publish(ann, message_2(id, "nobody/listens", ""));
        w.pubrel(ann, id);
        let seen = sent(&mut w, ann);
        let ids: Vec<_> = seen.iter().map(|sent| (sent.first, sent.leading_id())).collect();
        assert_eq!(ids, [(0x40, id), (0x50, id), (0x70, id)], "PUBACK, PUBREC, PUBCOMP");
    }
    let mut w = World::new(1);
    let ann = w.join(0, version, "ann");
    w.subscribe(ann, "a", Q2);
    for number in 1..=3 {
        w.publish(ann, message_2(number, "a", ""));
        w.pubrel(ann, number);
    }
    let ids: Vec<u16> =
        sent(&mut w, ann).iter().filter(|sent| sent.packet_type() == 3).map(publish_id).collect();
    assert_eq!(ids.len(), 3);
    for id in ids {
        w.pubrec(ann, id);
        let seen = sent(&mut w, ann);
        assert_eq!((seen[0].first, seen[0].leading_id()), (0x62, id), "PUBREL");
        w.pubcomp(ann, id);
    }
    w.run();
}

/// What [MQTT-2.2.1-6] says, and [MQTT-2.3.1-7] of 3.1.1.
pub fn suback_and_unsuback_carry_the_id_of_their_request(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    let none = no_properties(version);
    for id in [1u16, 255, 256, u16::MAX] {
        w.send_bytes(ann, &packet(0x82, &[&id.to_be_bytes(), none, &field(b"a"), &[0]]));
        let seen = sent(&mut w, ann);
        assert_eq!((seen[0].first, seen[0].leading_id()), (0x90, id));
        w.send_bytes(ann, &packet(0xa2, &[&id.to_be_bytes(), none, &field(b"a")]));
        let seen = sent(&mut w, ann);
        assert_eq!((seen[0].first, seen[0].leading_id()), (0xb0, id));
    }
}

/// [MQTT-2.1.3-1] A packet with reserved flags other than those prescribed closes the connection; ours have them as prescribed.
#[test]
fn mqtt_2_1_3_1_reserved_flags_are_as_prescribed() {
    reserved_flags_close_the_connection(V5);
    our_reserved_flags_are_as_prescribed(V5);
    for wrong in wrong_flags(&packet(0xf0, &[&[0x18, 0]])) {
        closes(V5, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &wrong));
    }
}

/// [MQTT-2.2.1-2] A PUBLISH of QoS 0 has no packet id: what stands behind its topic are properties and payload, in both directions.
#[test]
fn mqtt_2_2_1_2_a_publish_of_qos_0_has_no_packet_id() {
    a_publish_of_qos_0_has_no_packet_id(V5);
}

/// [MQTT-2.2.1-4] Each PUBLISH of QoS 1 or 2 that we send has a packet id that is not zero and not in use with that client.
#[test]
fn mqtt_2_2_1_4_ids_of_the_server_are_unused_and_not_zero() {
    ids_of_the_server_are_unused_and_not_zero(V5);
}

/// [MQTT-2.2.1-5] PUBACK, PUBREC, PUBREL and PUBCOMP carry the packet id of the PUBLISH that they belong to.
#[test]
fn mqtt_2_2_1_5_acknowledgements_carry_the_id_of_the_publish() {
    acknowledgements_carry_the_id_of_the_publish(V5);
}

/// [MQTT-2.2.1-6] SUBACK and UNSUBACK carry the packet id of the SUBSCRIBE or UNSUBSCRIBE that they answer.
#[test]
fn mqtt_2_2_1_6_suback_and_unsuback_carry_the_id_of_their_request() {
    suback_and_unsuback_carry_the_id_of_their_request(V5);
}

/// [MQTT-2.2.2-1] Where there are no properties we write a length of zero, and a packet without that length is malformed.
#[test]
fn mqtt_2_2_2_1_no_properties_are_a_length_of_zero() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    w.subscribe_all(ann, &[("a", Q1)]);
    w.unsubscribe(ann, &["b"]);
    w.publish(ann, message("a", "x"));
    w.publish(ann, message_1(1, "a", "y"));
    let bodies: Vec<Vec<u8>> = sent(&mut w, ann).into_iter().map(|sent| sent.body).collect();
    // The last is PUBACK, which ends before the length where it has nothing to say (section 3.4.2.1).
    let expected: [&[u8]; 5] =
        [b"\x03\xe8\0\x01", b"\x03\xe9\0\x11", b"\0\x01a\0x", b"\0\x01a\0\x01\0y", b"\0\x01"];
    assert_eq!(bodies, expected);
    w.puback(ann, 1);
    drop(w);
    let (filter, topic) = (field(b"a"), field(b"a"));
    for bytes in [
        packet(0x82, &[&[0, 1], &filter, &[0]]),
        packet(0xa2, &[&[0, 1], &filter]),
        packet(0x30, &[&topic]),
        packet(0x32, &[&topic, &[0, 1]]),
    ] {
        let (mut w, ann, watcher) = watched(V5);
        w.send_bytes(ann, &bytes);
        assert_eq!(w.read(ann), ["DISCONNECT 81", "closed"], "{bytes:02x?}");
        assert_eq!(w.read(watcher).len(), 1, "the will");
    }
}
