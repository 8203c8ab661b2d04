//! Retained messages (MQTT 5 section 3.3.1.3, and 3.8.3.1 for when they are sent).

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::limits::{Limits, RETAINED_QUERY_CREDITS};
use shardmq_shards::wire::{Publish, PublishProperties, RetainHandling, SubscriptionOptions};
use std::time::Duration;

fn handling(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { retain_handling, ..SubscriptionOptions::with_qos(Q1) }
}

/// Retained copies that a new subscription of `filter` gets.
fn kept(w: &mut World, client: Client, filter: &str) -> Vec<String> {
    w.subscribe_with(client, filter, SubscriptionOptions::with_qos(Q0), None);
    let mut lines = w.read(client);
    assert!(lines.remove(0).starts_with("SUBACK"), "the replay starts behind SUBACK");
    lines.sort();
    lines
}

#[test]
fn the_last_message_of_a_topic_is_kept_replaced_and_cleared() {
    for shards in [1, 2, 4] {
        let mut w = World::new(shards);
        let (ann, bob) = (w.join(0, V5, "ann"), w.join(shards - 1, V311, "bob"));
        w.publish(ann, retained(message("a", "old")));
        w.publish(bob, retained(message("b", "other")));
        w.run();
        w.publish(bob, retained(message("a", "new")));
        w.publish(bob, message("a", "not retained"));
        w.run();
        let sub = w.join(0, V5, "sub");
        assert_eq!(kept(&mut w, sub, "a"), [r#"a "new" retain"#]);
        assert_eq!(kept(&mut w, sub, "#"), [r#"a "new" retain"#, r#"b "other" retain"#]);
        w.publish(ann, retained(message("a", "")));
        assert_eq!(w.read(sub), [r#"a """#], "the message that clears is delivered like any other");
        assert_eq!(kept(&mut w, sub, "#"), [r#"b "other" retain"#]);
        let total: u64 = (0..shards).map(|shard| w.shard(shard).statistics().gauges.retained).sum();
        assert_eq!(total, 1);
    }
}

#[test]
fn retain_handling_says_when() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, retained(message_1(1, "a", "kept")));
    w.read(ann);
    let copy = |number: u16| format!(r#"a "kept" q1 #{number} retain"#);
    let sub = w.join(1, V5, "sub");
    w.subscribe_with(sub, "a", handling(RetainHandling::DoNotSend), None);
    assert_eq!(w.read(sub), ["SUBACK #1000 [01]"]);
    w.subscribe_with(sub, "a", handling(RetainHandling::SendIfNew), None);
    assert_eq!(w.read(sub), ["SUBACK #1001 [01]"], "it exists");
    w.subscribe_with(sub, "a", handling(RetainHandling::Send), Some(5));
    assert_eq!(w.read(sub), ["SUBACK #1002 [01]".into(), copy(1) + " ids=[5]"]);
    w.unsubscribe(sub, &["a"]);
    w.read(sub);
    w.subscribe_with(sub, "a", handling(RetainHandling::SendIfNew), None);
    assert_eq!(w.read(sub), ["SUBACK #1004 [01]".into(), copy(2)]);
}

#[test]
fn qos_of_a_retained_copy_is_the_lower_of_both() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, retained(message("a", "zero")));
    w.publish(ann, retained(message_2(1, "b", "two")));
    w.pubrel(ann, 1);
    w.run();
    let sub = w.join(1, V5, "sub");
    w.subscribe_with(sub, "+", SubscriptionOptions::with_qos(Q1), None);
    let mut seen = w.read(sub);
    seen[1..].sort();
    assert_eq!(seen, ["SUBACK #1000 [01]", r#"a "zero" retain"#, r#"b "two" q1 #1 retain"#]);
}

#[test]
fn many_pages_from_all_partitions_arrive_once_each() {
    for qos in [Q0, Q1] {
        let mut w = World::new(3);
        let ann = w.join(0, V5, "ann");
        for number in 0..500 {
            w.publish(ann, retained(message_1(1, &format!("t/{number:03}"), "x")));
            w.run();
        }
        let sub = w.join(1, V5, "sub");
        w.subscribe_with(sub, "t/#", SubscriptionOptions::with_qos(qos), None);
        let mut topics = Vec::new();
        loop {
            let lines = w.read(sub);
            if lines.is_empty() {
                break;
            }
            for line in lines.iter().filter(|line| line.starts_with("t/")) {
                topics.push(line.split(' ').next().expect("a topic").to_string());
                if let Some(number) = line.split('#').nth(1) {
                    let number = number.split(' ').next().expect("a number").parse().expect("a number");
                    w.puback(sub, number);
                }
            }
        }
        topics.sort();
        assert!(topics.iter().eq((0..500).map(|number| format!("t/{number:03}")).collect::<Vec<_>>().iter()));
    }
}

#[test]
fn a_replay_waits_for_a_client_that_does_not_read_and_holds_nobody_up() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    let payload = "x".repeat(10_000);
    for number in 0..100 {
        w.publish(ann, retained(message(&format!("t/{number}"), &payload)));
    }
    w.run();
    let sub = w.join(1, V5, "sub");
    w.wires[sub.0].space = 0;
    w.subscribe_with(sub, "t/#", SubscriptionOptions::with_qos(Q0), None);
    w.run();
    assert!(w.shard(1).sizes().output_bytes_max < 80 * 1024);
    let other = w.join(1, V5, "other");
    assert_eq!(kept(&mut w, other, "t/7").len(), 1);
    w.wires[sub.0].space = usize::MAX;
    assert_eq!(w.read(sub).len(), 101);
}

#[test]
fn an_update_during_the_replay_is_not_followed_by_the_older_copy() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    for topic in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        w.publish(ann, retained(message(topic, "old")));
    }
    w.run();
    let sub = w.connect(1, durable_taking("sub", 1));
    w.wires[sub.0].space = 0;
    w.subscribe_with(sub, "+", SubscriptionOptions::with_qos(Q0), None);
    for _ in 0..3 {
        w.turn_once();
    }
    for topic in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        w.publish(ann, retained(message(topic, "new")));
    }
    w.run();
    w.wires[sub.0].space = usize::MAX;
    let lines = w.read(sub);
    for topic in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let last = lines.iter().rfind(|line| line.starts_with(topic)).expect("each topic arrives");
        assert!(last.contains("new"), "{lines:?}");
    }
}

#[test]
fn the_replay_of_a_filter_waits_for_its_own_suback() {
    let mut w = World::new(3);
    let (sub, bob) = (w.join(0, V5, "sub"), w.join(2, V5, "bob"));
    for number in 0..10 {
        w.publish(bob, retained(message(&format!("b/{number}"), "old")));
    }
    w.run();
    w.subscribe_all(sub, &[("a", Q0)]);
    for shard in [0, 1, 2] {
        w.turn(shard);
    }
    // The answers for the first filter lie on the lanes to shard 0, which reads the second SUBSCRIBE before them.
    w.subscribe_all(sub, &[("b/+", Q0)]);
    w.places[2].frozen = true;
    let early = w.read(sub);
    assert_eq!(early, ["SUBACK #1000 [00]"], "shard 2 has not applied the interest of the second");
    // Published before shard 2 has looked at its lanes: as far as it knows nobody wants it.
    for number in 0..10 {
        w.publish(bob, retained(message(&format!("b/{number}"), "new")));
    }
    w.places[2].frozen = false;
    let lines = w.read(sub);
    for number in 0..10 {
        let topic = format!("b/{number} ");
        let last = lines.iter().rfind(|line| line.starts_with(&topic)).expect("each topic arrives");
        assert!(last.contains("new"), "{lines:?}");
    }
}

#[test]
fn unsubscribing_ends_the_replay_and_subscribing_anew_starts_over() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    for number in 0..200 {
        w.publish(ann, retained(message_1(1, &format!("t/{number}"), "x")));
        w.run();
    }
    let sub = w.connect(1, durable_taking("sub", 1));
    w.subscribe_with(sub, "t/#", SubscriptionOptions::with_qos(Q1), None);
    assert_eq!(w.read(sub).len(), 2, "one in flight");
    w.unsubscribe(sub, &["t/#"]);
    w.puback(sub, 1);
    assert_eq!(w.read(sub), ["UNSUBACK #1001 [00]"]);
    assert_eq!(w.shard(1).sizes().replays, 0);
    w.subscribe_with(sub, "t/#", SubscriptionOptions::with_qos(Q1), None);
    w.run();
    w.subscribe_with(sub, "t/#", SubscriptionOptions::with_qos(Q1), None);
    w.run();
    assert_eq!(w.shard(1).sizes().replays, 1);
}

#[test]
fn a_replay_goes_on_after_takeover() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    for number in 0..5 {
        w.publish(ann, retained(message_1(1, &format!("t/{number}"), "x")));
        w.run();
    }
    let sub = w.connect(1, durable_taking("sub", 1));
    w.subscribe_with(sub, "t/#", SubscriptionOptions::with_qos(Q1), None);
    let mut topics = std::collections::BTreeSet::new();
    let note = |lines: Vec<String>, topics: &mut std::collections::BTreeSet<String>| {
        let topic = |line: String| line.split(' ').next().map(String::from);
        topics.extend(lines.into_iter().filter(|line| line.starts_with("t/")).filter_map(topic));
    };
    note(w.read(sub), &mut topics);
    let sub = w.dial(0, durable_taking("sub", 1));
    for number in 1..=5 {
        note(w.read(sub), &mut topics);
        w.puback(sub, number);
    }
    note(w.read(sub), &mut topics);
    assert_eq!(topics.len(), 5);
}

