//! MQTT 5 section 1.5, data representation.
