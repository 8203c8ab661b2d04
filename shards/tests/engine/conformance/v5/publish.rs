//! MQTT 5 section 3.3, PUBLISH: flags (3.3.1) and what a PUBLISH does (3.3.4). Topic name and properties are in `publish_properties`.

use crate::conformance::bytes::{field, no_properties, packet, sent};
use crate::verbs::*;
use crate::violations::closes;
use crate::world::{Client, World};
use shardmq_shards::wire::{
    Ack, Packet, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, SubscriptionIds,
    SubscriptionOptions, Version,
};

/// What a new subscription of `filter` at QoS 0 is sent beside its SUBACK, in order.
pub fn kept(w: &mut World, client: Client, filter: &str) -> Vec<String> {
    w.subscribe_with(client, filter, SubscriptionOptions::with_qos(Q0), None);
    let mut lines = w.read(client);
    assert!(lines.remove(0).starts_with("SUBACK"));
    lines.sort();
    lines
}

/// First bytes of the PUBLISH packets among what was sent.
fn publish_heads(w: &mut World, client: Client) -> Vec<u8> {
    sent(w, client).iter().filter(|sent| sent.packet_type() == 3).map(|sent| sent.first).collect()
}

/// What [MQTT-3.3.1-1] says of both versions.
pub fn a_repeated_publish_has_dup(version: Version) {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(version, "ann"));
    w.subscribe(ann, "a", Q2);
    let bob = w.join(1, version, "bob");
    w.publish(bob, message_1(1, "a", "one"));
    w.publish(bob, message_2(2, "a", "two"));
    assert_eq!(publish_heads(&mut w, ann), [0x32, 0x34], "{version}");
    for _ in 0..2 {
        w.vanish(ann);
        let ann = w.dial(0, durable(version, "ann"));
        assert_eq!(publish_heads(&mut w, ann), [0x3a, 0x3c], "{version}");
        w.vanish(ann);
    }
}

/// [MQTT-3.3.1-1] A PUBLISH that goes out again after a reconnect has DUP, however often.
#[test]
fn mqtt_3_3_1_1_a_repeated_publish_has_dup() {
    a_repeated_publish_has_dup(V5);
}

/// What [MQTT-3.3.1-2] says of both versions.
pub fn qos_0_never_has_dup(version: Version) {
    let mut w = World::new(1);
    let ann = w.join(0, version, "ann");
    w.subscribe(ann, "a", Q0);
    let bob = w.join(0, version, "bob");
    w.publish(bob, Publish { dup: true, ..message_1(1, "a", "x") });
    w.publish(bob, Publish { dup: true, ..message_2(2, "a", "x") });
    w.publish(bob, message("a", "x"));
    assert_eq!(publish_heads(&mut w, ann), [0x30, 0x30, 0x30], "{version}");
    let with_dup = packet(0x38, &[&field(b"a"), no_properties(version), b"x"]);
    closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &with_dup));
}

/// [MQTT-3.3.1-2] Copies of QoS 0 go out without DUP, and a PUBLISH of QoS 0 that comes with it is malformed.
#[test]
fn mqtt_3_3_1_2_qos_0_never_has_dup() {
    qos_0_never_has_dup(V5);
}

/// What [MQTT-3.3.1-3] says of both versions.
pub fn dup_is_not_passed_on(version: Version) {
    let mut w = World::new(2);
    let ann = w.connect(1, durable(version, "ann"));
    w.subscribe(ann, "a", Q2);
    let bob = w.join(0, version, "bob");
    w.publish(bob, Publish { dup: true, ..message_1(1, "a", "came with DUP") });
    w.publish(bob, Publish { dup: true, ..message_2(2, "a", "came with DUP") });
    w.publish(bob, message_1(3, "a", "came without"));
    assert_eq!(publish_heads(&mut w, ann), [0x32, 0x34, 0x32], "{version}");
    w.vanish(ann);
    let ann = w.dial(1, durable(version, "ann"));
    assert_eq!(publish_heads(&mut w, ann), [0x3a, 0x3c, 0x3a], "{version}: ours is about our own sending");
}

