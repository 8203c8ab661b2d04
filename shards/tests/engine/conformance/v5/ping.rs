//! MQTT 5 section 3.12 and 3.13, PINGREQ and PINGRESP.
