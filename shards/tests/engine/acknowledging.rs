//! QoS 1 and QoS 2 in both directions, with every acknowledgement that may come at the wrong time (MQTT 5 section 4.3).

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Ack, Packet, Publish, ReasonCode};

/// A subscriber of `a` at QoS 2, and a publisher.
fn pair(w: &mut World) -> (Client, Client) {
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "a", Q2);
    (ann, w.join(0, V5, "bob"))
}

#[test]
fn publications_are_acknowledged_and_say_when_nobody_matched() {
    for version in [V31, V311, V5] {
        let mut w = World::new(2);
        let bob = w.join(0, version, "bob");
        let nobody = if version.is_v5() { " 10" } else { "" };
        w.publish(bob, message_1(1, "a", ""));
        assert_eq!(w.read(bob), [format!("PUBACK #1{nobody}")]);
        w.publish(bob, message_2(65_535, "a", ""));
        assert_eq!(w.read(bob), [format!("PUBREC #65535{nobody}")]);
        w.pubrel(bob, 65_535);
        assert_eq!(w.read(bob), ["PUBCOMP #65535"]);
        let ann = w.join(1, version, "ann");
        w.subscribe(ann, "+", Q0);
        w.publish(bob, message_1(1, "a", ""));
        assert_eq!(w.read(bob), ["PUBACK #1"]);
        assert_eq!(w.count("unmatched"), 2);
    }
}

#[test]
fn pubrel_for_an_unknown_id_is_answered_as_the_version_can() {
    let mut w = World::new(1);
    let (v5, v3) = (w.join(0, V5, "v5"), w.join(0, V311, "v3"));
    w.pubrel(v5, 9);
    w.pubrel(v3, 9);
    assert_eq!(w.read(v5), ["PUBCOMP #9 92"]);
    assert_eq!(w.read(v3), ["PUBCOMP #9"]);
}

