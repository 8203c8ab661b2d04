//! MQTT 3.1.1 section 4.1 and 4.2, session state and network connections.
