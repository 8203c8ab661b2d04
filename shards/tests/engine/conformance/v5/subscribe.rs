//! MQTT 5 sections 3.8 and 3.9: SUBSCRIBE and SUBACK.

use crate::conformance::bytes::{Sent, field, no_properties, packet, sent};
use crate::conformance::v5::publish::kept;
use crate::verbs::*;
use crate::violations::closes;
use crate::world::{Client, World};
use shardmq_shards::wire::{
    Connect, ConnectProperties, ReasonCode, RetainHandling, SubscriptionOptions, Version, Will,
};
use std::num::NonZeroU32;

/// A SUBSCRIBE with id 0x1234 of these filters, each with its options.
fn subscribe(version: Version, filters: &[(&[u8], u8)]) -> Vec<u8> {
    let entries: Vec<u8> =
        filters.iter().flat_map(|(filter, options)| [&field(filter)[..], &[*options]].concat()).collect();
    packet(0x82, &[&[0x12, 0x34], no_properties(version), &entries])
}

/// The SUBACK or UNSUBACK among what was sent, which is of the type of `first`, with its codes.
pub fn codes_of(first: u8, version: Version, seen: &[Sent]) -> Vec<u8> {
    let found: Vec<&Sent> = seen.iter().filter(|sent| sent.first == first).collect();
    let [answer] = found[..] else { panic!("one answer: {seen:02x?}") };
    assert_eq!(answer.leading_id(), 0x1234);
    let from = if version.is_v5() { 3 + usize::from(answer.body[2]) } else { 2 };
    answer.body[from..].to_vec()
}

/// What a client that sends this SUBSCRIBE is granted.
fn granted(w: &mut World, client: Client, filters: &[(&[u8], u8)]) -> Vec<u8> {
    let version = w.wires[client.0].version;
    w.send_bytes(client, &subscribe(version, filters));
    codes_of(0x90, version, &sent(w, client))
}

/// What [MQTT-3.8.1-1] says of both versions.
pub fn subscribe_has_its_flags(version: Version) {
    let right = subscribe(version, &[(b"a", 0)]);
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut wrong = right.clone();
        wrong[0] = 0x80 | flags;
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &wrong));
    }
}

/// [MQTT-3.8.1-1] A SUBSCRIBE with flags other than 0010 is malformed and closes the connection.
#[test]
fn mqtt_3_8_1_1_subscribe_has_its_flags() {
    subscribe_has_its_flags(V5);
}

