//! MQTT 5 sections 4.4 to 4.6: message delivery retry, receipt and ordering.

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Ack, Connect, Packet, QoS, ReasonCode, Version};

/// What is sent behind the CONNACK of the session's next connection, on `shard`.
fn resumed(w: &mut World, client: Client, shard: usize) -> (Client, Vec<String>) {
    let version = w.wires[client.0].version;
    w.vanish(client);
    let (client, mut lines) = w.connect_and_read(shard, durable(version, "ann"));
    assert!(lines.remove(0).starts_with("CONNACK 00"));
    (client, lines)
}

/// What [MQTT-4.4.0-1] says of both versions.
pub fn what_is_unacknowledged_is_sent_again_on_reconnect_only(version: Version) {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(version, "ann"));
    w.subscribe(ann, "+", Q2);
    let bob = w.join(1, version, "bob");
    for (number, topic) in [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")] {
        if number % 2 == 1 {
            w.publish(bob, message_1(number, topic, "x"));
        } else {
            w.publish(bob, message_2(number, topic, "x"));
        }
    }
    assert_eq!(w.read(ann).len(), 5);
    w.puback(ann, 1);
    w.pubrec(ann, 2);
    w.puback(ann, 5);
    assert_eq!(w.read(ann), ["PUBREL #2"]);
    w.pass_secs(86_400);
    w.ping(ann);
    let mut ann = ann;
    for shard in [1, 0] {
        let (again, seen) = resumed(&mut w, ann, shard);
        assert_eq!(seen, ["PUBREL #2", r#"c "x" q1 #3 dup"#, r#"d "x" q2 #4 dup"#], "{version}");
        w.pass_secs(86_400);
        w.ping(again);
        ann = again;
    }
    // Without the session there is nothing to send again.
    w.vanish(ann);
    let (_, seen) = w.connect_and_read(0, Connect::new(version, "ann", true));
    assert_eq!(seen, ["CONNACK 00"]);
}

/// [MQTT-4.4.0-1] When a session is resumed, every unacknowledged PUBLISH and PUBREL goes out again with its packet id; at no other time, however long it takes.
#[test]
fn mqtt_4_4_0_1_what_is_unacknowledged_is_sent_again_on_reconnect_only() {
    what_is_unacknowledged_is_sent_again_on_reconnect_only(V5);
}

/// [MQTT-4.4.0-2] A PUBACK or PUBREC of 0x80 or above acknowledges: the message is not sent again.
#[test]
fn mqtt_4_4_0_2_an_error_acknowledges_too() {
    let codes = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99].map(ReasonCode::try_from);
    for reason in codes.map(|code| code.expect("of tables 3-4 and 3-5")) {
        let mut w = World::new(2);
        let ann = w.connect(0, durable(V5, "ann"));
        w.subscribe(ann, "a", Q2);
        let bob = w.join(1, V5, "bob");
        w.publish(bob, message_1(1, "a", "one"));
        w.publish(bob, message_2(2, "a", "two"));
        w.publish(bob, message_2(3, "a", "three"));
        assert_eq!(w.read(ann).len(), 3);
        w.send(ann, Packet::Puback(Ack::with_reason(id(1), reason)));
        w.send(ann, Packet::Pubrec(Ack::with_reason(id(2), reason)));
        w.run();
        let (_, seen) = resumed(&mut w, ann, 0);
        assert_eq!(seen, [r#"a "three" q2 #3 dup"#], "{reason:?}");
    }
}

/// What [MQTT-4.5.0-1] says of both versions: sessions here and elsewhere, connected and not, through every kind of filter.
pub fn a_message_reaches_every_session_that_subscribes(version: Version) {
    let mut w = World::new(3);
    let mut clients = Vec::new();
    for (number, filter) in ["a/b", "a/+", "a/#", "#", "+/b", "+/+"].into_iter().enumerate() {
        for shard in 0..3 {
            let name = format!("c{number}.{shard}");
            let client = w.connect(shard, durable(version, &name));
            w.subscribe(client, filter, Q1);
            if (number + shard) % 2 == 0 {
                w.vanish(client);
            }
            clients.push((name, client, (number + shard) % 2 == 0));
        }
    }
    let other = w.join(0, version, "other");
    w.subscribe(other, "a/c", Q1);
    let bob = w.join(1, version, "bob");
    w.publish(bob, message_1(1, "a/b", "x"));
    assert_eq!(w.read(bob), ["PUBACK #1"]);
    for (name, client, away) in clients {
        let seen = if away {
            let (_, mut seen) = w.connect_and_read(0, durable(version, &name));
            seen.remove(0);
            seen
        } else {
            w.read(client)
        };
        assert_eq!(seen, [r#"a/b "x" q1 #1"#], "{name}, {version}");
    }
    assert!(w.read(other).is_empty());
}

/// [MQTT-4.5.0-1] A message that is acknowledged is with every session that subscribes it, connected or not, on whichever shard.
#[test]
fn mqtt_4_5_0_1_a_message_reaches_every_session_that_subscribes() {
    a_message_reaches_every_session_that_subscribes(V5);
}

/// Acknowledges what `lines` ask for, some of it only later.
fn answer(w: &mut World, client: Client, lines: &[String]) {
    for line in lines {
        let number = || {
            let number = line.split('#').nth(1).expect("a packet id").split(' ').next();
            number.expect("the id itself").parse().expect("a number")
        };
        if line.starts_with("PUBREL") {
            w.pubcomp(client, number());
        } else if line.contains(" q1 ") {
            w.puback(client, number());
        } else if line.contains(" q2 ") {
            w.pubrec(client, number());
        }
    }
}

/// The payloads that a subscriber gets of 150 messages per publisher, in order, while its connection breaks once and it is slow.
fn received_in_order(version: Version, subscribed: QoS, published: QoS) {
    let mut w = World::new(3);
    let mut ann = w.connect(2, durable(version, "ann"));
    w.subscribe(ann, "t/#", subscribed);
    w.subscribe(ann, "+/x", subscribed);
    let publishers = [w.join(0, version, "p0"), w.join(1, version, "p1"), w.join(2, version, "p2")];
    let mut seen: Vec<Vec<u32>> = vec![Vec::new(); 3];
    for number in 0..150u32 {
        for (index, publisher) in publishers.iter().enumerate() {
            let payload = format!("{index} {number}");
            match published {
                Q0 => w.publish(*publisher, message("t/x", &payload)),
                Q1 => w.publish(*publisher, message_1(1, "t/x", &payload)),
                Q2 => {
                    w.publish(*publisher, message_2(1, "t/x", &payload));
                    w.pubrel(*publisher, 1);
                }
            }
        }
        w.turn(number as usize % 3);
        if number == 70 && subscribed > Q0 && published > Q0 {
            w.run();
            ann = w.dial(2, durable(version, "ann"));
        }
        if number % 5 == 0 {
            let lines = w.read_now(ann);
            answer(&mut w, ann, &lines);
            note(&mut seen, &lines);
        }
    }
    loop {
        let lines = w.read(ann);
        if lines.is_empty() {
            break;
        }
        answer(&mut w, ann, &lines);
        note(&mut seen, &lines);
    }
    for numbers in seen {
        assert_eq!(numbers, (0..150).collect::<Vec<u32>>(), "{version} {subscribed:?} {published:?}");
    }
}

/// What was not seen before, as it may come again over the second connection.
fn note(seen: &mut [Vec<u32>], lines: &[String]) {
    for line in lines {
        let payload = line.split('"').nth(1);
        let Some((publisher, number)) = payload.and_then(|payload| payload.split_once(' ')) else { continue };
        let numbers = &mut seen[publisher.parse::<usize>().expect("a publisher")];
        let number = number.parse().expect("a number");
        if !(line.contains(" dup") && numbers.contains(&number)) {
            numbers.push(number);
        }
    }
}

/// What [MQTT-4.6.0-5] says of both versions.
pub fn messages_of_a_publisher_arrive_in_order(version: Version) {
    for (subscribed, published) in [(Q0, Q0), (Q0, Q2), (Q1, Q1), (Q2, Q1), (Q1, Q2), (Q2, Q2)] {
        received_in_order(version, subscribed, published);
    }
}

/// [MQTT-4.6.0-5] Messages of one publisher with the same topic and QoS arrive in the order in which they came, across shards, queues and reconnects.
#[test]
fn mqtt_4_6_0_5_messages_of_a_publisher_arrive_in_order() {
    messages_of_a_publisher_arrive_in_order(V5);
}

/// What [MQTT-4.6.0-6] says of both versions: every topic is ordered, also those that begin with `$`, of many receivers, and with large and small messages mixed.
pub fn every_topic_is_ordered(version: Version) {
    for topic in ["a", "$internal/a", "a/b/c", "/"] {
        let mut w = World::limited_with_shards(2, |limits| limits.fan_out_batch = 2);
        let clients: Vec<Client> =
            (0..7).map(|number| w.join(number % 2, version, &format!("c{number}"))).collect();
        for client in &clients {
            w.subscribe(*client, topic, Q1);
        }
        let bob = w.join(0, version, "bob");
        for number in 0..40u16 {
            let payload = format!("{number} {}", "x".repeat(if number % 3 == 0 { 9_000 } else { 1 }));
            w.publish(bob, message_1(number + 1, topic, &payload));
            w.turn(usize::from(number) % 2);
        }
        w.run();
        for client in clients {
            let bytes = std::mem::take(&mut w.wires[client.0].from_broker);
            let numbers: Vec<u16> = order_of(&bytes, topic, version);
            assert_eq!(numbers, (0..40).collect::<Vec<u16>>(), "{topic}, {version}");
        }
    }
}

/// The numbers with which the payloads begin.
fn order_of(bytes: &[u8], topic: &str, version: Version) -> Vec<u16> {
    // Topic, packet id, in v5 the length of no properties.
    let head = [&(topic.len() as u16).to_be_bytes()[..], topic.as_bytes()].concat();
    let skip = head.len() + 2 + usize::from(version.is_v5());
    let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&head));
    let number = |at: usize| {
        std::str::from_utf8(&bytes[at + skip..]).ok().or_else(|| {
            let end = bytes[at + skip..].iter().position(|byte| *byte == b' ')?;
            std::str::from_utf8(&bytes[at + skip..at + skip + end]).ok()
        })
    };
    let parsed = starts.filter_map(|at| number(at)?.split(' ').next()?.parse().ok());
    parsed.collect()
}

/// [MQTT-4.6.0-6] Every topic is an ordered topic: none is treated otherwise.
#[test]
fn mqtt_4_6_0_6_every_topic_is_ordered() {
    every_topic_is_ordered(V5);
}
