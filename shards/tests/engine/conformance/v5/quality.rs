//! MQTT 5 section 4.3, quality of service and protocol flows.
