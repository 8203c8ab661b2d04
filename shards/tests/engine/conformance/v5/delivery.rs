//! MQTT 5 section 4.4 to 4.6, redelivery, receipt and order.
