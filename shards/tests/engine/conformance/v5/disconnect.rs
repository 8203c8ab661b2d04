//! MQTT 5 section 3.14, DISCONNECT.

use crate::conformance::bytes::{CLEAN, connect, dial, field, sent};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::{Client, World};
use shardmq_shards::wire::{Connect, Packet, ReasonCode, Version, Will};
use std::collections::BTreeSet;

/// What [MQTT-3.14.1-1] says in every version.
pub fn a_disconnect_has_no_flags(version: Version) {
    for flags in 1..16 {
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &[0xe0 | flags, 0]));
    }
}

/// What [MQTT-3.14.4-3] says in every version.
pub fn a_disconnect_discards_the_will(version: Version, disconnect: &[u8]) {
    let mut w = World::new(2);
    let watcher = w.join(1, V5, "watcher");
    w.subscribe(watcher, "w", Q0);
    let will = Will { qos: Q0, retain: false, topic: "w", payload: b"", properties: Default::default() };
    for session in [Connect::new(version, "ann", true), durable(version, "ann")] {
        let ann = w.connect(0, Connect { will: Some(will), ..session });
        w.send_bytes(ann, disconnect);
        w.run();
        w.vanish(ann);
        w.pass_secs(5_000);
        assert!(w.read(watcher).is_empty());
    }
}

/// What makes us send DISCONNECT.
const CAUSES: [fn(&mut World, Client); 12] = [
    |w, _| {
        w.join(1, V5, "ann");
    },
    |w, _| w.pass_secs(20),
    |w, ann| w.send_bytes(ann, b"\0\0"),
    |w, ann| w.send(ann, Packet::Connect(Connect::new(V5, "ann", true))),
    |w, ann| w.send_bytes(ann, b"\x30\xff\xff\xff\x7f"),
    |w, ann| w.publish(ann, message("a/#", "")),
    |w, ann| w.send_bytes(ann, b"\x30\x07\x00\x01a\x03\x23\x00\x00"),
    |w, ann| w.send_bytes(ann, b"\x30\x04\x00\x00\x00x"),
    |w, ann| w.send_bytes(ann, b"\xf0\x00"),
    |w, ann| w.send_bytes(ann, b"\xe0\x01\x03"),
    |w, ann| {
        for number in 1..=65 {
            w.publish(ann, message_2(number, "nobody", ""));
        }
    },
    |w, _| w.request_shutdown(),
];

/// All that `ann` is sent because of `cause`, as first byte and body, and then closed.
fn disconnected_by(cause: fn(&mut World, Client)) -> Vec<(u8, Vec<u8>)> {
    let mut w = World::new(2);
    let ann = w.connect(0, Connect { keep_alive: 10, ..Connect::new(V5, "ann", true) });
    w.subscribe(ann, "mine", Q0);
    cause(&mut w, ann);
    let seen = sent(&mut w, ann).into_iter().map(|packet| (packet.first, packet.body)).collect();
    assert!(w.wires[ann.0].closed);
    seen
}

/// [MQTT-3.14.0-1] Who has not been accepted gets no DISCONNECT: the answer to its CONNECT is CONNACK or nothing.
#[test]
fn mqtt_3_14_0_1_no_disconnect_before_connack() {
    let id = field(b"ann");
    let beginnings = [
        b"\xc0\x00".to_vec(),
        b"\x00\x00".to_vec(),
        b"\x10\xff\xff\xff\x7f".to_vec(),
        connect(V5, CLEAN | 1, &[&id]),
        connect(V5, CLEAN, &[]),
        b"\x10\x02\x00\x04".to_vec(),
        Vec::new(),
    ];
    for bytes in beginnings {
        let mut w = World::new(1);
        let ann = dial(&mut w, V5, &bytes);
        w.pass_secs(20);
        let seen = sent(&mut w, ann);
        assert!(seen.iter().all(|packet| packet.first == 0x20), "{bytes:02x?}: {seen:?}");
        assert!(w.wires[ann.0].closed, "{bytes:02x?}");
    }
    // Taken over, and stopped, while its CONNACK waits.
    let mut w = World::new(2);
    w.places[0].log_held = true;
    let ann = w.dial(0, durable(V5, "ann"));
    w.run();
    let again = w.dial(1, durable(V5, "ann"));
    w.run();
    assert_eq!(w.read(ann), ["closed"]);
    w.request_shutdown();
    w.run();
    let seen = sent(&mut w, again);
    assert!(seen.iter().all(|packet| packet.first == 0x20), "{seen:?}");
}

