//! MQTT 3.1.1 section 4.8, handling errors.
