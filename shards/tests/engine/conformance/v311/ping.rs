//! MQTT 3.1.1 section 3.12 and 3.13, PINGREQ and PINGRESP.
