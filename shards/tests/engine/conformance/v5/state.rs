//! MQTT 5 sections 4.1 and 4.2, session state and network connections. The statement about connections is tested over sockets
//! (src/tests/conformance_transport.rs).

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Connect, ConnectProperties, ReasonCode, Version};

/// A session with everything in it that a session has: a subscription, a message on its way in each state, a received id.
/// With who has published to it.
pub fn full_session(w: &mut World, connect: Connect<'_>) -> (Client, Client) {
    let ann = w.connect(0, connect);
    w.subscribe(ann, "a", Q2);
    let bob = w.join(1, connect.version, "bob");
    w.publish(bob, message_1(1, "a", "one"));
    w.publish(bob, message_2(2, "a", "two"));
    w.publish(bob, message_2(3, "a", "three"));
    w.publish(ann, message_2(7, "elsewhere", "x"));
    w.run();
    w.pubrec(ann, 3);
    assert_eq!(w.read(ann).len(), 5);
    (ann, bob)
}

/// What is left of it, over the connection that it has.
fn is_all_there(w: &mut World, ann: Client) {
    w.pubrec(ann, 2);
    w.puback(ann, 1);
    w.pubcomp(ann, 3);
    assert_eq!(w.read(ann), ["PUBREL #2"]);
    w.pubcomp(ann, 2);
    w.publish(ann, message_2(7, "a", "a repetition"));
    let mut answer = w.read(ann);
    assert_eq!(answer.len(), 1, "{answer:?}");
    assert!(answer.remove(0).starts_with("PUBREC #7"));
    w.pubrel(ann, 7);
    assert_eq!(w.read(ann), ["PUBCOMP #7"]);
    let bob = w.join(1, V5, "again");
    w.publish(bob, message("a", "live"));
    assert_eq!(w.read(ann), [r#"a "live""#]);
}

/// What [MQTT-4.1.0-1] says, and [MQTT-4.1.0-2] of 3.1.1: for days, however short the session would last without a connection.
pub fn a_connected_session_is_kept(version: Version, connect: Connect<'_>) {
    let mut w = World::new(2);
    let (ann, _) = full_session(&mut w, Connect { version, ..connect });
    w.pass_secs(3 * 86_400);
    w.ping(ann);
    is_all_there(&mut w, ann);
}

fn expiring(seconds: Option<u32>) -> Connect<'static> {
    let properties = ConnectProperties { session_expiry: seconds, ..Default::default() };
    Connect { properties, ..Connect::new(V5, "ann", false) }
}

/// [MQTT-4.1.0-1] While its connection is open a session keeps its state, whatever its Session Expiry Interval.
#[test]
fn mqtt_4_1_0_1_a_connected_session_is_kept() {
    for seconds in [None, Some(0), Some(1), Some(1_000)] {
        a_connected_session_is_kept(V5, expiring(seconds));
    }
}

/// [MQTT-4.1.0-2] A session is discarded when its Session Expiry Interval has passed since its connection ended, and not before.
#[test]
fn mqtt_4_1_0_2_an_expired_session_is_discarded() {
    for seconds in [0, 1, 100, 100_000] {
        for shard in [0, 1] {
            let mut w = World::new(2);
            let (ann, _) = full_session(&mut w, expiring(Some(seconds)));
            w.vanish(ann);
            w.pass_secs(u64::from(seconds) + 2);
            let sizes = w.shard(0).sizes();
            assert_eq!((sizes.sessions, sizes.filters, w.shard(0).copies_waiting()), (0, 0, (0, 0)));
            let (_, seen) = w.connect_and_read(shard, expiring(Some(seconds)));
            assert_eq!(seen, ["CONNACK 00"]);
        }
    }
    for seconds in [5, 100, 100_000] {
        let mut w = World::new(2);
        let (ann, _) = full_session(&mut w, expiring(Some(seconds)));
        w.vanish(ann);
        w.pass_secs(u64::from(seconds) - 2);
        let (ann, seen) = w.connect_and_read(1, expiring(Some(seconds)));
        assert_eq!(seen[0], "CONNACK 00 present");
        is_all_there(&mut w, ann);
    }
    // A session that never expires.
    let mut w = World::new(2);
    let ann = w.connect(0, expiring(Some(u32::MAX)));
    w.leave(ann, ReasonCode::Success);
    w.pass_secs(10 * 365 * 86_400);
    let (ann, seen) = w.connect_and_read(1, expiring(Some(u32::MAX)));
    assert_eq!(seen, ["CONNACK 00 present"]);
    w.leave_with(ann, ReasonCode::Success, Some(0));
}
