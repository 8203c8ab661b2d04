//! The orderly end.

use crate::verbs::*;
use crate::world::World;
use shardmq_shards::wire::{Connect, Will};

#[test]
fn everybody_is_told_flushed_and_closed() {
    let mut w = World::new(2);
    let will = Will { qos: Q0, retain: false, topic: "a", payload: b"will", properties: Default::default() };
    let ann = w.connect(0, Connect { will: Some(will), ..Connect::new(V5, "ann", true) });
    let bob = w.join(1, V311, "bob");
    w.subscribe(bob, "a", Q0);
    let half_open = w.arrive(1, 0, V5);
    w.run();
    w.publish(ann, message("a", "last"));
    w.turn_once();
    w.request_shutdown();
    assert_eq!(w.read(ann), ["DISCONNECT 8b", "closed"]);
    assert_eq!(w.read(bob), [r#"a "last""#, "closed"], "the broker's end is not the client's: no will");
    assert_eq!(w.read(half_open), ["closed"]);
    assert!((0..2).all(|shard| w.shard(shard).is_stopping() && w.shard(shard).is_drained()));
    assert!(!w.shard(0).accepts());
}

#[test]
fn more_connections_than_one_turn_tells() {
    let mut w = World::new(1);
    let clients: Vec<_> = (0..600).map(|number| w.join(0, V5, &format!("c{number}"))).collect();
    w.request_shutdown();
    for client in clients {
        assert_eq!(w.read(client), ["DISCONNECT 8b", "closed"]);
    }
}

#[test]
fn a_connect_that_is_under_way_is_refused_with_a_code_that_connack_can_carry() {
    let mut w = World::new(2);
    let old = w.connect(1, durable(V5, "ann"));
    w.vanish(old);
    // Moving from shard 0 to shard 1 when the end comes.
    w.places[1].frozen = true;
    let ann = w.dial(0, durable(V5, "ann"));
    w.run();
    w.request_shutdown();
    w.run();
    w.places[1].frozen = false;
    assert_eq!(w.read(ann), ["CONNACK 88", "closed"]);
}

#[test]
fn a_claim_that_comes_home_after_the_end_has_begun_gives_its_client_id_back() {
    for known in [false, true] {
        for turns in 0..8 {
            let mut w = World::new(2);
            let elsewhere = w.join(0, V5, "elsewhere");
            if known {
                let old = w.connect(1, durable(V5, "ann"));
                w.vanish(old);
            }
            w.places[1].frozen = true;
            let ann = w.dial(0, durable(V5, "ann"));
            (0..turns).for_each(|_| w.turn(0));
            w.places[0].frozen = true;
            w.places[1].frozen = false;
            w.request_shutdown();
            w.run();
            w.places[0].frozen = false;
            w.run();
            assert!(w.wires[elsewhere.0].closed);
            assert!(w.wires[ann.0].closed || turns == 0, "{turns}");
        }
    }
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_end() {
    let mut w = World::new(1);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(0, V5, "bob"));
    w.wires[ann.0].space = 0;
    w.request_shutdown();
    assert_eq!(w.read(bob), ["DISCONNECT 8b", "closed"]);
    assert!(!w.shard(0).is_drained());
    w.pass_secs(6);
    assert!(w.shard(0).is_drained());
}
