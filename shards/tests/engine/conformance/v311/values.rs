//! MQTT 3.1.1 section 1.5, data representation.
