//! MQTT 3.1.1 section 3.10 and 3.11, UNSUBSCRIBE and UNSUBACK.
