//! A retained store that is full: who is told, who gets the message, and what always works (MQTT 5 sections 3.3.1.3, 3.4.2.1 and 3.5.2.1).

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::base::hash::HashKey;
use shardmq_shards::base::limits::RETAINED_ROOM_CREDITS;
use shardmq_shards::shard::End;
use shardmq_shards::topics::retained::partition;

/// The `number`th topic whose partition is `shard` of `shards`.
pub fn topic_of(shard: usize, shards: usize, number: usize) -> String {
    let key = HashKey::from_seed(7);
    let topics = (0..).map(|n| format!("t/{n}"));
    topics.filter(|topic| partition(topic, &key, shards).index() == shard).nth(number).expect("endless")
}

fn gauge(w: &World, shard: usize) -> u64 {
    w.shard(shard).statistics().gauges.retained
}

/// Publishes with QoS 1 and packet id 1: the code of the PUBACK.
fn code(w: &mut World, client: Client, topic: &str, payload: &str) -> String {
    w.publish(client, retained(message_1(1, topic, payload)));
    let lines = w.read(client);
    let [line] = &lines[..] else { panic!("one answer: {lines:?}") };
    line.strip_prefix("PUBACK #1").expect("a PUBACK").trim().to_string()
}

#[test]
fn who_can_be_told_is_told_and_nobody_gets_the_message() {
    let mut w = World::limited(|limits| limits.retained_messages_max = 1);
    let (ann, sub) = (w.join(0, V5, "ann"), w.join(0, V5, "sub"));
    w.subscribe(sub, "#", Q2);
    assert_eq!(code(&mut w, ann, "a", "x"), "");
    w.read(sub);
    assert_eq!(code(&mut w, ann, "b", "x"), "97");
    w.publish(ann, retained(message_2(7, "b", "x")));
    assert_eq!(w.read(ann), ["PUBREC #7 97"]);
    assert!(w.read(sub).is_empty());
    assert_eq!((w.count("retained_refused"), gauge(&w, 0)), (2, 1));
    // A PUBREC that refuses ends the exchange: the id is free for another message.
    w.publish(ann, message_2(7, "b", "not retained"));
    assert_eq!(w.read(ann), ["PUBREC #7"]);
    assert_eq!(w.read(sub), [r#"b "not retained" q2 #2"#]);
}

#[test]
fn who_cannot_be_told_has_its_message_delivered_and_not_retained() {
    let mut w = World::limited(|limits| limits.retained_messages_max = 1);
    let (ann, old, sub) = (w.join(0, V5, "ann"), w.join(0, V311, "old"), w.join(0, V5, "sub"));
    assert_eq!(code(&mut w, ann, "a", "x"), "10");
    w.subscribe(sub, "b", Q1);
    w.publish(ann, retained(message("b", "zero")));
    w.publish(old, retained(message_1(1, "b", "one")));
    assert_eq!(w.read(old), ["PUBACK #1"]);
    assert_eq!(w.read(sub), [r#"b "zero""#, r#"b "one" q1 #1"#]);
    assert_eq!((w.count("retained_refused"), gauge(&w, 0)), (2, 1));
}

#[test]
fn what_is_there_may_be_replaced_by_what_is_not_larger_and_cleared() {
    let mut w = World::limited(|limits| limits.retained_bytes_max = 400);
    let ann = w.join(0, V5, "ann");
    assert_eq!(code(&mut w, ann, "a", &"x".repeat(150)), "10");
    assert_eq!(code(&mut w, ann, "b", &"x".repeat(150)), "97");
    assert_eq!(code(&mut w, ann, "a", &"x".repeat(350)), "97", "larger");
    assert_eq!(code(&mut w, ann, "a", &"y".repeat(150)), "10");
    assert_eq!(code(&mut w, ann, "b", ""), "10", "nothing to clear, nothing to refuse");
    assert_eq!(code(&mut w, ann, "a", ""), "10");
    assert_eq!(w.shard(0).statistics().gauges.retained_bytes, 0);
    assert_eq!(code(&mut w, ann, "b", &"x".repeat(150)), "10", "there is room again");
}

#[test]
fn a_partition_of_another_shard_is_asked_once_it_is_known_to_be_full() {
    for shards in [2, 3] {
        let mut w = World::limited_with_shards(shards, |limits| limits.retained_messages_max = 32 * shards);
        let (ann, home) = (w.join(1, V5, "ann"), w.join(0, V5, "home"));
        let topics: Vec<String> = (0..40).map(|number| topic_of(0, shards, number)).collect();
        let accepted = topics.iter().filter(|topic| code(&mut w, ann, topic, "x") != "97").count();
        // Each PUBLISH is answered before the next: none is on its way when the partition says that it is full.
        assert_eq!((accepted, gauge(&w, 0)), (30, 30), "32 of which 2 are reserved");
        assert!(w.count("parked_for_retained") >= 10);
        assert_eq!(code(&mut w, home, &topics[35], "x"), "97", "its own shard says the same");
        for topic in &topics[..30] {
            assert_eq!(code(&mut w, ann, topic, "y"), "10");
        }
        assert_eq!(code(&mut w, ann, &topics[3], ""), "10");
        assert_eq!(code(&mut w, ann, &topics[35], "x"), "10", "there is room again");
        assert_eq!(code(&mut w, ann, &topics[36], "x"), "97");
        let sub = w.join(shards - 1, V5, "sub");
        w.subscribe_with(sub, "#", shardmq_shards::wire::SubscriptionOptions::with_qos(Q0), None);
        assert_eq!(w.read(sub).len(), 1 + 30);
    }
}

#[test]
fn what_was_accepted_before_its_shard_knew_is_kept() {
    let mut w = World::limited_with_shards(2, |limits| limits.retained_messages_max = 128);
    let ann = w.join(1, V5, "ann");
    // The partition is late: what ann sends meanwhile lies on the lane, beyond the 60 at which the partition will say that it is full.
    for number in 0..56 {
        assert_eq!(code(&mut w, ann, &topic_of(0, 2, number), "x"), "10");
    }
    w.places[0].frozen = true;
    for number in 56..64 {
        assert_eq!(code(&mut w, ann, &topic_of(0, 2, number), "x"), "10");
    }
    w.places[0].frozen = false;
    w.run();
    assert_eq!((gauge(&w, 0), w.count("retained_refused")), (64, 0));
}

#[test]
fn a_repeated_qos_2_message_is_not_refused_when_the_first_was_accepted() {
    for shards in [1, 2] {
        let mut w = World::limited_with_shards(shards, |limits| limits.retained_messages_max = shards);
        let ann = w.connect(shards - 1, durable(V5, "ann"));
        let topic = topic_of(0, shards, 0);
        w.publish(ann, retained(message_2(5, &topic, "x")));
        assert_eq!(w.read(ann), ["PUBREC #5 10"]);
        w.run();
        let ann = w.dial(shards - 1, durable(V5, "ann"));
        w.read(ann);
        // Cleared meanwhile, and its place taken.
        let bob = w.join(0, V5, "bob");
        assert_eq!(code(&mut w, bob, &topic, ""), "10");
        assert_eq!(code(&mut w, bob, &topic_of(0, shards, 1), "x"), "10");
        w.publish(ann, shardmq_shards::wire::Publish { dup: true, ..retained(message_2(5, &topic, "x")) });
        assert_eq!(w.read(ann), ["PUBREC #5"]);
    }
}

#[test]
fn more_publishers_ask_at_once_than_may_and_some_go_away() {
    let mut w = World::limited_with_shards(2, |limits| limits.retained_messages_max = 2);
    let ann = w.join(1, V5, "ann");
    let kept = topic_of(0, 2, 0);
    assert_eq!(code(&mut w, ann, &kept, "x"), "10");
    w.run();
    let count = 3 * RETAINED_ROOM_CREDITS;
    let clients: Vec<Client> = (0..count).map(|number| w.join(1, V5, &format!("c{number}"))).collect();
    w.places[0].frozen = true;
    for (number, client) in clients.iter().enumerate() {
        let topic = if number % 2 == 0 { kept.clone() } else { topic_of(0, 2, 1) };
        w.publish(*client, retained(message_1(1, &topic, "x")));
        w.publish(*client, message_1(2, "other", "behind it"));
    }
    w.run();
    for gone in clients.iter().skip(10).step_by(7) {
        w.end(*gone, End::Failed);
    }
    w.run();
    w.places[0].frozen = false;
    for (number, client) in clients.iter().enumerate() {
        if number >= 10 && (number - 10) % 7 == 0 {
            continue;
        }
        let code = if number % 2 == 0 { "10" } else { "97" };
        assert_eq!(w.read(*client), [format!("PUBACK #1 {code}"), "PUBACK #2 10".into()], "{number}");
    }
}
