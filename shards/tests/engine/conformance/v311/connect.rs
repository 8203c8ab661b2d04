//! MQTT 3.1.1 section 3.1, CONNECT; its will in `will`.

use crate::conformance::bytes::{self, CLEAN, PASSWORD, USER_NAME, WILL, connect, dial, field, sent};
use crate::conformance::v5::connect as both;
use crate::verbs::*;
use crate::world::World;
use shardmq_shards::wire::{Connect, ReasonCode};

/// [MQTT-3.1.0-1] A connection whose first packet is not CONNECT is closed, and what follows is not read.
#[test]
fn mqtt_3_1_0_1_the_first_packet_is_connect() {
    both::the_first_packet_is_connect(V311);
}

/// [MQTT-3.1.0-2] A second CONNECT on a connection closes it; the session of the first stays.
#[test]
fn mqtt_3_1_0_2_a_second_connect_ends_the_connection() {
    both::a_second_connect_ends_the_connection(V311);
}

/// [MQTT-3.1.2-1] Another protocol name than "MQTT" (3.1: "MQIsdp") is not processed: return code 1, and the connection closes.
#[test]
fn mqtt_3_1_2_1_an_unknown_protocol_name_is_refused() {
    both::an_unknown_protocol_name_is_refused(V311);
}

/// [MQTT-3.1.2-2] A protocol level that we do not speak is answered with return code 1, and the connection closes.
#[test]
fn mqtt_3_1_2_2_an_unknown_protocol_level_is_refused() {
    both::an_unknown_protocol_level_is_refused();
}

/// [MQTT-3.1.2-3] A CONNECT with the reserved flag set closes the connection.
#[test]
fn mqtt_3_1_2_3_the_reserved_flag_is_zero() {
    both::the_reserved_flag_is_zero(V311);
}

