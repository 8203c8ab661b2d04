//! MQTT 5 section 4.7, topic names and topic filters.
