//! MQTT 3.1 where it is not 3.1.1. What the two share is tested under `conformance/v311`, what must not come in any version under `malformed`.

use crate::conformance::bytes::{self, CLEAN, PASSWORD, USER_NAME, WILL, connect, dial, field, packet, sent};
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::shard::Doorway;
use shardmq_shards::wire::{Connect, Packet, Publish};

fn accepted(w: &mut World, bytes: &[u8]) -> Client {
    let client = dial(w, V31, bytes);
    assert_eq!(w.read(client), ["CONNACK 00"], "{bytes:02x?}");
    client
}

#[test]
fn its_name_is_mqisdp_and_its_level_3() {
    let head = |name: &[u8], level: u8| packet(0x10, &[&field(name), &[level, CLEAN, 0, 0], &field(b"ann")]);
    let mut w = World::new(1);
    accepted(&mut w, &head(b"MQIsdp", 3));
    for (name, level) in [(&b"MQIsdp"[..], 4), (b"MQTT", 3), (b"MQISDP", 3), (b"MQIsdp", 5)] {
        let client = dial(&mut w, V31, &head(name, level));
        let seen = sent(&mut w, client);
        assert_eq!((seen.len(), &seen[0].body[..]), (1, &[0, 1][..]), "unacceptable protocol version");
        assert_eq!(w.read(client), ["closed"]);
    }
}

/// The return codes 1 (above), 2 and 3; 4 and 5 belong to authentication.
#[test]
fn a_refusal_has_a_return_code_and_closes() {
    let code = |w: &mut World, bytes: &[u8]| {
        let client = dial(w, V31, bytes);
        let seen = sent(w, client);
        assert_eq!((seen.len(), seen[0].body.len()), (1, 2));
        assert_eq!(w.read(client), ["closed"]);
        seen[0].body[1]
    };
    let mut w = World::new(1);
    assert_eq!(code(&mut w, &connect(V31, CLEAN, &[&field(b"")])), 2, "identifier rejected");
    assert_eq!(code(&mut w, &connect(V31, 0, &[&field(b"")])), 2);
    assert_eq!(code(&mut w, &connect(V31, CLEAN, &[&field(&[b'x'; 1_025])])), 2);
    let mut full = World::limited(|limits| limits.connections_max = 1);
    full.join(0, V31, "the only one");
    assert_eq!(code(&mut full, &connect(V31, CLEAN, &[&field(b"ann")])), 3, "server unavailable");
    let mut elsewhere =
        World::with(Settings { doorways: vec![Doorway::tcp(&[V311, V5])], ..Settings::default() });
    assert_eq!(code(&mut elsewhere, &connect(V31, CLEAN, &[&field(b"ann")])), 1, "not on this listener");
}

