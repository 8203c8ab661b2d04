//! Queues larger than memory: what a durable session has beyond its share of it waits on disk, and comes in order, once.

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::limits::Limits;
use shardmq_shards::wire::{
    Message, MessageParts, Packet, Publish, PublishProperties, QoS, ReasonCode, SubscriptionOptions,
};
use std::collections::VecDeque;

/// Forty bytes of which the first four tell the number.
pub fn numbered(number: u16) -> String {
    format!("{number:04}{}", "x".repeat(36))
}

/// Per client ten such messages are in memory, if their topics have three letters, and `on_disk` on disk.
pub fn limits(on_disk: u64) -> Limits {
    let (topic, payload, qos) = ("own", numbered(0), Q1);
    let (properties, retain, expires_at) = (&[][..], false, None);
    let payload = payload.as_bytes();
    let parts = MessageParts { topic, properties, payload, qos, retain, expires_at };
    let bytes = Message::from_parts(parts).memory_bytes();
    Limits {
        queue_bytes_max: 10 * bytes as u32,
        queue_disk_bytes_max: on_disk * bytes as u64,
        in_flight_max: 4,
        ..Settings::default().limits
    }
}

fn world(shards: usize, on_disk: u64) -> World {
    World::with(Settings { shards, logs: true, limits: limits(on_disk), ..Settings::default() })
}

pub fn away(w: &mut World, shard: usize, client_id: &str, filters: &[(&str, QoS)]) {
    let client = w.connect(shard, durable(V5, client_id));
    w.subscribe_all(client, filters);
    w.leave(client, ReasonCode::Success);
}

/// Publishes the numbers, alternately with QoS 1 and 2, and has them acknowledged.
pub fn publish(w: &mut World, client: Client, topic: &str, numbers: std::ops::Range<u16>) {
    for number in numbers {
        let payload = numbered(number);
        if number % 2 == 0 {
            w.publish(client, message_1(number + 1, topic, &payload));
            assert_eq!(w.read(client), [format!("PUBACK #{}", number + 1)]);
        } else {
            w.publish(client, message_2(number + 1, topic, &payload));
            assert_eq!(w.read(client), [format!("PUBREC #{}", number + 1)]);
            w.pubrel(client, number + 1);
            assert_eq!(w.read(client), [format!("PUBCOMP #{}", number + 1)]);
        }
    }
}

/// Takes all that comes, and acknowledges it.
pub fn take(w: &mut World, client: Client) -> Vec<u16> {
    take_some(w, client, usize::MAX)
}

/// The same, until it has so many or a few more.
pub fn take_some(w: &mut World, client: Client, enough: usize) -> Vec<u16> {
    let mut numbers = Vec::new();
    loop {
        let lines = w.read(client);
        if lines.is_empty() || numbers.len() >= enough {
            return numbers;
        }
        for line in lines {
            let id = |line: &str| -> u16 {
                let (_, rest) = line.rsplit_once('#').expect("every packet here has an id");
                rest.split(' ').next().and_then(|id| id.parse().ok()).expect("a number")
            };
            if line.starts_with("CONNACK") {
                continue;
            }
            if line.starts_with("PUBREL") {
                w.pubcomp(client, id(&line));
                continue;
            }
            let (_, payload) = line.split_once('"').expect("a message");
            numbers.push(payload[..4].parse().expect("its number"));
            if line.contains("q2") { w.pubrec(client, id(&line)) } else { w.puback(client, id(&line)) }
        }
    }
}

pub fn back(w: &mut World, shard: usize, client_id: &str) -> Client {
    let client = w.dial(shard, durable(V5, client_id));
    w.run();
    assert!(w.connack(client, |connack| connack.session_present));
    client
}

