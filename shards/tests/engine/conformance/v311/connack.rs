//! MQTT 3.1.1 section 3.2, CONNACK.

use crate::conformance::bytes::{CLEAN, WILL, connect, dial, field, packet, sent};
use crate::conformance::v5::connack as both;
use crate::verbs::*;
use crate::world::World;

/// [MQTT-3.2.0-1] CONNACK is the first packet to a client, whatever waits for it or comes meanwhile.
#[test]
fn mqtt_3_2_0_1_connack_is_the_first_packet() {
    both::connack_is_the_first_packet(V311);
}

/// [MQTT-3.2.2-1] After CleanSession 1 CONNACK says that no session is present, although there was one.
#[test]
fn mqtt_3_2_2_1_after_a_clean_session_none_is_present() {
    both::after_a_clean_start_no_session_is_present(V311);
}

/// [MQTT-3.2.2-2] With CleanSession 0 CONNACK says that the session of that client id is present when it is.
#[test]
fn mqtt_3_2_2_2_session_present_tells_that_there_was_one() {
    both::session_present_tells_whether_there_was_one(V311);
}

/// [MQTT-3.2.2-3] With CleanSession 0 CONNACK says that no session is present where there is none: never was, another's, ended, expired.
#[test]
fn mqtt_3_2_2_3_session_present_tells_that_there_was_none() {
    both::session_present_tells_whether_there_was_one(V311);
    let mut w = World::new(2);
    let ann = w.join(0, V311, "ann");
    w.vanish(ann);
    let ann = w.dial(1, durable(V311, "ann"));
    assert_eq!(sent(&mut w, ann)[0].body, [0, 0], "a clean session has ended with its connection");
}

/// [MQTT-3.2.2-4] A CONNACK that refuses says that no session is present, also when there is one.
#[test]
fn mqtt_3_2_2_4_a_refusal_has_no_session_present() {
    both::a_refusal_has_no_session_present(V311);
}

/// [MQTT-3.2.2-5] A return code other than 0 is followed by the end of the connection, and by nothing else.
#[test]
fn mqtt_3_2_2_5_a_refusal_closes_the_connection() {
    both::a_refusal_closes_the_connection(V311);
}

/// [MQTT-3.2.2-6] A CONNECT that none of the return codes is about closes the connection without CONNACK; those sent are 0 to 5.
#[test]
fn mqtt_3_2_2_6_what_no_return_code_is_about_is_not_answered() {
    let (id, message) = (field(b"ann"), field(b"will"));
    let with_will = |topic: &[u8]| connect(V311, CLEAN | WILL, &[&id, &field(topic), &message]);
    let unanswered = [
        connect(V311, CLEAN | 1, &[&id]),
        connect(V311, CLEAN, &[]),
        with_will(b""),
        with_will(b"a/+"),
        with_will(&b"a/".repeat(200)),
        with_will(&[b'w'; 5_000]),
        packet(0x30, &[&field(b"a"), b"x"]),
    ];
    for bytes in unanswered {
        let mut w = World::new(1);
        let ann = dial(&mut w, V311, &bytes);
        assert!(sent(&mut w, ann).is_empty(), "{bytes:02x?}");
        assert!(w.wires[ann.0].closed);
    }
    let answered = [
        (connect(V311, CLEAN, &[&id]), 0),
        (packet(0x10, &[&field(b"MQTT"), &[9, CLEAN, 0, 0], &id]), 1),
        (connect(V311, 0, &[&field(b"")]), 2),
        (connect(V311, CLEAN, &[&field(&[b'x'; 2_000])]), 2),
    ];
    for (bytes, code) in answered {
        let mut w = World::new(1);
        let ann = dial(&mut w, V311, &bytes);
        assert_eq!(sent(&mut w, ann)[0].body, [0, code], "{bytes:02x?}");
    }
    let mut full = World::limited(|limits| limits.connections_max = 1);
    full.join(0, V311, "the only one");
    let ann = dial(&mut full, V311, &connect(V311, CLEAN, &[&id]));
    assert_eq!(sent(&mut full, ann)[0].body, [0, 3], "server unavailable");
}
