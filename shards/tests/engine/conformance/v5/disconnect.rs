//! MQTT 5 section 3.14, DISCONNECT.