/// [MQTT-3.3.1-3] DUP of a copy says whether we have sent it before, whatever the publisher's DUP was.
#[test]
fn mqtt_3_3_1_3_dup_is_not_passed_on() {
    dup_is_not_passed_on(V5);
}

/// What [MQTT-3.3.1-4] says of both versions.
pub fn qos_3_is_malformed(version: Version) {
    for first in [0x36, 0x37, 0x3e, 0x3f] {
        let bytes = packet(first, &[&field(b"a"), &[0, 1], no_properties(version), b"x"]);
        closes(version, ReasonCode::MalformedPacket, |w, ann| w.send_bytes(ann, &bytes));
    }
}

/// [MQTT-3.3.1-4] A PUBLISH with both QoS bits set is malformed and closes the connection.
#[test]
fn mqtt_3_3_1_4_qos_3_is_malformed() {
    qos_3_is_malformed(V5);
}

/// What [MQTT-3.3.1-5] says of both versions.
pub fn a_retained_message_replaces_the_one_before(version: Version) {
    for shards in [1, 3] {
        let mut w = World::new(shards);
        let (ann, bob) = (w.join(0, version, "ann"), w.join(shards - 1, version, "bob"));
        w.publish(ann, retained(message("a", "first")));
        w.run();
        w.publish(bob, retained(message_1(1, "a", "second")));
        w.run();
        w.publish(ann, retained(message_2(1, "b", "other")));
        w.run();
        let sub = w.join(0, version, "sub");
        assert_eq!(kept(&mut w, sub, "+"), [r#"a "second" retain"#, r#"b "other" retain"#], "{version}");
    }
}

/// [MQTT-3.3.1-5] A PUBLISH with RETAIN is kept for its topic in place of the one before.
#[test]
fn mqtt_3_3_1_5_a_retained_message_replaces_the_one_before() {
    a_retained_message_replaces_the_one_before(V5);
}

/// What [MQTT-3.3.1-6] says, and [MQTT-3.3.1-10] of 3.1.1.
pub fn an_empty_retained_message_clears_its_topic(version: Version) {
    let mut w = World::new(3);
    let (ann, sub) = (w.join(0, version, "ann"), w.join(1, version, "sub"));
    for topic in ["a", "a/b", "b"] {
        w.publish(ann, retained(message(topic, "x")));
    }
    w.subscribe(sub, "nothing", Q0);
    w.subscribe_with(sub, "a", SubscriptionOptions::with_qos(Q0), None);
    w.read(sub);
    w.publish(ann, retained(message("a", "")));
    assert_eq!(w.read(sub), [r#"a """#], "it is processed as any other");
    let late = w.join(2, version, "late");
    assert_eq!(kept(&mut w, late, "#"), [r#"a/b "x" retain"#, r#"b "x" retain"#]);
}

/// [MQTT-3.3.1-6] An empty PUBLISH with RETAIN is delivered as any other and clears its topic: later subscribers get nothing.
#[test]
fn mqtt_3_3_1_6_an_empty_retained_message_clears_its_topic() {
    an_empty_retained_message_clears_its_topic(V5);
}

/// What [MQTT-3.3.1-7] says, and [MQTT-3.3.1-11] of 3.1.1.
pub fn an_empty_retained_message_is_not_kept(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    w.publish(ann, retained(message("new", "")));
    w.publish(ann, retained(message("old", "x")));
    w.publish(ann, retained(message_1(1, "old", "")));
    w.run();
    let retained: u64 = [0, 1].iter().map(|shard| w.shard(*shard).statistics().gauges.retained).sum();
    assert_eq!(retained, 0);
    let sub = w.join(1, version, "sub");
    assert!(kept(&mut w, sub, "#").is_empty());
}

/// [MQTT-3.3.1-7] An empty message is never kept: the store stays empty, and a subscriber gets nothing from it.
#[test]
fn mqtt_3_3_1_7_an_empty_retained_message_is_not_kept() {
    an_empty_retained_message_is_not_kept(V5);
}

/// What [MQTT-3.3.1-8] says, and [MQTT-3.3.1-12] of 3.1.1.
pub fn without_retain_nothing_kept_changes(version: Version) {
    let mut w = World::new(2);
    let ann = w.join(0, version, "ann");
    w.publish(ann, retained(message("a", "kept")));
    w.publish(ann, message("a", "not kept"));
    w.publish(ann, message("a", ""));
    w.publish(ann, message_1(1, "b", "not kept"));
    w.publish(ann, message_2(2, "b", "not kept"));
    w.run();
    let sub = w.join(1, version, "sub");
    assert_eq!(kept(&mut w, sub, "#"), [r#"a "kept" retain"#]);
}

/// [MQTT-3.3.1-8] A PUBLISH without RETAIN is not kept, and neither replaces nor removes what is.
#[test]
fn mqtt_3_3_1_8_without_retain_nothing_kept_changes() {
    without_retain_nothing_kept_changes(V5);
}

/// Three retained messages, and a subscriber on another shard.
fn with_retained() -> (World, Client) {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    for topic in ["a", "a/b", "b"] {
        w.publish(ann, retained(message(topic, "x")));
    }
    w.run();
    let sub = w.join(1, V5, "sub");
    (w, sub)
}

fn subscribe_handling(
    w: &mut World,
    client: Client,
    filter: &str,
    retain_handling: RetainHandling,
) -> Vec<String> {
    let options = SubscriptionOptions { retain_handling, ..SubscriptionOptions::with_qos(Q0) };
    w.subscribe_with(client, filter, options, None);
    let mut lines = w.read(client);
    assert!(lines.remove(0).starts_with("SUBACK"));
    lines.sort();
    lines
}

const BOTH: [&str; 2] = [r#"a "x" retain"#, r#"a/b "x" retain"#];

/// [MQTT-3.3.1-9] Retain Handling 0: every SUBSCRIBE is sent all retained messages that match, also when the subscription was there.
#[test]
fn mqtt_3_3_1_9_retain_handling_0_sends_each_time() {
    let (mut w, sub) = with_retained();
    for _ in 0..3 {
        assert_eq!(subscribe_handling(&mut w, sub, "a/#", RetainHandling::Send), BOTH);
    }
}

/// [MQTT-3.3.1-10] Retain Handling 1: the retained messages are sent to a subscription that is new, and not to one that was there.
#[test]
fn mqtt_3_3_1_10_retain_handling_1_sends_to_new_subscriptions() {
    let (mut w, sub) = with_retained();
    assert_eq!(subscribe_handling(&mut w, sub, "a/#", RetainHandling::SendIfNew), BOTH);
    assert!(subscribe_handling(&mut w, sub, "a/#", RetainHandling::SendIfNew).is_empty());
    assert_eq!(subscribe_handling(&mut w, sub, "+/#", RetainHandling::SendIfNew).len(), 3, "another filter");
    w.unsubscribe(sub, &["a/#"]);
    w.read(sub);
    assert_eq!(subscribe_handling(&mut w, sub, "a/#", RetainHandling::SendIfNew), BOTH, "new again");
}

/// [MQTT-3.3.1-11] Retain Handling 2: no retained message is sent; live ones are.
#[test]
fn mqtt_3_3_1_11_retain_handling_2_sends_none() {
    let (mut w, sub) = with_retained();
    for _ in 0..2 {
        assert!(subscribe_handling(&mut w, sub, "#", RetainHandling::DoNotSend).is_empty());
    }
    let bob = w.join(0, V5, "bob");
    w.publish(bob, retained(message("a", "live")));
    assert_eq!(w.read(sub), [r#"a "live""#]);
}

/// The RETAIN flags of what `retain_as_published` gets of two publications, the first with RETAIN; at once, from a lane, and from a queue.
fn live_retain_flags(retain_as_published: bool) -> Vec<bool> {
    let options = SubscriptionOptions { retain_as_published, ..SubscriptionOptions::with_qos(Q1) };
    let mut flags = Vec::new();
    for shard in [0, 1] {
        let mut w = World::new(2);
        let ann = w.connect(0, durable_taking("ann", 1));
        w.subscribe_with(ann, "a", options, None);
        w.read(ann);
        let bob = w.join(shard, V5, "bob");
        w.publish(bob, retained(message_1(1, "a", "retained")));
        w.publish(bob, message_1(2, "a", "not retained"));
        w.publish(bob, retained(message_1(3, "a", "waits")));
        w.run();
        for number in 1..=3 {
            flags.extend(publish_heads(&mut w, ann).iter().map(|first| first & 1 == 1));
            w.puback(ann, number);
        }
    }
    flags
}

/// [MQTT-3.3.1-12] Without Retain As Published live copies have RETAIN 0, whatever the publication had.
#[test]
fn mqtt_3_3_1_12_retain_is_cleared_without_retain_as_published() {
    assert_eq!(live_retain_flags(false), [false; 6]);
}

/// [MQTT-3.3.1-13] With Retain As Published live copies have the RETAIN flag of the publication.
#[test]
fn mqtt_3_3_1_13_retain_is_kept_with_retain_as_published() {
    assert_eq!(live_retain_flags(true), [true, false, true, true, false, true]);
}

/// What [MQTT-3.3.4-1] says of both versions.
pub fn a_publish_is_answered_by_its_qos(version: Version) {
    let mut w = World::new(2);
    let sub = w.join(1, version, "sub");
    w.subscribe(sub, "a", Q0);
    let ann = w.join(0, version, "ann");
    for (publish, expected) in [
        (message("a", "x"), None),
        (message_1(7, "a", "x"), Some((0x40, [0, 7]))),
        (message_2(0x102, "a", "x"), Some((0x50, [1, 2]))),
    ] {
        w.publish(ann, publish);
        let seen = sent(&mut w, ann);
        assert_eq!(seen.len(), usize::from(expected.is_some()), "{version}");
        if let Some((first, id)) = expected {
            assert_eq!((seen[0].first, &seen[0].body[..]), (first, &id[..]), "{version}");
        }
    }
}

/// [MQTT-3.3.4-1] A PUBLISH of QoS 0 has no answer, of QoS 1 a PUBACK, of QoS 2 a PUBREC.
#[test]
fn mqtt_3_3_4_1_a_publish_is_answered_by_its_qos() {
    a_publish_is_answered_by_its_qos(V5);
}

/// What [MQTT-3.3.4-2] says, and [MQTT-3.3.5-1] of 3.1.1.
pub fn overlapping_filters_give_the_highest_qos(version: Version) {
    for highest in QoS::ALL {
        let mut w = World::new(2);
        let ann = w.join(0, version, "ann");
        for (filter, qos) in [("a/#", Q0), ("a/b", highest), ("+/b", Q0)] {
            w.subscribe(ann, filter, qos);
        }
        for shard in [0, 1] {
            let bob = w.join(shard, version, "bob");
            w.publish(bob, message_2(1, "a/b", "x"));
            assert_eq!(publish_heads(&mut w, ann), [0x30 | (highest as u8) << 1], "one copy, {version}");
        }
    }
}

/// [MQTT-3.3.4-2] Overlapping filters give one copy, of the highest QoS among those that match.
#[test]
fn mqtt_3_3_4_2_overlapping_filters_give_the_highest_qos() {
    overlapping_filters_give_the_highest_qos(V5);
}

/// The identifiers of the only copy that `client` got.
fn identifiers(w: &mut World, client: Client) -> Vec<u32> {
    let lines = w.read(client);
    let [copy] = &lines[..] else { panic!("one copy: {lines:?}") };
    let Some((_, ids)) = copy.split_once(" ids=[") else { return Vec::new() };
    let ids = ids.split(']').next().expect("the list ends");
    let mut ids: Vec<u32> = ids.split(", ").map(|id| id.parse().expect("a number")).collect();
    ids.sort_unstable();
    ids
}

fn subscribe_identified(w: &mut World, client: Client, filter: &str, subscription_id: Option<u32>) {
    w.subscribe_with(client, filter, SubscriptionOptions::with_qos(Q1), subscription_id);
    assert_eq!(w.read(client).len(), 1);
}

/// [MQTT-3.3.4-3] A copy carries the identifier of the subscription that it is for, and none if that has none.
#[test]
fn mqtt_3_3_4_3_a_copy_carries_its_subscription_identifier() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    subscribe_identified(&mut w, ann, "a", Some(1));
    subscribe_identified(&mut w, ann, "b", Some(268_435_455));
    subscribe_identified(&mut w, ann, "c", None);
    let bob = w.join(1, V5, "bob");
    for (topic, ids) in [("a", vec![1]), ("b", vec![268_435_455]), ("c", vec![])] {
        w.publish(bob, message("a", "x"));
        assert_eq!(identifiers(&mut w, ann), [1]);
        w.publish(bob, message(topic, "x"));
        assert_eq!(identifiers(&mut w, ann), ids);
    }
    subscribe_identified(&mut w, ann, "a", Some(9));
    w.publish(bob, message("a", "x"));
    assert_eq!(identifiers(&mut w, ann), [9], "as replaced");
}

/// [MQTT-3.3.4-4] The one copy for overlapping filters carries the identifiers of all of them that have one: live, queued and after a reconnect.
#[test]
fn mqtt_3_3_4_4_one_copy_carries_all_identifiers() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V5, "ann"));
    for (filter, subscription_id) in [("a/#", Some(5)), ("+/b", None), ("a/b", Some(2)), ("#", Some(300))] {
        subscribe_identified(&mut w, ann, filter, subscription_id);
    }
    let bob = w.join(1, V5, "bob");
    w.publish(bob, message_1(1, "a/b", "x"));
    assert_eq!(identifiers(&mut w, ann), [2, 5, 300]);
    w.puback(ann, 1);
    w.vanish(ann);
    w.publish(bob, message_1(2, "a/b", "queued"));
    w.run();
    for _ in 0..2 {
        let ann = w.dial(0, durable(V5, "ann"));
        w.run();
        let behind_connack = w.wires[ann.0].from_broker.iter().position(|byte| *byte & 0xf0 == 0x30);
        w.wires[ann.0].from_broker.drain(..behind_connack.expect("the copy"));
        assert_eq!(identifiers(&mut w, ann), [2, 5, 300]);
        w.vanish(ann);
    }
}

/// [MQTT-3.3.4-5] Where a client gets several copies, for a shared subscription beside its own, each carries the identifier of its subscription.
#[test]
fn mqtt_3_3_4_5_each_of_several_copies_carries_its_identifier() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    for (filter, subscription_id) in [("a", Some(1)), ("$share/g/a", Some(2)), ("$share/h/+", None)] {
        subscribe_identified(&mut w, ann, filter, subscription_id);
    }
    let bob = w.join(1, V5, "bob");
    w.publish(bob, message("a", "x"));
    let mut seen = w.read(ann);
    seen.sort();
    assert_eq!(seen, [r#"a "x""#, r#"a "x" ids=[1]"#, r#"a "x" ids=[2]"#]);
}

/// [MQTT-3.3.4-6] A PUBLISH from a client with a subscription identifier closes the connection with 0x82.
#[test]
fn mqtt_3_3_4_6_no_subscription_identifier_from_clients() {
    closes(V5, ReasonCode::ProtocolError, |w, ann| {
        let subscription_ids = SubscriptionIds::from_slice(&[7]);
        let properties = PublishProperties { subscription_ids, ..Default::default() };
        w.publish(ann, Publish { properties, ..message_1(1, "gone", "not delivered") });
    });
}

/// [MQTT-3.3.4-7] A client that sends more than our Receive Maximum unacknowledged is closed with 0x93.
#[test]
fn mqtt_3_3_4_7_more_than_our_receive_maximum_closes() {
    let send = |w: &mut World, ann: Client, count: u16| {
        for number in 1..=count {
            w.publish(ann, message_2(number, "a", ""));
        }
        w.read(ann)
    };
    let mut w = World::limited(|limits| limits.receive_maximum = 5);
    let ann = w.join(0, V5, "ann");
    assert_eq!(send(&mut w, ann, 5).len(), 5, "exactly as many are fine");
    w.ping(ann);
    let bob = w.join(0, V5, "bob");
    assert_eq!(send(&mut w, bob, 6)[5..], ["DISCONNECT 93", "closed"]);
}

/// [MQTT-3.3.4-8] A client whose quota is used up may send every other packet, and is answered.
#[test]
fn mqtt_3_3_4_8_other_packets_are_taken_while_the_quota_is_used_up() {
    let mut w = World::limited(|limits| limits.receive_maximum = 1);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message_2(1, "a", ""));
    assert_eq!(w.read(ann), ["PUBREC #1 10"]);
    w.subscribe(ann, "b", Q1);
    w.publish(ann, message("b", "QoS 0 uses none"));
    assert_eq!(w.read(ann), [r#"b "QoS 0 uses none""#]);
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message_1(1, "b", "x"));
    assert_eq!(w.read(ann), [r#"b "x" q1 #1"#]);
    w.puback(ann, 1);
    w.unsubscribe(ann, &["b"]);
    assert_eq!(w.read(ann), ["UNSUBACK #1001 [00]"]);
    w.ping(ann);
    w.pubrel(ann, 1);
    assert_eq!(w.read(ann), ["PUBCOMP #1"]);
    w.publish(ann, message_2(2, "a", ""));
    assert_eq!(w.read(ann), ["PUBREC #2 10"]);
}

/// A subscriber that takes `receive_maximum`, and a publisher that has sent it five messages each of QoS 1 and 2.
fn poured(receive_maximum: u16) -> (World, Client) {
    let mut w = World::new(2);
    let ann = w.connect(0, durable_taking("ann", receive_maximum));
    w.subscribe(ann, "a", Q2);
    let bob = w.join(1, V5, "bob");
    for number in 1..=5 {
        w.publish(bob, message_1(number, "a", "1"));
        w.publish(bob, message_2(number + 5, "a", "2"));
    }
    w.run();
    (w, ann)
}

/// [MQTT-3.3.4-9] No more than the client's Receive Maximum is unacknowledged: PUBACK, PUBCOMP and a PUBREC of 0x80 or above make room for one more, other PUBRECs do not.
#[test]
fn mqtt_3_3_4_9_the_clients_receive_maximum_is_respected() {
    let (mut w, ann) = poured(3);
    let two = |number: u16| format!(r#"a "2" q2 #{number}"#);
    let one = |number: u16| format!(r#"a "1" q1 #{number}"#);
    assert_eq!(w.read(ann), [one(1), two(2), one(3)]);
    w.puback(ann, 1);
    assert_eq!(w.read(ann), [two(4)]);
    w.pubrec(ann, 2);
    assert_eq!(w.read(ann), ["PUBREL #2"], "still one of three");
    w.pubcomp(ann, 2);
    assert_eq!(w.read(ann), [one(5)]);
    w.send(ann, Packet::Pubrec(Ack::with_reason(id(4), ReasonCode::QuotaExceeded)));
    assert_eq!(w.read(ann), [two(6)]);
    w.puback(ann, 77);
    w.pubcomp(ann, 6);
    assert!(w.read(ann).is_empty(), "what answers nothing makes no room");
}

/// [MQTT-3.3.4-10] While the client's Receive Maximum is used up every other packet goes out at once.
#[test]
fn mqtt_3_3_4_10_other_packets_go_out_while_the_clients_quota_is_used_up() {
    let (mut w, ann) = poured(1);
    assert_eq!(w.read(ann).len(), 1);
    w.ping(ann);
    w.subscribe(ann, "b", Q0);
    w.publish(ann, message("b", "QoS 0"));
    w.publish(ann, message_1(1, "c", ""));
    w.publish(ann, message_2(2, "c", ""));
    w.pubrel(ann, 2);
    assert_eq!(w.read(ann), [r#"b "QoS 0""#, "PUBACK #1 10", "PUBREC #2 10", "PUBCOMP #2"]);
    w.unsubscribe(ann, &["b"]);
    assert_eq!(w.read(ann), ["UNSUBACK #1002 [00]"]);
}
