//! MQTT 3.1.1 section 4.4 to 4.6, redelivery, receipt and order.

use crate::conformance::bytes::sent;
use crate::conformance::v5::delivery as both;
use crate::verbs::*;
use crate::world::{Client, World};

/// [MQTT-4.4.0-1] When a session goes on, every unacknowledged PUBLISH and PUBREL goes out again with its packet id.
#[test]
fn mqtt_4_4_0_1_what_is_unacknowledged_is_sent_again_on_reconnect() {
    both::what_is_unacknowledged_is_sent_again_on_reconnect_only(V311);
}

/// [MQTT-4.5.0-1] A message that is acknowledged is with every session that subscribes it, connected or not, on whichever shard.
#[test]
fn mqtt_4_5_0_1_a_message_reaches_every_session_that_subscribes() {
    both::a_message_reaches_every_session_that_subscribes(V311);
}

/// A subscriber with `count` messages on their way to it, of QoS 1 and 2 by turns.
fn on_their_way(count: u16) -> (World, Client) {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V311, "ann"));
    w.subscribe(ann, "+", Q2);
    let bob = w.join(1, V311, "bob");
    for number in 1..=count {
        let topic = format!("t{}", number % 3);
        if number % 2 == 1 {
            w.publish(bob, message_1(number, &topic, ""));
        } else {
            w.publish(bob, message_2(number, &topic, ""));
        }
    }
    let order: Vec<_> = sent(&mut w, ann).iter().map(|publish| publish.body[4..6].to_vec()).collect();
    assert_eq!(order, (1..=count).map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>());
    (w, ann)
}

/// [MQTT-4.6.0-1] PUBLISH packets go out again in the order in which they went out first, over several connections, those acknowledged
/// between them left out.
#[test]
fn mqtt_4_6_0_1_what_is_sent_again_keeps_its_order() {
    let (mut w, mut ann) = on_their_way(20);
    let mut expected: Vec<u16> = (1..=20).collect();
    for acknowledged in [7, 1, 19, 11] {
        w.puback(ann, acknowledged);
        w.run();
        expected.retain(|number| *number != acknowledged);
        w.vanish(ann);
        ann = w.dial(0, durable(V311, "ann"));
        let seen = sent(&mut w, ann);
        let order: Vec<u16> =
            seen[1..].iter().map(|publish| u16::from_be_bytes([publish.body[4], publish.body[5]])).collect();
        assert_eq!(order, expected);
        assert!(seen[1..].iter().all(|publish| publish.first & 0x08 != 0), "each with DUP");
    }
}

/// The packet ids of the packets that begin with `first`, after a client has published with these ids: to a subscriber that is away, to nobody, to
/// one on another shard and as a retained message, so that some wait for the log or a lane and some for nothing.
fn acknowledged(first: u8, ids: &[u16], held: bool) -> Vec<u16> {
    let mut w = World::new(2);
    let away = w.connect(0, durable(V311, "away"));
    w.subscribe(away, "kept", Q2);
    w.vanish(away);
    let there = w.join(1, V311, "there");
    w.subscribe(there, "live", Q0);
    let ann = w.join(0, V311, "ann");
    w.places[0].log_held = held;
    for (index, id) in ids.iter().enumerate() {
        let topic = ["kept", "nobody", "live", "retained"][index % 4];
        let publish = if first == 0x40 { message_1(*id, topic, "x") } else { message_2(*id, topic, "x") };
        w.publish(ann, if topic == "retained" { retained(publish) } else { publish });
        w.turn(0);
    }
    w.run();
    if held {
        w.commit(0);
    }
    sent(&mut w, ann).iter().filter(|sent| sent.first == first).map(|sent| sent.leading_id()).collect()
}

const SHUFFLED: [u16; 12] = [5, 3, 9, 1, 65_535, 2, 77, 4, 300, 6, 8, 7];

/// [MQTT-4.6.0-2] PUBACK packets go out in the order of their PUBLISH packets, also where one waits for the log and the next does not.
#[test]
fn mqtt_4_6_0_2_pubacks_are_in_the_order_of_the_publishes() {
    for held in [false, true] {
        assert_eq!(acknowledged(0x40, &SHUFFLED, held), SHUFFLED);
    }
}

/// [MQTT-4.6.0-3] PUBREC packets go out in the order of their PUBLISH packets, also where one waits for the log and the next does not.
#[test]
fn mqtt_4_6_0_3_pubrecs_are_in_the_order_of_the_publishes() {
    for held in [false, true] {
        assert_eq!(acknowledged(0x50, &SHUFFLED, held), SHUFFLED);
    }
}

/// [MQTT-4.6.0-4] PUBREL packets go out in the order of the PUBREC packets, whatever the order of the messages was.
#[test]
fn mqtt_4_6_0_4_pubrels_are_in_the_order_of_the_pubrecs() {
    let (mut w, ann) = on_their_way(12);
    let order = [8, 2, 12, 4, 10, 6];
    for id in order {
        w.pubrec(ann, id);
    }
    let released: Vec<(u8, u16)> =
        sent(&mut w, ann).iter().map(|sent| (sent.first, sent.leading_id())).collect();
    assert_eq!(released, order.map(|id| (0x62, id)));
}

/// [MQTT-4.6.0-5] Every topic is an ordered topic: none is treated otherwise.
#[test]
fn mqtt_4_6_0_5_every_topic_is_ordered() {
    both::every_topic_is_ordered(V311);
}

/// [MQTT-4.6.0-6] Messages of one publisher with the same topic and QoS arrive in the order in which they came, across shards, queues and
/// reconnects.
#[test]
fn mqtt_4_6_0_6_messages_of_a_publisher_arrive_in_order() {
    both::messages_of_a_publisher_arrive_in_order(V311);
}
