//! MQTT 3.1.1 section 1.5, data representation.

use crate::conformance::v5::values;
use crate::verbs::*;

/// [MQTT-1.5.3-1] A string that is not well-formed UTF-8 closes the connection wherever it stands: surrogates, overlong forms, code
/// points past U+10FFFF and cut sequences.
#[test]
fn mqtt_1_5_3_1_ill_formed_strings_close_the_connection() {
    values::ill_formed_strings_close_the_connection(V311);
}

/// [MQTT-1.5.3-2] A string with U+0000 closes the connection wherever it stands.
#[test]
fn mqtt_1_5_3_2_the_null_character_closes_the_connection() {
    values::the_null_character_closes_the_connection(V311);
}

/// [MQTT-1.5.3-3] U+FEFF is a character like any other in client ids, topics and filters, and is forwarded as it came.
#[test]
fn mqtt_1_5_3_3_a_byte_order_mark_is_a_character() {
    values::a_byte_order_mark_is_a_character(V311);
}
