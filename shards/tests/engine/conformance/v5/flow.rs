//! MQTT 5 section 4.9, flow control.

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Ack, Packet, ReasonCode};

/// A subscriber of `a` with this Receive Maximum, 0 for none, and a publisher of many messages of QoS 1 and 2 to it.
fn flooded(receive_maximum: u16) -> (World, Client, Client) {
    let mut w = World::limited_with_shards(2, |limits| limits.in_flight_max = 40);
    let ann = w.connect(0, durable_taking("ann", receive_maximum));
    w.subscribe(ann, "a", Q2);
    let bob = w.join(1, V5, "bob");
    flood(&mut w, bob, 100);
    (w, ann, bob)
}

fn flood(w: &mut World, bob: Client, count: u16) {
    for number in 1..=count {
        if number % 2 == 0 {
            w.publish(bob, message_1(number, "a", "x"));
        } else {
            w.publish(bob, message_2(number, "a", "x"));
            w.pubrel(bob, number);
        }
    }
    w.run();
}

/// Whatever a PUBLISH among `lines` is: with its packet id and QoS.
fn started(lines: &[String]) -> Vec<(u16, bool)> {
    let publishes = lines.iter().filter(|line| line.starts_with("a "));
    let parse = |line: &String| {
        let number = line.split('#').nth(1)?.split(' ').next()?.parse().ok()?;
        Some((number, line.contains(" q2 ")))
    };
    publishes.filter_map(parse).collect()
}

/// [MQTT-4.9.0-1] The send quota of a new connection is the client's Receive Maximum, or our own limit where that is lower; never 0.
#[test]
fn mqtt_4_9_0_1_the_quota_starts_at_the_receive_maximum() {
    for (receive_maximum, quota) in [(1, 1), (2, 2), (7, 7), (40, 40), (41, 40), (u16::MAX, 40), (0, 40)] {
        let (mut w, ann, _) = flooded(receive_maximum);
        assert_eq!(started(&w.read(ann)).len(), quota, "{receive_maximum}");
        // It starts anew with the next connection, whatever that one asks for, and what is sent again uses it.
        w.vanish(ann);
        let (_, seen) = w.connect_and_read(0, durable_taking("ann", 3));
        assert_eq!(started(&seen).len(), 3, "{receive_maximum}");
    }
}

/// [MQTT-4.9.0-2] Each PUBLISH of QoS 1 or 2 uses one, and at 0 no more are sent; PUBACK, PUBCOMP and a PUBREC of 0x80 or above give one back, and never more than there was.
#[test]
fn mqtt_4_9_0_2_at_quota_zero_no_more_is_sent() {
    let (mut w, ann, _) = flooded(5);
    let mut open = started(&w.read(ann));
    assert_eq!(open.len(), 5);
    let mut got = 5;
    let mut refuses = false;
    while let Some((number, qos_2)) = open.first().copied() {
        open.remove(0);
        if !qos_2 {
            w.puback(ann, number);
        } else if refuses {
            w.send(ann, Packet::Pubrec(Ack::with_reason(id(number), ReasonCode::UnspecifiedError)));
        } else {
            w.pubrec(ann, number);
            assert_eq!(w.read(ann), [format!("PUBREL #{number}")], "PUBREC gives nothing back");
            w.pubcomp(ann, number);
        }
        refuses ^= qos_2;
        // A second time they answer nothing.
        w.puback(ann, number);
        w.pubcomp(ann, number);
        let more = started(&w.read(ann));
        assert_eq!(more.len(), usize::from(got < 100), "one for one");
        got += more.len();
        open.extend(more);
        assert!(open.len() <= 5);
    }
    assert_eq!(got, 100);
}

/// [MQTT-4.9.0-3] At quota 0, in either direction, every other packet is processed and answered at once.
#[test]
fn mqtt_4_9_0_3_at_quota_zero_everything_else_goes_on() {
    let (mut w, ann, bob) = flooded(1);
    let limit = w.shard(0).statistics();
    assert_eq!(started(&w.read(ann)).len(), 1);
    for round in 0..3u16 {
        w.ping(ann);
        w.subscribe(ann, "b", Q1);
        w.publish(bob, message("b", "QoS 0 uses none"));
        assert_eq!(w.read(ann), [r#"b "QoS 0 uses none""#]);
        w.publish(ann, message_1(9, "c", ""));
        w.publish(ann, message_2(10, "c", ""));
        w.pubrel(ann, 10);
        w.pubrel(ann, 77);
        w.pubrec(ann, 77);
        let mut seen = w.read(ann);
        // What waits for the log may come behind what does not.
        seen.sort();
        let expected = ["PUBACK #9 10", "PUBCOMP #10", "PUBCOMP #77 92", "PUBREC #10 10", "PUBREL #77 92"];
        assert_eq!(seen, expected);
        w.unsubscribe(ann, &["b"]);
        assert_eq!(w.read(ann), [format!("UNSUBACK #{} [00]", 1_002 + 2 * round)]);
    }
    assert_eq!(w.shard(0).statistics().dropped, limit.dropped);
    // Towards us: all ids in use, and everything else is taken.
    let mut w = World::limited(|limits| limits.receive_maximum = 2);
    let cid = w.join(0, V5, "cid");
    w.publish(cid, message_2(1, "c", ""));
    w.publish(cid, message_2(2, "c", ""));
    assert_eq!(w.read(cid).len(), 2);
    w.ping(cid);
    w.publish(cid, message("c", "QoS 0"));
    w.subscribe(cid, "d", Q1);
    w.pubrel(cid, 2);
    assert_eq!(w.read(cid), ["PUBCOMP #2"]);
    w.leave(cid, ReasonCode::Success);
}
