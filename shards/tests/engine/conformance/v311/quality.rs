//! MQTT 3.1.1 section 4.3, quality of service and protocol flows.
