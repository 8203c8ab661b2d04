//! MQTT 3.1.1 section 4.8, handling errors.

use crate::conformance::bytes::{CLEAN, connect, dial, field, packet};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::World;
use shardmq_shards::base::limits::REPLY_BUFFER_BYTES_MAX;
use shardmq_shards::wire::{Connect, ReasonCode};

/// [MQTT-4.8.0-1] A protocol violation closes the connection that it came on, without a word, and no other; a server of 3.1.1 sends no
/// DISCONNECT.
#[test]
fn mqtt_4_8_0_1_a_protocol_violation_closes_the_connection() {
    let topic = field(b"a");
    let breaches = [
        b"\x00\x00".to_vec(),
        b"\xf0\x00".to_vec(),
        b"\xc0\x01\x00".to_vec(),
        b"\x30\x80\x80\x80\x80\x01".to_vec(),
        packet(0x36, &[&topic, &[0, 1]]),
        packet(0x30, &[&field(b"")]),
        packet(0x30, &[&field(b"a/#")]),
        packet(0x32, &[&topic, &[0, 0]]),
        packet(0x40, &[&[0, 1, 0]]),
        packet(0x82, &[&[0, 1]]),
        packet(0x82, &[&[0, 1], &topic, &[3]]),
        packet(0xa2, &[&[0, 1]]),
        packet(0x20, &[&[0, 0]]),
        packet(0x90, &[&[0, 1, 0]]),
        packet(0xb0, &[&[0, 1]]),
        packet(0xd0, &[]),
        packet(0xe0, &[&[0]]),
        connect(V311, CLEAN, &[&field(b"ann")]),
    ];
    for bytes in breaches {
        // `closes` sees the will published and somebody else's connection untouched.
        closes(V311, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &bytes));
    }
}

/// [MQTT-4.8.0-2] A packet that we cannot handle for now closes its connection: one connection too many, answers that nobody reads, a
/// broker that is stopping.
#[test]
fn mqtt_4_8_0_2_what_cannot_be_handled_for_now_closes_the_connection() {
    let mut w = World::limited(|limits| limits.connections_max = 1);
    let ann = w.join(0, V311, "ann");
    let bob = w.dial(0, Connect::new(V311, "bob", true));
    assert_eq!(w.read(bob), ["CONNACK 88", "closed"]);
    w.ping(ann);
    // PINGRESP after PINGRESP, of which none is taken.
    w.wires[ann.0].space = 0;
    w.send_bytes(ann, &b"\xc0\x00".repeat(REPLY_BUFFER_BYTES_MAX));
    w.run();
    w.pass_secs(10);
    assert!(w.wires[ann.0].closed, "there is no room for another answer");
    let mut w = World::new(2);
    let ann = w.join(1, V311, "ann");
    w.request_shutdown();
    assert_eq!(w.read(ann), ["closed"]);
    let late = dial(&mut w, V311, &connect(V311, CLEAN, &[&field(b"late")]));
    w.run();
    assert!(w.read(late).iter().all(|line| line != "CONNACK 00"));
}
