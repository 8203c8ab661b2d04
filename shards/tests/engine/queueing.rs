//! What waits for a client: windows, queues with exact drop counts, expiry, Maximum Packet Size, back-pressure.

use crate::verbs::*;
use crate::world::World;
use shardmq_shards::wire::{
    Connect, ConnectProperties, Packet, Publish, PublishProperties, ReasonCode, Will, WillProperties,
};
use std::num::NonZeroU32;

fn expiring<'a>(publish: Publish<'a>, seconds: u32) -> Publish<'a> {
    let properties = PublishProperties { message_expiry: Some(seconds), ..publish.properties };
    Publish { properties, ..publish }
}

#[test]
fn the_window_is_the_lower_of_both_sides_and_the_queue_drops_what_is_over() {
    let mut w = World::limited(|limits| {
        limits.in_flight_max = 2;
        limits.queue_messages_max = 3;
    });
    let ann = w.join(0, V311, "ann");
    w.subscribe(ann, "a", Q1);
    let bob = w.join(0, V5, "bob");
    for number in 1..=9 {
        w.publish(bob, message_1(number, "a", &number.to_string()));
    }
    assert_eq!(w.read(bob).len(), 9, "a full queue of one subscriber is not the publisher's concern");
    assert_eq!(w.read(ann), [r#"a "1" q1 #1"#, r#"a "2" q1 #2"#]);
    assert_eq!(w.dropped(), [("queue_full", 4)]);
    assert_eq!(w.shard(0).copies_waiting(), (3, 2));
    for number in 1..=5 {
        w.puback(ann, number);
        w.run();
    }
    assert_eq!(w.read(ann), [r#"a "3" q1 #3"#, r#"a "4" q1 #4"#, r#"a "5" q1 #5"#]);
    assert_eq!((w.count("copies"), w.count("delivered")), (9, 5));
}

#[test]
fn the_queue_is_bounded_in_bytes_but_takes_one_message_of_any_size() {
    let mut w = World::limited(|limits| {
        limits.queue_bytes_max = 10_000;
        limits.queue_disk_bytes_max = 0;
    });
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "a", Q1);
    w.vanish(ann);
    let bob = w.join(0, V5, "bob");
    let (large, small) = ("x".repeat(50_000), "y".repeat(3_000));
    w.publish(bob, message_1(1, "a", &large));
    w.publish(bob, message_1(2, "a", &small));
    w.run();
    assert_eq!((w.shard(0).copies_waiting(), w.dropped()), ((1, 0), vec![("queue_full", 1)]));
    let ann = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(ann.1.len(), 2);
    w.puback(ann.0, 1);
    w.vanish(ann.0);
    for number in 3..=6 {
        w.publish(bob, message_1(number, "a", &small));
    }
    w.run();
    assert_eq!((w.shard(0).copies_waiting(), w.dropped()), ((3, 0), vec![("queue_full", 2)]));
}

#[test]
fn an_offline_session_keeps_qos_1_and_2_and_not_qos_0() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "a", Q2);
    w.leave(ann, ReasonCode::Success);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, message("a", "zero"));
    w.publish(bob, message_1(1, "a", "one"));
    w.publish(bob, message_2(2, "a", "two"));
    w.run();
    assert_eq!(w.dropped(), [("offline_qos0", 1)]);
    let (_, seen) = w.connect_and_read(1, durable(V5, "ann"));
    assert_eq!(seen, ["CONNACK 00 present", r#"a "one" q1 #1"#, r#"a "two" q2 #2"#]);
}

#[test]
fn a_queued_message_expires_or_says_what_is_left() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "a", Q1);
    w.vanish(ann);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, expiring(message_1(1, "a", "short"), 5));
    w.publish(bob, expiring(message_1(2, "a", "long"), 60));
    w.publish(bob, message_1(3, "a", "forever"));
    w.pass_secs(20);
    let (ann, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(seen, ["CONNACK 00 present", r#"a "long" q1 #1 expiry=40"#, r#"a "forever" q1 #2"#]);
    assert_eq!(w.count("expired"), 1);
    w.pass_secs(60);
    w.vanish(ann);
    let (_, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(
        seen[1..],
        [r#"a "long" q1 #1 dup expiry=0"#, r#"a "forever" q1 #2 dup"#],
        "sent once is kept"
    );
}

#[test]
fn what_has_expired_makes_room_in_a_full_queue() {
    let mut w = World::limited(|limits| limits.queue_messages_max = 3);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "a", Q1);
    w.vanish(ann);
    let bob = w.join(0, V5, "bob");
    for number in 1..=3 {
        w.publish(bob, expiring(message_1(number, "a", "short"), 5));
    }
    w.pass_secs(6);
    w.publish(bob, message_1(4, "a", "new"));
    w.run();
    assert_eq!((w.dropped(), w.count("expired")), (vec![], 3));
    let (_, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(seen[1..], [r#"a "new" q1 #1"#]);
}

#[test]
fn qos_0_waits_for_the_socket_and_is_dropped_when_the_queue_is_full() {
    let mut w = World::limited(|limits| limits.queue_messages_max = 10);
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "a", Q0);
    w.wires[ann.0].space = 0;
    let bob = w.join(0, V5, "bob");
    let payload = "x".repeat(1_000);
    for _ in 0..300 {
        w.publish(bob, message("a", &payload));
        w.run();
    }
    // One buffer is with the socket, one fills behind it, ten messages wait, the rest is dropped.
    let sizes = w.shard(0).sizes();
    assert!(sizes.output_bytes_max < 70_000, "{sizes:?}");
    assert_eq!(w.shard(0).copies_waiting(), (10, 0));
    let dropped = w.dropped();
    let [("queue_full", dropped)] = dropped[..] else { panic!("{dropped:?}") };
    w.wires[ann.0].space = usize::MAX;
    assert_eq!(w.read(ann).len() as u64, 300 - dropped);
    w.publish(bob, message("a", "again"));
    assert_eq!(w.read(ann), [r#"a "again""#]);
}

#[test]
fn qos_0_that_waits_for_a_socket_goes_with_its_connection() {
    let mut w = World::new(1);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "a", Q0);
    w.wires[ann.0].space = 0;
    let bob = w.join(0, V5, "bob");
    let payload = "x".repeat(60_000);
    for _ in 0..6 {
        w.publish(bob, message("a", &payload));
        w.run();
    }
    let (queued, _) = w.shard(0).copies_waiting();
    assert!(queued > 0);
    w.vanish(ann);
    assert_eq!(w.dropped(), [("offline_qos0", queued)]);
}

#[test]
fn packets_over_the_clients_maximum_are_dropped_and_counted() {
    let mut w = World::new(2);
    let taking = |bytes| {
        let maximum_packet_size = NonZeroU32::new(bytes);
        let properties = ConnectProperties { maximum_packet_size, ..durable(V5, "ann").properties };
        shardmq_shards::wire::Connect { properties, ..durable(V5, "ann") }
    };
    let ann = w.connect(0, taking(100));
    w.subscribe(ann, "a", Q1);
    let bob = w.join(1, V5, "bob");
    let (over, fits) = ("x".repeat(100), "y".repeat(92));
    w.publish(bob, message("a", &over));
    w.publish(bob, message_1(1, "a", &over));
    w.publish(bob, message_1(2, "a", &fits));
    assert_eq!(w.read(ann), ["a 92 bytes q1 #1"]);
    assert_eq!(w.dropped(), [("packet_too_large", 2)], "MQTT-3.1.2-25");
    // What was in flight, or waits, does not fit the next connection.
    w.vanish(ann);
    w.publish(bob, message_1(3, "a", &fits));
    w.publish(bob, message_1(4, "a", "small"));
    w.run();
    let (ann, seen) = w.connect_and_read(0, taking(60));
    assert_eq!(seen, ["CONNACK 00 present", r#"a "small" q1 #2"#], "MQTT-3.1.2-24");
    assert_eq!(w.dropped(), [("packet_too_large", 4)]);
    w.puback(ann, 2);
    w.run();
    assert_eq!(w.shard(0).copies_waiting(), (0, 0));
}

#[test]
fn a_copy_that_is_too_large_uses_no_quota_and_no_packet_id() {
    let mut w = World::new(2);
    let mut connect = durable_taking("ann", 1);
    connect.properties.maximum_packet_size = NonZeroU32::new(100);
    let ann = w.connect(0, connect);
    w.subscribe(ann, "a", Q2);
    let bob = w.join(1, V5, "bob");
    let over = "x".repeat(200);
    w.publish(bob, message_1(1, "a", &over));
    w.publish(bob, message_2(2, "a", &over));
    w.publish(bob, message_1(3, "a", "first"));
    assert_eq!(w.read(ann), [r#"a "first" q1 #1"#]);
    // Now the window is used up, and what is too large waits in line like the rest.
    w.publish(bob, message_1(4, "a", &over));
    w.publish(bob, message_2(5, "a", "second"));
    w.publish(bob, message_2(6, "a", &over));
    w.publish(bob, message_1(7, "a", "third"));
    assert!(w.read(ann).is_empty());
    w.puback(ann, 1);
    assert_eq!(w.read(ann), [r#"a "second" q2 #2"#]);
    w.pubrec(ann, 2);
    w.pubcomp(ann, 2);
    let mut said = w.read(ann);
    // PUBREL waits for the log, if there is one.
    said.sort();
    assert_eq!(said, ["PUBREL #2", r#"a "third" q1 #3"#]);
    assert_eq!((w.dropped(), w.count("delivered")), (vec![("packet_too_large", 4)], 2), "MQTT-3.1.2-25");
}

#[test]
fn a_will_in_the_queue_expires_as_any_message() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "w/#", Q1);
    w.vanish(ann);
    for (name, topic, expiry) in [("c1", "w/short", 30), ("c2", "w/long", 300)] {
        let properties =
            WillProperties { delay: Some(50), message_expiry: Some(expiry), ..Default::default() };
        let will = Will { qos: Q1, retain: false, topic, payload: b"will", properties };
        let client = w.connect(1, Connect { will: Some(will), ..durable(V5, name) });
        w.vanish(client);
    }
    // Published after 50 s, 60 s in the queue.
    w.pass_secs(110);
    let (_, seen) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(seen, ["CONNACK 00 present", r#"w/long "will" q1 #1 expiry=240"#]);
    assert_eq!(w.count("expired"), 1);
}

#[test]
fn a_message_of_the_largest_size_does_not_pass_for_unread_replies() {
    let mut w = World::limited(|limits| limits.packet_bytes_max = 4 * 1024 * 1024);
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "a", Q0);
    let bob = w.join(0, V5, "bob");
    let payload = "x".repeat(3 * 1024 * 1024);
    w.read_bytes_max = usize::MAX;
    w.wires[ann.0].space = 0;
    w.publish(bob, message("a", &payload));
    w.run();
    // The first is with the socket, the second waits behind it, and the client goes on as it should.
    w.publish(bob, message("a", &payload));
    w.run();
    w.send(ann, Packet::Pingreq);
    w.run();
    w.wires[ann.0].space = usize::MAX;
    assert_eq!(w.read(ann), ["a 3145728 bytes", "a 3145728 bytes", "PINGRESP"]);
}

#[test]
fn a_client_that_reads_none_of_its_replies_is_closed() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    w.wires[ann.0].space = 0;
    let pings = b"\xc0\x00".repeat(100_000);
    for _ in 0..7 {
        w.send_bytes(ann, &pings);
        w.run();
    }
    w.pass_secs(6);
    assert!(w.wires[ann.0].closed);
    assert_eq!(w.count("timed_out"), 1);
}

#[test]
fn one_message_never_acknowledged_stalls_its_own_client_only() {
    let mut w = World::limited(|limits| limits.in_flight_max = 4);
    let (ann, cid) = (w.join(0, V5, "ann"), w.join(0, V5, "cid"));
    w.subscribe(ann, "a", Q1);
    w.subscribe(cid, "a", Q1);
    let bob = w.join(0, V5, "bob");
    let mut got = 0;
    for number in 1..=100u16 {
        w.publish(bob, message_1(number, "a", "x"));
        let seen = w.read(ann);
        got += seen.len();
        if number > 1 && !seen.is_empty() {
            w.puback(ann, number);
        }
        w.puback(cid, number);
        assert_eq!(w.read(cid).len(), 1);
    }
    assert_eq!(got, 32, "the span of packet ids is 8 windows");
    w.puback(ann, 1);
    assert!(!w.read(ann).is_empty());
}
