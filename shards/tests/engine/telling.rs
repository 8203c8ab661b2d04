//! What a client is told beside the code, and what it is spared: reason strings, Maximum Packet Size, Request Problem Information.

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{
    Connect, ConnectProperties, Packet, ReasonCode, Split, Subscribe, SubscribeFilter, SubscribeFilters,
    SubscriptionOptions, UserProperties, split,
};
use std::num::NonZeroU32;

fn taking(client_id: &str, bytes: u32) -> Connect<'_> {
    let maximum_packet_size = NonZeroU32::new(bytes);
    let properties = ConnectProperties { maximum_packet_size, ..Default::default() };
    Connect { properties, ..Connect::new(V5, client_id, true) }
}

/// The sizes of the packets that wait for `client`.
fn sizes(w: &mut World, client: Client) -> Vec<usize> {
    w.run();
    let mut rest = &w.wires[client.0].from_broker[..];
    let mut sizes = Vec::new();
    while let Ok(Split::Whole(frame)) = split(rest, usize::MAX) {
        sizes.push(frame.wire_bytes());
        rest = &rest[frame.wire_bytes()..];
    }
    sizes
}

/// The reason strings of the packets that wait for `client`, in their order.
pub fn reason_strings(w: &mut World, client: Client) -> Vec<Option<String>> {
    w.run();
    let mut rest = &w.wires[client.0].from_broker[..];
    let mut strings = Vec::new();
    while let Ok(Split::Whole(frame)) = split(rest, usize::MAX) {
        let string = match Packet::decode(frame, V5).expect("the broker keeps to the protocol") {
            Packet::Connack(connack) => connack.properties.reason_string,
            Packet::Disconnect(disconnect) => disconnect.properties.reason_string,
            Packet::Suback(suback) => suback.properties.reason_string,
            Packet::Pubcomp(ack) | Packet::Pubrel(ack) => ack.properties.reason_string,
            _ => None,
        };
        strings.push(string.map(String::from));
        rest = &rest[frame.wire_bytes()..];
    }
    strings
}

fn subscribe_many(w: &mut World, client: Client, count: usize) {
    let names: Vec<String> = (0..count).map(|number| format!("f/{number}")).collect();
    let options = SubscriptionOptions::with_qos(Q0);
    let entries: Vec<_> = names.iter().map(|filter| SubscribeFilter { filter, options }).collect();
    let filters = SubscribeFilters::from_slice(&entries);
    let user = UserProperties::NONE;
    w.send(client, Packet::Subscribe(Subscribe { packet_id: id(1), subscription_id: None, user, filters }));
}

#[test]
fn a_breach_is_named_with_its_clause() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    w.send(ann, Packet::Pingresp);
    let why = reason_strings(&mut w, ann).pop().flatten().expect("DISCONNECT says why");
    assert!(why.contains("packet that only a server may send") && why.contains("[2.1.2]"), "{why}");
}

#[test]
fn a_refused_connect_and_refused_filters_are_explained() {
    let mut w = World::limited(|limits| limits.filters_per_client_max = 1);
    let ann = w.join(0, V5, "ann");
    w.subscribe_all(ann, &[("a", Q0), ("b", Q0)]);
    assert_eq!(reason_strings(&mut w, ann), [Some("a limit of this server is reached".into())]);
    let bob = w.dial(0, Connect::new(V5, &"b".repeat(2000), true));
    let why = reason_strings(&mut w, bob).pop().flatten().expect("CONNACK says why");
    assert!(why.contains("client identifier longer than this server accepts"), "{why}");
}

