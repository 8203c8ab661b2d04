//! MQTT 5 section 4.3, the delivery protocols.

use crate::conformance::bytes::{Sent, sent};
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::shard::Terms;
use shardmq_shards::wire::{Ack, Packet, Publish, PublishProperties, QoS, ReasonCode, Version};
use std::collections::BTreeSet;

/// A subscriber of `a` at `qos` with a session that lasts, and a publisher on another shard.
fn pair(version: Version, qos: QoS) -> (World, Client, Client) {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(version, "ann"));
    w.subscribe(ann, "a", qos);
    let bob = w.join(1, version, "bob");
    (w, ann, bob)
}

/// What the client is sent once it comes back, behind CONNACK.
fn sent_again(w: &mut World, client: Client) -> (Client, Vec<String>) {
    let version = w.wires[client.0].version;
    w.vanish(client);
    let (client, mut lines) = w.connect_and_read(0, durable(version, "ann"));
    assert_eq!(lines.remove(0), if version == V31 { "CONNACK 00" } else { "CONNACK 00 present" });
    (client, lines)
}

/// The packet id of a PUBLISH of topic `a`.
fn publish_id(publish: &Sent) -> u16 {
    u16::from_be_bytes([publish.body[3], publish.body[4]])
}

/// What [MQTT-4.3.1-1] says of both versions.
pub fn qos_0_is_sent_once_without_dup(version: Version) {
    let (mut w, ann, bob) = pair(version, Q0);
    for publish in [message("a", "x"), message_1(1, "a", "x"), message_2(2, "a", "x")] {
        w.publish(bob, Publish { dup: publish.qos > Q0, ..publish });
        let seen = sent(&mut w, ann);
        assert_eq!((seen.len(), seen[0].first), (1, 0x30), "{version}");
    }
    assert!(sent_again(&mut w, ann).1.is_empty());
}

/// [MQTT-4.3.1-1] A copy of QoS 0 goes out with QoS 0 and DUP 0, once.
#[test]
fn mqtt_4_3_1_1_qos_0_is_sent_once_without_dup() {
    qos_0_is_sent_once_without_dup(V5);
}

/// New messages of `qos` have ids that no unfinished one has, whatever is acknowledged meanwhile, and whichever ids the publisher uses.
fn ids_are_unused(version: Version, qos: QoS) {
    let (mut w, ann, bob) = pair(version, qos);
    let mut unfinished: BTreeSet<u16> = BTreeSet::new();
    let mut total = 0;
    for round in 0..40u16 {
        for _ in 0..5 {
            w.publish(bob, Publish { qos, ..message_1(1, "a", "x") });
            if qos == Q2 {
                w.pubrel(bob, 1);
            }
        }
        for publish in sent(&mut w, ann).iter().filter(|sent| sent.packet_type() == 3) {
            let number = publish_id(publish);
            assert!(number > 0 && unfinished.insert(number), "{number} is in use, {version}");
            total += 1;
        }
        // Not the oldest first: every third stays until later.
        let finish: Vec<u16> = unfinished.iter().copied().filter(|number| (number + round) % 3 > 0).collect();
        for number in finish {
            if qos == Q1 {
                w.puback(ann, number);
            } else {
                w.pubrec(ann, number);
                w.pubcomp(ann, number);
            }
            unfinished.remove(&number);
        }
    }
    assert_eq!(total, 200);
}

/// What [MQTT-4.3.2-1] says of both versions.
pub fn a_new_qos_1_message_has_an_unused_id(version: Version) {
    ids_are_unused(version, Q1);
}

/// [MQTT-4.3.2-1] A new message of QoS 1 gets a packet id that no unfinished one has.
#[test]
fn mqtt_4_3_2_1_a_new_qos_1_message_has_an_unused_id() {
    a_new_qos_1_message_has_an_unused_id(V5);
}

/// A new copy of `qos` is one packet with `first`, and its id finishes it.
fn a_new_message_is_sent_without_dup(version: Version, qos: QoS, first: u8) {
    for published in [Q1, Q2].into_iter().filter(|published| *published >= qos) {
        let (mut w, ann, bob) = pair(version, qos);
        w.publish(bob, Publish { dup: true, qos: published, ..message_1(9, "a", "x") });
        let seen = sent(&mut w, ann);
        assert_eq!((seen.len(), seen[0].first), (1, first), "{version}");
        let number = publish_id(&seen[0]);
        if qos == Q1 {
            w.puback(ann, number);
        } else {
            w.pubrec(ann, number);
            w.pubcomp(ann, number);
        }
        w.run();
        assert!(sent_again(&mut w, ann).1.is_empty(), "the id was that in the packet");
    }
}

