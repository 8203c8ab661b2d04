//! MQTT 3.1.1 section 3.10 and 3.11, UNSUBSCRIBE and UNSUBACK.

use crate::conformance::bytes::sent;
use crate::conformance::v5::unsubscribe as both;
use crate::verbs::*;
use crate::world::World;

/// [MQTT-3.10.1-1] An UNSUBSCRIBE with flags other than 0010 closes the connection.
#[test]
fn mqtt_3_10_1_1_unsubscribe_has_its_flags() {
    both::unsubscribe_has_its_flags(V311);
}

/// [MQTT-3.10.3-1] A topic filter that is not UTF-8 closes the connection.
#[test]
fn mqtt_3_10_3_1_filters_to_unsubscribe_are_utf_8() {
    both::filters_to_unsubscribe_are_utf_8(V311);
}

/// [MQTT-3.10.3-2] An UNSUBSCRIBE without a topic filter closes the connection.
#[test]
fn mqtt_3_10_3_2_unsubscribe_has_a_filter() {
    both::unsubscribe_has_a_filter(V311);
}

/// [MQTT-3.10.4-1] Filters are compared character by character; the one that is the same is deleted, and no other.
#[test]
fn mqtt_3_10_4_1_filters_are_compared_character_by_character() {
    both::filters_are_compared_character_by_character(V311);
}

/// [MQTT-3.10.4-2] After UNSUBACK no message is added for the client through that filter, and none sent that was not started before.
#[test]
fn mqtt_3_10_4_2_nothing_new_is_sent_after_unsuback() {
    both::nothing_new_is_sent_after_unsuback(V311);
}

/// [MQTT-3.10.4-3] A QoS 1 or 2 message that was started before the UNSUBSCRIBE is finished, also over the next connection.
#[test]
fn mqtt_3_10_4_3_what_was_started_is_finished_after_unsuback() {
    both::what_was_started_is_finished_after_unsuback(V311);
}

/// [MQTT-3.10.4-4] Every UNSUBSCRIBE is answered with one UNSUBACK, which has its packet id and nothing else.
#[test]
fn mqtt_3_10_4_4_every_unsubscribe_is_answered() {
    both::every_unsubscribe_is_answered(V311);
    both::unsuback_has_the_id_of_its_unsubscribe(V311);
}

/// [MQTT-3.10.4-5] An UNSUBSCRIBE that deletes nothing is answered like any other.
#[test]
fn mqtt_3_10_4_5_unsuback_comes_also_when_nothing_was_deleted() {
    let mut w = World::new(2);
    let ann = w.join(0, V311, "ann");
    for filters in [&["never"][..], &["never", "there", "$share/g/x"], &["#"]] {
        w.unsubscribe(ann, filters);
        let number = w.wires[ann.0].next_packet_id - 1;
        let seen = sent(&mut w, ann);
        assert_eq!((seen.len(), seen[0].first, &seen[0].body[..]), (1, 0xb0, &number.to_be_bytes()[..]));
    }
}

/// [MQTT-3.10.4-6] Several filters in one UNSUBSCRIBE do what one UNSUBSCRIBE each would, in order, with one UNSUBACK.
#[test]
fn mqtt_3_10_4_6_several_filters_are_unsubscribed_in_order() {
    both::several_filters_are_unsubscribed_in_order(V311);
}
