//! Between shards: lanes that fill, publishers that are parked, fan-outs in slices (DESIGN.md section 6).

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::limits::{LOG_BACKLOG_BYTES_MAX, LOG_HOLD_MAX, Limits};
use shardmq_shards::shard::End;
use shardmq_shards::wire::{Connect, Will};
use std::time::Duration;

/// Two or more shards with lanes of four slots.
fn narrow(shards: usize) -> World {
    let limits = Limits { keep_alive_max: Duration::ZERO, ..Limits::default() };
    World::with(Settings { shards, limits, lane_slots: 4, ..Settings::default() })
}

fn payloads(lines: &[String]) -> Vec<u32> {
    lines.iter().filter_map(|line| line.split('"').nth(1)?.parse().ok()).collect()
}

#[test]
fn a_parked_publisher_goes_on_in_order_when_there_is_room() {
    let mut w = narrow(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "a", Q1);
    let bob = w.join(0, V5, "bob");
    w.places[1].frozen = true;
    for number in 1..=50 {
        w.publish(bob, message_1(number, "a", &number.to_string()));
    }
    w.publish(bob, message_1(51, "b", "nobody's, but behind the others"));
    assert_eq!(w.read(bob).len(), 4, "four slots, four acknowledgements");
    assert_eq!((w.count("parked_for_lane"), w.shard(0).sizes().parked), (1, 1));
    w.publish(bob, message_1(52, "a", "52"));
    w.places[1].frozen = false;
    let acknowledged = w.read(bob);
    assert_eq!(acknowledged.len(), 48);
    assert!(
        acknowledged.is_sorted_by_key(|line| line[8..].split(' ').next().unwrap().parse::<u16>().unwrap())
    );
    let seen = payloads(&w.read(sub));
    assert!(seen.iter().copied().eq((1..=50).chain([52])), "{seen:?}");
}

