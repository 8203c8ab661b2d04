//! MQTT 3.1.1 section 6, WebSocket, and 7, conformance.
