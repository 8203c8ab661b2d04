//! What the operator offers: capabilities switched off, another server, response information, payloads looked at.

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::shard::{Capabilities, Redirect, Terms};
use shardmq_shards::wire::{
    Connect, ConnectProperties, Publish, PublishProperties, QoS, SubscriptionOptions, Version, Will,
    WillProperties,
};

fn offering(terms: Terms) -> World {
    World::with(Settings { shards: 2, terms, ..Settings::default() })
}

fn capable(change: impl FnOnce(&mut Capabilities)) -> World {
    let mut capabilities = Capabilities::default();
    change(&mut capabilities);
    offering(Terms { capabilities, ..Terms::default() })
}

fn will(qos: QoS, retain: bool) -> Will<'static> {
    Will { qos, retain, topic: "gone", payload: b"x", properties: Default::default() }
}

/// What a client with `will` is answered.
fn answer_to_will(w: &mut World, version: Version, will: Will<'_>) -> Vec<String> {
    let client = w.dial(0, Connect { will: Some(will), ..Connect::new(version, "will", true) });
    w.read(client)
}

/// `breach` closes the connection, in v5 with `code`.
fn closes(w: &mut World, version: Version, code: &str, breach: impl FnOnce(&mut World, Client)) {
    let client = w.join(1, version, "breaker");
    breach(w, client);
    let told = format!("DISCONNECT {code}");
    let expected: &[&str] = if version.is_v5() { &[&told, "closed"] } else { &["closed"] };
    assert_eq!(w.read(client), expected, "{version}");
}

#[test]
fn a_maximum_qos_binds_publications_and_wills_and_lowers_what_is_granted() {
    let mut w = capable(|capabilities| capabilities.maximum_qos = Q1);
    for version in Version::ALL {
        closes(&mut w, version, "9b", |w, ann| w.publish(ann, message_2(1, "a", "")));
        let refused = if version.is_v5() { "CONNACK 9b" } else { "CONNACK 88" };
        assert_eq!(answer_to_will(&mut w, version, will(Q2, false)), [refused, "closed"]);
        assert_eq!(answer_to_will(&mut w, version, will(Q1, false)), ["CONNACK 00"]);
        let bob = w.join(0, version, "bob");
        w.subscribe_all(bob, &[("a", Q2), ("b", Q0)]);
        assert_eq!(w.read(bob), ["SUBACK #1000 [01, 00]"], "MQTT-3.2.2-10");
        w.publish(bob, message_1(1, "a", "1"));
        let puback = w.read(bob);
        assert!(puback.contains(&r#"a "1" q1 #1"#.to_string()), "{puback:?}");
    }
}

#[test]
fn without_retained_messages_none_is_taken() {
    let mut w = capable(|capabilities| capabilities.retain = false);
    for version in Version::ALL {
        closes(&mut w, version, "9a", |w, ann| w.publish(ann, retained(message("a", ""))));
        let refused = if version.is_v5() { "CONNACK 9a" } else { "CONNACK 88" };
        assert_eq!(answer_to_will(&mut w, version, will(Q0, true)), [refused, "closed"]);
    }
}

#[test]
fn filters_that_are_not_available_close_v5_and_are_refused_in_v3() {
    for (filter, code) in [("a/+", "a2"), ("#", "a2"), ("$share/g/a", "9e")] {
        let mut w = capable(|capabilities| {
            capabilities.wildcard_subscriptions = false;
            capabilities.shared_subscriptions = false;
        });
        let subscribe = |w: &mut World, client| w.subscribe_all(client, &[("a", Q1), (filter, Q1)]);
        closes(&mut w, V5, code, subscribe);
        for (version, told) in [(V311, "SUBACK #1000 [01, 80]"), (V31, "SUBACK #1000 [01, 00]")] {
            let ann = w.join(0, version, "ann");
            subscribe(&mut w, ann);
            assert_eq!(w.read(ann), [told], "3.1 has no word for it");
        }
    }
}

#[test]
fn a_subscription_identifier_that_is_not_available_closes() {
    let mut w = capable(|capabilities| capabilities.subscription_identifiers = false);
    closes(&mut w, V5, "a1", |w, ann| w.subscribe_with(ann, "a", SubscriptionOptions::with_qos(Q0), Some(5)));
    let bob = w.join(0, V5, "bob");
    w.subscribe(bob, "a", Q0);
}

#[test]
fn connack_says_what_is_not_available_and_nothing_of_what_is() {
    let mut w = capable(|capabilities| {
        *capabilities = Capabilities {
            maximum_qos: Q0,
            retain: false,
            wildcard_subscriptions: false,
            subscription_identifiers: false,
            shared_subscriptions: false,
        };
    });
    let ann = w.dial(0, Connect::new(V5, "ann", true));
    w.run();
    w.connack(ann, |connack| {
        let properties = connack.properties;
        assert_eq!((properties.maximum_qos, properties.retain_available), (Some(Q0), Some(false)));
        assert_eq!(properties.wildcard_available, Some(false));
        assert_eq!(properties.subscription_ids_available, Some(false));
        assert_eq!(properties.shared_available, Some(false));
    });
    let mut w = World::new(1);
    let ann = w.dial(0, Connect::new(V5, "ann", true));
    w.run();
    w.connack(ann, |connack| {
        let properties = connack.properties;
        assert_eq!((properties.maximum_qos, properties.retain_available), (None, None));
        assert_eq!(properties.wildcard_available, None);
        assert_eq!(properties.subscription_ids_available, None);
        assert_eq!(properties.shared_available, None);
    });
}

#[test]
fn response_information_is_told_to_who_asks() {
    let template = Some("resp/{client_id}/".into());
    let mut w = offering(Terms { response_information: template, ..Terms::default() });
    let mut answer = |client_id, asks| {
        let properties = ConnectProperties { request_response_information: asks, ..Default::default() };
        let client = w.dial(0, Connect { properties, ..Connect::new(V5, client_id, true) });
        w.read(client)
    };
    assert_eq!(answer("ann", Some(true)), ["CONNACK 00 response=resp/ann/"]);
    assert_eq!(answer("ann", Some(false)), ["CONNACK 00"]);
    assert_eq!(answer("ann", None), ["CONNACK 00"]);
    assert_eq!(answer("an#n", Some(true)), ["CONNACK 00"], "no topic could begin like that");
}

#[test]
fn response_information_is_left_out_when_it_does_not_fit() {
    let mut w = offering(Terms { response_information: Some("r".repeat(100).into()), ..Terms::default() });
    let properties = ConnectProperties {
        request_response_information: Some(true),
        maximum_packet_size: std::num::NonZeroU32::new(60),
        ..Default::default()
    };
    let ann = w.dial(0, Connect { properties, ..Connect::new(V5, "ann", true) });
    assert_eq!(w.read(ann), ["CONNACK 00"]);
}

#[test]
fn new_clients_are_sent_to_the_other_server() {
    for (permanent, code) in [(false, "9c"), (true, "9d")] {
        let redirect = Some(Redirect { to: "other:1883".into(), permanent, only_when_stopping: false });
        let mut w = offering(Terms { redirect, ..Terms::default() });
        let v5 = w.dial(0, Connect::new(V5, "ann", true));
        assert_eq!(w.read(v5), [format!("CONNACK {code} to=other:1883"), "closed".into()]);
        let v3 = w.dial(1, Connect::new(V311, "ann", true));
        assert_eq!(w.read(v3), ["CONNACK 88", "closed"], "server unavailable, return code 3");
    }
}

#[test]
fn those_that_are_here_when_the_broker_stops_are_sent_away() {
    let redirect = Some(Redirect { to: "other:1883".into(), permanent: false, only_when_stopping: true });
    let mut w = offering(Terms { redirect, ..Terms::default() });
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V311, "bob"));
    let properties =
        ConnectProperties { maximum_packet_size: std::num::NonZeroU32::new(16), ..Default::default() };
    let tiny = w.connect(1, Connect { properties, ..Connect::new(V5, "tiny", true) });
    w.request_shutdown();
    assert_eq!(w.read(ann), ["DISCONNECT 9c to=other:1883", "closed"]);
    assert_eq!(w.read(bob), ["closed"]);
    assert_eq!(w.read(tiny), ["DISCONNECT 9c", "closed"], "the reference does not fit");
}

