//! MQTT 5 section 4.8, shared subscriptions.
