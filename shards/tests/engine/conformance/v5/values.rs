//! MQTT 5 section 1.5, data representation.

use crate::conformance::bytes::{self, CLEAN, USER_NAME, WILL, connect, field, no_properties, packet, sent};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::World;
use shardmq_shards::wire::{Publish, PublishProperties, ReasonCode, UserProperties, Version};

/// Every place of a string in a CONNECT of `version`, filled with `text`.
fn connects_with(version: Version, text: &[u8]) -> Vec<Vec<u8>> {
    let (id, text, none) = (field(b"ann"), field(text), no_properties(version));
    let payload = field(b"x");
    vec![
        connect(version, CLEAN, &[&text]),
        connect(version, CLEAN | WILL, &[&id, none, &text, &payload]),
        connect(version, CLEAN | USER_NAME, &[&id, &text]),
    ]
}

/// Every place of a string in a packet that follows, filled with `text`.
fn packets_with(version: Version, text: &[u8]) -> Vec<Vec<u8>> {
    let (topic, text, none) = (field(b"a"), field(text), no_properties(version));
    let mut packets = vec![
        packet(0x30, &[&text, none, b"payload"]),
        packet(0x82, &[&[0, 1], none, &text, &[0]]),
        packet(0xa2, &[&[0, 1], none, &text]),
    ];
    if version.is_v5() {
        let property = |id: u8| [&[text.len() as u8 + 1, id], &text[..]].concat();
        // Content type, reason string.
        packets.push(packet(0x30, &[&topic, &property(0x03), b"payload"]));
        packets.push(packet(0xe0, &[&[0], &property(0x1f)]));
    }
    packets
}

/// A string of `text` closes the connection wherever it stands.
pub fn is_no_string(version: Version, text: &[u8]) {
    for bytes in connects_with(version, text) {
        bytes::is_malformed(version, &bytes);
    }
    for bytes in packets_with(version, text) {
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
    }
}

/// Text of one to four bytes a character is a string in the same places.
fn is_a_string(version: Version, text: &str) {
    for bytes in connects_with(version, text.as_bytes()) {
        bytes::is_accepted(version, &bytes);
    }
    for bytes in packets_with(version, text.as_bytes()) {
        let mut w = World::new(1);
        let ann = w.join(0, version, "ann");
        w.send_bytes(ann, &bytes);
        w.run();
        assert_eq!(w.count("violations"), 0, "{version}: {bytes:02x?}");
    }
}

/// What [MQTT-1.5.4-1] and [MQTT-1.5.3-1] of 3.1.1 say.
pub fn ill_formed_strings_close_the_connection(version: Version) {
    let surrogate = b"a\xed\xa0\x80";
    let overlong = b"a\xc0\x80";
    let beyond_unicode = b"a\xf4\x90\x80\x80";
    for text in [&surrogate[..], overlong, beyond_unicode, b"\xc3\x28", b"\xff", b"a\xe2\x82"] {
        is_no_string(version, text);
    }
    is_a_string(version, "aß€\u{1f980}\u{d7ff}\u{e000}");
}

/// What [MQTT-1.5.4-2] and [MQTT-1.5.3-2] of 3.1.1 say.
pub fn the_null_character_closes_the_connection(version: Version) {
    for text in [&b"\0"[..], b"a\0", b"\0a"] {
        is_no_string(version, text);
    }
}

/// What [MQTT-1.5.4-3] and [MQTT-1.5.3-3] of 3.1.1 say.
pub fn a_byte_order_mark_is_a_character(version: Version) {
    let mut w = World::new(1);
    let (plain, marked) = (w.join(0, version, "ann"), w.join(0, version, "\u{feff}ann"));
    w.ping(plain);
    w.subscribe(plain, "a", Q0);
    w.subscribe(marked, "\u{feff}a", Q0);
    w.publish(plain, message("\u{feff}a", "x"));
    assert!(w.read(plain).is_empty(), "another topic");
    let seen = sent(&mut w, marked);
    assert_eq!(&seen[0].body[..6], b"\x00\x04\xef\xbb\xbfa", "nothing is stripped off");
    w.publish(plain, message("a\u{feff}", "x"));
    assert!(sent(&mut w, marked).is_empty());
}

