//! Wills: when they are published, and when not (MQTT 5 sections 3.1.2.5 and 3.1.3.2).

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Connect, ReasonCode, UserProperties, Version, Will, WillProperties};

/// `connect` with a will of QoS 1 that goes out after `delay` seconds.
fn with_will(connect: Connect<'_>, delay: Option<u32>) -> Connect<'_> {
    let properties = WillProperties { delay, ..Default::default() };
    Connect {
        will: Some(Will { qos: Q1, retain: false, topic: "w", payload: b"will", properties }),
        ..connect
    }
}

/// Two shards and a subscriber of the will on the second.
fn watched() -> (World, Client) {
    let mut w = World::new(2);
    let watcher = w.join(1, V5, "watcher");
    w.subscribe(watcher, "w", Q0);
    (w, watcher)
}

const WILL: &str = r#"w "will""#;

#[test]
fn a_broken_connection_publishes_it_and_a_normal_disconnect_does_not() {
    for version in Version::ALL {
        let (mut w, watcher) = watched();
        let ann = w.connect(0, with_will(Connect::new(version, "ann", true), None));
        w.leave(ann, ReasonCode::Success);
        assert!(w.read(watcher).is_empty(), "MQTT-3.14.4-3");
        let ann = w.connect(0, with_will(Connect::new(version, "ann", true), None));
        w.vanish(ann);
        assert_eq!(w.read(watcher), [WILL]);
        let ann = w.connect(0, with_will(Connect::new(version, "ann", true), None));
        w.end(ann, shardmq_shards::shard::End::Eof);
        assert_eq!(w.read(watcher), [WILL], "closing without DISCONNECT is no farewell");
    }
}

#[test]
fn disconnect_with_will_publishes_it() {
    let (mut w, watcher) = watched();
    let ann = w.connect(0, with_will(Connect::new(V5, "ann", true), None));
    w.leave(ann, ReasonCode::DisconnectWithWill);
    assert_eq!(w.read(watcher), [WILL]);
}

#[test]
fn it_is_published_after_its_delay_once() {
    let (mut w, watcher) = watched();
    let ann = w.connect(0, with_will(durable(V5, "ann"), Some(10)));
    w.vanish(ann);
    w.pass_secs(9);
    assert!(w.read(watcher).is_empty());
    w.pass_secs(2);
    assert_eq!(w.read(watcher), [WILL]);
    w.pass_secs(2_000);
    assert!(w.read(watcher).is_empty(), "once");
    assert_eq!(w.shard(0).sizes().sessions, 0);
}

#[test]
fn a_connection_within_the_delay_silences_it() {
    let (mut w, watcher) = watched();
    let ann = w.connect(0, with_will(durable(V5, "ann"), Some(10)));
    w.vanish(ann);
    w.pass_secs(5);
    let ann = w.connect(1, durable(V5, "ann"));
    w.pass_secs(60);
    assert!(w.read(watcher).is_empty(), "MQTT-3.1.3-9");
    w.vanish(ann);
    w.pass_secs(60);
    assert!(w.read(watcher).is_empty(), "the new connection has no will");
}

#[test]
fn a_takeover_silences_a_delayed_will_and_publishes_one_without_delay() {
    for (delay, published) in [(Some(5), false), (None, true)] {
        let (mut w, watcher) = watched();
        w.connect(0, with_will(durable(V5, "ann"), delay));
        w.connect(1, durable(V5, "ann"));
        w.pass_secs(10);
        assert_eq!(w.read(watcher).len(), usize::from(published));
    }
}

#[test]
fn the_end_of_the_session_publishes_it_before_the_delay_is_over() {
    let (mut w, watcher) = watched();
    let ann = w.connect(0, with_will(durable(V5, "ann"), Some(5_000)));
    w.vanish(ann);
    w.pass_secs(998);
    assert!(w.read(watcher).is_empty());
    w.pass_secs(3);
    assert_eq!(w.read(watcher), [WILL], "the session expires after 1,000 s");
    // Expiry 0: the session ends with the connection.
    let ann = w.connect(0, with_will(Connect::new(V5, "ann", true), Some(5_000)));
    w.vanish(ann);
    assert_eq!(w.read(watcher), [WILL]);
    // A clean start ends the old session.
    let ann = w.connect(0, with_will(durable(V5, "ann"), Some(5_000)));
    w.vanish(ann);
    w.join(1, V5, "ann");
    assert_eq!(w.read(watcher), [WILL]);
    let old = w.connect(0, with_will(durable(V5, "bob"), Some(5_000)));
    w.join(1, V5, "bob");
    assert_eq!(w.read(old), ["DISCONNECT 8e", "closed"]);
    assert_eq!(w.read(watcher), [WILL]);
}

#[test]
fn a_session_that_never_expires_publishes_it_after_the_delay_all_the_same() {
    let (mut w, watcher) = watched();
    let mut connect = durable(V5, "ann");
    connect.properties.session_expiry = Some(u32::MAX);
    let ann = w.connect(0, with_will(connect, Some(7)));
    w.vanish(ann);
    w.pass_secs(8);
    assert_eq!(w.read(watcher), [WILL]);
    connect.clean_start = true;
    connect.properties.session_expiry = None;
    w.connect(0, connect);
}

#[test]
fn it_carries_its_properties_and_its_expiry_starts_when_it_is_published() {
    let (mut w, watcher) = watched();
    let user = [("k", "v")];
    let properties = WillProperties {
        delay: Some(100),
        payload_format_utf8: Some(true),
        message_expiry: Some(30),
        content_type: Some("text"),
        response_topic: Some("r"),
        correlation_data: Some(&[1, 2]),
        user: UserProperties::from_pairs(&user),
    };
    let will = Will { qos: Q2, retain: true, topic: "w", payload: b"will", properties };
    let ann = w.connect(0, Connect { will: Some(will), ..durable(V5, "ann") });
    w.vanish(ann);
    w.pass_secs(101);
    let rest = "utf8=true expiry=30 response=r type=text correlation=[1, 2] k=v";
    assert_eq!(w.read(watcher), [format!(r#"w "will" {rest}"#)]);
    let late = w.join(1, V5, "late");
    w.subscribe_with(late, "w", shardmq_shards::wire::SubscriptionOptions::with_qos(Q2), None);
    let seen = w.read(late);
    assert!(seen[1].starts_with(r#"w "will" q2 #1 retain"#), "{seen:?}");
    w.pass_secs(31);
    let later = w.join(0, V5, "later");
    w.subscribe(later, "w", Q2);
}

#[test]
fn many_wills_at_once_all_arrive() {
    let (mut w, watcher) = watched();
    let clients: Vec<Client> = (0..100)
        .map(|number| w.connect(0, with_will(Connect::new(V5, &format!("c{number}"), true), None)))
        .collect();
    for client in clients {
        w.end(client, shardmq_shards::shard::End::Failed);
    }
    assert_eq!(w.read(watcher).len(), 100, "they wait for slots of the lane");
}

#[test]
fn a_client_may_subscribe_to_its_own_will() {
    let (mut w, _) = watched();
    let ann = w.connect(0, with_will(durable(V5, "ann"), None));
    w.subscribe(ann, "w", Q1);
    w.vanish(ann);
    let (_, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(seen, ["CONNACK 00 present", r#"w "will" q1 #1"#]);
}
