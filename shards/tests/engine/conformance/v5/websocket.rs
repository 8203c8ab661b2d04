//! MQTT 5 section 6, WebSocket, and 7, conformance.

use crate::verbs::*;
use crate::web_socket::{encoded, frame, heard, joined, upgraded, world};
use shardmq_shards::wire::{Connect, Packet};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// [MQTT-6.0.0-1] Packets travel in binary messages; any other data frame closes the connection.
#[test]
fn mqtt_6_0_0_1_a_text_frame_closes_the_connection() {
    let mut w = world();
    let web = joined(&mut w, 0, "web");
    let ping = encoded(Packet::Pingreq, V5);
    w.send_bytes(web, &frame(BINARY, &ping));
    assert_eq!(heard(&mut w, web), ["PINGRESP"]);
    w.send_bytes(web, &frame(TEXT, &ping));
    assert_eq!(heard(&mut w, web), ["close 1003", "closed"]);
}

/// [MQTT-6.0.0-2] A frame may hold several packets or a part of one: packets are cut out of the stream of payloads.
#[test]
fn mqtt_6_0_0_2_packets_are_not_aligned_with_frames() {
    let mut w = world();
    let (web, _) = upgraded(&mut w, 0);
    let connect = encoded(Packet::Connect(Connect::new(V5, "web", true)), V5);
    let ping = encoded(Packet::Pingreq, V5);
    w.send_bytes(web, &frame(BINARY, &connect[..3]));
    assert!(heard(&mut w, web).is_empty());
    let rest = [&connect[3..], &ping, &ping[..1]].concat();
    w.send_bytes(web, &frame(BINARY, &rest));
    assert_eq!(heard(&mut w, web), ["CONNACK 00", "PINGRESP"]);
    w.send_bytes(web, &frame(BINARY, &ping[1..]));
    assert_eq!(heard(&mut w, web), ["PINGRESP"]);
}

/// [MQTT-6.0.0-4] The subprotocol selected is `mqtt`; a request that does not offer it is refused.
#[test]
fn mqtt_6_0_0_4_the_subprotocol_is_mqtt() {
    let mut w = world();
    let (_, answer) = upgraded(&mut w, 0);
    assert!(answer.to_ascii_lowercase().contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
}
