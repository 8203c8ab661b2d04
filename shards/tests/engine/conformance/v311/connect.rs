//! MQTT 3.1.1 section 3.1, CONNECT.
