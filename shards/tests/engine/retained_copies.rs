//! What becomes of retained copies: No Local, expiry, and the order beside live messages.

use crate::verbs::*;
use crate::world::World;
use shardmq_shards::wire::{Connect, Publish, PublishProperties, QoS, ReasonCode, SubscriptionOptions, Will};

fn no_local() -> SubscriptionOptions {
    SubscriptionOptions { no_local: true, ..SubscriptionOptions::with_qos(QoS::AtMostOnce) }
}

/// A retained message that expires after `seconds`.
fn short_lived<'a>(topic: &'a str, seconds: u32) -> Publish<'a> {
    let properties = PublishProperties { message_expiry: Some(seconds), ..Default::default() };
    Publish { properties, ..retained(message(topic, "short")) }
}

fn gauge(w: &World) -> u64 {
    w.places.iter().map(|place| place.seat.shard.statistics().gauges.retained).sum()
}

#[test]
fn no_local_leaves_out_what_the_same_client_id_retained() {
    for shards in [1, 2, 3] {
        let mut w = World::new(shards);
        let (ann, bob) = (w.join(0, V5, "ann"), w.join(shards - 1, V5, "bob"));
        for topic in ["a", "b", "c", "d"] {
            w.publish(ann, retained(message(topic, "of ann")));
        }
        w.run();
        w.publish(bob, retained(message("d", "of bob")));
        w.run();
        w.subscribe_with(ann, "+", no_local(), None);
        assert_eq!(w.read(ann), ["SUBACK #1000 [00]", r#"d "of bob" retain"#]);
        w.subscribe_with(ann, "a", no_local(), None);
        assert_eq!(w.read(ann), ["SUBACK #1001 [00]"]);
        // The client id counts, not the session (3.8.3.1).
        w.leave(ann, ReasonCode::Success);
        let ann = w.join(shards - 1, V5, "ann");
        w.subscribe_with(ann, "+", no_local(), None);
        assert_eq!(w.read(ann).len(), 2);
        w.subscribe_with(bob, "+", no_local(), None);
        assert_eq!(w.read(bob).len(), 1 + 3);
    }
}

#[test]
fn no_local_leaves_out_the_clients_own_will() {
    let mut w = World::new(2);
    let will = Will { qos: Q0, retain: true, topic: "gone", payload: b"ann", properties: Default::default() };
    let ann = w.connect(0, Connect { will: Some(will), ..Connect::new(V5, "ann", true) });
    w.vanish(ann);
    assert_eq!(gauge(&w), 1);
    for (client, copies) in [("ann", 0), ("bob", 1)] {
        let client = w.join(1, V5, client);
        w.subscribe_with(client, "#", no_local(), None);
        assert_eq!(w.read(client).len(), 1 + copies);
    }
}

#[test]
fn expired_messages_leave_the_store_and_an_idle_shard_sleeps() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    for number in 0..2_400 {
        w.publish(ann, short_lived(&format!("t/{number}"), 10 + number / 600));
    }
    w.publish(ann, retained(message("stays", "x")));
    w.run();
    assert_eq!(gauge(&w), 2_401);
    w.pass_secs(9);
    assert_eq!(gauge(&w), 2_401);
    w.pass_secs(2);
    assert_eq!(gauge(&w), 1_201, "more at a time than one slice of a sweep");
    let turns = |w: &World| w.places.iter().map(|place| place.turns).sum::<u64>();
    w.pass_secs(5);
    assert_eq!((gauge(&w), w.count("retained_expired")), (1, 2_400));
    let before = turns(&w);
    w.pass_secs(1_000);
    assert_eq!(turns(&w), before, "nothing expires any more");
}

#[test]
fn many_that_expire_at_different_moments_wake_a_shard_once_a_second() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    for number in 0..100 {
        w.publish(ann, short_lived(&format!("t/{number}"), 10));
        w.pass(std::time::Duration::from_millis(50));
    }
    let before = w.places[0].turns;
    w.pass_secs(20);
    assert_eq!(gauge(&w), 0);
    assert!(w.places[0].turns - before <= 5 + 3, "{} turns", w.places[0].turns - before);
}

#[test]
fn what_replaces_an_expiring_message_stays() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, short_lived("a", 5));
    w.publish(ann, short_lived("b", 5));
    w.publish(ann, retained(message("a", "stays")));
    w.pass_secs(10);
    let sub = w.join(0, V5, "sub");
    w.subscribe_with(sub, "#", SubscriptionOptions::with_qos(Q0), None);
    assert_eq!(w.read(sub), ["SUBACK #1000 [00]", r#"a "stays" retain"#]);
}

#[test]
fn a_retained_copy_waits_for_older_live_messages_in_a_cursor() {
    for busy in [false, true] {
        let mut w = World::limited(|limits| limits.fan_out_batch = 1);
        let ann = w.join(0, V5, "ann");
        let others: Vec<_> = (0..20).map(|number| w.join(0, V5, &format!("o{number}"))).collect();
        for other in &others {
            w.subscribe(*other, "a", Q0);
        }
        // The last of many receivers.
        let sub = w.join(0, V5, "sub");
        w.subscribe(sub, "a", Q0);
        // Not retained, so that it does not stand for the retained copy; the last one is.
        w.publish(ann, message("a", "1"));
        w.turn_once();
        w.publish(ann, retained(message("a", "2")));
        w.subscribe_with(sub, "a", SubscriptionOptions::with_qos(Q0), None);
        if busy {
            for _ in 0..200 {
                w.publish(ann, message("a", "later"));
                w.turn_once();
            }
        }
        let lines = w.read(sub);
        let place = |text: &str| lines.iter().position(|line| line.starts_with(text));
        let (first, second) = (place(r#"a "1""#), place(r#"a "2""#));
        assert!(first.is_some() && first < second, "{lines:?}");
        assert_eq!(w.shard(0).sizes().replays, 0);
    }
}