#[test]
fn a_repeated_qos_2_publish_is_acknowledged_and_not_delivered() {
    let mut w = World::new(2);
    let ann = w.join(1, V5, "ann");
    w.subscribe(ann, "a", Q0);
    let bob = w.join(0, V5, "bob");
    for _ in 0..3 {
        w.publish(bob, Publish { dup: true, ..message_2(1, "a", "x") });
    }
    assert_eq!(w.read(bob), ["PUBREC #1", "PUBREC #1", "PUBREC #1"]);
    assert_eq!(w.read(ann), [r#"a "x""#]);
    w.pubrel(bob, 1);
    w.pubrel(bob, 1);
    assert_eq!(w.read(bob), ["PUBCOMP #1", "PUBCOMP #1 92"]);
}

#[test]
fn qos_2_towards_a_client_walks_its_four_steps() {
    let mut w = World::new(1);
    let (ann, bob) = pair(&mut w);
    w.publish(bob, message_2(7, "a", "x"));
    assert_eq!(w.read(ann), [r#"a "x" q2 #1"#]);
    w.pubrec(ann, 1);
    assert_eq!(w.read(ann), ["PUBREL #1"]);
    assert_eq!(w.count("delivered"), 1, "at PUBREC it has arrived");
    w.pubrec(ann, 1);
    assert_eq!(w.read(ann), ["PUBREL #1"], "PUBREC again: PUBREL again");
    w.pubcomp(ann, 1);
    assert!(w.read(ann).is_empty());
    assert_eq!(w.count("delivered"), 1);
    w.pubrec(ann, 1);
    assert_eq!(w.read(ann), ["PUBREL #1 92"], "nothing waits for it any more");
}

#[test]
fn wrong_acknowledgements_end_nothing() {
    let mut w = World::new(1);
    let (ann, bob) = pair(&mut w);
    w.publish(bob, message_1(1, "a", "one"));
    w.publish(bob, message_2(2, "a", "two"));
    assert_eq!(w.read(ann), [r#"a "one" q1 #1"#, r#"a "two" q2 #2"#]);
    w.puback(ann, 2);
    w.puback(ann, 3);
    w.pubcomp(ann, 1);
    w.pubcomp(ann, 2);
    w.pubcomp(ann, 65_535);
    assert!(w.read(ann).is_empty());
    assert_eq!(w.shard(0).copies_waiting(), (0, 2));
    w.pubrec(ann, 1);
    w.pubrec(ann, 77);
    assert_eq!(w.read(ann), ["PUBREL #1 92", "PUBREL #77 92"]);
    assert_eq!(w.shard(0).copies_waiting(), (0, 2));
    w.puback(ann, 1);
    w.puback(ann, 1);
    w.pubrec(ann, 2);
    w.pubcomp(ann, 2);
    assert_eq!(w.read(ann), ["PUBREL #2"]);
    assert_eq!((w.count("delivered"), w.shard(0).copies_waiting()), (2, (0, 0)));
}

#[test]
fn a_pubrec_with_an_error_ends_the_exchange() {
    let mut w = World::new(1);
    let (ann, bob) = pair(&mut w);
    w.publish(bob, message_2(1, "a", "x"));
    w.read(ann);
    w.send(ann, Packet::Pubrec(Ack::with_reason(id(1), ReasonCode::QuotaExceeded)));
    assert!(w.read(ann).is_empty(), "MQTT-4.3.3-4: no PUBREL");
    assert_eq!(w.dropped(), [("refused", 1)]);
    w.send(ann, Packet::Pubrec(Ack::with_reason(id(1), ReasonCode::QuotaExceeded)));
    assert_eq!(w.dropped(), [("refused", 1)], "once");
    w.publish(bob, message_1(2, "a", "y"));
    w.read(ann);
    for _ in 0..2 {
        w.send(ann, Packet::Puback(Ack::with_reason(id(2), ReasonCode::UnspecifiedError)));
        w.run();
    }
    assert_eq!(w.shard(0).copies_waiting(), (0, 0));
    assert_eq!((w.dropped(), w.count("delivered")), (vec![("refused", 2)], 0));
}

#[test]
fn more_unacknowledged_than_the_receive_maximum_is_a_breach_in_v5_only() {
    let mut w = World::limited(|limits| limits.receive_maximum = 3);
    for (version, told) in [(V5, true), (V311, false)] {
        let bob = w.join(0, version, "bob");
        for number in 1..=4 {
            w.publish(bob, message_2(number, "a", ""));
        }
        let answer = w.read(bob);
        assert_eq!(answer.len(), if told { 5 } else { 4 });
        assert_eq!(answer.contains(&"DISCONNECT 93".into()), told, "MQTT-3.3.4-9");
    }
    let bob = w.join(0, V5, "bob");
    for number in 1..=100 {
        w.publish(bob, message_1(number, "a", ""));
        w.publish(bob, message_2(number, "a", ""));
        w.pubrel(bob, number);
    }
    assert_eq!(w.read(bob).len(), 300, "each is acknowledged before the next is read");
}

#[test]
fn the_receive_maximum_counts_what_this_connection_has_sent() {
    let mut w = World::limited(|limits| limits.receive_maximum = 3);
    let bob = w.connect(0, durable(V5, "bob"));
    for number in 1..=3 {
        w.publish(bob, message_2(number, "a", ""));
    }
    assert_eq!(w.read(bob).len(), 3);
    // The send quota starts anew with the connection; PUBREL does not use it (section 4.9).
    let bob = w.connect(0, durable(V5, "bob"));
    for number in 11..=13 {
        w.publish(bob, message_2(number, "a", ""));
    }
    for number in 1..=3 {
        w.pubrel(bob, number);
    }
    let answer = w.read(bob);
    assert_eq!(answer[3..], ["PUBCOMP #1", "PUBCOMP #2", "PUBCOMP #3"], "{answer:?}");
    w.publish(bob, message_2(14, "a", ""));
    assert_eq!(w.read(bob), ["DISCONNECT 93", "closed"]);
}

#[test]
fn acknowledgements_that_wait_for_the_log_count_against_the_receive_maximum() {
    let mut w = World::limited(|limits| limits.receive_maximum = 2);
    let sub = w.connect(0, durable(V5, "sub"));
    w.subscribe(sub, "a", Q1);
    let bob = w.join(0, V5, "bob");
    w.places[0].log_held = true;
    w.publish(bob, message_1(1, "a", ""));
    w.publish(bob, message_1(2, "a", ""));
    assert!(w.read(bob).is_empty());
    w.commit(0);
    assert_eq!(w.read(bob), ["PUBACK #1", "PUBACK #2"]);
    w.places[0].log_held = true;
    for number in 3..=5 {
        w.publish(bob, message_1(number, "a", ""));
    }
    assert_eq!(w.read(bob), ["DISCONNECT 93", "closed"]);
}

#[test]
fn no_acknowledgement_overtakes_an_earlier_one() {
    let mut w = World::new(1);
    let sub = w.connect(0, durable(V5, "sub"));
    w.subscribe(sub, "a", Q1);
    let bob = w.join(0, V5, "bob");
    w.places[0].log_held = true;
    w.publish(bob, message_1(1, "a", "logged"));
    w.publish(bob, message_1(2, "b", "not logged"));
    w.send(bob, Packet::Pingreq);
    assert_eq!(w.read(bob), ["PINGRESP"], "MQTT-4.6.0-2");
    w.commit(0);
    assert_eq!(w.read(bob), ["PUBACK #1", "PUBACK #2 10"]);
}

#[test]
fn order_is_kept_per_qos_across_shards_and_windows() {
    let mut w = World::new(3);
    let ann = w.connect(2, durable_taking("ann", 3));
    w.subscribe(ann, "a", Q2);
    let bob = w.join(0, V5, "bob");
    for number in 1..=40u16 {
        let payload = number.to_string();
        match number % 3 {
            0 => w.publish(bob, message("a", &payload)),
            1 => w.publish(bob, message_1(number, "a", &payload)),
            _ => {
                w.publish(bob, message_2(number, "a", &payload));
                w.pubrel(bob, number);
            }
        }
    }
    let mut seen: [Vec<u16>; 3] = Default::default();
    loop {
        let lines = w.read(ann);
        if lines.is_empty() {
            break;
        }
        for line in lines {
            let number = |mark: char| -> Option<u16> {
                line.split(mark).nth(1)?.split([' ', '"']).next()?.parse().ok()
            };
            let Some(payload) = number('"') else {
                w.pubcomp(ann, number('#').expect("PUBREL"));
                continue;
            };
            match number('#') {
                None => seen[0].push(payload),
                Some(packet_id) if line.contains(" q1 ") => {
                    seen[1].push(payload);
                    w.puback(ann, packet_id);
                }
                Some(packet_id) => {
                    seen[2].push(payload);
                    w.pubrec(ann, packet_id);
                }
            }
        }
    }
    assert_eq!(seen.iter().map(Vec::len).sum::<usize>(), 40);
    assert!(seen.iter().all(|numbers| numbers.is_sorted()), "{seen:?}");
}

/// What a publisher on shard 0 is told of a message to `a`.
fn told(w: &mut World) -> String {
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message_1(1, "a", ""));
    w.publish(bob, message_2(2, "a", ""));
    let answers = w.read(bob);
    let [puback, pubrec] = &answers[..] else { panic!("two answers: {answers:?}") };
    let reason = puback.strip_prefix("PUBACK #1").expect("PUBACK");
    assert_eq!(pubrec.strip_prefix("PUBREC #2"), Some(reason), "QoS 1 and 2 are told the same");
    reason.into()
}

#[test]
fn nobody_is_who_neither_subscribes_nor_did_when_it_was_published() {
    for (shard, filter) in [(0, "a"), (1, "a"), (1, "#"), (0, "$share/g/a"), (1, "$share/g/+")] {
        let mut w = World::new(2);
        assert_eq!(told(&mut w), " 10");
        let ann = w.connect(shard, durable(V5, "ann"));
        w.subscribe_all(ann, &[(filter, Q1)]);
        w.read(ann);
        assert_eq!(told(&mut w), "", "{filter} on shard {shard}");
        w.vanish(ann);
        assert_eq!(told(&mut w), "", "it is offline: the message is kept for it");
        let (ann, _) = w.connect_and_read(shard, durable(V5, "ann"));
        w.unsubscribe(ann, &[filter]);
        w.run();
        assert_eq!(told(&mut w), " 10");
        w.subscribe_all(ann, &[(filter, Q1)]);
        w.run();
        w.leave_with(ann, ReasonCode::Success, Some(0));
        assert_eq!(told(&mut w), " 10", "the session is over");
    }
}