#[test]
fn parked_publishers_are_served_in_turn_and_others_are_not_held_up() {
    let mut w = narrow(3);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "a", Q0);
    let other = w.join(2, V5, "other");
    w.subscribe(other, "b", Q0);
    let publishers: Vec<Client> = (0..5).map(|number| w.join(0, V5, &format!("p{number}"))).collect();
    w.places[1].frozen = true;
    for round in 0..10 {
        for (number, publisher) in publishers.iter().enumerate() {
            w.publish(*publisher, message("a", &(number * 100 + round).to_string()));
        }
    }
    w.run();
    assert_eq!(w.shard(0).sizes().parked, 5);
    let free = w.join(0, V5, "free");
    w.publish(free, message("b", "passes"));
    assert_eq!(w.read(other), [r#"b "passes""#]);
    w.places[1].frozen = false;
    let seen = payloads(&w.read(sub));
    assert_eq!(seen.len(), 50);
    for publisher in 0..5 {
        let own: Vec<u32> = seen.iter().copied().filter(|number| number / 100 == publisher).collect();
        assert!(own.is_sorted() && own.len() == 10, "{seen:?}");
    }
}

#[test]
fn what_a_parked_publisher_had_sent_before_it_closed_counts() {
    let mut w = narrow(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "+", Q0);
    let will = Will { qos: Q0, retain: false, topic: "w", payload: b"99", properties: Default::default() };
    let bob = w.connect(0, Connect { will: Some(will), ..Connect::new(V311, "bob", true) });
    let cid = w.connect(0, Connect { will: Some(will), ..Connect::new(V311, "cid", true) });
    let dan = w.join(0, V5, "dan");
    w.places[1].frozen = true;
    for client in [bob, cid, dan] {
        for number in 0..10 {
            w.publish(client, message("a", &number.to_string()));
        }
    }
    w.leave(bob, shardmq_shards::wire::ReasonCode::Success);
    w.end(bob, End::Eof);
    w.end(cid, End::Failed);
    w.run();
    w.places[1].frozen = false;
    let seen = payloads(&w.read(sub));
    let count = |number| seen.iter().filter(|seen| **seen == number).count();
    assert_eq!(count(99), 1, "bob took leave behind his last message, cid did not");
    assert_eq!(count(9), 2, "bob's and dan's; cid's socket failed with its messages unread: {seen:?}");
}

#[test]
fn a_burst_in_one_turn_reserves_against_a_lane_that_is_low_already() {
    let mut w = narrow(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "a", Q1);
    let publishers: Vec<Client> = (0..3).map(|number| w.join(0, V5, &format!("p{number}"))).collect();
    let mut sent = 0;
    for round in 0..60u16 {
        w.places[1].frozen = round % 3 != 0;
        for (number, publisher) in publishers.iter().enumerate() {
            if (usize::from(round) + number) % 2 == 0 {
                w.publish(*publisher, message_1(round + 1, "a", "1"));
                sent += 1;
            }
        }
        w.turn_once();
    }
    w.places[1].frozen = false;
    let mut seen = 0;
    for number in 0.. {
        let lines = w.read(sub);
        if lines.is_empty() {
            break;
        }
        seen += lines.len();
        for packet_id in number * 64..(number + 1) * 64 {
            w.puback(sub, packet_id + 1);
        }
    }
    assert_eq!(seen, sent);
}

#[test]
fn shards_that_publish_to_each_other_over_full_lanes_do_not_wedge() {
    let mut w = narrow(3);
    let clients: Vec<Client> = (0..3).map(|shard| w.join(shard, V5, &format!("c{shard}"))).collect();
    for client in &clients {
        w.subscribe(*client, "#", Q0);
    }
    for round in 0..100 {
        for client in &clients {
            w.publish(*client, message("a", &round.to_string()));
        }
    }
    for client in &clients {
        assert_eq!(w.read(*client).len(), 300);
    }
    assert!(w.count("parked_for_lane") > 0);
}

#[test]
fn a_will_waits_for_room_like_any_message() {
    let mut w = narrow(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "+", Q0);
    let (bob, cid) = (w.join(0, V5, "bob"), w.join(0, V5, "cid"));
    let will = Will { qos: Q0, retain: false, topic: "w", payload: b"99", properties: Default::default() };
    let ann = w.connect(0, Connect { will: Some(will), ..Connect::new(V5, "ann", true) });
    w.places[1].frozen = true;
    for number in 0..6 {
        w.publish(bob, message("a", &number.to_string()));
    }
    w.run();
    w.vanish(ann);
    w.publish(cid, message("a", "7"));
    w.run();
    w.places[1].frozen = false;
    assert_eq!(payloads(&w.read(sub)), [0, 1, 2, 3, 4, 5, 99, 7]);
}

#[test]
fn a_large_fan_out_goes_in_slices_and_keeps_order() {
    let mut w = World::limited_with_shards(2, |limits| limits.fan_out_batch = 10);
    let subscribers: Vec<Client> = (0..120)
        .map(|number| {
            let client = w.join(number % 2, [V311, V5][number % 3 % 2], &format!("s{number}"));
            w.subscribe(client, "a/+", Q0);
            client
        })
        .collect();
    let other = w.join(0, V5, "other");
    w.subscribe(other, "b", Q0);
    let (bob, cid) = (w.join(0, V5, "bob"), w.join(0, V5, "cid"));
    for number in 0..5 {
        w.publish(bob, message("a/x", &number.to_string()));
        w.publish(bob, message("a/y", &number.to_string()));
    }
    w.publish(cid, message("b", "between the slices"));
    w.turn_once();
    assert_eq!(w.read_now(other), [r#"b "between the slices""#]);
    assert!(w.shard(0).sizes().cursor_messages > 0, "the large one is still under way");
    w.publish(bob, message("a/x", "5"));
    w.turn_once();
    w.publish(bob, message("a/x", "6"));
    for subscriber in &subscribers {
        let lines = w.read(*subscriber);
        let of = |topic: &str| -> Vec<u32> {
            let lines: Vec<String> = lines.iter().filter(|line| line.starts_with(topic)).cloned().collect();
            payloads(&lines)
        };
        assert_eq!((of("a/x"), of("a/y")), ((0..7).collect(), (0..5).collect()));
    }
    assert!(w.count("cursors") >= 4);
}

#[test]
fn a_message_does_not_overtake_an_open_fan_out_that_its_own_would_not_need() {
    let mut w = World::limited(|limits| limits.fan_out_batch = 10);
    let subscribers: Vec<Client> = (0..60)
        .map(|number| {
            let client = w.join(0, V5, &format!("s{number}"));
            w.subscribe(client, "a", Q0);
            client
        })
        .collect();
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message("a", "1"));
    w.turn_once();
    for client in &subscribers[..57] {
        w.unsubscribe(*client, &["a"]);
    }
    w.publish(bob, message("a", "2"));
    for client in &subscribers[57..] {
        assert_eq!(payloads(&w.read(*client)), [1, 2]);
    }
}

#[test]
fn receivers_that_come_and_go_during_a_fan_out_are_accounted_for() {
    let mut w = World::limited(|limits| limits.fan_out_batch = 5);
    let mut subscribers: Vec<Client> = Vec::new();
    for number in 0..60 {
        let client = w.join(0, V5, &format!("s{number}"));
        w.subscribe(client, "a", Q1);
        subscribers.push(client);
    }
    let bob = w.join(0, V5, "bob");
    for number in 1..=3 {
        w.publish(bob, message_1(number, "a", &number.to_string()));
    }
    w.turn_once();
    w.turn_once();
    for client in subscribers.iter().rev().take(20) {
        w.end(*client, End::Failed);
    }
    let late = w.join(0, V5, "late");
    w.subscribe(late, "a", Q1);
    for client in &subscribers[..40] {
        assert_eq!(payloads(&w.read(*client)), [1, 2, 3]);
    }
    assert_eq!(w.count("copies"), 180);
    assert!(payloads(&w.read(late)).is_empty(), "subscribed behind them");
}

#[test]
fn publishers_are_parked_when_too_much_waits_behind_cursors() {
    let mut w = World::limited(|limits| limits.fan_out_batch = 1);
    let subscribers: Vec<Client> = (0..5).map(|number| w.join(0, V5, &format!("s{number}"))).collect();
    for subscriber in &subscribers {
        w.subscribe(*subscriber, "a", Q0);
    }
    let publishers: Vec<Client> = (0..3).map(|number| w.join(0, V5, &format!("p{number}"))).collect();
    for number in 0..600 {
        for publisher in &publishers {
            w.publish(*publisher, message("a", &number.to_string()));
        }
    }
    w.turn_once();
    assert!(w.shard(0).sizes().cursor_messages <= 1_024);
    for subscriber in &subscribers {
        let seen = payloads(&w.read(*subscriber));
        assert_eq!(seen.len(), 1_800);
        for number in 0..600 {
            assert_eq!(seen.iter().filter(|seen| **seen == number).count(), 3);
        }
    }
    assert!(w.count("parked_for_cursor") > 0);
}

#[test]
fn one_turn_makes_a_bounded_number_of_copies() {
    let mut w = World::limited(|limits| limits.fan_out_batch = 1_000);
    for number in 0..300 {
        let client = w.join(0, V5, &format!("s{number}"));
        w.subscribe(client, "#", Q0);
    }
    let bob = w.join(0, V5, "bob");
    for number in 0..200 {
        w.publish(bob, message("a", &number.to_string()));
    }
    let mut most = 0;
    loop {
        let before = w.count("copies");
        w.turn_once();
        let made = w.count("copies") - before;
        most = most.max(made);
        if made == 0 {
            break;
        }
    }
    assert_eq!(w.count("copies"), 60_000);
    assert!(most <= 2 * 4_096 + 300, "{most} copies in one turn");
    assert!(w.count("yielded") > 0);
}

#[test]
fn cursors_of_many_topics_share_a_turn() {
    let mut w = World::limited(|limits| limits.fan_out_batch = 500);
    for number in 0..1_000 {
        let client = w.join(0, V5, &format!("s{number}"));
        w.subscribe(client, "#", Q0);
    }
    let bob = w.join(0, V5, "bob");
    for round in 0..16 {
        for topic in 0..20 {
            w.publish(bob, message(&format!("t/{topic}"), &round.to_string()));
        }
    }
    let mut most = 0;
    loop {
        let before = w.count("copies");
        w.turn_once();
        let made = w.count("copies") - before;
        most = most.max(made);
        if made == 0 {
            break;
        }
    }
    assert_eq!(w.count("copies"), 320_000);
    assert!(most <= 4_096 + 500 * 32, "{most} copies in one turn");
}

#[test]
fn a_shard_whose_log_is_behind_sleeps_over_full_lanes_until_it_has_caught_up() {
    let segment_bytes = Some(16 * 1024 * 1024);
    let mut settings = Settings { shards: 2, logs: true, segment_bytes, ..Settings::default() };
    settings.limits.queue_bytes_max = 64 * 1024 * 1024;
    let mut w = World::with(settings);
    let sub = w.connect(1, durable(V5, "sub"));
    w.subscribe(sub, "a", Q1);
    let bob = w.join(0, V5, "bob");
    w.places[1].log_held = true;
    let payload = "x".repeat(LOG_BACKLOG_BYTES_MAX / 16);
    for number in 1..=30 {
        w.publish(bob, message_1(number, "a", &payload));
    }
    w.run();
    assert!(!w.shard(1).accepts_data(), "its log is behind");
    let left = w.places[1].seat.port.waiting_messages();
    assert!(left > 0, "on the lane");
    let turns = w.places[1].turns;
    w.pass_secs(10);
    assert!(w.places[1].turns - turns <= 20, "it sleeps: {} turns", w.places[1].turns - turns);
    assert_eq!(w.places[1].seat.port.waiting_messages(), left);
    w.places[1].log_held = false;
    w.turn(1);
    assert_eq!(w.read(sub).len(), 30, "what its disk has done wakes it");
    // The last of it may be held back for more.
    w.pass(LOG_HOLD_MAX);
}
