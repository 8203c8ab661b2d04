//! MQTT 5 sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP.

use crate::conformance::bytes::{Sent, packet, sent};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::{Client, World};
use shardmq_shards::wire::{Connect, ConnectProperties, ReasonCode, Version};
use std::num::NonZeroU32;

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

const REASON_STRING: u8 = 0x1f;
const USER_PROPERTY: u8 = 0x26;

/// The reason codes of a PUBACK or PUBREC (tables 3-4 and 3-5), and of a PUBREL or PUBCOMP (3-6 and 3-7).
const OF_PUBLISH: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const OF_RELEASE: [u8; 2] = [0x00, 0x92];

/// A client whose message is about to arrive, and has `maximum_packet_size` if it is not 0; its own id for that message is 1.
fn receiving(qos_2: bool, maximum_packet_size: u32) -> (World, Client) {
    let mut w = World::new(2);
    let maximum_packet_size = NonZeroU32::new(maximum_packet_size);
    let properties = ConnectProperties { maximum_packet_size, ..Default::default() };
    let ann = w.connect(0, Connect { properties, ..Connect::new(V5, "ann", true) });
    w.subscribe(ann, "a", Q2);
    w.publish(ann, if qos_2 { message_2(9, "a", "x") } else { message_1(9, "a", "x") });
    w.pubrel(ann, 9);
    w.run();
    w.wires[ann.0].from_broker.clear();
    (w, ann)
}

/// What makes us send packets of the type of `first`: with success, and with what else we may have to say.
fn provoke(w: &mut World, ann: Client, first: u8) {
    match first {
        PUBACK => {
            w.publish(ann, message_1(1, "a", "somebody"));
            w.publish(ann, message_1(2, "b", "nobody"));
        }
        PUBREC => {
            w.publish(ann, message_2(1, "a", "somebody"));
            w.publish(ann, message_2(2, "b", "nobody"));
            w.publish(ann, message_2(2, "b", "nobody"));
        }
        PUBREL => {
            w.pubrec(ann, 1);
            w.pubrec(ann, 1);
            w.pubrec(ann, 77);
        }
        PUBCOMP => {
            w.publish(ann, message_2(1, "b", ""));
            w.pubrel(ann, 1);
            w.pubrel(ann, 1);
            w.pubrel(ann, 77);
        }
        other => panic!("{other:02x} is none of the four"),
    }
}

fn answers(w: &mut World, ann: Client, first: u8) -> Vec<Sent> {
    provoke(w, ann, first);
    let answers: Vec<Sent> = sent(w, ann).into_iter().filter(|sent| sent.first == first).collect();
    assert!(answers.len() >= 2);
    answers
}

fn reason(ack: &Sent) -> u8 {
    ack.body.get(2).copied().unwrap_or(0)
}

/// The reasons that we give are those of the table; a client that gives another one is closed with 0x82, and the table's are taken.
fn reasons_are_those_of_the_table(first: u8, table: &[u8], expected: &[u8]) {
    let (mut w, ann) = receiving(true, 0);
    let mut seen: Vec<u8> = answers(&mut w, ann, first).iter().map(reason).collect();
    assert!(seen.iter().all(|reason| table.contains(reason)), "{seen:02x?}");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, expected);
    for reason in 0..=255u8 {
        let bytes = packet(first, &[&[0, 1, reason]]);
        if table.contains(&reason) {
            let (mut w, ann) = receiving(first != PUBACK, 0);
            w.send_bytes(ann, &bytes);
            w.run();
            assert_eq!(w.count("violations"), 0, "{first:02x} {reason:02x}");
        } else {
            closes(V5, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &bytes));
        }
    }
}

/// Whether the acknowledgement has this property.
fn has_property(ack: &Sent, property: u8) -> bool {
    let mut rest = ack.body.get(4..).unwrap_or_default();
    while let [id, high, low, behind @ ..] = rest {
        if *id == property {
            return true;
        }
        let mut length = usize::from(u16::from_be_bytes([*high, *low]));
        if *id == USER_PROPERTY {
            length += 2 + usize::from(u16::from_be_bytes([behind[length], behind[length + 1]]));
        }
        rest = &behind[length..];
    }
    false
}

/// Whatever the client's Maximum Packet Size, from what CONNACK and PUBLISH just fit into: all answers come, and none with `property` is larger.
fn property_is_left_out_where_it_does_not_fit(first: u8, property: u8) {
    let mut w = World::new(2);
    let ann = w.dial(0, Connect::new(V5, "ann", true));
    let connack = sent(&mut w, ann)[0].len() as u32;
    let mut complete = None;
    for maximum in (connack..connack + 60).rev() {
        let (mut w, ann) = receiving(true, maximum);
        let answers = answers(&mut w, ann, first);
        let reasons: Vec<u8> = answers.iter().map(reason).collect();
        assert_eq!(*complete.get_or_insert(reasons.clone()), reasons, "at {maximum}");
        for ack in answers.iter().filter(|ack| has_property(ack, property)) {
            assert!(ack.len() <= maximum as usize, "{ack:02x?} is larger than {maximum}");
        }
        w.ping(ann);
    }
}

/// [MQTT-3.4.2-1] PUBACK says 0x00 or 0x10, or another code of its table; a client that sends any other is closed.
#[test]
fn mqtt_3_4_2_1_puback_has_one_of_its_reason_codes() {
    reasons_are_those_of_the_table(PUBACK, &OF_PUBLISH, &[0x00, 0x10]);
}