/// [MQTT-3.1.2-4] With CleanSession 0 the session of the client id goes on, or a new one begins; it is kept when the connection closes.
#[test]
fn mqtt_3_1_2_4_without_clean_session_the_session_goes_on() {
    both::without_clean_start_the_session_is_resumed(V311);
    let mut w = World::new(2);
    for expected in ["CONNACK 00", "CONNACK 00 present", "CONNACK 00 present"] {
        let (ann, seen) = w.connect_and_read(0, durable(V311, "ann"));
        assert_eq!(seen, [expected]);
        if expected == "CONNACK 00" {
            w.subscribe(ann, "a", Q1);
        }
        w.publish(ann, message("a", "subscribed"));
        assert_eq!(w.read(ann), [r#"a "subscribed""#], "once is enough");
        w.leave(ann, ReasonCode::Success);
    }
}

/// [MQTT-3.1.2-5] While a client with CleanSession 0 is away, messages of QoS 1 and 2 for its subscriptions are kept for it.
#[test]
fn mqtt_3_1_2_5_messages_are_kept_for_an_absent_client() {
    for leaves in [true, false] {
        let mut w = World::new(2);
        let ann = w.connect(0, durable(V311, "ann"));
        for (filter, qos) in [("one", Q1), ("two", Q2), ("none", Q1)] {
            w.subscribe(ann, filter, qos);
        }
        w.unsubscribe(ann, &["none"]);
        w.run();
        if leaves {
            w.leave(ann, ReasonCode::Success)
        } else {
            w.vanish(ann)
        };
        w.read(ann);
        let bob = w.join(1, V311, "bob");
        w.publish(bob, message_1(1, "one", "x"));
        w.publish(bob, message_2(2, "two", "y"));
        w.publish(bob, message_1(3, "none", "not subscribed"));
        w.pubrel(bob, 2);
        w.run();
        let (_, seen) = w.connect_and_read(1, durable(V311, "ann"));
        assert_eq!(seen, ["CONNACK 00 present", r#"one "x" q1 #1"#, r#"two "y" q2 #2"#]);
    }
}

/// [MQTT-3.1.2-6] CleanSession 1 discards the session that was there; its own lasts as long as the connection and is never resumed.
#[test]
fn mqtt_3_1_2_6_clean_session_discards_the_session() {
    both::a_clean_start_discards_the_session(V311);
    let mut w = World::new(2);
    let ann = w.join(0, V311, "ann");
    w.subscribe(ann, "a", Q2);
    let bob = w.join(1, V311, "bob");
    w.publish(bob, message_2(1, "a", "not acknowledged"));
    assert_eq!(w.read(ann).len(), 1);
    w.vanish(ann);
    assert_eq!(w.shard(0).sizes().sessions, 0, "it has ended with its connection");
    let (ann, seen) = w.connect_and_read(0, durable(V311, "ann"));
    assert_eq!(seen, ["CONNACK 00"]);
    w.publish(bob, message("a", "new"));
    assert!(w.read(ann).is_empty());
}

/// [MQTT-3.1.2-7] Retained messages outlive the session of their publisher.
#[test]
fn mqtt_3_1_2_7_retained_messages_are_not_the_sessions() {
    let mut w = World::new(2);
    for (topic, session) in [("a", Connect::new(V311, "ann", true)), ("b", durable(V311, "ann"))] {
        let ann = w.connect(0, session);
        w.publish(ann, retained(message_1(1, topic, "kept")));
        assert_eq!(w.read(ann), ["PUBACK #1"]);
        w.leave(ann, ReasonCode::Success);
    }
    let ann = w.join(0, V311, "ann");
    w.leave(ann, ReasonCode::Success);
    assert_eq!(w.shard(0).sizes().sessions + w.shard(1).sizes().sessions, 0);
    let bob = w.join(1, V311, "bob");
    w.subscribe_all(bob, &[("#", Q0)]);
    let mut seen = w.read(bob);
    seen.sort();
    assert_eq!(seen, ["SUBACK #1000 [00]", r#"a "kept" retain"#, r#"b "kept" retain"#]);
}

/// [MQTT-3.1.2-18] Without the user name flag, a user name in the payload closes the connection.
#[test]
fn mqtt_3_1_2_18_without_its_flag_no_user_name() {
    both::a_field_is_there_exactly_if_its_flag_is_set(V311, USER_NAME, false);
}

/// [MQTT-3.1.2-19] With the user name flag, a payload without user name closes the connection.
#[test]
fn mqtt_3_1_2_19_with_its_flag_a_user_name() {
    both::a_field_is_there_exactly_if_its_flag_is_set(V311, USER_NAME, true);
}

/// [MQTT-3.1.2-20] Without the password flag, a password in the payload closes the connection.
#[test]
fn mqtt_3_1_2_20_without_its_flag_no_password() {
    both::a_field_is_there_exactly_if_its_flag_is_set(V311, PASSWORD, false);
}

/// [MQTT-3.1.2-21] With the password flag, a payload without password closes the connection.
#[test]
fn mqtt_3_1_2_21_with_its_flag_a_password() {
    both::a_field_is_there_exactly_if_its_flag_is_set(V311, PASSWORD, true);
}

/// [MQTT-3.1.2-22] A password without user name closes the connection.
#[test]
fn mqtt_3_1_2_22_no_password_without_user_name() {
    let (id, secret) = (field(b"ann"), field(b"secret"));
    bytes::is_malformed(V311, &connect(V311, CLEAN | PASSWORD, &[&id, &secret]));
    bytes::is_malformed(V311, &connect(V311, CLEAN | PASSWORD, &[&id, &secret, &secret]));
    bytes::is_accepted(V311, &connect(V311, CLEAN | PASSWORD | USER_NAME, &[&id, &secret, &secret]));
}

/// [MQTT-3.1.2-24] A client that is silent for one and a half keep-alive periods is closed as if the network had failed; keep-alive 0 is never.
#[test]
fn mqtt_3_1_2_24_silence_ends_the_connection() {
    both::silence_ends_the_connection(V311);
}

/// [MQTT-3.1.3-1] The fields are read in the order client id, will topic, will message, user name, password.
#[test]
fn mqtt_3_1_3_1_the_fields_have_their_order() {
    let flags = CLEAN | WILL | USER_NAME | PASSWORD;
    let all: [&[u8]; 5] = [b"id", b"topic", b"message", b"name", b"password"];
    let with = |index: usize, content: &'static [u8]| {
        let mut fields = all.map(field);
        fields[index] = field(content);
        connect(V311, flags, &fields.each_ref().map(|field| &field[..]))
    };
    // Which of them is text shows which is where: no other may hold what is no UTF-8.
    for (index, is_text) in [(0, true), (1, true), (2, false), (3, true), (4, false)] {
        let bytes = with(index, b"\xff");
        if is_text { bytes::is_malformed(V311, &bytes) } else { bytes::is_accepted(V311, &bytes) }
    }
    // Only a will topic must not have a wildcard.
    for (index, accepted) in [(0, true), (1, false), (2, true), (3, true), (4, true)] {
        let mut w = World::new(1);
        let ann = dial(&mut w, V311, &with(index, b"a/#"));
        assert_eq!(w.read(ann), [if accepted { "CONNACK 00" } else { "closed" }], "field {index}");
    }
    let mut w = World::new(2);
    let watcher = w.join(1, V311, "watcher");
    w.subscribe(watcher, "#", Q0);
    let client = dial(&mut w, V311, &with(0, b"id"));
    assert_eq!(w.read(client), ["CONNACK 00"]);
    let other = w.join(0, V311, "id");
    assert_eq!(w.read(client), ["closed"], "the first is the client id");
    assert_eq!(w.read(watcher), [r#"topic "message""#]);
    w.ping(other);
}

/// [MQTT-3.1.3-2] The client id names the session: the same id comes back to it from any shard, no other id does.
#[test]
fn mqtt_3_1_3_2_the_client_id_names_the_session() {
    both::the_client_id_names_the_session(V311);
}

/// [MQTT-3.1.3-3] The client id is read as the first field of the payload; a CONNECT without one closes the connection.
#[test]
fn mqtt_3_1_3_3_the_client_id_is_the_first_field() {
    both::the_client_id_is_the_first_field(V311);
}

/// [MQTT-3.1.3-4] A client id that is not UTF-8 closes the connection.
#[test]
fn mqtt_3_1_3_4_the_client_id_is_utf_8() {
    bytes::is_malformed(V311, &connect(V311, CLEAN, &[&field(b"an\xff")]));
    bytes::is_accepted(V311, &connect(V311, CLEAN, &[&field("änn".as_bytes())]));
}

/// [MQTT-3.1.3-5] Client ids of 1 to 23 letters and digits are allowed, and many others.
#[test]
fn mqtt_3_1_3_5_every_client_id_of_1_to_23_letters_and_digits_is_allowed() {
    both::every_client_id_of_1_to_23_letters_and_digits_is_allowed(V311);
}

/// [MQTT-3.1.3-6] Each client with an empty client id and CleanSession 1 is one of its own, with its own session.
#[test]
fn mqtt_3_1_3_6_an_empty_client_id_is_replaced_by_a_unique_one() {
    let mut w = World::new(2);
    let clients: Vec<_> = (0..100).map(|number| w.join(number % 2, V311, "")).collect();
    assert!(clients.iter().all(|client| !w.wires[client.0].closed), "none takes over another");
    assert_eq!(w.shard(0).sizes().sessions + w.shard(1).sizes().sessions, 100);
    w.subscribe(clients[0], "a", Q0);
    w.publish(clients[1], message("a", "x"));
    assert_eq!(w.read(clients[0]), [r#"a "x""#]);
    assert!(w.read(clients[2]).is_empty());
}

/// [MQTT-3.1.3-8] An empty client id with CleanSession 0 is answered with return code 2, and the connection closes.
#[test]
fn mqtt_3_1_3_8_an_empty_client_id_needs_a_clean_session() {
    let mut w = World::new(1);
    let ann = dial(&mut w, V311, &connect(V311, 0, &[&field(b"")]));
    let seen = sent(&mut w, ann);
    assert_eq!((seen.len(), seen[0].first, &seen[0].body[..]), (1, 0x20, &[0, 2][..]));
    assert_eq!((w.read(ann), w.shard(0).sizes().sessions), (vec!["closed".into()], 0));
}

/// [MQTT-3.1.3-9] A client id of more than 1,024 bytes is answered with return code 2, and the connection closes.
#[test]
fn mqtt_3_1_3_9_a_client_id_that_we_do_not_take_is_refused() {
    both::a_client_id_that_we_do_not_take_is_refused(V311);
    let mut w = World::new(1);
    let ann = dial(&mut w, V311, &connect(V311, CLEAN, &[&field(&[b'x'; 1_025])]));
    assert_eq!(sent(&mut w, ann)[0].body, [0, 2]);
}

/// [MQTT-3.1.3-11] A user name that is not UTF-8 closes the connection.
#[test]
fn mqtt_3_1_3_11_the_user_name_is_utf_8() {
    bytes::is_malformed(V311, &connect(V311, CLEAN | USER_NAME, &[&field(b"ann"), &field(b"n\xff")]));
    bytes::is_accepted(V311, &connect(V311, CLEAN | USER_NAME, &[&field(b"ann"), &field("ñ".as_bytes())]));
}

/// [MQTT-3.1.4-1] A CONNECT that is cut, too long or otherwise malformed closes the connection without CONNACK.
#[test]
fn mqtt_3_1_4_1_a_connect_that_does_not_conform_closes_the_connection() {
    both::a_connect_that_does_not_conform_closes_the_connection(V311);
}

/// [MQTT-3.1.4-2] A client that is connected already is closed, on whichever shard the new connection comes.
#[test]
fn mqtt_3_1_4_2_a_client_that_is_connected_already_is_closed() {
    both::a_client_that_is_connected_already_is_closed(V311);
}

/// [MQTT-3.1.4-3] CleanSession is obeyed also when the old connection still stands.
#[test]
fn mqtt_3_1_4_3_clean_session_is_obeyed_in_a_takeover() {
    for (clean_start, answer, received) in [(true, "CONNACK 00", 0), (false, "CONNACK 00 present", 1)] {
        let mut w = World::new(2);
        let old = w.connect(0, durable(V311, "ann"));
        w.subscribe(old, "a", Q1);
        let (new, seen) = w.connect_and_read(1, Connect { clean_start, ..durable(V311, "ann") });
        assert_eq!(seen, [answer]);
        let bob = w.join(0, V311, "bob");
        w.publish(bob, message("a", "new"));
        assert_eq!(w.read(new).len(), received);
    }
}

/// [MQTT-3.1.4-4] A valid CONNECT is answered with CONNACK, return code 0.
#[test]
fn mqtt_3_1_4_4_a_valid_connect_is_acknowledged() {
    let mut w = World::new(2);
    for (shard, client_id, clean_start) in [(0, "ann", true), (1, "bob", false), (1, "", true)] {
        let client = w.dial(shard, Connect::new(V311, client_id, clean_start));
        let seen = sent(&mut w, client);
        assert_eq!((seen.len(), seen[0].first, &seen[0].body[..]), (1, 0x20, &[0, 0][..]));
    }
}

/// [MQTT-3.1.4-5] Behind a CONNECT that is refused nothing is processed: no message, no answer, no will.
#[test]
fn mqtt_3_1_4_5_nothing_behind_a_refused_connect_is_processed() {
    both::nothing_behind_a_refused_connect_is_processed(V311);
}
