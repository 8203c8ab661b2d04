//! MQTT 5 section 3.2, CONNACK.

use crate::conformance::bytes::{self, CLEAN, Sent, connect, dial, field, sent};
use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::shard::Doorway;
use shardmq_shards::wire::{Connect, Packet, ReasonCode, Version};

/// The one CONNACK in `seen`, which is its first packet: flags and reason.
fn connack(seen: &[Sent]) -> (u8, u8) {
    assert_eq!(seen[0].first, 0x20, "{seen:?}");
    assert!(seen[1..].iter().all(|packet| packet.packet_type() != 2), "one CONNACK: {seen:?}");
    (seen[0].body[0], seen[0].body[1])
}

/// What [MQTT-3.2.0-1] says in every version: whatever waits, CONNACK is first.
pub fn connack_is_the_first_packet(version: Version) {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(version, "ann"));
    w.subscribe(ann, "a", Q1);
    w.vanish(ann);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, message_1(1, "a", "waits"));
    w.run();
    let ann = w.dial(1, durable(version, "ann"));
    w.subscribe_all(ann, &[("b", Q0)]);
    w.publish(ann, message_1(1, "nobody", ""));
    w.send(ann, Packet::Pingreq);
    for _ in 0..3 {
        w.turn_once();
        w.publish(bob, message("a", "meanwhile"));
    }
    let seen = sent(&mut w, ann);
    assert_eq!(connack(&seen), (1, 0));
    assert!(seen.len() >= 5, "{seen:?}");
    w.puback(ann, 1);
    w.run();
}

/// CONNECTs that are refused, each with the shards that refuse it.
fn refusals(version: Version) -> Vec<(World, Vec<u8>)> {
    let id = field(b"ann");
    let mut full = World::limited(|limits| limits.connections_max = 1);
    full.join(0, V5, "the only one");
    let other = if version == V5 { V311 } else { V5 };
    let doorways = vec![Doorway::tcp(&[other])];
    let elsewhere = World::with(Settings { doorways, ..Settings::default() });
    vec![
        (full, connect(version, CLEAN, &[&id])),
        (elsewhere, connect(version, CLEAN, &[&id])),
        (World::new(1), connect(version, CLEAN, &[&field(&[b'x'; 2_000])])),
    ]
}

/// What [MQTT-3.2.2-2] says, and [MQTT-3.2.2-1] of 3.1.1.
pub fn after_a_clean_start_no_session_is_present(version: Version) {
    for standing in [true, false] {
        let mut w = World::new(2);
        let ann = w.connect(0, durable(version, "ann"));
        if !standing {
            w.vanish(ann);
        }
        let ann = w.dial(1, Connect { clean_start: true, ..durable(version, "ann") });
        assert_eq!(connack(&sent(&mut w, ann)), (0, 0));
    }
}

/// What [MQTT-3.2.2-3] says, and [MQTT-3.2.2-2] and [MQTT-3.2.2-3] of 3.1.1.
pub fn session_present_tells_whether_there_was_one(version: Version) {
    let mut w = World::new(2);
    let mut answer = |shard, client_id| {
        let client = w.dial(shard, durable(version, client_id));
        let told = connack(&sent(&mut w, client));
        w.vanish(client);
        told
    };
    assert_eq!(answer(0, "ann"), (0, 0));
    assert_eq!(answer(1, "ann"), (1, 0));
    assert_eq!(answer(0, "ann"), (1, 0));
    assert_eq!(answer(0, "bob"), (0, 0), "another's is none");
    w.pass_secs(4_000);
    let ann = w.dial(0, durable(version, "ann"));
    assert_eq!(connack(&sent(&mut w, ann)), (0, 0), "it has expired");
}

/// What [MQTT-3.2.2-6] says, and [MQTT-3.2.2-4] of 3.1.1: also for a client whose session is there.
pub fn a_refusal_has_no_session_present(version: Version) {
    for (mut w, bytes) in refusals(version) {
        let ann = dial(&mut w, version, &bytes);
        let (flags, reason) = connack(&sent(&mut w, ann));
        assert!(reason != 0 && flags == 0, "{flags} {reason}");
    }
    let mut w = World::limited(|limits| limits.connections_max = 1);
    let ann = w.connect(0, durable(version, "ann"));
    w.vanish(ann);
    w.join(0, V5, "the only one");
    let ann = w.dial(0, durable(version, "ann"));
    assert_eq!(connack(&sent(&mut w, ann)).0, 0);
}

