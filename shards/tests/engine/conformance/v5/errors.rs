//! MQTT 5 section 4.13, handling errors.