/// 3.1 has identifier rejected for them; no client was ever better off for it.
#[test]
fn client_ids_of_more_than_23_characters_are_taken() {
    let mut w = World::new(2);
    for length in [23, 24, 100, 1_024] {
        let id = "é".repeat(length / 2) + &"x".repeat(length % 2);
        let (ann, seen) = w.connect_and_read(length % 2, durable(V31, &id));
        assert_eq!(seen, ["CONNACK 00"]);
        w.subscribe(ann, "a", Q1);
        w.vanish(ann);
        let bob = w.join(0, V5, "bob");
        w.publish(bob, message_1(1, "a", "waited"));
        w.run();
        let (ann, seen) = w.connect_and_read(0, durable(V31, &id));
        assert_eq!(seen, ["CONNACK 00", r#"a "waited" q1 #1"#], "its own session");
        w.puback(ann, 1);
        w.run();
    }
}

/// Byte 1 of its CONNACK is reserved.
#[test]
fn a_session_that_is_present_is_not_told() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V31, "ann"));
    w.subscribe(ann, "a", Q1);
    w.vanish(ann);
    let ann = dial(&mut w, V31, &connect(V31, 0, &[&field(b"ann")]));
    assert_eq!(sent(&mut w, ann)[0].body, [0, 0]);
    w.publish(ann, message("a", "still subscribed"));
    assert_eq!(w.read(ann), [r#"a "still subscribed""#]);
}

#[test]
fn a_subscription_that_it_may_not_have_is_acknowledged_all_the_same() {
    let mut w = World::limited(|limits| limits.filters_per_client_max = 2);
    let ann = w.join(0, V31, "ann");
    w.subscribe_all(ann, &[("a", Q1), ("b", Q2), ("c", Q2)]);
    let seen = sent(&mut w, ann);
    assert_eq!(&seen[0].body[2..], [1, 2, 0], "a QoS each: 0x80 is of 3.1.1");
    for topic in ["a", "b", "c"] {
        w.publish(ann, message(topic, ""));
    }
    assert_eq!(w.read(ann), [r#"a """#, r#"b """#]);
    w.unsubscribe(ann, &["c", "nothing"]);
    assert_eq!(w.read(ann), ["UNSUBACK #1001"]);
}

#[test]
fn what_is_no_filter_closes() {
    for filter in ["", "a/#/b", "b+"] {
        let mut w = World::new(1);
        let ann = w.join(0, V31, "ann");
        w.subscribe_all(ann, &[("a", Q0), (filter, Q0)]);
        assert_eq!(w.read(ann), ["closed"], "{filter:?}");
        assert_eq!(w.shard(0).sizes().sessions, 0);
    }
}

#[test]
fn no_disconnect_comes_from_the_server() {
    let ends: [fn(&mut World, Client); 5] = [
        |w, ann| w.send_bytes(ann, b"\0\0"),
        |w, ann| w.publish(ann, message("a/#", "")),
        |w, _| {
            w.join(1, V5, "ann");
        },
        |w, _| w.pass_secs(20),
        |w, _| w.request_shutdown(),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let mut w = World::new(2);
        let ann = w.connect(0, Connect { keep_alive: 10, ..Connect::new(V31, "ann", true) });
        end(&mut w, ann);
        assert_eq!(w.read(ann), ["closed"], "end {number}");
    }
}

/// Its fixed header has DUP in PUBREL, SUBSCRIBE and UNSUBSCRIBE, which a client sets when it repeats one.
#[test]
fn repeated_requests_may_have_dup() {
    let mut w = World::new(1);
    let ann = w.join(0, V31, "ann");
    let subscribe = |first| packet(first, &[&[0, 7], &field(b"a"), &[2]]);
    for first in [0x82, 0x8a] {
        w.send_bytes(ann, &subscribe(first));
        assert_eq!(w.read(ann), ["SUBACK #7 [02]"]);
    }
    w.publish(ann, message_2(1, "a", "x"));
    w.publish(ann, Publish { dup: true, ..message_2(1, "a", "x") });
    let mut seen = w.read(ann);
    seen.sort();
    assert_eq!(seen, ["PUBREC #1", "PUBREC #1", r#"a "x" q2 #1"#], "published once");
    for first in [0x62, 0x6a] {
        w.send_bytes(ann, &[first, 2, 0, 1]);
        assert_eq!(w.read(ann), ["PUBCOMP #1"]);
    }
    for first in [0xa2, 0xaa] {
        w.send_bytes(ann, &packet(first, &[&[0, 8], &field(b"a")]));
        assert_eq!(w.read(ann), ["UNSUBACK #8"]);
    }
    for first in [0x8a, 0xaa, 0x6a] {
        let mut w = World::new(1);
        let ann = w.join(0, V311, "ann");
        w.send_bytes(ann, &packet(first, &[&[0, 7], &field(b"a"), &[2]]));
        assert_eq!(w.read(ann), ["closed"], "3.1.1 has no such flag");
    }
}

/// "Remaining length takes precedence": the flags may say more than the payload has.
#[test]
fn user_name_and_password_may_be_missing_in_spite_of_their_flags() {
    let (id, name, password) = (field(b"ann"), field(b"name"), field(b"password"));
    let flags = CLEAN | USER_NAME | PASSWORD;
    for fields in [&[&id[..]][..], &[&id, &name], &[&id, &name, &password]] {
        accepted(&mut World::new(1), &connect(V31, flags, fields));
    }
    bytes::is_malformed(V31, &connect(V31, flags, &[&id, b"\0"]));
    bytes::is_malformed(V31, &connect(V31, flags, &[&id, &name, b"\0\x09x"]));
    bytes::is_malformed(V31, &connect(V31, CLEAN, &[&id, &name]));
}

/// The reserved flag, and QoS and RETAIN of a will that is not there, have no meaning and are not looked at.
#[test]
fn flags_without_meaning_are_not_looked_at() {
    let id = field(b"ann");
    for flags in [CLEAN | 1, CLEAN | 1 << 3, CLEAN | 3 << 3, CLEAN | 1 << 5] {
        accepted(&mut World::new(1), &connect(V31, flags, &[&id]));
        bytes::is_malformed(V311, &connect(V311, flags, &[&id]));
    }
    bytes::is_malformed(V31, &connect(V31, CLEAN | WILL | 3 << 3, &[&id, &field(b"w"), &field(b"will")]));
}

#[test]
fn it_publishes_subscribes_and_has_its_will_as_3_1_1_does() {
    let mut w = World::new(2);
    let watcher = w.join(1, V31, "watcher");
    w.subscribe(watcher, "#", Q2);
    let (id, topic, will) = (field(b"ann"), field(b"w"), field(b"gone"));
    let ann = accepted(&mut w, &connect(V31, CLEAN | WILL | 1 << 3, &[&id, &topic, &will]));
    w.publish(ann, message("a", "0"));
    w.publish(ann, message_1(1, "b", "1"));
    w.publish(ann, message_2(2, "c", "2"));
    let mut answers = w.read(ann);
    answers.sort();
    assert_eq!(answers, ["PUBACK #1", "PUBREC #2"]);
    assert_eq!(w.read(watcher), [r#"a "0""#, r#"b "1" q1 #1"#, r#"c "2" q2 #2"#]);
    w.send(ann, Packet::Pingreq);
    assert_eq!(w.read(ann), ["PINGRESP"]);
    w.vanish(ann);
    assert_eq!(w.read(watcher), [r#"w "gone" q1 #3"#]);
    for (number, finish) in [(1, true), (2, false), (3, true)] {
        if finish { w.puback(watcher, number) } else { w.pubrec(watcher, number) }
    }
    assert_eq!(w.read(watcher), ["PUBREL #2"]);
    w.pubcomp(watcher, 2);
    w.run();
}