/// [MQTT-1.5.4-1] A string that is not well-formed UTF-8 closes the connection wherever it stands: surrogates, overlong forms, code
/// points past U+10FFFF and cut sequences.
#[test]
fn mqtt_1_5_4_1_ill_formed_strings_close_the_connection() {
    ill_formed_strings_close_the_connection(V5);
}

/// [MQTT-1.5.4-2] A string with U+0000 closes the connection wherever it stands.
#[test]
fn mqtt_1_5_4_2_the_null_character_closes_the_connection() {
    the_null_character_closes_the_connection(V5);
}

/// [MQTT-1.5.4-3] U+FEFF is a character like any other in client ids, topics and filters, and is forwarded as it came.
#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_is_a_character() {
    a_byte_order_mark_is_a_character(V5);
}

/// [MQTT-1.5.5-1] A variable byte integer of more bytes than it needs closes the connection; ours are as short as can be.
#[test]
fn mqtt_1_5_5_1_lengths_are_as_short_as_can_be() {
    let long = ReasonCode::MalformedPacket;
    closes(V5, long, |w, ann| w.send_bytes(ann, b"\xc0\x80\x00"));
    closes(V5, long, |w, ann| w.send_bytes(ann, b"\x30\x86\x00\x00\x01a\x00xx"));
    closes(V5, long, |w, ann| w.send_bytes(ann, b"\x30\x07\x00\x01a\x80\x00xx"));
    // The identifier of a property is one too: payload format indicator.
    closes(V5, long, |w, ann| w.send_bytes(ann, b"\x30\x09\x00\x01a\x03\x81\x00\x01xx"));
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "a", Q0);
    // A PUBLISH has four bytes here beside its payload.
    for (payload_bytes, length_bytes) in [(123, 1), (124, 2), (16_379, 2), (16_380, 3), (100_000, 3)] {
        w.publish(ann, message("a", &"x".repeat(payload_bytes)));
        let seen = sent(&mut w, ann);
        assert_eq!((seen[0].length_bytes, seen[0].body.len()), (length_bytes, payload_bytes + 4));
    }
    for (type_bytes, length_bytes) in [(124, 1), (125, 2)] {
        let content_type = "t".repeat(type_bytes);
        let properties = PublishProperties { content_type: Some(&content_type), ..Default::default() };
        w.publish(ann, Publish { properties, ..message("a", "") });
        let seen = sent(&mut w, ann);
        assert_eq!(bytes::variable_integer(&seen[0].body[3..]), (type_bytes + 3, length_bytes));
    }
}

/// [MQTT-1.5.7-1] A user property whose name or value is no UTF-8 string closes the connection; well-formed ones are forwarded byte by byte.
#[test]
fn mqtt_1_5_7_1_both_strings_of_a_pair_are_strings() {
    for (name, value) in
        [(&b"\xc3\x28"[..], &b"v"[..]), (b"n", b"\xed\xa0\x80"), (b"n\0", b"v"), (b"n", b"\0")]
    {
        let pair = [&[0x26][..], &field(name), &field(value)].concat();
        let length = [pair.len() as u8];
        let bytes = packet(0x30, &[&field(b"a"), &length, &pair, b"x"]);
        closes(V5, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
        let head = [&field(b"MQTT")[..], &[5, CLEAN, 0, 0]].concat();
        bytes::is_malformed(V5, &packet(0x10, &[&head, &length, &pair, &field(b"ann")]));
    }
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "a", Q0);
    let pairs = [("ß€", "\u{feff}\u{1f980}"), ("", "")];
    let properties = PublishProperties { user: UserProperties::from_pairs(&pairs), ..Default::default() };
    w.publish(ann, Publish { properties, ..message("a", "x") });
    let forwarded = [
        b"\x26\x00\x05\xc3\x9f\xe2\x82\xac\x00\x07\xef\xbb\xbf\xf0\x9f\xa6\x80".to_vec(),
        b"\x26\x00\x00\x00\x00".to_vec(),
    ];
    let seen = sent(&mut w, ann);
    let length = forwarded.concat().len() as u8;
    assert_eq!(seen[0].body, [b"\x00\x01a", &[length][..], &forwarded.concat(), b"x"].concat());
}
