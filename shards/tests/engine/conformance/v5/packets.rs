//! MQTT 5 section 2, the control packet's format.
