//! After UNSUBACK nothing is sent through the filter that was not started before (MQTT 5 section 3.10.4), wherever it was on its way.

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::wire::{ReasonCode, SubscriptionOptions};

fn subscribe(w: &mut World, client: Client, filter: &str, subscription_id: u32) {
    w.subscribe_with(client, filter, SubscriptionOptions::with_qos(Q2), Some(subscription_id));
    assert_eq!(w.read(client).len(), 1);
}

/// Those of `lines` that are no acknowledgement.
fn copies(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| !line.contains("ACK") && !line.starts_with("PUBREL")).collect()
}

#[test]
fn what_waits_in_the_queue_is_dropped_and_what_was_started_is_finished() {
    for version in [V311, V5] {
        let mut w = World::limited(|limits| limits.in_flight_max = 1);
        let (ann, bob) = (w.join(0, version, "ann"), w.join(0, V5, "bob"));
        w.subscribe(ann, "a/+", Q2);
        for number in 1..=3 {
            w.publish(bob, message_2(number, "a/x", &number.to_string()));
        }
        assert_eq!(w.read(ann), [r#"a/x "1" q2 #1"#]);
        w.unsubscribe(ann, &["a/+"]);
        w.pubrec(ann, 1);
        w.pubcomp(ann, 1);
        let unsuback = if version == V5 { "UNSUBACK #1001 [00]" } else { "UNSUBACK #1001" };
        assert_eq!(w.read(ann), [unsuback, "PUBREL #1"], "MQTT-3.10.4-3, and nothing else");
        assert_eq!(w.dropped(), [("unsubscribed", 2)]);
        w.subscribe(ann, "b", Q1);
        w.publish(bob, message_1(4, "b", "on"));
        assert_eq!(w.read(ann), [r#"b "on" q1 #2"#], "the queue works as before");
    }
}

#[test]
fn what_another_filter_matches_goes_without_the_identifier_of_the_one_that_left() {
    for crash in [false, true] {
        let mut settings = Settings { logs: crash, ..Settings::default() };
        settings.limits.in_flight_max = 1;
        let mut w = World::with(settings);
        let (mut ann, bob) = (w.connect(0, durable(V5, "ann")), w.join(0, V5, "bob"));
        for (filter, subscription_id) in
            [("a/+", 1), ("a/x", 2), ("#", 3), ("b/#", 3), ("+/+", 4), ("a/#", 4)]
        {
            subscribe(&mut w, ann, filter, subscription_id);
        }
        w.publish(bob, message_1(1, "first", ""));
        w.publish(bob, message_1(2, "a/x", "a"));
        w.publish(bob, message_1(3, "b/x", "b"));
        assert_eq!(w.read(ann), [r#"first "" q1 #1 ids=[3]"#]);
        w.unsubscribe(ann, &["a/x", "nothing", "b/#", "+/+"]);
        assert_eq!(w.read(ann), ["UNSUBACK #1006 [00, 11, 00, 00]"]);
        if crash {
            w.crash();
            ann = w.dial(0, durable(V5, "ann"));
            assert_eq!(w.read(ann), ["CONNACK 00 present", r#"first "" q1 #1 dup ids=[3]"#]);
        }
        w.puback(ann, 1);
        w.puback(ann, 2);
        let seen = w.read(ann);
        let ids = |line: &String| {
            let mut ids: Vec<u8> = line.split("ids=").nth(1).expect("identifiers").bytes().collect();
            ids.retain(u8::is_ascii_digit);
            ids.sort_unstable();
            ids.dedup();
            String::from_utf8(ids).expect("digits")
        };
        assert!(seen[0].starts_with(r#"a/x "a" q1 #2"#) && ids(&seen[0]) == "134", "{crash}: {seen:?}");
        assert!(seen[1].starts_with(r#"b/x "b" q1 #3"#) && ids(&seen[1]) == "3", "{crash}: {seen:?}");
        assert_eq!(w.dropped(), []);
    }
}

#[test]
fn what_waits_for_the_socket_with_qos_0_is_dropped_too() {
    let mut w = World::new(1);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(0, V5, "bob"));
    w.subscribe(ann, "a", Q0);
    w.wires[ann.0].space = 0;
    let payload = "x".repeat(60_000);
    for _ in 0..6 {
        w.publish(bob, message("a", &payload));
        w.run();
    }
    let (queued, _) = w.shard(0).copies_waiting();
    assert!(queued > 0);
    w.unsubscribe(ann, &["a"]);
    w.run();
    assert_eq!((w.shard(0).copies_waiting(), w.dropped()), ((0, 0), vec![("unsubscribed", queued)]));
    w.wires[ann.0].space = usize::MAX;
    let seen = w.read(ann);
    assert_eq!(seen.last().map(String::as_str), Some("UNSUBACK #1001 [00]"));
    assert_eq!(seen.len() as u64, 6 - queued + 1);
}

#[test]
fn an_unsubscribe_of_something_else_leaves_the_queue_alone() {
    let mut w = World::limited(|limits| limits.in_flight_max = 1);
    let (ann, bob) = (w.connect(0, durable(V5, "ann")), w.join(0, V5, "bob"));
    w.subscribe_all(ann, &[("a", Q1), ("$share/g/s", Q1), ("b", Q1)]);
    w.read(ann);
    for (number, topic) in [(1, "a"), (2, "a"), (3, "s"), (4, "a")] {
        w.publish(bob, message_1(number, topic, ""));
    }
    w.unsubscribe(ann, &["b", "c"]);
    w.read(ann);
    assert_eq!((w.shard(0).copies_waiting(), w.dropped()), ((3, 1), vec![]));
}

/// A world with `count` subscribers of `t` whose fan-outs go `batch` at a time, and the last of them.
fn crowd(count: usize, batch: u32) -> (World, Client, Client) {
    let mut w = World::limited_with_shards(2, |limits| limits.fan_out_batch = batch);
    let crowd: Vec<Client> = (0..count).map(|number| w.join(0, V5, &format!("c{number}"))).collect();
    for client in &crowd {
        w.subscribe_with(*client, "t", SubscriptionOptions::with_qos(Q1), Some(7));
        w.read(*client);
    }
    let bob = w.join(0, V5, "bob");
    (w, crowd[count - 1], bob)
}

#[test]
fn an_open_fan_out_passes_over_who_has_left() {
    let (mut w, last, bob) = crowd(20, 4);
    w.publish(bob, message_1(1, "t", "before"));
    w.publish(bob, message_1(2, "t", "behind it"));
    w.turn(0);
    assert_eq!(w.read_now(last), [""; 0], "the fan-out has not come to it");
    assert!(w.shard(0).sizes().cursor_messages > 0);
    w.unsubscribe(last, &["t"]);
    assert_eq!(w.read(last), ["UNSUBACK #1001 [00]"]);
    assert_eq!(w.count("copies"), 2 * 19);
    w.subscribe_with(last, "t", SubscriptionOptions::with_qos(Q1), None);
    w.publish(bob, message_1(3, "t", "again"));
    assert_eq!(w.read(last), ["SUBACK #1002 [01]", r#"t "again" q1 #1"#]);
}

#[test]
fn an_open_fan_out_goes_by_what_is_left() {
    let (mut w, last, bob) = crowd(20, 4);
    w.subscribe_with(last, "#", SubscriptionOptions::with_qos(Q0), Some(9));
    w.read(last);
    w.publish(bob, message_1(1, "t", "before"));
    w.turn(0);
    w.unsubscribe(last, &["t"]);
    w.publish(bob, message_1(2, "t", "after"));
    let expected = [r#"UNSUBACK #1002 [00]"#, r#"t "before" ids=[9]"#, r#"t "after" ids=[9]"#];
    assert_eq!(w.read(last), expected);
}

#[test]
fn an_open_fan_out_goes_by_the_subscription_as_replaced() {
    let (mut w, last, bob) = crowd(20, 4);
    w.publish(bob, message_1(1, "t", "before"));
    w.publish(bob, message_1(2, "t", "behind it"));
    w.turn(0);
    assert!(w.shard(0).sizes().cursor_messages > 0);
    w.subscribe_with(last, "t", SubscriptionOptions::with_qos(Q0), None);
    let seen = w.read(last);
    assert_eq!(
        seen,
        ["SUBACK #1001 [00]", r#"t "before""#, r#"t "behind it""#],
        "MQTT-3.8.4-3, and none lost"
    );
}

#[test]
fn who_comes_back_while_the_fan_out_is_open_gets_what_is_published_then() {
    let (mut w, last, bob) = crowd(20, 4);
    w.publish(bob, message_1(1, "t", "before"));
    w.turn(0);
    w.unsubscribe(last, &["t"]);
    w.turn(0);
    w.subscribe_with(last, "t", SubscriptionOptions::with_qos(Q1), None);
    w.turn(0);
    assert!(w.shard(0).sizes().cursor_messages > 0, "still the first fan-out");
    w.publish(bob, message_1(2, "t", "after"));
    let seen = copies(w.read(last));
    assert_eq!(seen.last().map(String::as_str), Some(format!(r#"t "after" q1 #{}"#, seen.len()).as_str()));
}

#[test]
fn a_message_on_the_lane_is_matched_when_it_arrives() {
    let mut w = World::new(2);
    let (ann, bob) = (w.join(1, V5, "ann"), w.join(0, V5, "bob"));
    w.subscribe(ann, "t", Q1);
    w.places[1].frozen = true;
    w.publish(bob, message_1(1, "t", "on its way"));
    assert_eq!(w.read(bob), ["PUBACK #1"]);
    w.unsubscribe(ann, &["t"]);
    w.places[1].frozen = false;
    assert_eq!(w.read(ann), ["UNSUBACK #1001 [00]"]);
}

#[test]
fn replays_behind_the_queue_go_on_when_it_is_dropped() {
    let mut w = World::limited(|limits| limits.in_flight_max = 2);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(0, V5, "bob"));
    w.publish(bob, retained(message_1(1, "kept", "x")));
    w.subscribe(ann, "a", Q1);
    for number in 1..=3 {
        w.publish(bob, message_1(number, "a", ""));
    }
    w.puback(ann, 1);
    w.run();
    w.publish(bob, message_1(4, "a", ""));
    w.subscribe_with(ann, "kept", SubscriptionOptions::with_qos(Q1), None);
    assert!(!w.read(ann).iter().any(|line| line.starts_with("kept")), "the queue goes first");
    w.puback(ann, 2);
    w.unsubscribe(ann, &["a"]);
    w.puback(ann, 3);
    assert!(w.read(ann).iter().any(|line| line.starts_with("kept")));
}

#[test]
fn many_unsubscribes_share_the_turn_with_everybody_else() {
    let mut w = World::limited(|limits| limits.in_flight_max = 1);
    let (ann, bob) = (w.connect(0, durable(V5, "ann")), w.join(0, V5, "bob"));
    w.subscribe(ann, "a", Q1);
    for number in 0..900 {
        w.publish(bob, message_1(number + 1, "a", ""));
        w.run();
    }
    w.read(ann);
    let yielded = w.count("yielded");
    for number in 0..20 {
        let filter = format!("f/{number}");
        w.subscribe_all(ann, &[(&filter, Q0)]);
        w.unsubscribe(ann, &[&filter]);
    }
    assert_eq!(w.read(ann).len(), 40);
    assert!(w.count("yielded") > yielded, "each looks through 900 copies: 4,096 in one turn");
    w.leave(ann, ReasonCode::Success);
}
