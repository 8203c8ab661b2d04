//! MQTT 5 sections 3.10 and 3.11: UNSUBSCRIBE and UNSUBACK.

use crate::conformance::bytes::{field, no_properties, packet, sent};
use crate::conformance::v5::subscribe::{answer_is_never_larger_than_the_client_takes, codes_of};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::{Client, World};
use shardmq_shards::wire::{ReasonCode, Version};

/// An UNSUBSCRIBE with id 0x1234 of these filters.
fn unsubscribe(version: Version, filters: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<u8> = filters.iter().flat_map(|filter| field(filter)).collect();
    packet(0xa2, &[&[0x12, 0x34], no_properties(version), &entries])
}

/// The codes of the UNSUBACK, which is all that comes; 3.1.1 has none.
fn codes(w: &mut World, client: Client, filters: &[&[u8]]) -> Vec<u8> {
    let version = w.wires[client.0].version;
    w.send_bytes(client, &unsubscribe(version, filters));
    let seen = sent(w, client);
    assert_eq!(seen.len(), 1, "{seen:02x?}");
    codes_of(0xb0, version, &seen)
}

/// What [MQTT-3.10.1-1] says of both versions.
pub fn unsubscribe_has_its_flags(version: Version) {
    let right = unsubscribe(version, &[b"a"]);
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut wrong = right.clone();
        wrong[0] = 0xa0 | flags;
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &wrong));
    }
}

/// [MQTT-3.10.1-1] An UNSUBSCRIBE with flags other than 0010 is malformed and closes the connection.
#[test]
fn mqtt_3_10_1_1_unsubscribe_has_its_flags() {
    unsubscribe_has_its_flags(V5);
}

/// What [MQTT-3.10.3-1] says of both versions.
pub fn filters_to_unsubscribe_are_utf_8(version: Version) {
    for filter in [&b"\xff"[..], b"a/\xc3\x28", b"\xed\xa0\x80"] {
        let bytes = unsubscribe(version, &[b"fine", filter]);
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
    }
}

/// [MQTT-3.10.3-1] A topic filter that is not UTF-8 makes the UNSUBSCRIBE malformed.
#[test]
fn mqtt_3_10_3_1_filters_to_unsubscribe_are_utf_8() {
    filters_to_unsubscribe_are_utf_8(V5);
}

/// What [MQTT-3.10.3-2] says of both versions.
pub fn unsubscribe_has_a_filter(version: Version) {
    let bytes = unsubscribe(version, &[]);
    closes(version, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &bytes));
}

/// [MQTT-3.10.3-2] An UNSUBSCRIBE without a topic filter closes the connection with 0x82.
#[test]
fn mqtt_3_10_3_2_unsubscribe_has_a_filter() {
    unsubscribe_has_a_filter(V5);
}

/// What [MQTT-3.10.4-1] says of both versions.
pub fn filters_are_compared_character_by_character(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    let held = ["a/b", "a/+", "a/#", "é", "$share/g/a/b"];
    w.subscribe_all(ann, &held.map(|filter| (filter, Q0)));
    w.read(ann);
    let others: [&[u8]; 10] = [
        b"a/B",
        b"a/b/",
        b"/a/b",
        b"a",
        b"+/b",
        b"#",
        "e\u{301}".as_bytes(),
        b"a/b ",
        b"$share/h/a/b",
        b"A/+",
    ];
    let answer = codes(&mut w, ann, &others);
    assert!(answer.iter().all(|code| *code == 0x11), "{answer:02x?}");
    let bob = w.join(1, version, "bob");
    let publish_all = |w: &mut World| {
        w.publish(bob, message("a/b", "x"));
        w.publish(bob, message("é", "x"));
        w.read(ann).len()
    };
    assert_eq!(publish_all(&mut w), 3, "overlapping ones give one copy, the group another");
    // Each of them is held until it is named as it was subscribed.
    for (filter, left) in [("a/b", 3), ("a/#", 3), ("$share/g/a/b", 2), ("é", 1), ("a/+", 0)] {
        let answer = codes(&mut w, ann, &[filter.as_bytes()]);
        assert!(answer.iter().all(|code| *code == 0));
        assert_eq!(publish_all(&mut w), left, "{filter}");
    }
}

/// [MQTT-3.10.4-1] Filters are compared character by character; the one that is the same is deleted, and no other.
#[test]
fn mqtt_3_10_4_1_filters_are_compared_character_by_character() {
    filters_are_compared_character_by_character(V5);
}

