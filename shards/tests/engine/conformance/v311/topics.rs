//! MQTT 3.1.1 section 4.7, topic names and topic filters.

use crate::conformance::v5::topics as both;
use crate::verbs::*;

/// [MQTT-4.7.1-1] Wildcards stand in filters; a PUBLISH with one in its topic name closes the connection.
#[test]
fn mqtt_4_7_1_1_wildcards_stand_in_filters_only() {
    both::wildcards_stand_in_filters_only(V311);
}

/// [MQTT-4.7.1-2] `#` alone or behind a separator and last matches its level, those below and the parent; anywhere else the filter is refused
/// with 0x80.
#[test]
fn mqtt_4_7_1_2_the_multi_level_wildcard_stands_alone_at_the_end() {
    both::the_multi_level_wildcard_stands_alone_at_the_end(V311);
}

/// [MQTT-4.7.1-3] `+` fills a level, first, last or between, and matches any one, the empty one too; beside other characters the filter is
/// refused with 0x80.
#[test]
fn mqtt_4_7_1_3_the_single_level_wildcard_fills_its_level() {
    both::the_single_level_wildcard_fills_its_level(V311);
}

/// [MQTT-4.7.2-1] A filter that begins with a wildcard matches no topic that begins with `$`, live or retained.
#[test]
fn mqtt_4_7_2_1_a_leading_wildcard_matches_no_dollar() {
    both::a_leading_wildcard_matches_no_dollar(V311);
}

/// [MQTT-4.7.3-1] An empty topic name closes the connection; an empty filter is refused with 0x80.
#[test]
fn mqtt_4_7_3_1_topics_have_a_character() {
    both::topics_have_a_character(V311);
}

/// [MQTT-4.7.3-2] A topic name or filter with U+0000 closes the connection.
#[test]
fn mqtt_4_7_3_2_topics_have_no_nul() {
    both::topics_have_no_nul(V311);
}

/// [MQTT-4.7.3-3] No topic has more than 65,535 bytes; past the 4,096 that we take a name closes the connection and a filter is refused with
/// 0x80.
#[test]
fn mqtt_4_7_3_3_topics_end_at_65535_bytes() {
    both::topics_end_at_65535_bytes(V311);
}

/// [MQTT-4.7.3-4] Topic names and filters are compared as they are, byte for byte: nothing is normalized, substituted or trimmed.
#[test]
fn mqtt_4_7_3_4_topics_are_not_normalized() {
    both::topics_are_not_normalized(V311);
}