#[test]
fn what_memory_has_no_room_for_waits_on_disk_and_comes_in_order() {
    let mut w = world(2, 1_000);
    away(&mut w, 1, "ann", &[("own", Q2)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..200);
    assert_eq!((w.shard(1).copies_waiting(), w.dropped()), ((200, 0), vec![]));
    let sizes = w.shard(1).sizes();
    assert_eq!(sizes.bodies, 200);
    assert!(sizes.bodies_in_memory <= 10, "{sizes:?}");
    let ann = back(&mut w, 0, "ann");
    assert_eq!(take(&mut w, ann), (0..200).collect::<Vec<_>>());
    publish(&mut w, bob, "own", 200..210);
    assert_eq!(take(&mut w, ann), (200..210).collect::<Vec<_>>());
    assert_eq!(w.shard(1).sizes().bodies, 0);
}

#[test]
fn what_comes_while_there_is_something_on_disk_goes_behind_it() {
    let mut w = world(1, 1_000);
    away(&mut w, 0, "ann", &[("own", Q2)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..40);
    let ann = back(&mut w, 0, "ann");
    let first = w.read(ann);
    assert_eq!(first.len(), 5, "CONNACK and its window");
    w.places[0].reads_held = true;
    w.puback(ann, 1);
    w.pubrec(ann, 2);
    w.run();
    publish(&mut w, bob, "own", 40..60);
    w.places[0].reads_held = false;
    w.vanish(ann);
    let ann = back(&mut w, 0, "ann");
    let taken = take(&mut w, ann);
    assert_eq!(taken, (2..60).collect::<Vec<_>>(), "the first two had arrived");
    assert_eq!(w.dropped(), []);
}

#[test]
fn a_crash_changes_nothing_about_order_and_once() {
    let mut w = world(2, 1_000);
    away(&mut w, 1, "ann", &[("own", Q2)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..60);
    w.crash();
    let ann = back(&mut w, 0, "ann");
    let taken = take_some(&mut w, ann, 30);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 60..100);
    w.crash();
    let ann = back(&mut w, 1, "ann");
    let rest = take(&mut w, ann);
    assert!(taken.is_sorted_by(|one, next| one < next) && taken.len() < 60, "{taken:?}");
    assert!(rest.is_sorted_by(|one, next| one < next), "{rest:?}");
    let (all, twice): (Vec<u16>, Vec<u16>) = (0..100).partition(|n| taken.contains(n) != rest.contains(n));
    assert!(
        all.len() + twice.len() == 100 && twice.iter().all(|n| n % 2 == 0),
        "{twice:?} came twice or never"
    );
    assert!(twice.iter().all(|n| taken.contains(n)), "{twice:?} never came");
}

#[test]
fn what_cannot_be_read_is_dropped_counted_and_told_and_the_rest_comes() {
    let mut w = world(1, 1_000);
    away(&mut w, 0, "ann", &[("own", Q2)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..30);
    w.places[0].reads_fail = true;
    let ann = back(&mut w, 0, "ann");
    w.read(ann);
    w.vanish(ann);
    let ann = back(&mut w, 0, "ann");
    let taken = take(&mut w, ann);
    assert_eq!(taken, (0..10).collect::<Vec<_>>(), "what was in memory");
    assert_eq!(w.dropped(), [("unreadable", 20)]);
    let told = w.events.iter().filter(|event| event.to_string().contains("cannot be read")).count();
    assert_eq!(told, 20);
    w.places[0].reads_fail = false;
    publish(&mut w, bob, "own", 30..35);
    assert_eq!(take(&mut w, ann), (30..35).collect::<Vec<_>>());
}

#[test]
fn what_was_unsubscribed_while_on_disk_does_not_come() {
    let mut w = world(1, 1_000);
    away(&mut w, 0, "ann", &[("one", Q2), ("two", Q2)]);
    let bob = w.join(0, V5, "bob");
    for number in 0..40 {
        publish(&mut w, bob, if number % 2 == 0 { "two" } else { "one" }, number..number + 1);
    }
    let ann = back(&mut w, 0, "ann");
    assert_eq!(w.read(ann).len(), 5, "CONNACK and its window");
    w.unsubscribe(ann, &["one"]);
    w.vanish(ann);
    let ann = back(&mut w, 0, "ann");
    let taken: Vec<u16> = take(&mut w, ann);
    let expected: Vec<u16> = (0..40).filter(|number| *number < 4 || number % 2 == 0).collect();
    assert_eq!(taken, expected, "what was in flight goes on");
    assert_eq!(w.dropped(), [("unsubscribed", 18)]);
}

#[test]
fn a_message_for_which_half_of_the_memory_is_not_enough_waits_until_there_is_more() {
    let mut w = world(1, 1_000);
    away(&mut w, 0, "ann", &[("own", Q1)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..9);
    let large = format!("0009{}", "x".repeat(700));
    w.publish(bob, message_1(10, "own", &large));
    assert_eq!(w.read(bob), ["PUBACK #10"]);
    publish(&mut w, bob, "own", 10..30);
    let ann = back(&mut w, 0, "ann");
    let mut lines = VecDeque::from(w.read(ann).split_off(1));
    let mut taken = 0;
    while let Some(line) = lines.pop_front() {
        let id = line.split('#').nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        w.puback(ann, id.expect("a packet id"));
        lines.extend(w.read(ann));
        taken += 1;
    }
    assert_eq!((taken, w.dropped()), (30, vec![]));
}

#[test]
fn what_keeps_one_of_its_identifiers_keeps_it_over_a_crash() {
    let mut w = world(1, 1_000);
    let ann = w.connect(0, durable(V5, "ann"));
    for (filter, identifier) in [("own", 7), ("own/#", 8)] {
        w.subscribe_with(ann, filter, SubscriptionOptions::with_qos(Q1), Some(identifier));
        w.read(ann);
    }
    w.vanish(ann);
    let bob = w.join(0, V5, "bob");
    for number in (0..40).step_by(2) {
        publish(&mut w, bob, "own", number..number + 1);
    }
    let ann = back(&mut w, 0, "ann");
    assert_eq!(w.read(ann).len(), 5, "CONNACK and her window");
    w.unsubscribe(ann, &["own"]);
    w.read(ann);
    for id in 1..=10 {
        w.puback(ann, id);
        w.read(ann);
    }
    w.crash();
    let ann = back(&mut w, 0, "ann");
    let lines: Vec<String> = w.read(ann).into_iter().filter(|line| line.contains('"')).collect();
    assert!(lines.len() == 4 && lines.iter().all(|line| line.contains("[8]")), "{lines:?}");
}

#[test]
fn a_session_that_ends_while_its_messages_are_read_leaves_nothing() {
    let mut w = world(1, 1_000);
    away(&mut w, 0, "ann", &[("own", Q2)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..40);
    w.places[0].reads_held = true;
    let ann = back(&mut w, 0, "ann");
    w.read(ann);
    for number in 1..=8 {
        w.puback(ann, number);
        w.pubrec(ann, number);
        w.run();
    }
    let mut clean = durable(V5, "ann");
    clean.clean_start = true;
    let ann = w.dial(0, clean);
    w.places[0].reads_held = false;
    assert_eq!(w.read(ann), ["CONNACK 00"]);
    assert_eq!(w.shard(0).sizes().bodies, 0);
    w.subscribe(ann, "own", Q1);
    publish(&mut w, bob, "own", 40..43);
    assert_eq!(take(&mut w, ann), [40, 41, 42]);
}

#[test]
fn a_session_that_is_not_kept_any_more_still_gets_what_is_on_disk() {
    let mut w = world(1, 1_000);
    away(&mut w, 0, "ann", &[("own", Q2)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..40);
    let mut volatile = durable(V5, "ann");
    volatile.properties.session_expiry = None;
    let ann = w.dial(0, volatile);
    w.run();
    assert!(w.connack(ann, |connack| connack.session_present));
    assert_eq!(take(&mut w, ann), (0..40).collect::<Vec<_>>());
    assert_eq!(w.shard(0).sizes().bodies, 0);
}

#[test]
fn the_disk_is_bounded_too_and_what_has_expired_makes_room() {
    let mut w = world(1, 9);
    away(&mut w, 0, "ann", &[("own", Q1)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..10);
    for number in 10..25 {
        let payload = numbered(number);
        let publish = message_1(number, "own", &payload);
        let properties = PublishProperties { message_expiry: Some(10), ..publish.properties };
        w.send(bob, Packet::Publish(Publish { properties, ..publish }));
    }
    w.read(bob);
    let (waiting, _) = w.shard(0).copies_waiting();
    assert_eq!((waiting, w.dropped()), (19, vec![("queue_full", 6)]));
    w.pass_secs(11);
    publish(&mut w, bob, "own", 30..32);
    assert_eq!(w.count("expired"), 9);
    let ann = back(&mut w, 0, "ann");
    assert_eq!(take(&mut w, ann), (0..10).chain(30..32).collect::<Vec<_>>());
}

#[test]
fn a_member_of_a_shared_group_is_full_while_something_is_on_disk() {
    let mut w = world(1, 1_000);
    away(&mut w, 0, "ann", &[("own", Q1), ("$share/g/all", Q1)]);
    away(&mut w, 0, "cat", &[("$share/g/all", Q1)]);
    let bob = w.join(0, V5, "bob");
    publish(&mut w, bob, "own", 0..20);
    publish(&mut w, bob, "all", 20..26);
    let cat = back(&mut w, 0, "cat");
    assert_eq!(take(&mut w, cat), (20..26).collect::<Vec<_>>());
    let ann = back(&mut w, 0, "ann");
    assert_eq!(take(&mut w, ann), (0..20).collect::<Vec<_>>());
    assert_eq!(w.dropped(), []);
}

/// A message larger than all that memory may have was in flight, too: after a crash it lies on disk at first, and says that it comes again.
#[test]
fn a_large_message_that_was_in_flight_goes_again_with_dup() {
    let mut w = world(1, 100);
    let bob = w.connect(0, durable(V5, "bob"));
    w.subscribe(bob, "own", Q1);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message_1(1, "own", "small"));
    w.publish(ann, message_1(2, "own", &"x".repeat(5_000)));
    assert_eq!(w.read(bob), [r#"own "small" q1 #1"#, "own 5000 bytes q1 #2"]);
    w.crash();
    let (bob, mut lines) = w.connect_and_read(0, durable(V5, "bob"));
    w.puback(bob, 1);
    lines.extend(w.read(bob));
    assert_eq!(lines[1..], [r#"own "small" q1 #1 dup"#, "own 5000 bytes q1 #2 dup"]);
}