fn text(publish: Publish<'static>, utf8: Option<bool>, payload: &'static [u8]) -> Publish<'static> {
    let properties = PublishProperties { payload_format_utf8: utf8, ..Default::default() };
    Publish { properties, payload, ..publish }
}

#[test]
fn a_payload_that_is_not_the_text_that_it_is_said_to_be_is_refused_when_that_is_asked_for() {
    let mut w = offering(Terms { check_payload_format: true, ..Terms::default() });
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V5, "bob"));
    w.subscribe(bob, "a", Q2);
    w.publish(ann, text(message_1(1, "a", ""), Some(true), b"\xff"));
    w.publish(ann, text(message_2(2, "a", ""), Some(true), b"\xff"));
    assert_eq!(w.read(ann), ["PUBACK #1 99", "PUBREC #2 99"]);
    assert_eq!(w.read(bob), [""; 0]);
    // The exchange is over: the packet identifier is free for another message.
    w.publish(ann, text(message_2(2, "a", ""), Some(true), "\u{20ac}".as_bytes()));
    w.publish(ann, text(message_1(1, "a", ""), Some(false), b"\xff"));
    w.publish(ann, text(message_1(3, "a", ""), None, b"\xff"));
    assert_eq!(w.read(ann), ["PUBREC #2", "PUBACK #1", "PUBACK #3"]);
    assert_eq!(w.read(bob).len(), 3);
    w.publish(ann, text(message("a", ""), Some(true), b"\xff"));
    assert_eq!(w.read(ann), ["DISCONNECT 99", "closed"]);
}

#[test]
fn refused_payloads_use_no_quota_for_good() {
    let terms = Terms { check_payload_format: true, ..Terms::default() };
    let mut settings = Settings { terms, ..Settings::default() };
    settings.limits.receive_maximum = 2;
    let mut w = World::with(settings);
    let ann = w.join(0, V5, "ann");
    for number in 1..=10 {
        w.publish(ann, text(message_1(number, "a", ""), Some(true), b"\xff"));
        w.publish(ann, text(message_2(number + 10, "a", ""), Some(true), b"\xff"));
    }
    assert_eq!(w.read(ann).len(), 20);
    w.ping(ann);
}

#[test]
fn the_payload_of_a_will_is_looked_at_too_and_nothing_is_unless_asked_for() {
    let properties = WillProperties { payload_format_utf8: Some(true), ..Default::default() };
    let broken = Will { payload: b"\xff", properties, ..will(Q0, false) };
    let mut w = offering(Terms { check_payload_format: true, ..Terms::default() });
    assert_eq!(answer_to_will(&mut w, V5, broken), ["CONNACK 99", "closed"]);
    let mut w = World::new(1);
    assert_eq!(answer_to_will(&mut w, V5, broken), ["CONNACK 00"]);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, text(message_1(1, "a", ""), Some(true), b"\xff"));
    assert_eq!(w.read(ann), ["PUBACK #1 10"]);
}
