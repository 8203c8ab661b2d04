//! MQTT 5 section 6, WebSocket, and 7, conformance.
