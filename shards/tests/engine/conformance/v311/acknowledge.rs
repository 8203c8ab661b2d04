//! MQTT 3.1.1 section 3.4 to 3.7, PUBACK, PUBREC, PUBREL and PUBCOMP.

use crate::conformance::v5::acknowledge;
use crate::verbs::*;

/// [MQTT-3.6.1-1] PUBREL goes out with flags 0010, and one that comes with any other closes the connection.
#[test]
fn mqtt_3_6_1_1_pubrel_has_its_flags() {
    acknowledge::pubrel_has_its_flags(V311);
}
