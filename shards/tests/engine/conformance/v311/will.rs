//! MQTT 3.1.1 sections 3.1.2.5 to 3.1.2.7, 3.1.3.2 and 3.1.3.3, the will.

use crate::conformance::bytes::{self, CLEAN, WILL, connect, field};
use crate::conformance::v5::will as both;
use crate::verbs::*;
use crate::world::World;

/// [MQTT-3.1.2-8] A will is kept with its connection and published when that ends, unless by DISCONNECT.
#[test]
fn mqtt_3_1_2_8_every_end_without_disconnect_publishes_the_will() {
    both::every_end_without_disconnect_publishes_the_will(V311);
}

/// [MQTT-3.1.2-9] A will has topic and message in the payload, and QoS and RETAIN as its flags say; without them the CONNECT closes the
/// connection.
#[test]
fn mqtt_3_1_2_9_a_will_has_its_fields() {
    both::a_will_has_its_fields(V311);
}

/// [MQTT-3.1.2-10] A will is forgotten once it is published, or deleted by DISCONNECT.
#[test]
fn mqtt_3_1_2_10_a_will_is_forgotten_once_published_or_deleted() {
    both::a_will_is_forgotten_once_published_or_deleted(V311);
}

/// [MQTT-3.1.2-11] Without will flag, a will's QoS, RETAIN, topic or message closes the connection.
#[test]
fn mqtt_3_1_2_11_without_its_flag_nothing_of_a_will() {
    both::no_qos_without_a_will(V311);
    both::no_retain_without_a_will(V311);
    let (id, topic, message) = (field(b"ann"), field(b"w"), field(b"will"));
    bytes::is_malformed(V311, &connect(V311, CLEAN, &[&id, &topic, &message]));
    bytes::is_malformed(V311, &connect(V311, CLEAN, &[&id, &topic]));
    bytes::is_accepted(V311, &connect(V311, CLEAN | WILL, &[&id, &topic, &message]));
}

/// [MQTT-3.1.2-12] Without will flag nothing is published when the connection ends, also not the will of an earlier one.
#[test]
fn mqtt_3_1_2_12_without_its_flag_no_will() {
    let mut w = World::new(2);
    let watcher = w.join(1, V311, "watcher");
    w.subscribe(watcher, "#", Q0);
    let (id, topic, message) = (field(b"ann"), field(b"w"), field(b"will"));
    for (flags, fields, wills) in [
        (0, vec![&id[..]], 0),
        (WILL, vec![&id, &topic, &message], 1),
        (0, vec![&id], 0),
        (CLEAN, vec![&id], 0),
    ] {
        let ann = bytes::dial(&mut w, V311, &connect(V311, flags, &fields));
        w.run();
        w.vanish(ann);
        w.pass_secs(5_000);
        assert_eq!(w.read(watcher).len(), wills, "{flags:02x}");
    }
}

/// [MQTT-3.1.2-13] Without will flag, a will QoS other than 0 closes the connection.
#[test]
fn mqtt_3_1_2_13_no_qos_without_a_will() {
    both::no_qos_without_a_will(V311);
}

/// [MQTT-3.1.2-14] A will is published with the QoS of its flags; will QoS 3 closes the connection.
#[test]
fn mqtt_3_1_2_14_a_will_has_qos_0_1_or_2() {
    both::a_will_has_qos_0_1_or_2(V311);
}

/// [MQTT-3.1.2-15] Without will flag, will RETAIN closes the connection.
#[test]
fn mqtt_3_1_2_15_no_retain_without_a_will() {
    both::no_retain_without_a_will(V311);
}

/// [MQTT-3.1.2-16] A will without RETAIN is not kept and replaces nothing that is.
#[test]
fn mqtt_3_1_2_16_a_will_without_retain_is_not_retained() {
    both::a_will_is_retained_if_it_says_so(V311, false);
}

/// [MQTT-3.1.2-17] A will with RETAIN is kept as the retained message of its topic.
#[test]
fn mqtt_3_1_2_17_a_will_with_retain_is_retained() {
    both::a_will_is_retained_if_it_says_so(V311, true);
}

/// [MQTT-3.1.3-10] A will topic that is not UTF-8 closes the connection.
#[test]
fn mqtt_3_1_3_10_the_will_topic_is_utf_8() {
    let (id, message) = (field(b"ann"), field(b"will"));
    for topic in [&b"w\xff"[..], b"\xed\xa0\x80", b"\xc0\xaf"] {
        bytes::is_malformed(V311, &connect(V311, CLEAN | WILL, &[&id, &field(topic), &message]));
    }
    bytes::is_accepted(V311, &connect(V311, CLEAN | WILL, &[&id, &field("wü".as_bytes()), &message]));
}
