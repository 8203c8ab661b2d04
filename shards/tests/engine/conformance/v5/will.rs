//! MQTT 5 sections 3.1.2.5 to 3.1.2.7 and 3.1.3.2 to 3.1.3.4, the will.

use crate::conformance::bytes::{self, CLEAN, WILL, connect, field, no_properties, sent};
use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::shard::End;
use shardmq_shards::wire::{Connect, QoS, ReasonCode, UserProperties, Version, Will, WillProperties};

const RETAIN: u8 = 0b10_0000;

/// `connect` with a will, published after `delay` seconds.
fn with_will(connect: Connect<'_>, qos: QoS, retain: bool, delay: Option<u32>) -> Connect<'_> {
    let properties = WillProperties { delay, ..Default::default() };
    Connect { will: Some(Will { qos, retain, topic: "w", payload: b"will", properties }), ..connect }
}

/// A client with a will of QoS 0.
fn with_will_0(w: &mut World, version: Version) -> Client {
    w.connect(0, with_will(Connect::new(version, "ann", true), Q0, false, None))
}

/// Two shards and a subscriber of the will.
fn watched() -> (World, Client) {
    let mut w = World::new(2);
    let watcher = w.join(1, V5, "watcher");
    w.subscribe(watcher, "w", Q2);
    (w, watcher)
}

const WILL_0: &str = r#"w "will""#;

/// What [MQTT-3.1.2-8] says in every version: each end of the connection but one publishes the will, once.
pub fn every_end_without_disconnect_publishes_the_will(version: Version) {
    let ends: [fn(&mut World, Client); 5] = [
        |w, ann| w.end(ann, End::Failed),
        |w, ann| w.end(ann, End::Eof),
        |w, _| w.pass_secs(20),
        |w, ann| w.send_bytes(ann, b"\0\0"),
        |w, ann| {
            let version = w.wires[ann.0].version;
            w.join(1, version, "ann");
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let (mut w, watcher) = watched();
        let connect = Connect { keep_alive: 10, ..Connect::new(version, "ann", true) };
        let ann = w.connect(0, with_will(connect, Q0, false, None));
        assert!(w.read(watcher).is_empty());
        end(&mut w, ann);
        assert_eq!(w.read(watcher), [WILL_0], "{version}, end {number}");
        w.pass_secs(5_000);
        assert!(w.read(watcher).is_empty(), "once");
    }
    let (mut w, watcher) = watched();
    let ann = with_will_0(&mut w, version);
    w.leave(ann, ReasonCode::Success);
    w.pass_secs(5_000);
    assert!(w.read(watcher).is_empty(), "DISCONNECT deletes it");
}

/// What [MQTT-3.1.2-9] says in every version: a set will flag needs topic and payload behind the client id.
pub fn a_will_has_its_fields(version: Version) {
    let (none, id, topic, payload) = (no_properties(version), field(b"ann"), field(b"w"), field(b"will"));
    let flags = CLEAN | WILL | 1 << 3 | RETAIN;
    bytes::is_malformed(version, &connect(version, flags, &[&id]));
    bytes::is_malformed(version, &connect(version, flags, &[&id, none]));
    bytes::is_malformed(version, &connect(version, flags, &[&id, none, &topic]));
    let (mut w, watcher) = watched();
    let ann = bytes::dial(&mut w, version, &connect(version, flags, &[&id, none, &topic, &payload]));
    assert_eq!(w.read(ann), ["CONNACK 00"]);
    w.vanish(ann);
    assert_eq!(w.read(watcher), [r#"w "will" q1 #1"#], "as the flags say");
    w.puback(watcher, 1);
    let late = w.join(0, V5, "late");
    w.subscribe_all(late, &[("w", Q0)]);
    assert_eq!(w.read(late)[1], r#"w "will" retain"#);
}

/// What [MQTT-3.1.2-10] says in every version.
pub fn a_will_is_forgotten_once_published_or_deleted(version: Version) {
    for published in [true, false] {
        let (mut w, watcher) = watched();
        let ann = w.connect(0, with_will(durable(version, "ann"), Q0, false, None));
        if published {
            w.vanish(ann);
        } else {
            w.leave(ann, ReasonCode::Success);
        }
        assert_eq!(w.read(watcher).len(), usize::from(published));
        let ann = w.connect_and_read(1, durable(version, "ann")).0;
        w.vanish(ann);
        w.pass_secs(5_000);
        assert!(w.read(watcher).is_empty(), "neither the next connection's end nor the session's");
    }
}

/// What [MQTT-3.1.2-11] says, and [MQTT-3.1.2-13] of 3.1.1.
pub fn no_qos_without_a_will(version: Version) {
    for qos in 1..=3 {
        bytes::is_malformed(version, &connect(version, CLEAN | qos << 3, &[&field(b"ann")]));
    }
}

/// What [MQTT-3.1.2-13] says, and [MQTT-3.1.2-15] of 3.1.1.
pub fn no_retain_without_a_will(version: Version) {
    bytes::is_malformed(version, &connect(version, CLEAN | RETAIN, &[&field(b"ann")]));
}

/// What [MQTT-3.1.2-12] says, and [MQTT-3.1.2-14] of 3.1.1.
pub fn a_will_has_qos_0_1_or_2(version: Version) {
    let (none, id, topic, payload) = (no_properties(version), field(b"ann"), field(b"w"), field(b"will"));
    let fields: [&[u8]; 4] = [&id, none, &topic, &payload];
    bytes::is_malformed(version, &connect(version, CLEAN | WILL | 3 << 3, &fields));
    for (qos, first) in [(0, 0x30), (1, 0x32), (2, 0x34)] {
        let (mut w, watcher) = watched();
        let ann = bytes::dial(&mut w, version, &connect(version, CLEAN | WILL | qos << 3, &fields));
        assert_eq!(w.read(ann), ["CONNACK 00"]);
        w.vanish(ann);
        assert_eq!(sent(&mut w, watcher)[0].first, first);
    }
}

/// What [MQTT-3.1.2-14] and [MQTT-3.1.2-15] say, and [MQTT-3.1.2-16] and [MQTT-3.1.2-17] of 3.1.1.
pub fn a_will_is_retained_if_it_says_so(version: Version, retain: bool) {
    let (mut w, watcher) = watched();
    let ann = w.connect(0, with_will(Connect::new(version, "ann", true), Q0, retain, None));
    w.vanish(ann);
    assert_eq!(w.read(watcher), [WILL_0], "RETAIN is for new subscriptions");
    let late = w.join(0, V5, "late");
    w.subscribe_all(late, &[("w", Q0)]);
    let seen = w.read(late);
    let expected: &[&str] = if retain { &[r#"w "will" retain"#] } else { &[] };
    assert_eq!(seen[1..], *expected);
    if !retain {
        // It does not replace what is retained either.
        w.publish(late, retained(message("w", "kept")));
        w.read(late);
        let ann = with_will_0(&mut w, version);
        w.vanish(ann);
        w.read(late);
        w.subscribe_all(late, &[("w", Q0)]);
        assert_eq!(w.read(late)[1], r#"w "kept" retain"#);
    }
}

/// [MQTT-3.1.2-7] A will is kept with its session: it outlives the connection, and a session that is discarded publishes it.
#[test]
fn mqtt_3_1_2_7_a_will_is_kept_with_its_session() {
    let (mut w, watcher) = watched();
    let ann = w.connect(0, with_will(durable(V5, "ann"), Q0, false, Some(10)));
    w.vanish(ann);
    assert!(w.read(watcher).is_empty(), "its delay is not over");
    w.pass_secs(11);
    assert_eq!(w.read(watcher), [WILL_0]);
    let ann = w.connect_and_read(0, with_will(durable(V5, "ann"), Q0, false, Some(500))).0;
    w.vanish(ann);
    assert!(w.read(watcher).is_empty());
    w.join(1, V5, "ann");
    assert_eq!(w.read(watcher), [WILL_0], "a clean start ended its session");
}

/// [MQTT-3.1.2-8] A will is published when its connection ends in any way but DISCONNECT 0x00, and its delay or the session is over.
#[test]
fn mqtt_3_1_2_8_every_end_without_disconnect_publishes_the_will() {
    every_end_without_disconnect_publishes_the_will(V5);
    let (mut w, watcher) = watched();
    for reason in [ReasonCode::DisconnectWithWill, ReasonCode::UnspecifiedError] {
        let ann = with_will_0(&mut w, V5);
        w.leave(ann, reason);
        assert_eq!(w.read(watcher), [WILL_0], "{reason:?}");
    }
    let ann = w.connect(0, with_will(durable(V5, "ann"), Q0, false, Some(60)));
    w.vanish(ann);
    w.pass_secs(59);
    assert!(w.read(watcher).is_empty());
    w.pass_secs(2);
    assert_eq!(w.read(watcher), [WILL_0], "its delay is over");
    let ann = w.connect_and_read(0, with_will(durable(V5, "ann"), Q0, false, Some(10_000))).0;
    w.vanish(ann);
    w.pass_secs(999);
    assert!(w.read(watcher).is_empty());
    w.pass_secs(3);
    assert_eq!(w.read(watcher), [WILL_0], "its session is over");
}

/// [MQTT-3.1.2-9] With the will flag set the CONNECT has will properties, topic and payload or is malformed; QoS and RETAIN are obeyed.
#[test]
fn mqtt_3_1_2_9_a_will_has_its_fields() {
    a_will_has_its_fields(V5);
}

/// [MQTT-3.1.2-10] Once a will is published, or deleted by DISCONNECT 0x00, no later end of a connection or of the session publishes it.
#[test]
fn mqtt_3_1_2_10_a_will_is_forgotten_once_published_or_deleted() {
    a_will_is_forgotten_once_published_or_deleted(V5);
}

/// [MQTT-3.1.2-11] A will QoS without will makes the CONNECT malformed.
#[test]
fn mqtt_3_1_2_11_no_qos_without_a_will() {
    no_qos_without_a_will(V5);
}

/// [MQTT-3.1.2-12] Wills of QoS 0, 1 and 2 are published as such; a will QoS of 3 makes the CONNECT malformed.
#[test]
fn mqtt_3_1_2_12_a_will_has_qos_0_1_or_2() {
    a_will_has_qos_0_1_or_2(V5);
}

/// [MQTT-3.1.2-13] Will Retain without will makes the CONNECT malformed.
#[test]
fn mqtt_3_1_2_13_no_retain_without_a_will() {
    no_retain_without_a_will(V5);
}

/// [MQTT-3.1.2-14] A will without Will Retain is published as a message that is not retained.
#[test]
fn mqtt_3_1_2_14_a_will_without_retain_is_not_retained() {
    a_will_is_retained_if_it_says_so(V5, false);
}

/// [MQTT-3.1.2-15] A will with Will Retain is published as a retained message.
#[test]
fn mqtt_3_1_2_15_a_will_with_retain_is_retained() {
    a_will_is_retained_if_it_says_so(V5, true);
}

/// [MQTT-3.1.3-9] A new connection to the session within the will's delay silences it, with Clean Start 0 by resuming.
#[test]
fn mqtt_3_1_3_9_a_connection_within_the_delay_silences_the_will() {
    for shard in [0, 1] {
        let (mut w, watcher) = watched();
        let ann = w.connect(0, with_will(durable(V5, "ann"), Q0, false, Some(10)));
        w.vanish(ann);
        w.pass_secs(9);
        let ann = w.connect_and_read(shard, durable(V5, "ann")).0;
        w.pass_secs(60);
        w.vanish(ann);
        w.pass_secs(5_000);
        assert!(w.read(watcher).is_empty());
    }
}

/// [MQTT-3.1.3-10] The user properties of a will are published with it, in their order, doubles included.
#[test]
fn mqtt_3_1_3_10_user_properties_of_a_will_keep_their_order() {
    let (mut w, watcher) = watched();
    let pairs = [("z", "1"), ("a", "2"), ("z", "1"), ("m", ""), ("a", "1")];
    let properties = WillProperties { user: UserProperties::from_pairs(&pairs), ..Default::default() };
    let will = Will { qos: Q0, retain: true, topic: "w", payload: b"will", properties };
    let ann = w.connect(0, Connect { will: Some(will), ..Connect::new(V5, "ann", true) });
    w.vanish(ann);
    let in_order = "z=1 a=2 z=1 m= a=1";
    assert_eq!(w.read(watcher), [format!("{WILL_0} {in_order}")]);
    let late = w.join(0, V5, "late");
    w.subscribe_all(late, &[("w", Q0)]);
    assert_eq!(w.read(late)[1], format!("{WILL_0} retain {in_order}"));
}

/// [MQTT-3.1.3-11] A will topic that is not UTF-8 makes the CONNECT malformed.
#[test]
fn mqtt_3_1_3_11_the_will_topic_is_utf_8() {
    let (id, payload) = (field(b"ann"), field(b"will"));
    let with_topic = |topic: &[u8]| connect(V5, CLEAN | WILL, &[&id, &[0], &field(topic), &payload]);
    bytes::is_malformed(V5, &with_topic(b"w\xff"));
    bytes::is_accepted(V5, &with_topic("wäh".as_bytes()));
}
