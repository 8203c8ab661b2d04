//! MQTT 3.1.1 section 6, WebSocket, and 7, conformance.

use crate::verbs::*;
use crate::web_socket::{encoded, frame, heard, upgraded, world};
use shardmq_shards::wire::{Connect, Packet};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// [MQTT-6.0.0-1] Packets travel in binary messages; any other data frame closes the connection.
#[test]
fn mqtt_6_0_0_1_a_text_frame_closes_the_connection() {
    let mut w = world();
    let (web, _) = upgraded(&mut w, 0);
    w.send_bytes(web, &frame(TEXT, &connect()));
    assert_eq!(heard(&mut w, web), ["close 1003", "closed"]);
}

/// [MQTT-6.0.0-2] A frame may hold several packets or a part of one: packets are cut out of the stream of payloads.
#[test]
fn mqtt_6_0_0_2_packets_are_not_aligned_with_frames() {
    let mut w = world();
    let (web, _) = upgraded(&mut w, 1);
    w.wires[web.0].version = V311;
    let packets = [connect(), encoded(Packet::Pingreq, V311), encoded(Packet::Pingreq, V311)].concat();
    for byte in &packets[..packets.len() - 5] {
        w.send_bytes(web, &frame(BINARY, &[*byte]));
        assert!(heard(&mut w, web).is_empty());
    }
    w.send_bytes(web, &frame(BINARY, &packets[packets.len() - 5..]));
    assert_eq!(heard(&mut w, web), ["CONNACK 00", "PINGRESP", "PINGRESP"]);
}

/// [MQTT-6.0.0-4] The subprotocol selected is `mqtt`, for 3.1.1 as for 5; a request that does not offer it is refused.
#[test]
fn mqtt_6_0_0_4_the_subprotocol_is_mqtt() {
    let mut w = world();
    let (web, answer) = upgraded(&mut w, 0);
    assert!(answer.to_ascii_lowercase().contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
    w.wires[web.0].version = V311;
    w.send_bytes(web, &frame(BINARY, &connect()));
    assert_eq!(heard(&mut w, web), ["CONNACK 00"]);
}

fn connect() -> Vec<u8> {
    encoded(Packet::Connect(Connect::new(V311, "web", true)), V311)
}

/// [MQTT-7.0.0-2] A client that uses nothing but what the specification has gets all of it, also beside clients that use our extensions.
#[test]
fn mqtt_7_0_0_2_no_extension_is_required() {
    let mut w = crate::world::World::new(3);
    let ann = w.connect(0, durable(V311, "ann"));
    let bob = w.join(1, V311, "bob");
    let member = w.join(2, V311, "member");
    w.subscribe(member, "$share/group/a/+", Q1);
    w.subscribe(ann, "a/+", Q2);
    w.publish(bob, message("a/0", "x"));
    w.publish(bob, message_1(1, "a/1", "x"));
    w.publish(bob, retained(message_2(2, "a/2", "x")));
    w.pubrel(bob, 2);
    let mut seen = w.read(bob);
    seen.sort();
    assert_eq!(seen, ["PUBACK #1", "PUBCOMP #2", "PUBREC #2"]);
    assert_eq!(w.read(ann), [r#"a/0 "x""#, r#"a/1 "x" q1 #1"#, r#"a/2 "x" q2 #2"#]);
    w.puback(ann, 1);
    w.pubrec(ann, 2);
    assert_eq!(w.read(ann), ["PUBREL #2"]);
    w.pubcomp(ann, 2);
    w.unsubscribe(ann, &["a/+"]);
    assert_eq!(w.read(ann), ["UNSUBACK #1001"]);
    w.ping(ann);
}
