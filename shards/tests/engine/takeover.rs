//! One owner (promise 2): a client id that connects again, on the same shard and on another.

use crate::verbs::*;
use crate::world::World;
use shardmq_shards::wire::{Connect, Packet, ReasonCode, Will};

#[test]
fn the_old_connection_is_told_and_closed() {
    for other in [0, 1] {
        let mut w = World::new(2);
        let old = w.join(0, V5, "ann");
        w.join(other, V311, "ann");
        assert_eq!(w.read(old), ["DISCONNECT 8e", "closed"], "MQTT-3.1.4-3");
        let old = w.join(0, V311, "bob");
        w.join(other, V5, "bob");
        assert_eq!(w.read(old), ["closed"], "3.1.1 has no DISCONNECT from a server");
        assert_eq!(w.count("taken_over"), 2);
    }
}

#[test]
fn in_flight_messages_come_again_in_order_with_dup() {
    for home in [0, 1] {
        let mut w = World::new(2);
        let ann = w.connect(home, durable(V5, "ann"));
        w.subscribe(ann, "a", Q2);
        let bob = w.join(1, V5, "bob");
        for (number, payload) in [(1, "one"), (2, "two"), (3, "three")] {
            w.publish(bob, message_1(number, "a", payload));
        }
        w.publish(bob, message_2(4, "a", "four"));
        w.publish(bob, message_2(5, "a", "five"));
        w.run();
        assert_eq!(w.read(ann).len(), 5);
        w.puback(ann, 2);
        w.pubrec(ann, 4);
        assert_eq!(w.read(ann), ["PUBREL #4"]);
        let again = w.dial(0, durable(V5, "ann"));
        let seen = w.read(again);
        let expected = [
            "CONNACK 00 present",
            r#"a "one" q1 #1 dup"#,
            r#"a "three" q1 #3 dup"#,
            "PUBREL #4",
            r#"a "five" q2 #5 dup"#,
        ];
        assert_eq!(seen, expected);
        w.puback(again, 1);
        w.puback(again, 3);
        w.pubcomp(again, 4);
        w.pubrec(again, 5);
        assert_eq!(w.read(again), ["PUBREL #5"]);
        w.pubcomp(again, 5);
        w.run();
        assert_eq!(w.shard(home).copies_waiting(), (0, 0));
        assert_eq!(w.count("delivered"), 5);
    }
}

