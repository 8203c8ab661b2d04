//! MQTT 5 section 3.2, CONNACK.
