//! MQTT 3.1.1 section 3.8 and 3.9, SUBSCRIBE and SUBACK.
