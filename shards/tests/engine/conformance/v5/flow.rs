//! MQTT 5 section 4.9, flow control.