/// What [MQTT-3.2.2-7] says, and [MQTT-3.2.2-5] of 3.1.1.
pub fn a_refusal_closes_the_connection(version: Version) {
    for (mut w, bytes) in refusals(version) {
        let ann = dial(&mut w, version, &bytes);
        w.send(ann, Packet::Pingreq);
        let seen = w.read(ann);
        assert!(seen.len() == 2 && seen[0].starts_with("CONNACK") && seen[1] == "closed", "{seen:?}");
    }
}

/// [MQTT-3.2.0-1] CONNACK is the first packet to a client, whatever waits for it or comes meanwhile.
#[test]
fn mqtt_3_2_0_1_connack_is_the_first_packet() {
    connack_is_the_first_packet(V5);
}

/// [MQTT-3.2.0-2] A connection gets one CONNACK, also when it sends a second CONNECT.
#[test]
fn mqtt_3_2_0_2_a_connection_gets_one_connack() {
    for version in Version::ALL {
        let mut w = World::new(2);
        let ann = w.dial(0, durable(version, "ann"));
        w.send(ann, Packet::Connect(durable(version, "ann")));
        w.send(ann, Packet::Connect(durable(version, "ann")));
        connack(&sent(&mut w, ann));
        assert!(w.wires[ann.0].closed);
    }
    for (mut w, bytes) in refusals(V5) {
        let ann = dial(&mut w, V5, &bytes);
        w.send_bytes(ann, &bytes);
        connack(&sent(&mut w, ann));
    }
}

/// [MQTT-3.2.2-1] Of the acknowledge flags only Session Present is ever set.
#[test]
fn mqtt_3_2_2_1_reserved_acknowledge_flags_are_zero() {
    for version in Version::ALL {
        let mut w = World::new(1);
        for expected in [0, 1] {
            let ann = w.dial(0, durable(version, "ann"));
            assert_eq!(sent(&mut w, ann)[0].body[0], expected & u8::from(version != V31), "{version}");
            w.vanish(ann);
        }
        for (mut w, bytes) in refusals(version) {
            let ann = dial(&mut w, version, &bytes);
            assert_eq!(sent(&mut w, ann)[0].body[0], 0);
        }
    }
}

/// [MQTT-3.2.2-2] After a Clean Start CONNACK says that no session is present, although there was one.
#[test]
fn mqtt_3_2_2_2_after_a_clean_start_no_session_is_present() {
    after_a_clean_start_no_session_is_present(V5);
}

/// [MQTT-3.2.2-3] Without Clean Start CONNACK says whether a session of that client id was there.
#[test]
fn mqtt_3_2_2_3_session_present_tells_whether_there_was_one() {
    session_present_tells_whether_there_was_one(V5);
}

/// [MQTT-3.2.2-6] A CONNACK that refuses says that no session is present, also when there is one.
#[test]
fn mqtt_3_2_2_6_a_refusal_has_no_session_present() {
    a_refusal_has_no_session_present(V5);
}

/// [MQTT-3.2.2-7] A CONNACK of 0x80 or above is followed by the end of the connection, and by nothing else.
#[test]
fn mqtt_3_2_2_7_a_refusal_closes_the_connection() {
    a_refusal_closes_the_connection(V5);
}

