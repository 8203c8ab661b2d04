//! MQTT 3.1.1 section 4.3, quality of service and protocol flows.

use crate::conformance::v5::quality as both;
use crate::verbs::*;

/// [MQTT-4.3.1-1] A copy of QoS 0 goes out with QoS 0 and DUP 0, once.
#[test]
fn mqtt_4_3_1_1_qos_0_is_sent_once_without_dup() {
    both::qos_0_is_sent_once_without_dup(V311);
}

/// [MQTT-4.3.2-1] A new message of QoS 1 has an unused packet id, QoS 1 and DUP 0, and is unacknowledged until its PUBACK.
#[test]
fn mqtt_4_3_2_1_qos_1_as_its_sender() {
    both::a_new_qos_1_message_has_an_unused_id(V311);
    both::a_new_qos_1_message_is_sent_without_dup(V311);
    both::qos_1_is_unacknowledged_until_puback(V311);
}

/// [MQTT-4.3.2-2] A QoS 1 PUBLISH is answered with a PUBACK of its packet id when the message is where it stays; after that the id is a new
/// message, with or without DUP.
#[test]
fn mqtt_4_3_2_2_qos_1_as_its_receiver() {
    both::puback_says_that_the_message_is_ours(V311);
    both::after_puback_the_id_is_a_new_message(V311);
}

/// [MQTT-4.3.3-1] A new message of QoS 2 has an unused packet id, QoS 2 and DUP 0; it is unacknowledged until its PUBREC, which is answered
/// with PUBREL, and that until its PUBCOMP; after PUBREL the PUBLISH is not sent again.
#[test]
fn mqtt_4_3_3_1_qos_2_as_its_sender() {
    both::a_new_qos_2_message_has_an_unused_id(V311);
    both::a_new_qos_2_message_is_sent_without_dup(V311);
    both::qos_2_is_unacknowledged_until_pubrec(V311);
    both::pubrel_is_unacknowledged_until_pubcomp(V311);
    both::the_publish_is_not_sent_again_after_pubrel(V311);
}

/// [MQTT-4.3.3-2] A QoS 2 PUBLISH is answered with a PUBREC of its packet id when the message is where it stays, its repetitions too and
/// without publishing them; PUBREL is answered with PUBCOMP, and after that the id is a new message.
#[test]
fn mqtt_4_3_3_2_qos_2_as_its_receiver() {
    both::pubrec_says_that_the_message_is_ours(V311);
    both::a_repeated_qos_2_publish_is_not_published_again(V311);
    both::pubrel_is_answered_with_pubcomp(V311);
    both::after_pubcomp_the_id_is_a_new_message(V311);
}