/// What [MQTT-4.3.2-2] says, part of [MQTT-4.3.2-1] of 3.1.1 too.
pub fn a_new_qos_1_message_is_sent_without_dup(version: Version) {
    a_new_message_is_sent_without_dup(version, Q1, 0x32);
}

/// [MQTT-4.3.2-2] A new message of QoS 1 goes out with its packet id, QoS 1 and DUP 0.
#[test]
fn mqtt_4_3_2_2_a_new_qos_1_message_is_sent_without_dup() {
    a_new_qos_1_message_is_sent_without_dup(V5);
}

/// What [MQTT-4.3.2-3] says, part of [MQTT-4.3.2-1] of 3.1.1 too.
pub fn qos_1_is_unacknowledged_until_puback(version: Version) {
    let (mut w, mut ann, bob) = pair(version, Q1);
    w.publish(bob, message_1(1, "a", "x"));
    w.read(ann);
    // None of these is its PUBACK.
    w.pubrec(ann, 1);
    w.pubcomp(ann, 1);
    w.pubrel(ann, 1);
    w.puback(ann, 2);
    w.read(ann);
    for _ in 0..2 {
        let (again, seen) = sent_again(&mut w, ann);
        assert_eq!(seen, [r#"a "x" q1 #1 dup"#], "{version}");
        ann = again;
    }
    w.puback(ann, 1);
    w.run();
    assert!(sent_again(&mut w, ann).1.is_empty(), "{version}");
}

/// [MQTT-4.3.2-3] A QoS 1 message counts as unacknowledged until its PUBACK: until then it comes again with every connection, then no more.
#[test]
fn mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback() {
    qos_1_is_unacknowledged_until_puback(V5);
}

/// The answer to a PUBLISH comes when the log has what it answers for.
fn is_answered_once_kept(version: Version, publish: Publish<'_>, answer: &str) {
    let mut w = World::new(1);
    let sub = w.connect(0, durable(version, "sub"));
    w.subscribe(sub, "a", Q2);
    let ann = w.join(0, version, "ann");
    w.places[0].log_held = true;
    w.publish(ann, publish);
    assert!(w.read(ann).is_empty(), "not before it is on disk");
    w.commit(0);
    assert_eq!(w.read(ann), [answer], "{version}");
}

/// What [MQTT-4.3.2-4] says, and [MQTT-4.3.2-2] of 3.1.1.
pub fn puback_says_that_the_message_is_ours(version: Version) {
    is_answered_once_kept(version, message_1(0x1234, "a", "x"), "PUBACK #4660");
}

/// [MQTT-4.3.2-4] A QoS 1 PUBLISH is answered with a PUBACK of its packet id, when the message is where it stays.
#[test]
fn mqtt_4_3_2_4_puback_says_that_the_message_is_ours() {
    puback_says_that_the_message_is_ours(V5);
}

/// What [MQTT-4.3.2-5] says, part of [MQTT-4.3.2-2] of 3.1.1 too.
pub fn after_puback_the_id_is_a_new_message(version: Version) {
    let (mut w, ann, bob) = pair(version, Q0);
    for (dup, payload) in [(false, "one"), (true, "two"), (false, "one"), (true, "one")] {
        w.publish(bob, Publish { dup, ..message_1(5, "a", payload) });
        assert_eq!(w.read(ann), [format!("a {payload:?}")], "{version}");
        assert_eq!(w.read(bob), ["PUBACK #5"]);
    }
}

/// [MQTT-4.3.2-5] After PUBACK a PUBLISH with the same packet id is a new message, with or without DUP.
#[test]
fn mqtt_4_3_2_5_after_puback_the_id_is_a_new_message() {
    after_puback_the_id_is_a_new_message(V5);
}

/// What [MQTT-4.3.3-1] says of both versions.
pub fn a_new_qos_2_message_has_an_unused_id(version: Version) {
    ids_are_unused(version, Q2);
}

/// [MQTT-4.3.3-1] A new message of QoS 2 gets a packet id that no unfinished one has.
#[test]
fn mqtt_4_3_3_1_a_new_qos_2_message_has_an_unused_id() {
    a_new_qos_2_message_has_an_unused_id(V5);
}

/// What [MQTT-4.3.3-2] says, part of [MQTT-4.3.3-1] of 3.1.1 too.
pub fn a_new_qos_2_message_is_sent_without_dup(version: Version) {
    a_new_message_is_sent_without_dup(version, Q2, 0x34);
}

/// [MQTT-4.3.3-2] A new message of QoS 2 goes out with its packet id, QoS 2 and DUP 0.
#[test]
fn mqtt_4_3_3_2_a_new_qos_2_message_is_sent_without_dup() {
    a_new_qos_2_message_is_sent_without_dup(V5);
}

/// A QoS 2 message of id 1 that the client has been sent.
fn two_on_its_way(version: Version) -> (World, Client) {
    let (mut w, ann, bob) = pair(version, Q2);
    w.publish(bob, message_2(1, "a", "x"));
    assert_eq!(w.read(ann), [r#"a "x" q2 #1"#]);
    (w, ann)
}

/// What [MQTT-4.3.3-3] says, part of [MQTT-4.3.3-1] of 3.1.1 too.
pub fn qos_2_is_unacknowledged_until_pubrec(version: Version) {
    let (mut w, mut ann) = two_on_its_way(version);
    w.puback(ann, 1);
    w.pubcomp(ann, 1);
    w.pubrec(ann, 2);
    w.read(ann);
    for _ in 0..2 {
        let (again, seen) = sent_again(&mut w, ann);
        assert_eq!(seen, [r#"a "x" q2 #1 dup"#], "{version}");
        ann = again;
    }
    w.pubrec(ann, 1);
    assert_eq!(w.read(ann), ["PUBREL #1"]);
    assert_eq!(sent_again(&mut w, ann).1, ["PUBREL #1"]);
}

/// [MQTT-4.3.3-3] A QoS 2 message counts as unacknowledged until its PUBREC: until then it comes again with every connection.
#[test]
fn mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec() {
    qos_2_is_unacknowledged_until_pubrec(V5);
}

/// [MQTT-4.3.3-4] A PUBREC below 0x80 is answered with a PUBREL of its packet id, one of 0x80 or above is not: it ends the exchange and frees id and quota.
#[test]
fn mqtt_4_3_3_4_pubrec_is_answered_with_pubrel_unless_it_is_an_error() {
    let codes = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99].map(ReasonCode::try_from);
    for reason in codes.map(|code| code.expect("of table 3-5")) {
        let mut w = World::new(2);
        let ann = w.connect(0, durable_taking("ann", 1));
        w.subscribe(ann, "a", Q2);
        let bob = w.join(1, V5, "bob");
        w.publish(bob, message_2(1, "a", "first"));
        w.publish(bob, message_2(2, "a", "second"));
        assert_eq!(w.read(ann), [r#"a "first" q2 #1"#]);
        w.send(ann, Packet::Pubrec(Ack::with_reason(id(1), reason)));
        if (reason as u8) < 0x80 {
            assert_eq!(w.read(ann), ["PUBREL #1"], "{reason:?}");
            w.pubcomp(ann, 1);
            assert_eq!(w.read(ann), [r#"a "second" q2 #2"#]);
        } else {
            assert_eq!(w.read(ann), [r#"a "second" q2 #2"#], "{reason:?}: no PUBREL, and its quota is free");
            w.pubrec(ann, 1);
            assert_eq!(w.read(ann), ["PUBREL #1 92"], "its id is free");
            assert_eq!(w.dropped(), [("refused", 1)]);
        }
    }
}

/// What [MQTT-4.3.3-5] says, part of [MQTT-4.3.3-1] of 3.1.1 too.
pub fn pubrel_is_unacknowledged_until_pubcomp(version: Version) {
    let (mut w, mut ann) = two_on_its_way(version);
    w.pubrec(ann, 1);
    assert_eq!(w.read(ann), ["PUBREL #1"]);
    w.puback(ann, 1);
    w.pubcomp(ann, 2);
    w.run();
    for _ in 0..2 {
        let (again, seen) = sent_again(&mut w, ann);
        assert_eq!(seen, ["PUBREL #1"], "{version}");
        ann = again;
    }
    w.pubcomp(ann, 1);
    w.run();
    assert!(sent_again(&mut w, ann).1.is_empty(), "{version}");
}

/// [MQTT-4.3.3-5] A PUBREL counts as unacknowledged until its PUBCOMP: until then it comes again with every connection, then no more.
#[test]
fn mqtt_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp() {
    pubrel_is_unacknowledged_until_pubcomp(V5);
}

/// What [MQTT-4.3.3-6] says, part of [MQTT-4.3.3-1] of 3.1.1 too.
pub fn the_publish_is_not_sent_again_after_pubrel(version: Version) {
    let (mut w, mut ann) = two_on_its_way(version);
    w.pubrec(ann, 1);
    w.read(ann);
    for _ in 0..3 {
        w.pubrec(ann, 1);
        assert_eq!(w.read(ann), ["PUBREL #1"]);
        let (again, seen) = sent_again(&mut w, ann);
        assert!(seen.iter().all(|line| line == "PUBREL #1"), "{version}: {seen:?}");
        ann = again;
    }
}

/// [MQTT-4.3.3-6] Once its PUBREL was sent the PUBLISH is not sent again, over no connection.
#[test]
fn mqtt_4_3_3_6_the_publish_is_not_sent_again_after_pubrel() {
    the_publish_is_not_sent_again_after_pubrel(V5);
}

fn expiring(publish: Publish<'_>) -> Publish<'_> {
    let properties = PublishProperties { message_expiry: Some(10), ..publish.properties };
    Publish { properties, ..publish }
}

/// [MQTT-4.3.3-7] A QoS 2 message that was sent does not expire any more: it comes again after its expiry, until its PUBREC.
#[test]
fn mqtt_4_3_3_7_what_was_sent_does_not_expire() {
    let (mut w, ann, bob) = pair(V5, Q2);
    w.publish(bob, expiring(message_2(1, "a", "x")));
    assert_eq!(w.read(ann), [r#"a "x" q2 #1 expiry=10"#]);
    w.pass_secs(60);
    let (ann, seen) = sent_again(&mut w, ann);
    assert_eq!(seen, [r#"a "x" q2 #1 dup expiry=0"#]);
    w.pass_secs(60);
    let (ann, seen) = sent_again(&mut w, ann);
    assert_eq!(seen.len(), 1);
    w.pubrec(ann, 1);
    assert_eq!(w.read(ann), ["PUBREL #1"]);
    w.pubcomp(ann, 1);
    w.run();
    assert_eq!((w.count("expired"), w.count("delivered")), (0, 1));
}

/// What [MQTT-4.3.3-8] says, part of [MQTT-4.3.3-2] of 3.1.1 too.
pub fn pubrec_says_that_the_message_is_ours(version: Version) {
    is_answered_once_kept(version, message_2(0x1234, "a", "x"), "PUBREC #4660");
}

/// [MQTT-4.3.3-8] A QoS 2 PUBLISH is answered with a PUBREC of its packet id, when the message is where it stays.
#[test]
fn mqtt_4_3_3_8_pubrec_says_that_the_message_is_ours() {
    pubrec_says_that_the_message_is_ours(V5);
}

/// [MQTT-4.3.3-9] After a PUBREC of 0x80 or above a PUBLISH with the same packet id is a new message, with or without DUP.
#[test]
fn mqtt_4_3_3_9_after_an_error_pubrec_the_id_is_a_new_message() {
    let terms = Terms { check_payload_format: true, ..Terms::default() };
    let mut w = World::with(Settings { shards: 2, terms, ..Settings::default() });
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "a", Q0);
    let bob = w.connect(1, durable(V5, "bob"));
    let properties = PublishProperties { payload_format_utf8: Some(true), ..Default::default() };
    let refused = Publish { properties, payload: b"\xff", ..message_2(5, "a", "") };
    for dup in [false, true] {
        for _ in 0..2 {
            w.publish(bob, refused);
            assert_eq!(w.read(bob), ["PUBREC #5 99"]);
        }
        w.publish(bob, Publish { dup, ..message_2(5, "a", "new") });
        assert_eq!(w.read(bob), ["PUBREC #5"]);
        assert_eq!(w.read(ann), [r#"a "new""#], "DUP {dup}");
        w.publish(bob, Publish { dup: true, ..refused });
        assert_eq!(w.read(bob), ["PUBREC #5"], "a repetition of what was taken, as far as its id says");
        w.pubrel(bob, 5);
        assert_eq!(w.read(bob), ["PUBCOMP #5"]);
        assert!(w.read(ann).is_empty());
    }
}

/// What [MQTT-4.3.3-10] says, part of [MQTT-4.3.3-2] of 3.1.1 too.
pub fn a_repeated_qos_2_publish_is_not_published_again(version: Version) {
    let mut w = World::new(2);
    let sub = w.join(1, version, "sub");
    w.subscribe(sub, "a", Q0);
    let mut ann = w.connect(0, durable(version, "ann"));
    w.publish(ann, message_2(3, "a", "x"));
    for dup in [true, false, true] {
        w.publish(ann, Publish { dup, ..message_2(3, "a", "x") });
    }
    assert_eq!(w.read(ann), ["PUBREC #3"; 4]);
    for _ in 0..2 {
        ann = sent_again(&mut w, ann).0;
        w.publish(ann, Publish { dup: true, ..message_2(3, "a", "x") });
        assert_eq!(w.read(ann), ["PUBREC #3"], "{version}");
    }
    assert_eq!(w.read(sub), [r#"a "x""#]);
}

/// [MQTT-4.3.3-10] Until its PUBREL a PUBLISH with the packet id of a received one is answered with PUBREC and not published again, over any connection of the session.
#[test]
fn mqtt_4_3_3_10_a_repeated_qos_2_publish_is_not_published_again() {
    a_repeated_qos_2_publish_is_not_published_again(V5);
}

/// What [MQTT-4.3.3-11] says, part of [MQTT-4.3.3-2] of 3.1.1 too.
pub fn pubrel_is_answered_with_pubcomp(version: Version) {
    let mut w = World::new(1);
    let ann = w.connect(0, durable(version, "ann"));
    for number in [1, 0x1234, u16::MAX] {
        w.publish(ann, message_2(number, "a", "x"));
        w.read(ann);
        w.pubrel(ann, number);
        let seen = sent(&mut w, ann);
        assert_eq!((seen.len(), seen[0].first, &seen[0].body[..]), (1, 0x70, &number.to_be_bytes()[..]));
        // The client may not have seen it.
        w.pubrel(ann, number);
        let seen = sent(&mut w, ann);
        assert_eq!((seen.len(), seen[0].first, seen[0].leading_id()), (1, 0x70, number), "{version}");
    }
}

/// [MQTT-4.3.3-11] Every PUBREL is answered with a PUBCOMP of its packet id.
#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_with_pubcomp() {
    pubrel_is_answered_with_pubcomp(V5);
}

/// What [MQTT-4.3.3-12] says, part of [MQTT-4.3.3-2] of 3.1.1 too.
pub fn after_pubcomp_the_id_is_a_new_message(version: Version) {
    let (mut w, ann, bob) = pair(version, Q0);
    for (dup, payload) in [(false, "one"), (true, "two"), (false, "one"), (true, "one")] {
        w.publish(bob, Publish { dup, ..message_2(5, "a", payload) });
        w.pubrel(bob, 5);
        assert_eq!(w.read(bob), ["PUBREC #5", "PUBCOMP #5"]);
        assert_eq!(w.read(ann), [format!("a {payload:?}")], "{version}");
    }
}

/// [MQTT-4.3.3-12] After PUBCOMP a PUBLISH with the same packet id is a new message, with or without DUP.
#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_id_is_a_new_message() {
    after_pubcomp_the_id_is_a_new_message(V5);
}

/// [MQTT-4.3.3-13] A QoS 2 exchange goes to its end although the message has expired: with its publisher, and with a subscriber that was sent it.
#[test]
fn mqtt_4_3_3_13_an_exchange_ends_although_the_message_expired() {
    let (mut w, ann, bob) = pair(V5, Q2);
    let slow = w.connect(0, durable_taking("slow", 1));
    w.subscribe(slow, "+", Q2);
    w.publish(bob, message_2(9, "b", "occupies the slow one"));
    w.publish(bob, expiring(message_2(1, "a", "x")));
    assert_eq!(w.read(bob), ["PUBREC #9", "PUBREC #1"]);
    assert_eq!((w.read(ann).len(), w.read(slow).len()), (1, 1));
    w.pass_secs(60);
    w.publish(bob, Publish { dup: true, ..expiring(message_2(1, "a", "x")) });
    assert_eq!(w.read(bob), ["PUBREC #1"]);
    w.pubrec(ann, 1);
    assert_eq!(w.read(ann), ["PUBREL #1"], "and the repetition was not published");
    w.pass_secs(60);
    w.pubrel(bob, 1);
    assert_eq!(w.read(bob), ["PUBCOMP #1"]);
    w.pubcomp(ann, 1);
    w.pubrec(slow, 1);
    w.pubcomp(slow, 1);
    assert_eq!(w.read(slow), ["PUBREL #1"], "what was not started has expired");
    assert_eq!(w.count("expired"), 1);
    assert_eq!(w.shard(0).copies_waiting(), (0, 0));
}
