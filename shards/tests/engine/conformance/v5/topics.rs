//! MQTT 5 section 4.7, topic names and topic filters.

use crate::conformance::bytes::{field, no_properties, packet, sent};
use crate::conformance::v5::publish::kept;
use crate::verbs::*;
use crate::violations::closes;
use crate::world::World;
use shardmq_shards::base::limits::TOPIC_BYTES_MAX;
use shardmq_shards::wire::{ReasonCode, Version};

/// What a client of `version` is granted for each of these filters, which it subscribes one by one; 3.1.1 has 0x80 for every failure.
fn codes(version: Version, filters: &[&str]) -> Vec<u8> {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    let code = |filter: &&str| {
        w.subscribe_all(ann, &[(filter, Q1)]);
        sent(&mut w, ann)[0].body.last().copied().expect("a code")
    };
    filters.iter().map(code).collect()
}

fn refused(version: Version) -> u8 {
    if version.is_v5() { 0x8f } else { 0x80 }
}

/// The topics among `topics` that a subscriber of `filter` gets, live and retained.
fn matching<'a>(version: Version, filter: &str, topics: &[&'a str]) -> Vec<&'a str> {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    w.subscribe(ann, filter, Q0);
    let bob = w.join(1, version, "bob");
    let live: Vec<&str> = topics
        .iter()
        .copied()
        .filter(|topic| {
            w.publish(bob, retained(message(topic, "x")));
            !w.read(ann).is_empty()
        })
        .collect();
    let late = w.join(1, version, "late");
    let mut stored: Vec<String> = kept(&mut w, late, filter);
    let mut expected: Vec<String> = live.iter().map(|topic| format!(r#"{topic} "x" retain"#)).collect();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected, "the store matches {filter} as the tree does, {version}");
    live
}

/// What [MQTT-4.7.0-1] says, and [MQTT-4.7.1-1] of 3.1.1.
pub fn wildcards_stand_in_filters_only(version: Version) {
    for topic in ["+", "#", "a/+", "a/#", "+/a", "a+b", "a#"] {
        closes(version, ReasonCode::TopicNameInvalid, |w, ann| w.publish(ann, message(topic, "")));
    }
    assert_eq!(codes(version, &["+", "#", "a/+/b", "+/#"]), [1; 4]);
}

/// [MQTT-4.7.0-1] Wildcards stand in filters; a PUBLISH with one in its topic name closes the connection with 0x90.
#[test]
fn mqtt_4_7_0_1_wildcards_stand_in_filters_only() {
    wildcards_stand_in_filters_only(V5);
}

/// What [MQTT-4.7.1-1] says, and [MQTT-4.7.1-2] of 3.1.1.
pub fn the_multi_level_wildcard_stands_alone_at_the_end(version: Version) {
    let bad = ["a#", "#a", "#/a", "a/#/b", "a/b#", "##", "a/##", "#/", "#/#", "+#", "a/#/"];
    assert_eq!(codes(version, &bad), [refused(version); 11]);
    assert_eq!(codes(version, &["#", "a/#", "/#", "+/#", "a//#"]), [1; 5]);
    let topics =
        ["sport", "sport/", "sport/tennis", "sport/tennis/player1", "sports", "/sport", "sporttennis"];
    assert_eq!(matching(version, "sport/#", &topics), &topics[..4]);
    assert_eq!(matching(version, "sport/tennis/#", &topics), &topics[2..4]);
    assert_eq!(matching(version, "#", &topics), topics);
}

/// [MQTT-4.7.1-1] `#` alone or behind a separator and last matches its level, those below and the parent; anywhere else the filter is refused with 0x8F.
#[test]
fn mqtt_4_7_1_1_the_multi_level_wildcard_stands_alone_at_the_end() {
    the_multi_level_wildcard_stands_alone_at_the_end(V5);
}

/// What [MQTT-4.7.1-2] says, and [MQTT-4.7.1-3] of 3.1.1.
pub fn the_single_level_wildcard_fills_its_level(version: Version) {
    assert_eq!(codes(version, &["a+", "+a", "a/b+/c", "++", "a/+b/c", "+/a+"]), [refused(version); 6]);
    assert_eq!(codes(version, &["+", "a/+", "+/a", "/+", "+/+/+", "a/+/b", "+//+"]), [1; 7]);
    let topics = ["a", "a/", "a/b", "a/b/c", "/a", "a//c", "/finance", ""];
    let topics = &topics[..7];
    assert_eq!(matching(version, "+", topics), ["a"]);
    assert_eq!(matching(version, "a/+", topics), ["a/", "a/b"]);
    assert_eq!(matching(version, "+/+", topics), ["a/", "a/b", "/a", "/finance"]);
    assert_eq!(matching(version, "/+", topics), ["/a", "/finance"]);
    assert_eq!(matching(version, "a/+/c", topics), ["a/b/c", "a//c"]);
    assert_eq!(matching(version, "+/+/#", topics), ["a/", "a/b", "a/b/c", "/a", "a//c", "/finance"]);
}

/// [MQTT-4.7.1-2] `+` fills a level, first, last or between, and matches any one, the empty one too; beside other characters the filter is refused with 0x8F.
#[test]
fn mqtt_4_7_1_2_the_single_level_wildcard_fills_its_level() {
    the_single_level_wildcard_fills_its_level(V5);
}

/// What [MQTT-4.7.2-1] says of both versions.
pub fn a_leading_wildcard_matches_no_dollar(version: Version) {
    let topics = ["$internal", "$internal/a", "$", "a/$b", "$internal/$a"];
    assert_eq!(matching(version, "#", &topics), ["a/$b"]);
    assert!(matching(version, "+", &topics).is_empty());
    assert_eq!(matching(version, "+/+", &topics), ["a/$b"]);
    assert_eq!(matching(version, "+/#", &topics), ["a/$b"]);
    assert!(matching(version, "+/a", &topics).is_empty());
    assert_eq!(matching(version, "$internal/#", &topics), ["$internal", "$internal/a", "$internal/$a"]);
    assert_eq!(matching(version, "$internal/+", &topics), ["$internal/a", "$internal/$a"]);
    assert_eq!(matching(version, "$", &topics), ["$"]);
    assert_eq!(matching(version, "a/+", &topics), ["a/$b"]);
}

/// [MQTT-4.7.2-1] A filter that begins with a wildcard matches no topic that begins with `$`, live or retained.
#[test]
fn mqtt_4_7_2_1_a_leading_wildcard_matches_no_dollar() {
    a_leading_wildcard_matches_no_dollar(V5);
}

/// What [MQTT-4.7.3-1] says of both versions.
pub fn topics_have_a_character(version: Version) {
    let empty = packet(0x30, &[&field(b""), no_properties(version), b"x"]);
    closes(version, ReasonCode::ProtocolError, |w, ann| w.send_bytes(ann, &empty));
    assert_eq!(codes(version, &["", "a", " ", "/"]), [refused(version), 1, 1, 1]);
    assert_eq!(matching(version, "#", &[" ", "/", "a"]), [" ", "/", "a"]);
    // An empty filter in UNSUBSCRIBE is none either.
    let mut w = World::new(1);
    let ann = w.join(0, version, "ann");
    w.unsubscribe(ann, &[""]);
    let expected = if version.is_v5() { "UNSUBACK #1000 [8f]" } else { "closed" };
    assert_eq!(w.read(ann), [expected]);
}

/// [MQTT-4.7.3-1] An empty topic name without alias closes the connection with 0x82; an empty filter is refused with 0x8F.
#[test]
fn mqtt_4_7_3_1_topics_have_a_character() {
    topics_have_a_character(V5);
}

/// What [MQTT-4.7.3-2] says of both versions.
pub fn topics_have_no_nul(version: Version) {
    let none = no_properties(version);
    for text in [&b"\0"[..], b"a\0", b"a/\0/b"] {
        let text = field(text);
        let publish = packet(0x30, &[&text, none, b"x"]);
        let subscribe = packet(0x82, &[&[0, 1], none, &text, &[0]]);
        let unsubscribe = packet(0xa2, &[&[0, 1], none, &text]);
        for bytes in [publish, subscribe, unsubscribe] {
            closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
        }
    }
}

/// [MQTT-4.7.3-2] A topic name or filter with U+0000 makes its packet malformed.
#[test]
fn mqtt_4_7_3_2_topics_have_no_nul() {
    topics_have_no_nul(V5);
}

/// What [MQTT-4.7.3-3] says of both versions: longer ones cannot be written, and what we take is shorter.
pub fn topics_end_at_65535_bytes(version: Version) {
    let (longest_taken, longest) = ("x".repeat(TOPIC_BYTES_MAX), "x".repeat(65_535));
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    w.subscribe(ann, &longest_taken, Q0);
    let bob = w.join(1, version, "bob");
    w.publish(bob, message(&longest_taken, "x"));
    let seen = sent(&mut w, ann);
    assert!(seen[0].body.starts_with(&field(longest_taken.as_bytes())));
    closes(version, ReasonCode::TopicNameInvalid, |w, ann| w.publish(ann, message(&longest, "x")));
    assert_eq!(codes(version, &[&longest, &longest_taken]), [refused(version), 1]);
}

/// [MQTT-4.7.3-3] No topic has more than 65,535 bytes; past the 4,096 that we take a name closes with 0x90 and a filter is refused with 0x8F.
#[test]
fn mqtt_4_7_3_3_topics_end_at_65535_bytes() {
    topics_end_at_65535_bytes(V5);
}

/// What [MQTT-4.7.3-4] says of both versions.
pub fn topics_are_not_normalized(version: Version) {
    // Case, separators, spaces, composed and decomposed, with and without a zero width no-break space.
    let topics = [
        "ACCOUNTS",
        "Accounts",
        "accounts",
        "/accounts",
        "accounts/",
        "accounts//",
        " accounts",
        "accounts ",
        "é",
        "e\u{301}",
        "\u{feff}é",
        "ﬁ",
        "fi",
        "a/./b",
        "a/b",
        "a/../b",
        "%61",
    ];
    for topic in topics {
        assert_eq!(matching(version, topic, &topics), [topic], "{version}");
    }
}

/// [MQTT-4.7.3-4] Topic names and filters are compared as they are, byte for byte: nothing is normalized, substituted or trimmed.
#[test]
fn mqtt_4_7_3_4_topics_are_not_normalized() {
    topics_are_not_normalized(V5);
}