#[test]
fn an_expired_retained_message_is_not_sent_not_even_from_a_page_that_waited() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    let properties = PublishProperties { message_expiry: Some(10), ..Default::default() };
    for topic in ["a", "b", "c", "d"] {
        w.publish(ann, Publish { properties, ..retained(message_1(1, topic, "short")) });
        w.run();
    }
    let sub = w.connect(1, durable_taking("sub", 1));
    w.pass_secs(4);
    w.subscribe_with(sub, "+", SubscriptionOptions::with_qos(Q1), None);
    let lines = w.read(sub);
    assert_eq!(lines.len(), 2);
    assert!(lines[1].ends_with("q1 #1 retain expiry=6"), "{lines:?}");
    w.pass_secs(7);
    w.puback(sub, 1);
    assert!(w.read(sub).is_empty(), "3.3.2.3.3");
    assert_eq!(w.shard(1).sizes().replays, 0);
}

#[test]
fn more_replays_at_once_than_queries_may_be_open() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    for number in 0..20 {
        w.publish(ann, retained(message(&format!("t/{number}"), "x")));
    }
    w.run();
    let count = 3 * RETAINED_QUERY_CREDITS;
    let clients: Vec<Client> = (0..count).map(|number| w.join(1, V5, &format!("c{number}"))).collect();
    // All filters are settled but the answers of shard 0 are late.
    let holder = w.join(1, V5, "holder");
    w.subscribe(holder, "nothing/#", Q1);
    for client in &clients {
        w.subscribe_with(*client, "t/#", SubscriptionOptions::with_qos(Q1), None);
    }
    w.turn(1);
    w.turn(0);
    w.places[0].frozen = true;
    w.run();
    for (number, client) in clients.iter().enumerate() {
        // Those in the middle are gone while they wait for a credit: they must not take the turn of those behind them.
        if number / RETAINED_QUERY_CREDITS == 1 {
            w.unsubscribe(*client, &["t/#"]);
        }
        // What wakes a connection must not put it in the line twice.
        w.publish(*client, message_1(1, "nothing", ""));
    }
    w.run();
    w.places[0].frozen = false;
    for (number, client) in clients.iter().enumerate() {
        let copies = w.read(*client).iter().filter(|line| line.starts_with("t/")).count();
        assert!(number / RETAINED_QUERY_CREDITS == 1 || copies == 20, "client {number} got {copies}");
    }
    assert_eq!(w.shard(1).sizes().replays, 0);
}