/// [MQTT-3.2.2-8] Every reason in a CONNACK is one of the table in section 3.2.2.2.
#[test]
fn mqtt_3_2_2_8_the_reason_is_one_of_the_table() {
    let table = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
        0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
    ];
    let id = field(b"ann");
    let properties = |section: &[u8]| {
        let head = [&field(b"MQTT")[..], &[5, CLEAN, 0, 0], &[section.len() as u8], section].concat();
        bytes::packet(0x10, &[&head, &id])
    };
    let large = [&[0x26][..], &field(b"k"), &field(&[b'v'; 9_000])].concat();
    let length = [large.len() as u8 | 0x80, (large.len() >> 7) as u8];
    let head = [&field(b"MQTT")[..], &[5, CLEAN, 0, 0]].concat();
    let connects = [
        connect(V5, CLEAN, &[&id]),
        connect(V5, CLEAN | 1, &[&id]),
        connect(V5, CLEAN, &[&field(&[b'x'; 2_000])]),
        connect(V5, CLEAN | bytes::WILL, &[&id, &[0], &field(b"a/+"), &field(b"")]),
        connect(V5, CLEAN | bytes::WILL, &[&id, &[0], &field(b""), &field(b"")]),
        connect(V5, CLEAN | bytes::WILL, &[&id, &[0], &field(&b"a/".repeat(200)), &field(b"")]),
        connect(V5, CLEAN | bytes::WILL, &[&id, &[0x02, 0x01, 0x07], &field(b"w"), &field(b"")]),
        properties(&[0x21, 0, 0]),
        properties(&[0x27, 0, 0, 0, 0]),
        properties(&[0x17, 2]),
        properties(&[0x7f, 0]),
        properties(&[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]),
        properties(&[&[0x15][..], &field(b"no such method")].concat()),
        properties(&[&[0x16][..], &field(b"data")].concat()),
        bytes::packet(0x10, &[&head, &length, &large, &id]),
        bytes::packet(0x10, &[&[&field(b"MQTT")[..], &[6, CLEAN, 0, 0]].concat()]),
    ];
    let worlds = connects.into_iter().map(|bytes| (World::new(1), bytes));
    let mut reasons = std::collections::BTreeSet::new();
    for (mut w, bytes) in worlds.chain(refusals(V5)) {
        let ann = dial(&mut w, V5, &bytes);
        let seen = sent(&mut w, ann);
        let (_, reason) = connack(&seen);
        // A version that we do not speak is answered in that of 3.1.1, in two bytes.
        assert!(
            table.contains(&reason) || (seen[0].body.len(), reason) == (2, 1),
            "{reason:02x}: {bytes:02x?}"
        );
        reasons.insert(reason);
    }
    assert!(reasons.len() >= 8, "many of them: {reasons:02x?}");
}

/// [MQTT-3.2.2-16] The client id that we assign belongs to no session, also when somebody has used one that we assigned before.
#[test]
fn mqtt_3_2_2_16_an_assigned_client_id_is_new() {
    let mut w = World::new(2);
    let mut seen_before = std::collections::BTreeSet::new();
    for number in 0..100 {
        let client = w.dial(number % 2, Connect { clean_start: false, ..durable(V5, "") });
        let seen = sent(&mut w, client);
        assert_eq!(connack(&seen), (0, 0), "nobody's session");
        let id = assigned_id(&seen[0]);
        assert!(seen_before.insert(id.clone()));
        w.leave(client, ReasonCode::Success);
        // Its owner keeps it on the other shard.
        let again = w.dial((number + 1) % 2, durable(V5, &id));
        assert_eq!(connack(&sent(&mut w, again)), (1, 0));
    }
}

/// The Assigned Client Identifier of a CONNACK.
pub fn assigned_id(connack: &Sent) -> String {
    let properties = &connack.body[3..];
    let at = properties.windows(2).position(|window| window == [0x12, 0]).expect("an id is assigned");
    let length = usize::from(properties[at + 2]);
    String::from_utf8(properties[at + 3..at + 3 + length].to_vec()).expect("UTF-8")
}

/// [MQTT-3.2.2-22] Where CONNACK names no Server Keep Alive, the client's own counts.
#[test]
fn mqtt_3_2_2_22_without_server_keep_alive_the_clients_own_counts() {
    let mut w = World::limited(|limits| limits.keep_alive_max = std::time::Duration::from_secs(100));
    for (keep_alive, told, silence) in [(10, None, 15), (100, None, 150), (500, Some(100), 150)] {
        let ann = w.dial(0, Connect { keep_alive, ..Connect::new(V5, "ann", true) });
        let expected = told.map_or("CONNACK 00".into(), |seconds| format!("CONNACK 00 keep-alive={seconds}"));
        assert_eq!(w.read(ann), [expected]);
        w.pass_secs(silence - 1);
        assert!(w.read(ann).is_empty(), "{keep_alive}");
        w.pass_secs(3);
        assert_eq!(w.read(ann), ["DISCONNECT 8d", "closed"], "{keep_alive}");
    }
}
