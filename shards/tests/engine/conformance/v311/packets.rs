//! MQTT 3.1.1 section 2, the control packet's format.
