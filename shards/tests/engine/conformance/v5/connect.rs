//! MQTT 5 section 3.1, CONNECT; its will in `will`.

use crate::conformance::bytes::{
    self, CLEAN, PASSWORD, USER_NAME, WILL, connect, dial, field, no_properties, sent,
};
use crate::conformance::v5::connack::assigned_id;
use crate::verbs::*;
use crate::world::World;
use shardmq_shards::base::limits::CLIENT_ID_BYTES_MAX;
use shardmq_shards::wire::{Connect, ConnectProperties, Packet, QoS, ReasonCode, Version, Will};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

/// What [MQTT-3.1.0-1] says in every version.
pub fn the_first_packet_is_connect(version: Version) {
    let (filter, none) = (field(b"a"), no_properties(version));
    let others = [
        bytes::packet(0x30, &[&filter, none, b"x"]),
        bytes::packet(0x82, &[&[0, 1], none, &filter, &[0]]),
        bytes::packet(0xc0, &[]),
        bytes::packet(0xe0, &[]),
        bytes::packet(0xf0, &[]),
    ];
    for other in others {
        let mut w = World::new(1);
        let ann = dial(&mut w, version, &other);
        w.send(ann, Packet::Connect(Connect::new(version, "ann", true)));
        assert_eq!(w.read(ann), ["closed"], "{version}: {other:02x?}");
        assert_eq!(w.shard(0).sizes().sessions, 0, "what comes behind is not read");
    }
}

/// What [MQTT-3.1.0-2] says in every version.
pub fn a_second_connect_ends_the_connection(version: Version) {
    for second in ["ann", "bob"] {
        let mut w = World::new(1);
        let ann = w.connect(0, durable(version, "ann"));
        w.send(ann, Packet::Connect(durable(version, second)));
        w.send(ann, Packet::Pingreq);
        let told: &[&str] = if version.is_v5() { &["DISCONNECT 82", "closed"] } else { &["closed"] };
        assert_eq!(w.read(ann), told, "{version}");
        assert_eq!(
            w.shard(0).sizes().sessions,
            1,
            "the session of the first stays, there is none of the second"
        );
    }
}

/// A CONNECT of level 4 or 5 with another protocol name, or another level.
fn strange_connect(name: &[u8], level: u8) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    bytes::packet(0x10, &[&field(name), &[level, CLEAN, 0, 0], properties, &field(b"ann")])
}

/// What [MQTT-3.1.2-1] says in every version.
pub fn an_unknown_protocol_name_is_refused(version: Version) {
    for name in [&b"MQTX"[..], b"mqtt", b"", b"MQTTT", b"HTTP/1.1"] {
        let mut w = World::new(1);
        let ann = dial(&mut w, V311, &strange_connect(name, version.level()));
        assert_eq!(w.read(ann), ["CONNACK 84", "closed"], "{name:?}");
        assert_eq!(w.shard(0).sizes().sessions, 0);
    }
}

/// What [MQTT-3.1.2-2] says in every version: a CONNACK that a client of version 3 understands, then the end.
pub fn an_unknown_protocol_level_is_refused() {
    for level in [0, 1, 2, 3, 6, 7, 0x84, 255] {
        let mut w = World::new(1);
        let ann = dial(&mut w, V311, &strange_connect(b"MQTT", level));
        let seen = sent(&mut w, ann);
        assert_eq!((seen[0].first, &seen[0].body[..]), (0x20, &[0, 1][..]), "level {level}");
        assert_eq!((w.read(ann), w.shard(0).sizes().sessions), (vec!["closed".into()], 0));
    }
}

/// What [MQTT-3.1.2-3] says in every version.
pub fn the_reserved_flag_is_zero(version: Version) {
    bytes::is_malformed(version, &connect(version, CLEAN | 1, &[&field(b"ann")]));
    bytes::is_accepted(version, &connect(version, CLEAN, &[&field(b"ann")]));
}

/// A durable session of `ann`, subscribed to `a`, with one message waiting.
fn with_a_message_waiting(version: Version) -> World {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(version, "ann"));
    w.subscribe(ann, "a", Q1);
    w.vanish(ann);
    let bob = w.join(1, version, "bob");
    w.publish(bob, message_1(1, "a", "waits"));
    w.run();
    w
}

