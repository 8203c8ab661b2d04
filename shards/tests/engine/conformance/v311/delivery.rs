//! MQTT 3.1.1 section 4.4 to 4.6, redelivery, receipt and order.
