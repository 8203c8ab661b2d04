//! MQTT 3.1.1 section 3.3, PUBLISH.
