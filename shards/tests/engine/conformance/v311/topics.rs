//! MQTT 3.1.1 section 4.7, topic names and topic filters.