/// What [MQTT-3.8.3-1] says of both versions.
pub fn topic_filters_are_utf_8(version: Version) {
    for filter in [&b"\xff"[..], b"a/\xc3\x28", b"\xed\xa0\x80/#"] {
        let bytes = subscribe(version, &[(b"fine", 0), (filter, 0)]);
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
    }
    let mut w = World::new(1);
    let ann = w.join(0, version, "ann");
    assert_eq!(granted(&mut w, ann, &[("é/+/🦀".as_bytes(), 1)]), [1]);
    w.publish(ann, message("é/x/🦀", "x"));
    assert_eq!(w.read(ann), [r#"é/x/🦀 "x""#]);
}

/// [MQTT-3.8.3-1] A topic filter that is not UTF-8 makes the SUBSCRIBE malformed; any other text is matched as it is.
#[test]
fn mqtt_3_8_3_1_topic_filters_are_utf_8() {
    topic_filters_are_utf_8(V5);
}

/// What [MQTT-3.8.3-2] says, and [MQTT-3.8.3-3] of 3.1.1.
pub fn subscribe_has_a_filter(version: Version) {
    let bytes = subscribe(version, &[]);
    closes(version, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &bytes));
}

/// [MQTT-3.8.3-2] A SUBSCRIBE without a topic filter closes the connection with 0x82.
#[test]
fn mqtt_3_8_3_2_subscribe_has_a_filter() {
    subscribe_has_a_filter(V5);
}

const NO_LOCAL: u8 = 0b100;

/// [MQTT-3.8.3-3] With No Local a client gets nothing that came from its own client id: its messages, also those of an earlier connection, and its will.
#[test]
fn mqtt_3_8_3_3_no_local_leaves_out_the_clients_own_messages() {
    let mut w = World::new(2);
    let (bob, cid) = (w.join(0, V5, "bob"), w.join(1, V5, "cid"));
    let will = Will { qos: Q1, retain: false, topic: "a", payload: b"will", properties: Default::default() };
    let ann = w.connect(0, Connect { will: Some(will), ..durable(V5, "ann") });
    assert_eq!(granted(&mut w, ann, &[(b"a", 1 | NO_LOCAL), (b"+/#", 2 | NO_LOCAL)]), [1, 2]);
    assert_eq!(granted(&mut w, bob, &[(b"a", 1)]), [1]);
    w.publish(ann, message_1(1, "a", "ann's"));
    assert_eq!(w.read(ann), ["PUBACK #1"]);
    assert_eq!(w.read(bob), [r#"a "ann's" q1 #1"#], "others get it");
    for (client, whose) in [(bob, "bob's"), (cid, "cid's")] {
        w.publish(client, message("a", whose));
        assert_eq!(w.read(ann), [format!("a {whose:?}")]);
    }
    w.vanish(ann);
    let (ann, seen) = w.connect_and_read(1, durable(V5, "ann"));
    assert_eq!(seen, ["CONNACK 00 present"], "the will is its own too");
    w.publish(ann, message_2(2, "a/b", "over the next connection"));
    assert_eq!(w.read(ann), ["PUBREC #2"]);
    // Another subscription of the same client without No Local gets them.
    assert_eq!(granted(&mut w, ann, &[(b"a/#", 0)]), [0]);
    w.publish(ann, message("a/b", "x"));
    assert_eq!(w.read(ann), [r#"a/b "x""#]);
}

/// [MQTT-3.8.3-4] No Local on a shared subscription closes the connection with 0x82, wherever it stands among the filters.
#[test]
fn mqtt_3_8_3_4_no_local_on_a_shared_subscription_is_an_error() {
    for filters in [&[(&b"$share/g/gone"[..], NO_LOCAL)][..], &[(b"a", 0), (b"$share/g/#", 1 | NO_LOCAL)]] {
        let bytes = subscribe(V5, filters);
        closes(V5, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &bytes));
    }
}

/// [MQTT-3.8.3-5] A SUBSCRIBE with a reserved bit of the options set is malformed and closes the connection.
#[test]
fn mqtt_3_8_3_5_reserved_options_are_malformed() {
    for options in (0x40..=0xff).step_by(0x40) {
        for qos in 0..=2 {
            let bytes = subscribe(V5, &[(b"a", 0), (b"b", options | qos)]);
            closes(V5, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
        }
    }
}

/// What [MQTT-3.8.4-1] says of both versions: one answer for each, before anything is sent because of it that is not live, on busy and slow brokers.
pub fn every_subscribe_is_answered(version: Version) {
    let mut w = World::new(3);
    let ann = w.join(0, version, "ann");
    for filters in [&[(&b"a"[..], 0)][..], &[(b"a", 0)], &[(b"$share/g/a", 2)], &[(b"b/#", 1), (b"#/b", 1)]] {
        granted(&mut w, ann, filters);
    }
    w.places[2].frozen = true;
    w.send_bytes(ann, &subscribe(version, &[(b"slow", 1)]));
    assert!(w.read(ann).is_empty(), "not while a shard does not know of it");
    w.places[2].frozen = false;
    assert_eq!(w.read(ann), [r#"SUBACK #4660 [01]"#]);
}

/// [MQTT-3.8.4-1] Every SUBSCRIBE is answered with one SUBACK, once all shards know of its filters.
#[test]
fn mqtt_3_8_4_1_every_subscribe_is_answered() {
    every_subscribe_is_answered(V5);
}

/// What [MQTT-3.8.4-2] says of both versions.
pub fn suback_has_the_id_of_its_subscribe(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    for id in [1u16, 0xff, 0x100, u16::MAX] {
        let bytes = packet(0x82, &[&id.to_be_bytes(), no_properties(version), &field(b"a"), &[0]]);
        w.send_bytes(ann, &bytes);
    }
    let ids: Vec<u16> = sent(&mut w, ann).iter().map(Sent::leading_id).collect();
    assert_eq!(ids, [1, 0xff, 0x100, u16::MAX]);
}

/// [MQTT-3.8.4-2] A SUBACK has the packet id of its SUBSCRIBE.
#[test]
fn mqtt_3_8_4_2_suback_has_the_id_of_its_subscribe() {
    suback_has_the_id_of_its_subscribe(V5);
}

/// [MQTT-3.8.4-3] A SUBSCRIBE of a filter that is there replaces it completely: QoS, identifier and options are those of the last, and one copy goes out.
#[test]
fn mqtt_3_8_4_3_the_same_filter_replaces_the_subscription() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    let bob = w.join(1, V5, "bob");
    let old = SubscriptionOptions {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        ..SubscriptionOptions::with_qos(Q2)
    };
    for filter in ["a/+", "a/b"] {
        w.subscribe_with(ann, filter, old, Some(7));
        w.read(ann);
        w.publish(bob, retained(message_2(1, "a/b", "before")));
        w.pubrel(bob, 1);
        assert_eq!(w.read(ann).len(), 1);
        w.subscribe_with(ann, filter, SubscriptionOptions::with_qos(Q0), None);
        assert_eq!(w.read(ann).len(), 2, "SUBACK, and the retained message: Retain Handling is 0 now");
        w.publish(bob, retained(message_1(2, "a/b", "after")));
        assert_eq!(w.read(ann), [r#"a/b "after""#], "no QoS, no identifier, no RETAIN");
        w.publish(ann, message("a/b", "own"));
        assert_eq!(w.read(ann), [r#"a/b "own""#], "No Local is gone");
        w.unsubscribe(ann, &[filter]);
        w.publish(bob, message("a/b", "nobody's"));
        assert_eq!(w.read(ann).len(), 1, "there was one subscription: UNSUBACK and nothing else");
    }
}

/// What [MQTT-3.8.4-4] says, and [MQTT-3.8.4-3] of 3.1.1: a subscription is replaced while a publisher is pouring from another shard. Each message
/// comes once and in order, and the retained message each time.
pub fn replacing_loses_and_doubles_nothing(version: Version) {
    let mut w = World::new(2);
    let bob = w.join(1, version, "bob");
    w.publish(bob, retained(message("t/kept", "kept")));
    let ann = w.connect(0, durable(version, "ann"));
    w.subscribe(ann, "t/x", Q1);
    let filters = ["t/x", "t/+"];
    assert_eq!(granted(&mut w, ann, &[(b"t/+", 1)]), [1]);
    w.read(ann);
    let (mut next, mut kept, mut subacks) = (0u32, 0, 0);
    let mut note = |w: &mut World| {
        for line in w.read_now(ann) {
            if line.starts_with("SUBACK") {
                subacks += 1;
            } else if line.contains("kept") {
                kept += 1;
            } else {
                assert!(line.starts_with(&format!(r#"t/x "{next}""#)), "{next} is due: {line}");
                next += 1;
            }
            if let Some(number) = line.split(" q1 #").nth(1) {
                let number = number.split(' ').next().expect("the id itself").parse().expect("a number");
                w.puback(ann, number);
            }
        }
    };
    for number in 0..600u32 {
        w.publish(bob, message_1(1, "t/x", &number.to_string()));
        if number % 7 == 0 {
            let qos = if number % 2 == 0 { Q1 } else { Q2 };
            w.subscribe_all(ann, &[(filters[number as usize / 7 % 2], qos)]);
        }
        w.turn(number as usize % 2);
        note(&mut w);
    }
    w.run();
    note(&mut w);
    w.run();
    note(&mut w);
    assert_eq!((next, subacks), (600, 86));
    assert!(
        (1..=43).contains(&kept),
        "a later SUBSCRIBE may come before the replay of an earlier one: {kept}"
    );
}

/// [MQTT-3.8.4-4] Replacing a subscription loses and doubles no message of a publisher that goes on meanwhile, and with Retain Handling 0 sends the retained messages again.
#[test]
fn mqtt_3_8_4_4_replacing_loses_and_doubles_nothing() {
    replacing_loses_and_doubles_nothing(V5);
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, retained(message("a", "x")));
    for _ in 0..3 {
        assert_eq!(kept(&mut w, ann, "a"), [r#"a "x" retain"#]);
    }
}

/// What [MQTT-3.8.4-5] says, and [MQTT-3.8.4-4] of 3.1.1.
pub fn several_filters_are_as_several_packets(version: Version) {
    let filters: [(&[u8], u8); 6] = [(b"a", 2), (b"b/#", 1), (b"a", 0), (b"c", 0), (b"c", 1), (b"b/+", 2)];
    let outcome = |together: bool| {
        let mut w = World::new(2);
        let ann = w.join(0, version, "ann");
        let codes = if together {
            granted(&mut w, ann, &filters)
        } else {
            filters.iter().flat_map(|filter| granted(&mut w, ann, &[*filter])).collect()
        };
        let bob = w.join(1, version, "bob");
        for (number, topic) in [(1, "a"), (2, "b/x"), (3, "c")] {
            w.publish(bob, message_2(number, topic, "x"));
        }
        (codes, w.read(ann))
    };
    let together = outcome(true);
    assert_eq!(together, outcome(false), "{version}");
    assert_eq!(together.0, [2, 1, 0, 0, 1, 2]);
    assert_eq!(together.1, [r#"a "x""#, r#"b/x "x" q2 #1"#, r#"c "x" q1 #2"#], "the last of a filter counts");
}

/// [MQTT-3.8.4-5] Several filters in one SUBSCRIBE do what one SUBSCRIBE each would, in order, with one SUBACK.
#[test]
fn mqtt_3_8_4_5_several_filters_are_as_several_packets() {
    several_filters_are_as_several_packets(V5);
}

/// What [MQTT-3.8.4-6] says, and [MQTT-3.8.4-5] of 3.1.1.
pub fn suback_has_a_code_for_each_filter(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    for count in [1, 2, 9, 250] {
        let texts: Vec<Vec<u8>> =
            (0..count).map(|number| format!("t/{}", number % 200).into_bytes()).collect();
        let filters: Vec<(&[u8], u8)> = texts.iter().map(|text| (&text[..], 1)).collect();
        assert_eq!(granted(&mut w, ann, &filters), vec![1; count], "{version}");
    }
}

/// [MQTT-3.8.4-6] A SUBACK has a reason code for each filter, repeated ones included.
#[test]
fn mqtt_3_8_4_6_suback_has_a_code_for_each_filter() {
    suback_has_a_code_for_each_filter(V5);
}

/// What [MQTT-3.8.4-7] says, and [MQTT-3.8.4-5] of 3.1.1: a granted filter receives at that QoS at most, a refused one nothing.
pub fn a_code_says_what_was_granted(version: Version) {
    let mut w = World::limited_with_shards(2, |limits| limits.filters_per_client_max = 4);
    let ann = w.join(0, version, "ann");
    let filters: [(&[u8], u8); 7] =
        [(b"q/0", 0), (b"q/1", 1), (b"bad/#/x", 2), (b"q/2", 2), (b"", 1), (b"last", 1), (b"too/many", 1)];
    let codes = granted(&mut w, ann, &filters);
    assert_eq!((codes[0], codes[1], codes[3], codes[5]), (0, 1, 2, 1), "{version}");
    assert!(codes[2] >= 0x80 && codes[4] >= 0x80 && codes[6] >= 0x80, "{codes:02x?}");
    let bob = w.join(1, version, "bob");
    for (number, topic) in [(1, "q/0"), (2, "q/1"), (3, "q/2"), (4, "too/many"), (5, "bad/x")] {
        w.publish(bob, message_2(number, topic, "x"));
    }
    assert_eq!(w.read(ann), [r#"q/0 "x""#, r#"q/1 "x" q1 #1"#, r#"q/2 "x" q2 #2"#]);
}

/// [MQTT-3.8.4-7] A reason code is the QoS granted, which is what was asked for, or 0x80 and above: then nothing is sent for that filter.
#[test]
fn mqtt_3_8_4_7_a_code_says_what_was_granted() {
    a_code_says_what_was_granted(V5);
}

/// What [MQTT-3.8.4-8] says, and [MQTT-3.8.4-6] of 3.1.1.
pub fn a_copy_has_the_lower_qos(version: Version) {
    for granted_qos in 0..=2u8 {
        for retain in [false, true] {
            let mut w = World::new(2);
            let ann = w.join(0, version, "ann");
            let bob = w.join(1, version, "bob");
            if !retain {
                assert_eq!(granted(&mut w, ann, &[(b"t/+", granted_qos)]), [granted_qos]);
            }
            for (number, topic) in [(0, "t/0"), (1, "t/1"), (2, "t/2")] {
                let publish = match number {
                    0 => message(topic, "x"),
                    1 => message_1(1, topic, "x"),
                    _ => message_2(2, topic, "x"),
                };
                w.publish(bob, if retain { retained(publish) } else { publish });
            }
            w.run();
            if retain {
                w.send_bytes(ann, &subscribe(version, &[(b"t/+", granted_qos)]));
            }
            let mut heads = sent(&mut w, ann);
            heads.retain(|sent| sent.packet_type() == 3);
            heads.sort_by_key(|sent| sent.body[4]);
            let qos: Vec<u8> = heads.iter().map(|sent| sent.first >> 1 & 3).collect();
            assert_eq!(qos, [0, 1, 2].map(|published: u8| published.min(granted_qos)), "{version}");
        }
    }
}

/// [MQTT-3.8.4-8] A copy, live or retained, has the lower QoS of publication and subscription.
#[test]
fn mqtt_3_8_4_8_a_copy_has_the_lower_qos() {
    a_copy_has_the_lower_qos(V5);
}

/// The answer to `request` comes whatever the client's Maximum Packet Size, if it fits without properties, and is never larger.
pub fn answer_is_never_larger_than_the_client_takes(request: &[u8], first: u8) {
    let bare = {
        let mut w = World::new(2);
        let ann = w.dial(0, Connect::new(V5, "ann", true));
        let connack = sent(&mut w, ann)[0].len();
        w.send_bytes(ann, request);
        let codes = codes_of(first, V5, &sent(&mut w, ann)).len();
        (5 + codes).max(connack)
    };
    for maximum in bare..bare + 80 {
        let mut w = World::new(2);
        let maximum_packet_size = NonZeroU32::new(maximum as u32);
        let properties = ConnectProperties { maximum_packet_size, ..Default::default() };
        let ann = w.connect(0, Connect { properties, ..Connect::new(V5, "ann", true) });
        w.send_bytes(ann, request);
        let seen = sent(&mut w, ann);
        assert_eq!((seen.len(), seen[0].first), (1, first), "at {maximum}");
        assert!(seen[0].len() <= maximum, "{:02x?} is larger than {maximum}", seen[0]);
    }
}

/// [MQTT-3.9.2-1] A SUBACK that has something to explain has no Reason String where it would be larger than the client takes.
#[test]
fn mqtt_3_9_2_1_suback_leaves_out_a_reason_string_that_does_not_fit() {
    answer_is_never_larger_than_the_client_takes(&subscribe(V5, &[(b"a", 0), (b"#/a", 1)]), 0x90);
}

/// [MQTT-3.9.2-2] A SUBACK has no User Property where it would be larger than the client takes, with as many filters as fill its packet.
#[test]
fn mqtt_3_9_2_2_suback_leaves_out_user_properties_that_do_not_fit() {
    let filters: Vec<(&[u8], u8)> =
        (0..40).map(|number| ([&b"a"[..], b"$share//x", b"b/+"][number % 3], 1)).collect();
    answer_is_never_larger_than_the_client_takes(&subscribe(V5, &filters), 0x90);
}

/// What [MQTT-3.9.3-1] says of both versions.
pub fn codes_are_in_the_order_of_the_filters(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    let filters: [(&[u8], u8); 9] = [
        (b"a", 2),
        (b"b", 0),
        (b"#/x", 2),
        (b"c", 1),
        (b"a", 0),
        (b"a+", 0),
        (b"$share/g/a", 1),
        (b"$share/g", 1),
        (b"d", 2),
    ];
    let failed = if version.is_v5() { 0x8f } else { 0x80 };
    assert_eq!(granted(&mut w, ann, &filters), [2, 0, failed, 1, 0, failed, 1, failed, 2], "{version}");
    let reversed: Vec<_> = filters.iter().rev().copied().collect();
    assert_eq!(granted(&mut w, ann, &reversed), [2, failed, 1, failed, 0, 1, failed, 0, 2], "{version}");
}

/// [MQTT-3.9.3-1] The reason codes of a SUBACK stand in the order of the filters.
#[test]
fn mqtt_3_9_3_1_codes_are_in_the_order_of_the_filters() {
    codes_are_in_the_order_of_the_filters(V5);
}

/// [MQTT-3.9.3-2] Every code of a SUBACK is one of its table: the QoS granted, 0x8F for what is no filter, 0x97 past a limit.
#[test]
fn mqtt_3_9_3_2_suback_has_codes_of_its_table_only() {
    let table = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
    let mut w = World::limited_with_shards(2, |limits| limits.filters_per_client_max = 3);
    let ann = w.join(0, V5, "ann");
    let texts =
        ["a", "+", "$share/g/#", "#/a", "", "$share/", "$share//a", "$share/g/", "a/b+", "ok", "full"];
    let deep = "x/".repeat(300);
    let long = "y".repeat(10_000);
    let texts = texts.iter().copied().chain([&*deep, &*long]);
    let mut seen = Vec::new();
    for text in texts {
        for options in [0, 1, 2, 0x0a, 0x19, 0x22] {
            seen.extend(granted(&mut w, ann, &[(text.as_bytes(), options)]));
        }
    }
    assert!(seen.iter().all(|code| table.contains(code)), "{seen:02x?}");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [0x00, 0x01, 0x02, 0x8f, 0x97]);
}