#[test]
fn who_wants_no_problem_information_gets_codes_alone() {
    let mut w = World::limited(|limits| limits.filters_per_client_max = 1);
    let quiet = ConnectProperties { request_problem_information: Some(false), ..Default::default() };
    let ann = w.connect(0, Connect { properties: quiet, ..Connect::new(V5, "ann", true) });
    w.subscribe_all(ann, &[("a", Q0), ("b", Q0)]);
    w.pubrel(ann, 7);
    w.pubrec(ann, 9);
    w.send(ann, Packet::Pingresp);
    assert_eq!(reason_strings(&mut w, ann), [None, None, None, None]);
    assert_eq!(
        w.read(ann),
        ["SUBACK #1000 [00, 97]", "PUBCOMP #7 92", "PUBREL #9 92", "DISCONNECT 82", "closed"]
    );
    let bob = w.join(0, V5, "bob");
    w.pubrel(bob, 7);
    w.pubrec(bob, 9);
    assert!(reason_strings(&mut w, bob).iter().all(Option::is_some), "unless said otherwise they are wanted");
}

#[test]
fn reason_strings_are_left_out_where_they_do_not_fit() {
    let mut w = World::limited(|limits| limits.filters_per_client_max = 1);
    let ann = w.connect(0, taking("ann", 30));
    w.subscribe_all(ann, &[("a", Q0), ("b", Q0)]);
    w.pubrel(ann, 7);
    w.send(ann, Packet::Pingresp);
    assert!(sizes(&mut w, ann).iter().all(|bytes| *bytes <= 30));
    assert_eq!(w.read(ann), ["SUBACK #1000 [00, 97]", "PUBCOMP #7 92", "DISCONNECT 82", "closed"]);
}

#[test]
fn a_client_that_cannot_take_the_connack_is_refused_or_closed_silently() {
    let mut w = World::new(2);
    let first = w.connect(1, Connect::new(V5, "ann", false));
    let ann = w.dial(0, taking("ann", 10));
    assert_eq!(w.read(ann), ["CONNACK 95", "closed"]);
    let ann = w.dial(0, taking("ann", 4));
    assert_eq!(w.read(ann), ["closed"], "not even the refusal fits");
    w.ping(first);
}

#[test]
fn an_acknowledgement_of_more_filters_than_fit_closes_before_anything_is_subscribed() {
    let mut w = World::new(2);
    let ann = w.connect(0, taking("ann", 40));
    // Type, length, packet identifier, property length: 35 codes fill 40 bytes.
    subscribe_many(&mut w, ann, 35);
    assert_eq!(sizes(&mut w, ann), [40]);
    w.read(ann);
    subscribe_many(&mut w, ann, 36);
    assert_eq!(w.read(ann), ["DISCONNECT 95", "closed"]);
    let bob = w.connect(0, Connect { clean_start: false, ..taking("bob", 40) });
    let names: Vec<String> = (0..36).map(|number| format!("f/{number}")).collect();
    w.unsubscribe(bob, &names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(w.read(bob), ["DISCONNECT 95", "closed"]);
}

#[test]
fn a_copy_that_is_too_large_uses_no_quota_and_holds_nobody_up() {
    let mut w = World::new(2);
    let mut connect = taking("ann", 60);
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let (ann, bob) = (w.connect(0, connect), w.join(1, V5, "bob"));
    w.subscribe(ann, "a", Q2);
    let large = "x".repeat(100);
    for number in 1..=3 {
        w.publish(bob, message_1(number, "a", &large));
    }
    w.publish(bob, message_2(4, "a", &large));
    w.publish(bob, message_1(5, "a", "fits"));
    w.publish(bob, message("a", &large));
    assert_eq!(w.read(bob).len(), 5, "the publisher is told nothing of it");
    assert_eq!(w.read(ann), [r#"a "fits" q1 #1"#]);
    w.puback(ann, 1);
    w.run();
    assert_eq!(w.dropped(), [("packet_too_large", 5)]);
}

#[test]
fn the_end_of_the_broker_fits_too() {
    let mut w = World::new(1);
    let ann = w.connect(0, taking("ann", 20));
    w.send_bytes(ann, b"\xf0\x02\x99\x00");
    assert!(sizes(&mut w, ann).iter().all(|bytes| *bytes <= 20));
    let told = w.read(ann);
    assert_eq!(told.last().map(String::as_str), Some("closed"));
    assert!(ReasonCode::try_from(0x99).is_ok() && told[0].starts_with("DISCONNECT"), "{told:?}");
}