/// What [MQTT-3.10.4-2] says of both versions: also what was published before and not started, on its way between shards and in the queue.
pub fn nothing_new_is_sent_after_unsuback(version: Version) {
    let mut w = World::limited_with_shards(2, |limits| limits.in_flight_max = 1);
    let (ann, bob) = (w.join(0, version, "ann"), w.join(1, version, "bob"));
    w.subscribe(ann, "a", Q1);
    for number in 1..=4 {
        w.publish(bob, message_1(number, "a", "queued"));
    }
    assert_eq!(w.read(ann), [r#"a "queued" q1 #1"#]);
    w.places[0].frozen = true;
    w.publish(bob, message_1(5, "a", "on the lane"));
    w.publish(bob, message("a", "on the lane"));
    w.run();
    w.send_bytes(ann, &unsubscribe(version, &[b"a"]));
    w.places[0].frozen = false;
    assert_eq!(w.read(ann).len(), 1, "UNSUBACK");
    w.puback(ann, 1);
    w.publish(bob, message_1(6, "a", "later"));
    assert!(w.read(ann).is_empty());
}

/// [MQTT-3.10.4-2] After UNSUBACK no message is added for the client through that filter, and none sent that was not started before.
#[test]
fn mqtt_3_10_4_2_nothing_new_is_sent_after_unsuback() {
    nothing_new_is_sent_after_unsuback(V5);
}

/// What [MQTT-3.10.4-3] says of both versions.
pub fn what_was_started_is_finished_after_unsuback(version: Version) {
    let mut w = World::new(2);
    let (ann, bob) = (w.connect(0, durable(version, "ann")), w.join(1, version, "bob"));
    w.subscribe(ann, "a", Q2);
    w.publish(bob, message_1(1, "a", "one"));
    w.publish(bob, message_2(2, "a", "two"));
    w.publish(bob, message_2(3, "a", "three"));
    assert_eq!(w.read(ann).len(), 3);
    w.pubrec(ann, 3);
    assert_eq!(w.read(ann), ["PUBREL #3"]);
    w.send_bytes(ann, &unsubscribe(version, &[b"a"]));
    assert_eq!(w.read(ann).len(), 1, "UNSUBACK");
    w.vanish(ann);
    let (ann, seen) = w.connect_and_read(0, durable(version, "ann"));
    assert_eq!(seen[1..], [r#"a "one" q1 #1 dup"#, r#"a "two" q2 #2 dup"#, "PUBREL #3"], "{version}");
    w.puback(ann, 1);
    w.pubrec(ann, 2);
    assert_eq!(w.read(ann), ["PUBREL #2"]);
    w.pubcomp(ann, 2);
    w.pubcomp(ann, 3);
    w.run();
    assert_eq!((w.count("delivered"), w.shard(0).copies_waiting()), (3, (0, 0)));
}

/// [MQTT-3.10.4-3] A QoS 1 or 2 message that was started before the UNSUBSCRIBE is finished, also over the next connection.
#[test]
fn mqtt_3_10_4_3_what_was_started_is_finished_after_unsuback() {
    what_was_started_is_finished_after_unsuback(V5);
}

/// What [MQTT-3.10.4-4] says, part of [MQTT-3.10.4-4] of 3.1.1 too.
pub fn every_unsubscribe_is_answered(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    w.subscribe_all(ann, &[("a", Q0), ("b/#", Q1), ("$share/g/c", Q1)]);
    w.read(ann);
    for filters in [&[&b"a"[..]][..], &[b"b/#", b"$share/g/c"], &[b"a"], &[b"never", b"there"]] {
        let answer = codes(&mut w, ann, filters);
        assert_eq!(answer.len(), if version.is_v5() { filters.len() } else { 0 });
    }
}

/// [MQTT-3.10.4-4] Every UNSUBSCRIBE is answered with one UNSUBACK.
#[test]
fn mqtt_3_10_4_4_every_unsubscribe_is_answered() {
    every_unsubscribe_is_answered(V5);
}

/// What [MQTT-3.10.4-5] says of both versions.
pub fn unsuback_has_the_id_of_its_unsubscribe(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    w.subscribe(ann, "a", Q0);
    for id in [1u16, 0xff, 0x100, u16::MAX] {
        let bytes = packet(0xa2, &[&id.to_be_bytes(), no_properties(version), &field(b"a")]);
        w.send_bytes(ann, &bytes);
    }
    let seen = sent(&mut w, ann);
    let ids: Vec<_> = seen.iter().map(|sent| (sent.first, sent.leading_id())).collect();
    let expected = [1, 0xff, 0x100, u16::MAX].map(|id| (0xb0, id));
    assert_eq!(ids, expected, "also those that deleted nothing");
}

/// [MQTT-3.10.4-5] An UNSUBACK has the packet id of its UNSUBSCRIBE, and comes also when nothing was deleted.
#[test]
fn mqtt_3_10_4_5_unsuback_has_the_id_of_its_unsubscribe() {
    unsuback_has_the_id_of_its_unsubscribe(V5);
}

/// What [MQTT-3.10.4-6] says of both versions.
pub fn several_filters_are_unsubscribed_in_order(version: Version) {
    let filters: [&[u8]; 5] = [b"a", b"b/+", b"a", b"nothing", b"c"];
    let outcome = |together: bool| {
        let mut w = World::new(2);
        let ann = w.join(0, version, "ann");
        w.subscribe_all(ann, &[("a", Q0), ("b/+", Q0), ("c", Q0), ("d", Q0)]);
        w.read(ann);
        let answer = if together {
            codes(&mut w, ann, &filters)
        } else {
            filters.iter().flat_map(|filter| codes(&mut w, ann, &[*filter])).collect()
        };
        let bob = w.join(1, version, "bob");
        for topic in ["a", "b/x", "c", "d"] {
            w.publish(bob, message(topic, "x"));
        }
        (answer, w.read(ann))
    };
    assert_eq!(outcome(true), outcome(false), "{version}");
    assert_eq!(outcome(true).1, [r#"d "x""#]);
}

/// [MQTT-3.10.4-6] Several filters in one UNSUBSCRIBE do what one UNSUBSCRIBE each would, in order, with one UNSUBACK.
#[test]
fn mqtt_3_10_4_6_several_filters_are_unsubscribed_in_order() {
    several_filters_are_unsubscribed_in_order(V5);
}

/// [MQTT-3.11.2-1] An UNSUBACK has no Reason String where it would be larger than the client takes.
#[test]
fn mqtt_3_11_2_1_unsuback_leaves_out_a_reason_string_that_does_not_fit() {
    answer_is_never_larger_than_the_client_takes(&unsubscribe(V5, &[b"nothing", b"#/a"]), 0xb0);
}

/// [MQTT-3.11.2-2] An UNSUBACK has no User Property where it would be larger than the client takes, with as many filters as fill its packet.
#[test]
fn mqtt_3_11_2_2_unsuback_leaves_out_user_properties_that_do_not_fit() {
    let filters: Vec<&[u8]> = (0..40).map(|number| [&b"a"[..], b"$share//x", b"b/+"][number % 3]).collect();
    answer_is_never_larger_than_the_client_takes(&unsubscribe(V5, &filters), 0xb0);
}

/// [MQTT-3.11.3-1] The reason codes of an UNSUBACK stand in the order of the filters.
#[test]
fn mqtt_3_11_3_1_codes_are_in_the_order_of_the_filters() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    w.subscribe_all(ann, &[("a", Q0), ("b", Q1), ("c/#", Q2), ("$share/g/d", Q0)]);
    w.read(ann);
    let filters: [&[u8]; 7] = [b"x", b"c/#", b"c/#", b"#/x", b"a", b"$share/g/d", b"y"];
    assert_eq!(codes(&mut w, ann, &filters), [0x11, 0, 0x11, 0x8f, 0, 0, 0x11]);
}

/// [MQTT-3.11.3-2] Every code of an UNSUBACK is one of its table: 0x00, 0x11 where nothing was subscribed, 0x8F for what is no filter.
#[test]
fn mqtt_3_11_3_2_unsuback_has_codes_of_its_table_only() {
    let table = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    w.subscribe_all(ann, &[("a", Q0), ("$share/g/#", Q1)]);
    w.read(ann);
    let (deep, long) = ("x/".repeat(300), "y".repeat(10_000));
    let texts =
        ["a", "a", "$share/g/#", "#/a", "", "$share/", "$share//a", "$share/g/", "a/b+", &deep, &long];
    let mut seen: Vec<u8> = texts.iter().flat_map(|text| codes(&mut w, ann, &[text.as_bytes()])).collect();
    assert!(seen.iter().all(|code| table.contains(code)), "{seen:02x?}");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [0x00, 0x11, 0x8f]);
}
