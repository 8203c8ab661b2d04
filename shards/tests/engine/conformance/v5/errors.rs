//! MQTT 5 section 4.13, handling errors.

use crate::conformance::bytes::{CLEAN, connect, dial, field, packet};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::World;
use shardmq_shards::wire::{Connect, Packet, ReasonCode, Version};

/// [MQTT-4.13.1-1] Every malformed packet and protocol error closes the connection, with the reason where there is somebody to tell.
#[test]
fn mqtt_4_13_1_1_malformed_packets_and_protocol_errors_close_the_connection() {
    let topic = field(b"a");
    let malformed = [
        b"\x00\x00".to_vec(),
        b"\x36\x06\x00\x01a\x00\x01\x00".to_vec(),
        b"\xc0\x01\x00".to_vec(),
        b"\x30\x80\x80\x80\x80\x01".to_vec(),
        packet(0x30, &[&field(b"\xff"), &[0]]),
        // A property that does not belong there, one that does not exist, one that is cut.
        packet(0x30, &[&topic, &[3, 0x21, 0, 1]]),
        packet(0x30, &[&topic, &[2, 0x7f, 0]]),
        packet(0x30, &[&topic, &[3, 0x02, 0, 0]]),
        packet(0x82, &[&[0, 1, 0], &topic, &[0xc0]]),
        packet(0x82, &[&[0, 1, 0], &topic]),
    ];
    for bytes in malformed {
        closes(V5, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
    }
    let protocol_errors = [
        // No filter at all, QoS 3, the same property twice, a will QoS of a server's packet.
        packet(0x82, &[&[0, 1, 0]]),
        packet(0xa2, &[&[0, 1, 0]]),
        packet(0x82, &[&[0, 1, 0], &topic, &[3]]),
        packet(0x30, &[&topic, &[4, 0x01, 0, 0x01, 0]]),
        packet(0x30, &[&field(b""), &[0]]),
        packet(0x20, &[&[0, 0, 0]]),
        packet(0xd0, &[]),
        packet(0xf0, &[]),
        connect(V5, CLEAN, &[&field(b"ann")]),
    ];
    for bytes in protocol_errors {
        closes(V5, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &bytes));
    }
    for version in Version::ALL {
        let mut w = World::new(1);
        let ann = dial(&mut w, version, b"\x30\x03\x00\x01a");
        assert_eq!(w.read(ann), ["closed"]);
    }
}

/// [MQTT-4.13.2-1] A CONNACK or DISCONNECT of 0x80 or above closes the connection, whether it is ours or the client's.
#[test]
fn mqtt_4_13_2_1_a_reason_of_0x80_or_above_closes_the_connection() {
    let from_client = [0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    for reason in from_client {
        let mut w = World::new(1);
        let ann = w.connect(0, durable(V5, "ann"));
        w.send_bytes(ann, &[0xe0, 1, reason]);
        w.send(ann, Packet::Pingreq);
        assert_eq!(w.read(ann), ["closed"], "{reason:02x}");
        assert_eq!(w.shard(0).sizes().sessions, 1, "an error is no end of the session");
    }
    let mut w = World::limited(|limits| limits.connections_max = 1);
    let ann = w.join(0, V5, "ann");
    let bob = w.dial(0, Connect::new(V5, "bob", true));
    assert_eq!(w.read(bob), ["CONNACK 97", "closed"]);
    w.send_bytes(ann, b"\x00\x00");
    assert_eq!(w.read(ann), ["DISCONNECT 81", "closed"]);
    // A client that takes no more bytes is not told, and closed all the same.
    let ann = w.join(0, V5, "ann");
    w.wires[ann.0].space = 0;
    w.send_bytes(ann, b"\x00\x00");
    w.pass_secs(10);
    assert!(w.wires[ann.0].closed);
    assert!(w.wires[ann.0].from_broker.is_empty());
}
