//! MQTT 3.1.1 section 3.14, DISCONNECT.

use crate::conformance::v5::disconnect;
use crate::verbs::*;

/// [MQTT-3.14.1-1] A DISCONNECT with any flag set closes the connection as any other breach does: its will is published.
#[test]
fn mqtt_3_14_1_1_a_disconnect_has_no_flags() {
    disconnect::a_disconnect_has_no_flags(V311);
}

/// [MQTT-3.14.4-3] DISCONNECT discards the will.
#[test]
fn mqtt_3_14_4_3_a_disconnect_discards_the_will() {
    disconnect::a_disconnect_discards_the_will(V311, b"\xe0\x00");
}