/// [MQTT-3.4.2-2] A PUBACK has no Reason String where it would be larger than the client takes.
#[test]
fn mqtt_3_4_2_2_puback_leaves_out_a_reason_string_that_does_not_fit() {
    property_is_left_out_where_it_does_not_fit(PUBACK, REASON_STRING);
}

/// [MQTT-3.4.2-3] A PUBACK has no User Property where it would be larger than the client takes.
#[test]
fn mqtt_3_4_2_3_puback_leaves_out_user_properties_that_do_not_fit() {
    property_is_left_out_where_it_does_not_fit(PUBACK, USER_PROPERTY);
}

/// [MQTT-3.5.2-1] PUBREC says 0x00 or 0x10, or another code of its table; a client that sends any other is closed.
#[test]
fn mqtt_3_5_2_1_pubrec_has_one_of_its_reason_codes() {
    reasons_are_those_of_the_table(PUBREC, &OF_PUBLISH, &[0x00, 0x10]);
}

/// [MQTT-3.5.2-2] A PUBREC has no Reason String where it would be larger than the client takes.
#[test]
fn mqtt_3_5_2_2_pubrec_leaves_out_a_reason_string_that_does_not_fit() {
    property_is_left_out_where_it_does_not_fit(PUBREC, REASON_STRING);
}

/// [MQTT-3.5.2-3] A PUBREC has no User Property where it would be larger than the client takes.
#[test]
fn mqtt_3_5_2_3_pubrec_leaves_out_user_properties_that_do_not_fit() {
    property_is_left_out_where_it_does_not_fit(PUBREC, USER_PROPERTY);
}

/// What [MQTT-3.6.1-1] says of both versions.
pub fn pubrel_has_its_flags(version: Version) {
    for first in (0x60..=0x6f).filter(|first| *first != PUBREL) {
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &[first, 2, 0, 1]));
    }
    let mut w = World::new(1);
    let ann = w.join(0, version, "ann");
    w.subscribe(ann, "a", Q2);
    w.publish(ann, message_2(1, "a", "x"));
    w.run();
    w.pubrec(ann, 1);
    let seen = sent(&mut w, ann);
    assert_eq!(seen.iter().filter(|sent| sent.first == PUBREL && sent.body == [0, 1]).count(), 1);
    w.send_bytes(ann, &[PUBREL, 2, 0, 1]);
    assert_eq!(sent(&mut w, ann).len(), 1, "PUBCOMP");
}

/// [MQTT-3.6.1-1] PUBREL goes out with flags 0010, and one that comes with any other is malformed and closes the connection.
#[test]
fn mqtt_3_6_1_1_pubrel_has_its_flags() {
    pubrel_has_its_flags(V5);
}

/// [MQTT-3.6.2-1] PUBREL says 0x00, or 0x92 where nothing waits for it; a client that sends any other code is closed.
#[test]
fn mqtt_3_6_2_1_pubrel_has_one_of_its_reason_codes() {
    reasons_are_those_of_the_table(PUBREL, &OF_RELEASE, &OF_RELEASE);
}

/// [MQTT-3.6.2-2] A PUBREL has no Reason String where it would be larger than the client takes.
#[test]
fn mqtt_3_6_2_2_pubrel_leaves_out_a_reason_string_that_does_not_fit() {
    property_is_left_out_where_it_does_not_fit(PUBREL, REASON_STRING);
}

/// [MQTT-3.6.2-3] A PUBREL has no User Property where it would be larger than the client takes.
#[test]
fn mqtt_3_6_2_3_pubrel_leaves_out_user_properties_that_do_not_fit() {
    property_is_left_out_where_it_does_not_fit(PUBREL, USER_PROPERTY);
}

/// [MQTT-3.7.2-1] PUBCOMP says 0x00, or 0x92 where the id is unknown; a client that sends any other code is closed.
#[test]
fn mqtt_3_7_2_1_pubcomp_has_one_of_its_reason_codes() {
    reasons_are_those_of_the_table(PUBCOMP, &OF_RELEASE, &OF_RELEASE);
}

/// [MQTT-3.7.2-2] A PUBCOMP has no Reason String where it would be larger than the client takes.
#[test]
fn mqtt_3_7_2_2_pubcomp_leaves_out_a_reason_string_that_does_not_fit() {
    property_is_left_out_where_it_does_not_fit(PUBCOMP, REASON_STRING);
}

/// [MQTT-3.7.2-3] A PUBCOMP has no User Property where it would be larger than the client takes.
#[test]
fn mqtt_3_7_2_3_pubcomp_leaves_out_user_properties_that_do_not_fit() {
    property_is_left_out_where_it_does_not_fit(PUBCOMP, USER_PROPERTY);
}

#[test]
fn a_property_is_found() {
    let ack = |properties: &[u8]| {
        let body = [&[0, 1, 0x10, properties.len() as u8], properties].concat();
        Sent { first: PUBACK, length_bytes: 1, body }
    };
    let both = ack(&[USER_PROPERTY, 0, 1, b'k', 0, 2, b'v', b'v', REASON_STRING, 0, 1, b'r']);
    assert!(has_property(&both, USER_PROPERTY) && has_property(&both, REASON_STRING));
    assert!(!has_property(&ack(&[USER_PROPERTY, 0, 0, 0, 0]), REASON_STRING));
    assert!(!has_property(&ack(&[]), REASON_STRING));
}
