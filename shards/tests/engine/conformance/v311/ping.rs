//! MQTT 3.1.1 section 3.12 and 3.13, PINGREQ and PINGRESP.

use crate::conformance::v5::ping;
use crate::verbs::*;

/// [MQTT-3.12.4-1] Each PINGREQ is answered with a PINGRESP, also while messages may not be sent.
#[test]
fn mqtt_3_12_4_1_each_pingreq_is_answered() {
    ping::each_pingreq_is_answered(V311);
}
