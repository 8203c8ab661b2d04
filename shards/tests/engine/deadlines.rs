//! CONNECT deadline, keep-alive, write stall: nothing fires early, nothing wakes a shard without need.

use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::base::limits::Limits;
use shardmq_shards::wire::{Connect, Packet, Publish, Version, Will};
use std::time::Duration;

#[test]
fn connect_is_due_as_a_whole() {
    let mut w = World::new(1);
    let silent = w.arrive(0, 0, V5);
    let drip = w.arrive(0, 0, V5);
    w.run();
    for byte in b"\x10\x0f\x00\x04MQTT\x04" {
        w.send_bytes(drip, &[*byte]);
        w.pass(Duration::from_millis(1_000));
    }
    w.pass_secs(2);
    assert_eq!(w.read(silent), ["closed"]);
    assert_eq!(w.read(drip), ["closed"], "a byte does not buy time");
    assert_eq!(w.count("timed_out"), 2);
}

#[test]
fn silence_for_one_and_a_half_periods_ends_the_connection() {
    for version in Version::ALL {
        let mut w = World::new(2);
        let watcher = w.join(1, V5, "watcher");
        w.subscribe(watcher, "w", Q0);
        let will = Will { qos: Q0, retain: false, topic: "w", payload: b"x", properties: Default::default() };
        let ann =
            w.connect(0, Connect { keep_alive: 10, will: Some(will), ..Connect::new(version, "ann", true) });
        w.pass_secs(14);
        w.ping(ann);
        w.pass_secs(14);
        w.publish(ann, message("any packet", "counts"));
        w.run();
        w.pass_secs(14);
        assert!(w.read(ann).is_empty());
        w.pass_secs(2);
        let told: &[&str] = if version.is_v5() { &["DISCONNECT 8d", "closed"] } else { &["closed"] };
        assert_eq!(w.read(ann), told);
        assert_eq!(w.read(watcher), [r#"w "x""#]);
    }
}

#[test]
fn the_keep_alive_that_the_server_set_is_the_one_that_counts() {
    let mut w = World::limited(|limits| limits.keep_alive_max = Duration::from_secs(60));
    let ann = w.dial(0, Connect::new(V5, "ann", true));
    let bob = w.join(0, V311, "bob");
    w.pass_secs(89);
    assert_eq!(w.read(ann), ["CONNACK 00 keep-alive=60"]);
    w.pass_secs(3);
    assert_eq!(w.read(ann), ["DISCONNECT 8d", "closed"]);
    w.ping(bob);
}

#[test]
fn a_client_that_the_broker_does_not_read_is_not_silent() {
    let limits = Limits { keep_alive_max: Duration::ZERO, ..Limits::default() };
    let mut w = World::with(Settings { shards: 2, lane_slots: 2, limits, ..Settings::default() });
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "a", Q0);
    let bob = w.connect(0, Connect { keep_alive: 2, ..Connect::new(V5, "bob", true) });
    w.places[1].frozen = true;
    w.read_bytes_max = 8 * 1024;
    let payload = "x".repeat(3_000);
    for _ in 0..20 {
        w.publish(bob, message("a", &payload));
    }
    w.run();
    assert!(!w.wires[bob.0].to_broker.is_empty(), "the reader is paused");
    w.send(bob, Packet::Pingreq);
    w.pass_secs(10);
    w.places[1].frozen = false;
    assert_eq!(w.read(sub).len(), 20);
    assert_eq!(w.read(bob), ["PINGRESP"], "it had its time again when it was read again");
    w.pass_secs(4);
    assert_eq!(w.read(bob), ["DISCONNECT 8d", "closed"]);
}

#[test]
fn a_client_that_takes_no_byte_is_closed_and_a_slow_one_is_not() {
    let mut w = World::new(1);
    let (stalled, slow) = (w.join(0, V5, "stalled"), w.join(0, V5, "slow"));
    for client in [stalled, slow] {
        w.subscribe(client, "a", Q0);
        w.wires[client.0].space = 0;
    }
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message("a", &"x".repeat(1_000)));
    for _ in 0..6 {
        w.pass_secs(10);
        w.wires[slow.0].space = 1;
        w.run();
    }
    assert!(w.wires[stalled.0].closed);
    assert!(!w.wires[slow.0].closed);
    w.wires[slow.0].space = usize::MAX;
    assert_eq!(w.read(slow), ["a 1000 bytes"]);
    assert_eq!(w.count("timed_out"), 1);
}

#[test]
fn a_connection_that_is_closed_leaves_no_timer() {
    let mut w = World::new(1);
    let ann = w.connect(0, Connect { keep_alive: 60, ..Connect::new(V5, "ann", true) });
    w.send_bytes(ann, b"\x00\x00");
    assert_eq!(w.read(ann), ["DISCONNECT 81", "closed"]);
    assert_eq!(w.shard(0).sizes().timers, 0);
}

#[test]
fn traffic_does_not_touch_the_timers_and_idle_connections_wake_nobody() {
    let mut w = World::new(2);
    let clients: Vec<_> = (0..50)
        .map(|number| {
            let client = format!("c{number}");
            w.connect(number % 2, Connect { keep_alive: 600, ..Connect::new(V5, &client, true) })
        })
        .collect();
    for client in &clients {
        w.publish(*client, Publish { ..message("a", "x") });
    }
    w.pass_secs(20);
    let turns: u64 = w.places.iter().map(|place| place.turns).sum();
    w.pass_secs(800);
    let woken = w.places.iter().map(|place| place.turns).sum::<u64>() - turns;
    assert!(woken < 20, "{woken} turns for nothing but keep-alive");
    for client in &clients {
        w.ping(*client);
    }
}