#[test]
fn the_store_has_a_limit() {
    let mut w = World::limited(|limits| limits.retained_messages_max = 2);
    let ann = w.join(0, V5, "ann");
    for topic in ["a", "b", "c"] {
        w.publish(ann, retained(message(topic, "x")));
    }
    w.publish(ann, retained(message("a", "y")));
    let sub = w.join(0, V5, "sub");
    assert_eq!(kept(&mut w, sub, "#"), [r#"a "y" retain"#, r#"b "x" retain"#]);
    assert_eq!(w.count("retained_refused"), 1);
}

/// More retained updates than shards take off their lanes in a few turns, then a subscription on shard 0.
fn subscribe_behind_updates(shards: usize) {
    let limits = Limits { keep_alive_max: Duration::ZERO, ..Limits::default() };
    let mut w = World::with(Settings { shards, limits, lane_slots: 1_024, ..Settings::default() });
    let (sub, bob) = (w.join(0, V5, "sub"), w.join(shards - 1, V5, "bob"));
    w.read_bytes_max = usize::MAX;
    let topics = 1_300 * shards;
    for payload in ["old", "new"] {
        for late in 0..shards - 1 {
            w.places[late].frozen = payload == "new";
        }
        for number in 0..topics {
            w.publish(bob, retained(message(&format!("t/{number}"), payload)));
        }
        w.run();
    }
    for late in 0..shards - 1 {
        w.places[late].frozen = false;
    }
    w.subscribe_all(sub, &[("t/+", Q0)]);
    for _ in 0..3 {
        w.turn_once();
    }
    let mut last = std::collections::BTreeMap::new();
    for line in w.read(sub).iter().filter(|line| line.starts_with("t/")) {
        let (topic, payload) = line.split_once(' ').expect("topic and payload");
        last.insert(topic.to_string(), payload.to_string());
    }
    assert_eq!(last.len(), topics);
    let old = last.values().filter(|payload| payload.contains("old")).count();
    assert_eq!(old, 0, "topics whose update reached the subscriber neither retained nor live");
    assert!(w.count("retained_waits") > 0, "a partition was asked that was behind");
}

#[test]
fn a_partition_answers_once_it_has_consumed_what_was_sent_before_the_interest_was_applied() {
    subscribe_behind_updates(3);
}

#[test]
fn the_own_partition_waits_for_its_lanes_too() {
    subscribe_behind_updates(2);
}
