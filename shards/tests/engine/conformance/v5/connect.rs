//! MQTT 5 section 3.1, CONNECT.
