//! MQTT 5 section 3.3, PUBLISH.