#[test]
fn what_waits_follows_what_was_in_flight() {
    let mut w = World::new(1);
    let ann = w.connect(0, durable_taking("ann", 2));
    w.subscribe(ann, "a", Q1);
    let bob = w.join(0, V5, "bob");
    for number in 1..=4 {
        w.publish(bob, message_1(number, "a", &number.to_string()));
    }
    assert_eq!(w.read(ann), [r#"a "1" q1 #1"#, r#"a "2" q1 #2"#]);
    let again = w.dial(0, durable_taking("ann", 1));
    assert_eq!(w.read(again), ["CONNACK 00 present", r#"a "1" q1 #1 dup"#], "the new window is 1");
    w.puback(again, 1);
    assert_eq!(w.read(again), [r#"a "2" q1 #2 dup"#]);
    w.puback(again, 2);
    assert_eq!(w.read(again), [r#"a "3" q1 #3"#]);
    let third = w.dial(0, durable(V5, "ann"));
    assert_eq!(w.read(third), ["CONNACK 00 present", r#"a "3" q1 #3 dup"#, r#"a "4" q1 #4"#]);
}

#[test]
fn a_qos_2_publish_is_known_again_after_takeover() {
    let mut w = World::new(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "a", Q2);
    let ann = w.connect(0, durable(V311, "ann"));
    w.publish(ann, message_2(7, "a", "once"));
    assert_eq!(w.read(ann), ["PUBREC #7"]);
    assert_eq!(w.read(sub), [r#"a "once" q2 #1"#]);
    let ann = w.connect(1, durable(V311, "ann"));
    w.publish(ann, shardmq_shards::wire::Publish { dup: true, ..message_2(7, "a", "once") });
    assert_eq!(w.read(ann), ["PUBREC #7"]);
    w.pubrel(ann, 7);
    assert_eq!(w.read(ann), ["PUBCOMP #7"]);
    assert!(w.read(sub).is_empty(), "MQTT-4.3.3-10");
    w.publish(ann, message_2(7, "a", "twice"));
    assert_eq!(w.read(ann), ["PUBREC #7"]);
    assert_eq!(w.read(sub), [r#"a "twice" q2 #2"#], "after PUBREL the id is free");
}

#[test]
fn a_clean_start_ends_the_old_session_with_what_it_had() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "a", Q1);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, message_1(1, "a", "lost"));
    w.run();
    let again = w.dial(1, Connect { clean_start: true, ..durable(V5, "ann") });
    assert_eq!(w.read(again), ["CONNACK 00"]);
    assert_eq!(w.dropped(), [("session_ended", 1)]);
    w.publish(bob, message_1(2, "a", "nobody"));
    assert_eq!(w.read(bob), ["PUBACK #1", "PUBACK #2 10"]);
    assert!(w.read(again).is_empty());
}

#[test]
fn the_will_of_the_old_connection_is_published() {
    let mut w = World::new(2);
    let sub = w.join(1, V5, "sub");
    w.subscribe(sub, "gone", Q0);
    let will =
        Will { qos: Q0, retain: false, topic: "gone", payload: b"ann", properties: Default::default() };
    w.connect(0, Connect { will: Some(will), ..durable(V311, "ann") });
    w.connect(1, durable(V311, "ann"));
    assert_eq!(w.read(sub), [r#"gone "ann""#]);
}

#[test]
fn an_arrival_with_an_older_claim_is_closed() {
    let mut w = World::new(2);
    let first = w.connect(0, durable(V5, "ann"));
    // The claim of `late` is made before that of `newest` and arrives after it.
    let late = w.dial(1, durable(V5, "ann"));
    w.places[0].frozen = true;
    w.run();
    w.places[1].frozen = true;
    w.places[0].frozen = false;
    let newest = w.dial(0, durable(V5, "ann"));
    assert_eq!(w.read(newest), ["CONNACK 00 present"]);
    assert_eq!(w.read(first), ["DISCONNECT 8e", "closed"]);
    w.places[1].frozen = false;
    assert_eq!(w.read(late), ["closed"]);
    assert_eq!(w.count("stale_claims"), 1);
    w.ping(newest);
}

#[test]
fn a_release_that_a_claim_has_overtaken_is_ignored() {
    let mut w = World::new(3);
    let old = w.join(1, V5, "ann");
    w.places[1].frozen = true;
    w.vanish(old);
    // Granted before shard 1 has seen that the session it belongs to is over.
    let ann = w.dial(0, durable(V5, "ann"));
    w.run();
    w.places[1].frozen = false;
    assert_eq!(w.read(ann), ["CONNACK 00"]);
    let coordinator = w.places[0].seat.coordinator.as_ref().expect("shard 0 has the coordinator");
    assert_eq!(coordinator.coordinator().stale_releases(), 1);
    // The id is still known: the next connection finds its session.
    let again = w.dial(2, durable(V5, "ann"));
    assert_eq!(w.read(again), ["CONNACK 00 present"]);
    assert_eq!(w.read(ann), ["DISCONNECT 8e", "closed"]);
}

#[test]
fn two_clients_that_fight_over_an_id_never_wedge_it() {
    let mut w = World::new(3);
    let bob = w.join(1, V5, "bob");
    let mut ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "a", Q1);
    let mut got = std::collections::BTreeSet::new();
    for round in 0..200u16 {
        let next = w.dial(usize::from(round) % 3, durable(V5, "ann"));
        w.publish(bob, message_1(round + 1, "a", &round.to_string()));
        for _ in 0..round % 4 {
            w.turn_once();
        }
        for line in w.read(next) {
            if let Some(payload) = line.strip_prefix("a \"").and_then(|rest| rest.split('"').next()) {
                got.insert(payload.parse::<u16>().expect("the payloads are numbers"));
            }
        }
        assert_eq!(w.read(ann).last().map(String::as_str), Some("closed"));
        ann = next;
        assert_eq!(w.places.iter().map(|place| place.seat.shard.speakers().count()).sum::<usize>(), 2);
    }
    // Nobody acknowledged anything: what is over the window still waits.
    for number in 1..=200 {
        w.puback(ann, number);
        for line in w.read(ann) {
            if let Some(payload) = line.strip_prefix("a \"").and_then(|rest| rest.split('"').next()) {
                got.insert(payload.parse::<u16>().expect("the payloads are numbers"));
            }
        }
    }
    assert_eq!(got.len(), 200, "nothing acknowledged is lost");
    assert_eq!(w.count("taken_over"), 200);
}

#[test]
fn what_the_old_connection_had_not_been_read_of_is_not_handled() {
    let mut w = World::new(1);
    let old = w.join(0, V5, "ann");
    w.join(0, V5, "ann");
    w.send(old, Packet::Pingreq);
    assert_eq!(w.read(old), ["DISCONNECT 8e", "closed"]);
    let old = w.connect(0, durable(V5, "bob"));
    w.leave(old, ReasonCode::Success);
    w.connect(0, durable(V5, "bob"));
    assert_eq!(w.read(old), ["closed"], "a connection that is gone is not taken over");
}