/// [MQTT-3.14.1-1] A DISCONNECT with any flag set is malformed.
#[test]
fn mqtt_3_14_1_1_a_disconnect_has_no_flags() {
    a_disconnect_has_no_flags(V5);
}

/// [MQTT-3.14.2-1] Every reason in a DISCONNECT is one that section 3.14.2.1 lets a server send; one from a client that is not is a
/// protocol error.
#[test]
fn mqtt_3_14_2_1_the_reason_is_one_of_the_table() {
    let from_server = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
        0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
    ];
    let mut reasons = BTreeSet::new();
    for cause in CAUSES {
        let seen = disconnected_by(cause);
        let (first, body) = seen.last().expect("v5 is told");
        assert_eq!(*first, 0xe0);
        reasons.insert(body.first().copied().unwrap_or(0));
    }
    assert!(reasons.iter().all(|reason| from_server.contains(reason)), "{reasons:02x?}");
    assert!(reasons.len() >= 8, "many of them: {reasons:02x?}");
    for reason in [0x01, 0x03, 0x10, 0x7f, 0x84, 0x86, 0x91, 0xff] {
        closes(V5, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &[0xe0, 1, reason]));
    }
}

/// [MQTT-3.14.2-2] No DISCONNECT of ours has a Session Expiry Interval.
#[test]
fn mqtt_3_14_2_2_no_session_expiry_from_us() {
    for cause in CAUSES {
        let (_, body) = disconnected_by(cause).pop().expect("v5 is told");
        // Reason, length of the properties, properties: the first of them would be 0x11.
        assert!(body.len() <= 2 || body[2] != 0x11, "{body:02x?}");
    }
}

/// [MQTT-3.14.4-1] Behind our DISCONNECT nothing more is sent, whatever waits or comes.
#[test]
fn mqtt_3_14_4_1_nothing_follows_our_disconnect() {
    for (number, cause) in CAUSES.into_iter().enumerate() {
        let mut w = World::new(2);
        let ann = w.connect(0, Connect { keep_alive: 10, ..durable(V5, "ann") });
        w.subscribe(ann, "mine", Q1);
        let bob = w.join(1, V5, "bob");
        for id in 1..=100 {
            w.publish(bob, message_1(id, "mine", ""));
        }
        w.run();
        cause(&mut w, ann);
        w.send(ann, Packet::Pingreq);
        w.subscribe_all(ann, &[("more", Q0)]);
        for id in 101..=200 {
            w.publish(bob, message_1(id, "mine", ""));
            w.turn_once();
        }
        let seen = sent(&mut w, ann);
        let at = seen.iter().position(|packet| packet.first == 0xe0).expect("v5 is told");
        assert_eq!(at + 1, seen.len(), "cause {number}");
    }
}

/// [MQTT-3.14.4-2] After our DISCONNECT we close the connection, also when the client does not.
#[test]
fn mqtt_3_14_4_2_our_disconnect_is_followed_by_the_end() {
    for (number, cause) in CAUSES.into_iter().enumerate() {
        let mut w = World::new(2);
        let ann = w.connect(0, Connect { keep_alive: 10, ..Connect::new(V5, "ann", true) });
        cause(&mut w, ann);
        let seen = w.read(ann);
        let told = seen.len().checked_sub(2).map(|at| &seen[at..]).expect("told and closed");
        assert!(told[0].starts_with("DISCONNECT") && told[1] == "closed", "cause {number}: {seen:?}");
    }
}

/// [MQTT-3.14.4-3] DISCONNECT 0x00, in each of its forms, discards the will.
#[test]
fn mqtt_3_14_4_3_a_disconnect_discards_the_will() {
    for disconnect in [&b"\xe0\x00"[..], b"\xe0\x01\x00", b"\xe0\x02\x00\x00"] {
        a_disconnect_discards_the_will(V5, disconnect);
    }
}