/// Publishes to `a` as somebody else.
fn publish_again(w: &mut World, version: Version) {
    let cid = w.join(1, version, "cid");
    w.publish(cid, message("a", "new"));
    w.run();
}

/// What [MQTT-3.1.2-4] says, and [MQTT-3.1.2-6] of 3.1.1.
pub fn a_clean_start_discards_the_session(version: Version) {
    let mut w = with_a_message_waiting(version);
    let clean = Connect { clean_start: true, ..durable(version, "ann") };
    let (ann, seen) = w.connect_and_read(1, clean);
    assert_eq!(seen, ["CONNACK 00"], "neither present nor the message");
    publish_again(&mut w, version);
    assert!(w.read(ann).is_empty(), "the subscription is gone");
    assert_eq!(w.dropped(), [("session_ended", 1)]);
}

/// What [MQTT-3.1.2-5] says, and [MQTT-3.1.2-4] of 3.1.1.
pub fn without_clean_start_the_session_is_resumed(version: Version) {
    let mut w = with_a_message_waiting(version);
    let (ann, seen) = w.connect_and_read(1, durable(version, "ann"));
    assert_eq!(seen, ["CONNACK 00 present", r#"a "waits" q1 #1"#]);
    publish_again(&mut w, version);
    assert_eq!(w.read(ann), [r#"a "new""#]);
    w.puback(ann, 1);
    w.run();
}

/// What [MQTT-3.1.2-16] to [MQTT-3.1.2-19] say of one of two fields, and the like of 3.1.1: the payload has it exactly if its flag is set.
pub fn a_field_is_there_exactly_if_its_flag_is_set(version: Version, flag: u8, set: bool) {
    // A password of version 3 comes with a user name.
    let before = if flag == PASSWORD { USER_NAME } else { 0 };
    let (id, name, value) = (field(b"ann"), field(b"name"), field(b"value"));
    let mut fields = vec![&id[..]];
    if before != 0 {
        fields.push(&name);
    }
    let without = fields.clone();
    fields.push(&value);
    let flags = CLEAN | before;
    if set {
        bytes::is_malformed(version, &connect(version, flags | flag, &without));
        bytes::is_accepted(version, &connect(version, flags | flag, &fields));
    } else {
        bytes::is_malformed(version, &connect(version, flags, &fields));
        bytes::is_accepted(version, &connect(version, flags, &without));
    }
}

/// What [MQTT-3.1.2-22] says, and [MQTT-3.1.2-24] of 3.1.1.
pub fn silence_ends_the_connection(version: Version) {
    let mut w = World::new(1);
    let will = Will { qos: Q0, retain: false, topic: "gone", payload: b"x", properties: Default::default() };
    let watcher = w.join(0, V5, "watcher");
    w.subscribe(watcher, "gone", Q0);
    for keep_alive in [1, 10, u16::MAX] {
        let connect = Connect { keep_alive, will: Some(will), ..Connect::new(version, "ann", true) };
        let ann = w.connect(0, connect);
        let period = Duration::from_secs(u64::from(keep_alive));
        w.pass(period + period / 4);
        w.send(ann, Packet::Pingreq);
        w.pass(period + period * 2 / 5);
        assert_eq!(w.read(ann), ["PINGRESP"], "one and a half periods are not over");
        assert!(!w.wires[ann.0].closed);
        w.pass(period / 10 + Duration::from_secs(2));
        assert!(w.wires[ann.0].closed, "{version}: {keep_alive} s");
        assert_eq!(w.read(watcher), [r#"gone "x""#], "as if the network had failed");
        w.read(ann);
    }
    let for_ever = w.connect(0, Connect { keep_alive: 0, ..Connect::new(version, "bob", true) });
    w.pass_secs(1_000_000);
    w.ping(for_ever);
}

/// What [MQTT-3.1.3-2] says in every version: the id names the session, wherever it comes from.
pub fn the_client_id_names_the_session(version: Version) {
    let mut w = with_a_message_waiting(version);
    for other in ["an", "ann ", "Ann", "anna"] {
        let (client, seen) = w.connect_and_read(0, durable(version, other));
        assert_eq!(seen, ["CONNACK 00"], "{other} has no session yet");
        w.leave(client, ReasonCode::Success);
    }
    let (ann, seen) = w.connect_and_read(1, durable(version, "ann"));
    assert_eq!(seen.len(), 2, "{seen:?}");
    w.puback(ann, 1);
    w.run();
}

/// What [MQTT-3.1.3-3] says in every version: the first field of the payload is the client id.
pub fn the_client_id_is_the_first_field(version: Version) {
    bytes::is_malformed(version, &connect(version, CLEAN, &[]));
    bytes::is_malformed(version, &connect(version, CLEAN, &[&[0, 3], b"an"]));
    let mut w = World::new(1);
    w.connect(0, durable(version, "first"));
    let flags = USER_NAME;
    let again = dial(&mut w, version, &connect(version, flags, &[&field(b"first"), &field(b"second")]));
    assert_eq!(w.read(again), ["CONNACK 00 present"]);
}

/// What [MQTT-3.1.3-5] says in every version.
pub fn every_client_id_of_1_to_23_letters_and_digits_is_allowed(version: Version) {
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut w = World::new(1);
    let mut clients = Vec::new();
    for length in 1..=23 {
        for start in (0..alphabet.len() - length).step_by(7).chain([alphabet.len() - length]) {
            clients.push(w.join(0, version, &alphabet[start..start + length]));
        }
    }
    for letter in 0..alphabet.len() {
        clients.push(w.join(0, version, &format!("x{}", &alphabet[letter..=letter])));
    }
    assert!(clients.into_iter().all(|client| !w.wires[client.0].closed), "each id is another's");
}

/// What [MQTT-3.1.3-8] says, and [MQTT-3.1.3-9] of 3.1.1.
pub fn a_client_id_that_we_do_not_take_is_refused(version: Version) {
    let mut w = World::new(1);
    let longest = "x".repeat(CLIENT_ID_BYTES_MAX);
    let ann = w.dial(0, Connect::new(version, &longest, true));
    assert_eq!(w.read(ann), ["CONNACK 00"]);
    let too_long = "x".repeat(CLIENT_ID_BYTES_MAX + 1);
    let bob = w.dial(0, Connect::new(version, &too_long, true));
    assert_eq!(w.read(bob), ["CONNACK 85", "closed"]);
}

/// What [MQTT-3.1.4-1] says in every version: cut anywhere, too long, or with what does not belong there.
pub fn a_connect_that_does_not_conform_closes_the_connection(version: Version) {
    let none = no_properties(version);
    let fields: [&[u8]; 6] =
        [&field(b"ann"), none, &field(b"w"), &field(b"will"), &field(b"name"), &field(b"password")];
    let whole = connect(version, CLEAN | WILL | USER_NAME | PASSWORD, &fields);
    bytes::is_accepted(version, &whole);
    // Name and level must be whole, or there is no version in which to be malformed.
    let level_end = 2 + 2 + version.protocol_name().len() + 1;
    for end in level_end..whole.len() {
        bytes::is_malformed(version, &bytes::packet(0x10, &[&whole[2..end]]));
    }
    bytes::is_malformed(version, &bytes::packet(0x10, &[&whole[2..], b"\0"]));
}

/// What [MQTT-3.1.4-2] says, and the like of 3.1.1: a CONNECT that we do not want is answered with why, and the connection closes.
pub fn a_connect_that_we_do_not_want_closes_the_connection(version: Version) {
    let mut w = World::limited(|limits| limits.connections_max = 1);
    w.join(0, V5, "the only one");
    let ann = w.dial(0, Connect::new(version, "ann", true));
    let refusal = if version.is_v5() { "CONNACK 97" } else { "CONNACK 88" };
    assert_eq!(w.read(ann), [refusal, "closed"]);
    assert_eq!(w.shard(0).sizes().sessions, 1);
}

/// What [MQTT-3.1.4-3] says, and [MQTT-3.1.4-2] of 3.1.1.
pub fn a_client_that_is_connected_already_is_closed(version: Version) {
    let told: &[&str] = if version.is_v5() { &["DISCONNECT 8e", "closed"] } else { &["closed"] };
    for (first, second) in [(0, 0), (0, 1), (1, 0)] {
        let mut w = World::new(2);
        let old = w.join(first, version, "ann");
        let new = w.join(second, V5, "ann");
        assert_eq!(w.read(old), told);
        w.ping(new);
    }
}

/// What [MQTT-3.1.4-6] says, and [MQTT-3.1.4-5] of 3.1.1.
pub fn nothing_behind_a_refused_connect_is_processed(version: Version) {
    let mut w = World::limited(|limits| limits.connections_max = 1);
    let watcher = w.join(0, V5, "watcher");
    w.subscribe(watcher, "#", Q0);
    let ann = w.arrive(0, 0, version);
    let will = Will { qos: Q0, retain: false, topic: "w", payload: b"", properties: Default::default() };
    w.send(ann, Packet::Connect(Connect { will: Some(will), ..Connect::new(version, "ann", true) }));
    w.publish(ann, message_1(1, "a", ""));
    w.send(ann, Packet::Pingreq);
    let seen = w.read(ann);
    assert!(seen[0].starts_with("CONNACK") && seen[1..] == ["closed"], "{seen:?}");
    assert!(w.read(watcher).is_empty(), "no message, and no will of a connection that never was");
}

/// [MQTT-3.1.0-1] A connection whose first packet is not CONNECT is closed, and what follows is not read.
#[test]
fn mqtt_3_1_0_1_the_first_packet_is_connect() {
    the_first_packet_is_connect(V5);
}

/// [MQTT-3.1.0-2] A second CONNECT on a connection closes it with 0x82; the session of the first stays.
#[test]
fn mqtt_3_1_0_2_a_second_connect_ends_the_connection() {
    a_second_connect_ends_the_connection(V5);
}

/// [MQTT-3.1.2-1] Another protocol name than "MQTT" (3.1: "MQIsdp") is answered with a CONNACK of version 3, "unacceptable protocol
/// version", and the connection closes.
#[test]
fn mqtt_3_1_2_1_an_unknown_protocol_name_is_refused() {
    an_unknown_protocol_name_is_refused(V5);
}

/// [MQTT-3.1.2-2] A protocol version that we do not speak is answered with a CONNACK of version 3, "unacceptable protocol version", and
/// the connection closes.
#[test]
fn mqtt_3_1_2_2_an_unknown_protocol_level_is_refused() {
    an_unknown_protocol_level_is_refused();
}

/// [MQTT-3.1.2-3] A CONNECT with the reserved flag set is malformed.
#[test]
fn mqtt_3_1_2_3_the_reserved_flag_is_zero() {
    the_reserved_flag_is_zero(V5);
}

/// [MQTT-3.1.2-4] A CONNECT with Clean Start 1 discards the session that was there, subscriptions and waiting messages included.
#[test]
fn mqtt_3_1_2_4_a_clean_start_discards_the_session() {
    a_clean_start_discards_the_session(V5);
}

/// [MQTT-3.1.2-5] A CONNECT with Clean Start 0 resumes the session that is there, with its subscriptions and waiting messages.
#[test]
fn mqtt_3_1_2_5_without_clean_start_the_session_is_resumed() {
    without_clean_start_the_session_is_resumed(V5);
}

/// [MQTT-3.1.2-6] A CONNECT with Clean Start 0 and no session to resume starts a new one.
#[test]
fn mqtt_3_1_2_6_without_a_session_a_new_one_begins() {
    let mut w = World::new(2);
    let ann = w.dial(0, durable(V5, "ann"));
    assert_eq!(w.read(ann), ["CONNACK 00"]);
    assert_eq!(w.shard(0).sizes().sessions, 1);
    w.subscribe(ann, "a", Q1);
    w.vanish(ann);
    w.pass_secs(1_002);
    let (ann, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(seen, ["CONNACK 00"], "the first has expired");
    publish_again(&mut w, V5);
    assert!(w.read(ann).is_empty());
}

/// [MQTT-3.1.2-16] Without the user name flag, a user name in the payload makes the CONNECT malformed.
#[test]
fn mqtt_3_1_2_16_without_its_flag_no_user_name() {
    a_field_is_there_exactly_if_its_flag_is_set(V5, USER_NAME, false);
}

/// [MQTT-3.1.2-17] With the user name flag, a payload without user name makes the CONNECT malformed.
#[test]
fn mqtt_3_1_2_17_with_its_flag_a_user_name() {
    a_field_is_there_exactly_if_its_flag_is_set(V5, USER_NAME, true);
}

/// [MQTT-3.1.2-18] Without the password flag, a password in the payload makes the CONNECT malformed.
#[test]
fn mqtt_3_1_2_18_without_its_flag_no_password() {
    a_field_is_there_exactly_if_its_flag_is_set(V5, PASSWORD, false);
}

/// [MQTT-3.1.2-19] With the password flag, a payload without password makes the CONNECT malformed; a password needs no user name.
#[test]
fn mqtt_3_1_2_19_with_its_flag_a_password() {
    a_field_is_there_exactly_if_its_flag_is_set(V5, PASSWORD, true);
    bytes::is_accepted(V5, &connect(V5, CLEAN | PASSWORD, &[&field(b"ann"), &field(b"secret")]));
}

/// [MQTT-3.1.2-22] A client that is silent for one and a half keep-alive periods is closed as if the network had failed; keep-alive 0 is never.
#[test]
fn mqtt_3_1_2_22_silence_ends_the_connection() {
    silence_ends_the_connection(V5);
}

/// [MQTT-3.1.2-23] The session is kept when the connection closes, as long as its Session Expiry Interval says and no longer; with 0 it
/// ends at once.
#[test]
fn mqtt_3_1_2_23_the_session_is_kept_until_it_expires() {
    for session_expiry in [1, 60, u32::MAX] {
        let properties = ConnectProperties { session_expiry: Some(session_expiry), ..Default::default() };
        let connect = Connect { properties, ..Connect::new(V5, "ann", false) };
        let mut w = World::new(2);
        let ann = w.connect(0, connect);
        w.subscribe(ann, "a", Q2);
        let bob = w.join(1, V5, "bob");
        w.publish(bob, message_2(1, "a", "in flight"));
        assert_eq!(w.read(ann), [r#"a "in flight" q2 #1"#]);
        w.vanish(ann);
        w.publish(bob, message_1(2, "a", "queued"));
        w.run();
        w.pass(Duration::from_secs(u64::from(session_expiry)) - Duration::from_millis(500));
        let (ann, seen) = w.connect_and_read(0, connect);
        let kept = ["CONNACK 00 present", r#"a "in flight" q2 #1 dup"#, r#"a "queued" q1 #2"#];
        assert_eq!(seen, kept, "{session_expiry} s");
        w.vanish(ann);
        if session_expiry < u32::MAX {
            w.pass_secs(u64::from(session_expiry) + 2);
            assert_eq!(w.connect_and_read(1, connect).1, ["CONNACK 00"], "{session_expiry} s");
        }
    }
    let mut w = World::new(1);
    let ann = w.connect(0, Connect::new(V5, "ann", false));
    w.vanish(ann);
    assert_eq!(w.shard(0).sizes().sessions, 0);
}

/// A client that takes packets of `bytes` at most.
fn taking(bytes: u32, connect: Connect<'_>) -> Connect<'_> {
    let maximum_packet_size = NonZeroU32::new(bytes);
    Connect { properties: ConnectProperties { maximum_packet_size, ..connect.properties }, ..connect }
}

/// [MQTT-3.1.2-24] No packet to a client is larger than its Maximum Packet Size.
#[test]
fn mqtt_3_1_2_24_no_packet_is_larger_than_the_client_takes() {
    let mut w = World::new(2);
    let ann = w.connect(0, taking(60, durable(V5, "ann")));
    w.subscribe_all(ann, &[("a", Q0), ("b", Q1), ("r", Q2)]);
    w.run();
    let bob = w.join(1, V5, "bob");
    for bytes in 40..=70 {
        let payload = "x".repeat(bytes);
        w.publish(bob, message("a", &payload));
        w.publish(bob, message_1(1, "b", &payload));
        w.publish(bob, retained(message("r", &payload)));
        w.run();
    }
    w.subscribe_all(ann, &[("r", Q0)]);
    let seen = sent(&mut w, ann);
    assert!(seen.iter().any(|packet| packet.len() == 60), "the largest that it takes is sent");
    assert!(seen.iter().all(|packet| packet.len() <= 60));
    w.vanish(ann);
    w.publish(bob, message_1(1, "b", &"x".repeat(100)));
    w.run();
    let again = w.dial(0, taking(30, durable(V5, "ann")));
    let seen = sent(&mut w, again);
    assert!(seen.iter().all(|packet| packet.len() <= 30), "also what is sent again");
    // One code for each filter: an answer that cannot be made small enough is not given.
    let filters: Vec<String> = (0..40).map(|number| format!("f/{number}")).collect();
    let names: Vec<(&str, QoS)> = filters.iter().map(|filter| (&**filter, Q0)).collect();
    for unsubscribes in [false, true] {
        let cid = w.connect(1, taking(30, Connect::new(V5, "cid", true)));
        if unsubscribes {
            w.unsubscribe(cid, &filters.iter().map(|filter| &**filter).collect::<Vec<_>>());
        } else {
            w.subscribe_all(cid, &names);
        }
        let seen = sent(&mut w, cid);
        assert!(w.wires[cid.0].closed);
        assert_eq!(
            seen.iter().map(|packet| (packet.first, packet.len() <= 30)).collect::<Vec<_>>(),
            [(0xe0, true)]
        );
        assert_eq!(seen[0].body[0], 0x95);
    }
}

/// [MQTT-3.1.2-25] A message that is too large for a client is discarded, and its session goes on as if it had been sent and acknowledged.
#[test]
fn mqtt_3_1_2_25_what_is_too_large_counts_as_sent() {
    let mut w = World::new(2);
    let mut connect = taking(60, durable(V5, "ann"));
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let ann = w.connect(0, connect);
    w.subscribe(ann, "a", Q2);
    let bob = w.join(1, V5, "bob");
    let large = "x".repeat(100);
    for round in 0..3 {
        w.publish(bob, message_1(1, "a", &large));
        w.publish(bob, message_2(2, "a", &large));
        w.pubrel(bob, 2);
        w.publish(bob, message_1(3, "a", "small"));
        w.run();
        let seen = w.read(ann);
        assert_eq!(seen.len(), 1, "the one place in flight was free in round {round}: {seen:?}");
        w.puback(ann, round + 1);
        w.run();
    }
    w.vanish(ann);
    w.publish(bob, message_1(4, "a", &large));
    w.publish(bob, message_1(5, "a", "queued"));
    w.run();
    let (ann, seen) = w.connect_and_read(0, connect);
    assert_eq!(seen, ["CONNACK 00 present", r#"a "queued" q1 #4"#]);
    w.puback(ann, 4);
    w.run();
    assert_eq!(w.dropped(), [("packet_too_large", 7)]);
}

/// [MQTT-3.1.3-2] The client id names the session: the same id comes back to it from any shard, no other id does.
#[test]
fn mqtt_3_1_3_2_the_client_id_names_the_session() {
    the_client_id_names_the_session(V5);
}

/// [MQTT-3.1.3-3] The client id is read as the first field of the payload; a CONNECT without one is malformed.
#[test]
fn mqtt_3_1_3_3_the_client_id_is_the_first_field() {
    the_client_id_is_the_first_field(V5);
}

/// [MQTT-3.1.3-4] A client id that is not UTF-8 makes the CONNECT malformed.
#[test]
fn mqtt_3_1_3_4_the_client_id_is_utf_8() {
    bytes::is_malformed(V5, &connect(V5, CLEAN, &[&field(b"an\xff")]));
    bytes::is_accepted(V5, &connect(V5, CLEAN, &[&field("änn".as_bytes())]));
}

/// [MQTT-3.1.3-5] Client ids of 1 to 23 letters and digits are allowed, and many others.
#[test]
fn mqtt_3_1_3_5_every_client_id_of_1_to_23_letters_and_digits_is_allowed() {
    every_client_id_of_1_to_23_letters_and_digits_is_allowed(V5);
}

/// [MQTT-3.1.3-6] A client without client id is assigned one that nobody else has, on every shard.
#[test]
fn mqtt_3_1_3_6_an_empty_client_id_is_replaced_by_a_unique_one() {
    let mut w = World::new(2);
    let mut ids = BTreeSet::new();
    for number in 0..200 {
        let client = w.dial(number % 2, Connect::new(V5, "", number % 3 == 0));
        let id = assigned_id(&sent(&mut w, client)[0]);
        assert!(!id.is_empty() && ids.insert(id), "unique");
    }
    assert_eq!(w.shard(0).sizes().sessions + w.shard(1).sizes().sessions, 200);
    assert!(w.wires.iter().all(|wire| !wire.closed));
}

/// [MQTT-3.1.3-7] The CONNACK tells the assigned id, under which the client can come back to its session; who has an id is told none.
#[test]
fn mqtt_3_1_3_7_the_assigned_id_is_told_and_is_the_sessions() {
    let mut w = World::new(2);
    let properties = ConnectProperties { session_expiry: Some(100), ..Default::default() };
    let ann = w.dial(0, Connect { properties, ..Connect::new(V5, "", true) });
    let id = assigned_id(&sent(&mut w, ann)[0]);
    w.subscribe(ann, "a", Q1);
    w.vanish(ann);
    publish_again(&mut w, V5);
    let (again, seen) = w.connect_and_read(1, Connect { properties, ..Connect::new(V5, &id, false) });
    assert_eq!(seen, ["CONNACK 00 present"]);
    publish_again(&mut w, V5);
    assert_eq!(w.read(again), [r#"a "new""#]);
    let bob = w.dial(0, Connect::new(V5, "bob", true));
    assert_eq!(w.read(bob), ["CONNACK 00"], "not assigned");
}

/// [MQTT-3.1.3-8] A client id of more than 1,024 bytes is refused with 0x85, and the connection closes.
#[test]
fn mqtt_3_1_3_8_a_client_id_that_we_do_not_take_is_refused() {
    a_client_id_that_we_do_not_take_is_refused(V5);
}

/// [MQTT-3.1.3-12] A user name that is not UTF-8 makes the CONNECT malformed.
#[test]
fn mqtt_3_1_3_12_the_user_name_is_utf_8() {
    bytes::is_malformed(V5, &connect(V5, CLEAN | USER_NAME, &[&field(b"ann"), &field(b"n\xff")]));
    bytes::is_accepted(V5, &connect(V5, CLEAN | USER_NAME, &[&field(b"ann"), &field("ñ".as_bytes())]));
}

/// [MQTT-3.1.4-1] A CONNECT that is cut, too long or otherwise malformed is answered with 0x81, and the connection closes.
#[test]
fn mqtt_3_1_4_1_a_connect_that_does_not_conform_closes_the_connection() {
    a_connect_that_does_not_conform_closes_the_connection(V5);
}

/// [MQTT-3.1.4-2] A CONNECT that we do not want, here one connection too many, is answered with the reason, and the connection closes.
#[test]
fn mqtt_3_1_4_2_a_connect_that_we_do_not_want_closes_the_connection() {
    a_connect_that_we_do_not_want_closes_the_connection(V5);
}

/// [MQTT-3.1.4-3] A client that is connected already gets DISCONNECT 0x8E and is closed, on whichever shard the new connection comes.
#[test]
fn mqtt_3_1_4_3_a_client_that_is_connected_already_is_closed() {
    a_client_that_is_connected_already_is_closed(V5);
}

/// [MQTT-3.1.4-4] Clean Start is obeyed also when the old connection still stands.
#[test]
fn mqtt_3_1_4_4_clean_start_is_obeyed_in_a_takeover() {
    for (clean_start, answer, received) in [(true, "CONNACK 00", 0), (false, "CONNACK 00 present", 1)] {
        let mut w = World::new(2);
        let old = w.connect(0, durable(V5, "ann"));
        w.subscribe(old, "a", Q1);
        let (new, seen) = w.connect_and_read(1, Connect { clean_start, ..durable(V5, "ann") });
        assert_eq!(seen, [answer]);
        publish_again(&mut w, V5);
        assert_eq!(w.read(new).len(), received);
    }
}

/// [MQTT-3.1.4-5] A valid CONNECT is answered with CONNACK 0x00.
#[test]
fn mqtt_3_1_4_5_a_valid_connect_is_acknowledged() {
    let mut w = World::new(2);
    for (shard, client_id, clean_start) in [(0, "ann", true), (1, "bob", false), (1, "", true)] {
        let client = w.dial(shard, Connect::new(V5, client_id, clean_start));
        let seen = sent(&mut w, client);
        assert_eq!((seen.len(), seen[0].first, seen[0].body[1]), (1, 0x20, 0));
    }
}

/// [MQTT-3.1.4-6] Behind a CONNECT that is refused nothing is processed: no message, no answer, no will.
#[test]
fn mqtt_3_1_4_6_nothing_behind_a_refused_connect_is_processed() {
    nothing_behind_a_refused_connect_is_processed(V5);
}
