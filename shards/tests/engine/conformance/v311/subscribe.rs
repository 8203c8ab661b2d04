//! MQTT 3.1.1 section 3.8 and 3.9, SUBSCRIBE and SUBACK.

use crate::conformance::bytes::{field, packet, sent};
use crate::conformance::v5::{publish::kept, subscribe as both};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::{Settings, World};
use shardmq_shards::shard::{Capabilities, Terms};
use shardmq_shards::wire::ReasonCode;

/// [MQTT-3.8.1-1] A SUBSCRIBE with flags other than 0010 closes the connection.
#[test]
fn mqtt_3_8_1_1_subscribe_has_its_flags() {
    both::subscribe_has_its_flags(V311);
}

/// [MQTT-3.8.3-1] A topic filter that is not UTF-8 closes the connection; any other text is matched as it is.
#[test]
fn mqtt_3_8_3_1_topic_filters_are_utf_8() {
    both::topic_filters_are_utf_8(V311);
}

/// [MQTT-3.8.3-2] Filters with wildcards are supported; where the operator has switched them off they are refused with 0x80, the others granted.
#[test]
fn mqtt_3_8_3_2_wildcards_that_are_not_supported_are_refused() {
    for supported in [true, false] {
        let capabilities = Capabilities { wildcard_subscriptions: supported, ..Capabilities::default() };
        let terms = Terms { capabilities, ..Terms::default() };
        let mut w = World::with(Settings { terms, ..Settings::default() });
        let ann = w.join(0, V311, "ann");
        w.subscribe_all(ann, &[("a/+", Q1), ("b", Q1), ("#", Q0), ("+/c", Q2)]);
        let codes = if supported { "[01, 01, 00, 02]" } else { "[80, 01, 80, 80]" };
        assert_eq!(w.read(ann), [format!("SUBACK #1000 {codes}")]);
        for topic in ["a/x", "b", "x/c"] {
            w.publish(ann, message(topic, ""));
        }
        assert_eq!(w.read(ann).len(), if supported { 3 } else { 1 });
    }
}

/// [MQTT-3.8.3-3] A SUBSCRIBE without a topic filter closes the connection.
#[test]
fn mqtt_3_8_3_3_subscribe_has_a_filter() {
    both::subscribe_has_a_filter(V311);
}

/// [MQTT-3.8.3-4] A SUBSCRIBE with a reserved bit beside a QoS, or with QoS 3, closes the connection; nothing of it is subscribed.
#[test]
fn mqtt_3_8_3_4_a_requested_qos_is_0_1_or_2() {
    for qos in 3..=255u8 {
        for bytes in [
            packet(0x82, &[&[0, 1], &field(b"a"), &[qos]]),
            packet(0x82, &[&[0, 1], &field(b"gone"), &[0], &field(b"b"), &[qos]]),
        ] {
            let reason = if qos == 3 { ReasonCode::ProtocolError } else { ReasonCode::MalformedPacket };
            closes(V311, reason, |w, ann| w.send_bytes(ann, &bytes));
        }
    }
}

/// [MQTT-3.8.4-1] Every SUBSCRIBE is answered with one SUBACK, once all shards know of its filters.
#[test]
fn mqtt_3_8_4_1_every_subscribe_is_answered() {
    both::every_subscribe_is_answered(V311);
}

/// [MQTT-3.8.4-2] A SUBACK has the packet id of its SUBSCRIBE.
#[test]
fn mqtt_3_8_4_2_suback_has_the_id_of_its_subscribe() {
    both::suback_has_the_id_of_its_subscribe(V311);
}

/// [MQTT-3.8.4-3] A SUBSCRIBE of a filter that is there replaces it, with its QoS, without a gap in what is published meanwhile, and sends the
/// retained messages again.
#[test]
fn mqtt_3_8_4_3_the_same_filter_replaces_the_subscription() {
    both::replacing_loses_and_doubles_nothing(V311);
    let mut w = World::new(2);
    let (ann, bob) = (w.join(0, V311, "ann"), w.join(1, V311, "bob"));
    w.publish(bob, retained(message("a", "kept")));
    w.run();
    for (qos, copy) in [(Q2, "x\" q2 #1"), (Q0, "x\""), (Q1, "x\" q1 #2")] {
        w.subscribe_all(ann, &[("a", qos)]);
        let seen = w.read(ann);
        assert_eq!(seen[1..], [r#"a "kept" retain"#], "each time");
        w.publish(bob, message_2(1, "a", "x"));
        w.pubrel(bob, 1);
        assert_eq!(w.read(ann), [format!("a \"{copy}")], "one copy, of the new QoS");
    }
    w.unsubscribe(ann, &["a"]);
    w.read(ann);
    assert_eq!(kept(&mut w, ann, "nothing").len(), 0);
    w.publish(bob, message("a", "nobody's"));
    assert!(w.read(ann).is_empty(), "there was one subscription");
}

/// [MQTT-3.8.4-4] Several filters in one SUBSCRIBE do what one SUBSCRIBE each would, in order, with one SUBACK.
#[test]
fn mqtt_3_8_4_4_several_filters_are_as_several_packets() {
    both::several_filters_are_as_several_packets(V311);
}

/// [MQTT-3.8.4-5] A SUBACK has a return code for each filter: the QoS granted, which is what was asked for, or 0x80; then nothing is sent for it.
#[test]
fn mqtt_3_8_4_5_suback_has_a_code_for_each_filter() {
    both::suback_has_a_code_for_each_filter(V311);
    both::a_code_says_what_was_granted(V311);
}

/// [MQTT-3.8.4-6] A copy, live or retained, has the lower QoS of publication and subscription.
#[test]
fn mqtt_3_8_4_6_a_copy_has_the_lower_qos() {
    both::a_copy_has_the_lower_qos(V311);
}

/// [MQTT-3.9.3-1] The return codes of a SUBACK stand in the order of the filters.
#[test]
fn mqtt_3_9_3_1_codes_are_in_the_order_of_the_filters() {
    both::codes_are_in_the_order_of_the_filters(V311);
}

/// [MQTT-3.9.3-2] Every code of a SUBACK is 0x00, 0x01, 0x02 or 0x80, whatever the reason of a refusal.
#[test]
fn mqtt_3_9_3_2_suback_has_four_codes() {
    let mut w = World::limited_with_shards(2, |limits| limits.filters_per_client_max = 3);
    let ann = w.join(0, V311, "ann");
    let (deep, long) = ("x/".repeat(300), "y".repeat(10_000));
    let texts = [
        "a",
        "+",
        "$share/g/#",
        "#/a",
        "",
        "$share/",
        "$share//a",
        "$share/g/",
        "a/b+",
        "full",
        &deep,
        &long,
    ];
    let mut codes = Vec::new();
    for text in texts {
        for qos in [Q0, Q1, Q2] {
            w.subscribe_all(ann, &[(text, qos)]);
            let seen = sent(&mut w, ann);
            assert_eq!((seen.len(), seen[0].first, seen[0].body.len()), (1, 0x90, 3));
            codes.push(seen[0].body[2]);
        }
    }
    let (granted, refused) = codes.split_at(9);
    assert_eq!(granted, [0, 1, 2].repeat(3));
    assert_eq!(refused, [0x80; 27], "no filters, and one filter too many");
}
