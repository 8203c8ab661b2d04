//! MQTT 3.1.1 section 2, the control packet's format.

use crate::conformance::bytes::{field, packet};
use crate::conformance::v5::packets;
use crate::verbs::*;
use crate::violations::closes;
use shardmq_shards::wire::ReasonCode;

/// [MQTT-2.2.2-1] The flags of our own packets are those that the table prescribes.
#[test]
fn mqtt_2_2_2_1_our_reserved_flags_are_as_prescribed() {
    packets::our_reserved_flags_are_as_prescribed(V311);
}

/// [MQTT-2.2.2-2] A packet with other flags than its type prescribes closes the connection.
#[test]
fn mqtt_2_2_2_2_reserved_flags_close_the_connection() {
    packets::reserved_flags_close_the_connection(V311);
}

/// [MQTT-2.3.1-1] A SUBSCRIBE, an UNSUBSCRIBE or a PUBLISH of QoS 1 or 2 with packet id 0, or without one, closes the connection.
#[test]
fn mqtt_2_3_1_1_packet_ids_are_there_and_not_zero() {
    let filter = field(b"a");
    for (first, before, behind) in [
        (0x32, &filter[..], &b"x"[..]),
        (0x34, &filter, b"x"),
        (0x82, b"", b"\0\x01a\x00"),
        (0xa2, b"", &filter),
    ] {
        let with_id = |id: &[u8]| packet(first, &[before, id, behind]);
        closes(V311, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &with_id(&[0, 0])));
        closes(V311, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &packet(first, &[before])));
        let mut w = crate::world::World::new(1);
        let ann = w.join(0, V311, "ann");
        for id in [[0, 1], [1, 0], [255, 255]] {
            w.send_bytes(ann, &with_id(&id));
            assert_eq!(w.read(ann).len(), 1, "it is answered");
        }
    }
}

/// [MQTT-2.3.1-4] The packet ids of our own PUBLISH packets are unused and not 0, past the largest one too.
#[test]
fn mqtt_2_3_1_4_our_packet_ids_are_unused() {
    packets::ids_of_the_server_are_unused_and_not_zero(V311);
}

/// [MQTT-2.3.1-5] A PUBLISH of QoS 0 has no packet id: what stands behind its topic is payload, in both directions.
#[test]
fn mqtt_2_3_1_5_a_publish_of_qos_0_has_no_packet_id() {
    packets::a_publish_of_qos_0_has_no_packet_id(V311);
}

/// [MQTT-2.3.1-6] PUBACK, PUBREC, PUBREL and PUBCOMP have the packet id of their PUBLISH.
#[test]
fn mqtt_2_3_1_6_acknowledgements_carry_the_id_of_the_publish() {
    packets::acknowledgements_carry_the_id_of_the_publish(V311);
}

/// [MQTT-2.3.1-7] SUBACK and UNSUBACK have the packet id of their request.
#[test]
fn mqtt_2_3_1_7_suback_and_unsuback_carry_the_id_of_their_request() {
    packets::suback_and_unsuback_carry_the_id_of_their_request(V311);
}
