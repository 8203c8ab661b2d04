//! Messages for durable sessions across crashes: what was acknowledged is there, what is of QoS 2 comes once, whatever each shard's log had on disk.

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::wire::{Packet, Publish, QoS, ReasonCode, SubscriptionOptions};
use std::collections::BTreeSet;

/// The payloads of the messages among `lines`.
fn payloads(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.split('"').nth(1)).collect()
}

/// A durable session of `client_id` on `shard`, subscribed to `filter` and away.
fn away(w: &mut World, shard: usize, client_id: &str, filter: &str, qos: QoS) {
    let client = w.connect(shard, durable(V5, client_id));
    w.subscribe(client, filter, qos);
    w.leave(client, ReasonCode::Success);
}

/// What waits in the session of `client_id`, which comes to `shard` and acknowledges nothing.
fn waiting(w: &mut World, shard: usize, client_id: &str) -> (Client, Vec<String>) {
    let (client, mut lines) = w.connect_and_read(shard, durable(V5, client_id));
    assert_eq!(lines.remove(0), "CONNACK 00 present");
    (client, lines)
}

#[test]
fn what_was_acknowledged_waits_for_sessions_on_every_shard() {
    let mut w = World::durable(3);
    for shard in 0..3 {
        away(&mut w, shard, &format!("away{shard}"), "t/#", Q2);
    }
    let ann = w.join(1, V5, "ann");
    w.publish(ann, message_1(1, "t/1", "one"));
    w.publish(ann, message_2(2, "t/2", "two"));
    w.publish(ann, message("t/3", "of QoS 0"));
    w.publish(ann, message_1(3, "t/1", "three"));
    assert_eq!(w.read(ann), ["PUBACK #1", "PUBREC #2", "PUBACK #3"]);
    w.crash();
    w.crash();
    for shard in 0..3 {
        let (_, lines) = waiting(&mut w, (shard + 1) % 3, &format!("away{shard}"));
        // The third was not in flight: a QoS 2 copy that is not started comes before it.
        assert_eq!(lines, [r#"t/1 "one" q1 #1"#, r#"t/2 "two" q2 #2"#, r#"t/1 "three" q1 #3"#], "{shard}");
    }
}

#[test]
fn an_acknowledgement_waits_for_the_record_and_without_it_nothing_is_left() {
    for (left, expected) in [(0, vec![]), (1, vec!["kept"])] {
        let mut w = World::durable(1);
        away(&mut w, 0, "bob", "t", Q1);
        let ann = w.connect(0, durable(V5, "ann"));
        w.places[0].log_held = true;
        w.publish(ann, message_1(1, "t", "kept"));
        assert!(w.read(ann).is_empty(), "PUBACK waits");
        assert_eq!(w.uncommitted(0), 1, "one record for all of it");
        w.crash_leaving(&[left]);
        assert_eq!(payloads(&waiting(&mut w, 0, "bob").1), expected);
    }
}

#[test]
fn what_was_delivered_does_not_come_again() {
    let mut w = World::durable(2);
    let bob = w.connect(1, durable(V5, "bob"));
    w.subscribe(bob, "t", Q2);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message_1(1, "t", "one"));
    w.publish(ann, message_2(2, "t", "two"));
    w.publish(ann, message_2(3, "t", "three"));
    assert_eq!(payloads(&w.read(bob)), ["one", "two", "three"]);
    w.puback(bob, 1);
    w.pubrec(bob, 2);
    w.pubrec(bob, 3);
    assert_eq!(w.read(bob), ["PUBREL #2", "PUBREL #3"]);
    w.pubcomp(bob, 3);
    w.run();
    w.crash();
    let (bob, lines) = waiting(&mut w, 0, "bob");
    assert_eq!(lines, ["PUBREL #2"], "of the second all that is left is its packet id");
    w.pubcomp(bob, 2);
    w.run();
    w.crash();
    assert!(waiting(&mut w, 1, "bob").1.is_empty());
}

#[test]
fn a_pubrel_waits_for_the_record_of_its_pubrec() {
    let mut w = World::durable(1);
    let bob = w.connect(0, durable(V5, "bob"));
    w.subscribe(bob, "t", Q2);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message_2(1, "t", "x"));
    assert_eq!(w.read(bob), [r#"t "x" q2 #1"#]);
    w.places[0].log_held = true;
    w.pubrec(bob, 1);
    w.pubrec(bob, 1);
    assert!(w.read(bob).is_empty());
    w.commit(0);
    assert_eq!(w.read(bob), ["PUBREL #1", "PUBREL #1"]);
}

#[test]
fn a_pubcomp_waits_until_the_packet_id_is_forgotten() {
    let mut w = World::durable(1);
    away(&mut w, 0, "bob", "t", Q2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.publish(ann, message_2(1, "t", "x"));
    assert_eq!(w.read(ann), ["PUBREC #1"]);
    w.places[0].log_held = true;
    w.pubrel(ann, 1);
    assert!(w.read(ann).is_empty(), "else it could be used again, and be known after a crash");
    w.commit(0);
    assert_eq!(w.read(ann), ["PUBCOMP #1"]);
    w.crash();
    let ann = w.connect_and_read(0, durable(V5, "ann")).0;
    w.publish(ann, message_2(1, "t", "y"));
    w.run();
    assert_eq!(payloads(&waiting(&mut w, 0, "bob").1), ["x", "y"]);
}

#[test]
fn qos_2_goes_out_when_its_own_record_and_its_sources_are_committed() {
    let mut w = World::durable(2);
    let bob = w.connect(1, durable(V5, "bob"));
    w.subscribe(bob, "t", Q2);
    let ann = w.join(0, V5, "ann");
    w.places[0].log_held = true;
    w.places[1].log_held = true;
    w.publish(ann, message_2(1, "t", "two"));
    w.publish(ann, message_1(2, "t", "one"));
    assert!(w.read(bob).is_empty());
    w.commit(1);
    assert!(w.read(bob).is_empty(), "the source may lose it");
    w.commit(0);
    assert_eq!(w.read(bob), [r#"t "two" q2 #1"#, r#"t "one" q1 #2"#], "in the order of their packet ids");
}

#[test]
fn qos_1_alone_goes_out_at_once() {
    let mut w = World::durable(2);
    let bob = w.connect(1, durable(V5, "bob"));
    w.subscribe(bob, "t", Q1);
    let ann = w.join(0, V5, "ann");
    (w.places[0].log_held, w.places[1].log_held) = (true, true);
    w.publish(ann, message_1(1, "t", "one"));
    assert_eq!(w.read(bob), [r#"t "one" q1 #1"#]);
}

#[test]
fn a_held_message_stays_held_over_a_new_connection() {
    let mut w = World::durable(2);
    let bob = w.connect(1, durable(V5, "bob"));
    w.subscribe(bob, "t", Q2);
    let ann = w.join(0, V5, "ann");
    w.places[0].log_held = true;
    w.publish(ann, message_2(1, "t", "two"));
    assert!(w.read(bob).is_empty());
    w.vanish(bob);
    let (bob, lines) = waiting(&mut w, 1, "bob");
    assert!(lines.is_empty(), "{lines:?}");
    w.commit(0);
    assert_eq!(w.read(bob), [r#"t "two" q2 #1"#], "it was never sent before");
}

#[test]
fn a_started_copy_keeps_its_packet_id() {
    let mut w = World::durable(1);
    let bob = w.connect(0, durable_taking("bob", 1));
    w.subscribe(bob, "t", Q2);
    let ann = w.join(0, V5, "ann");
    for (number, payload) in [(1, "a"), (2, "b"), (3, "c")] {
        w.publish(ann, message_2(number, "t", payload));
    }
    assert_eq!(w.read(bob), [r#"t "a" q2 #1"#]);
    w.pubrec(bob, 1);
    w.run();
    w.pubcomp(bob, 1);
    assert_eq!(w.read(bob), ["PUBREL #1", r#"t "b" q2 #2"#], "its start is a record of its own");
    w.crash();
    let (bob, lines) = waiting(&mut w, 0, "bob");
    assert_eq!(lines, [r#"t "b" q2 #2 dup"#, r#"t "c" q2 #3"#]);
    w.pubrec(bob, 2);
    assert_eq!(w.read(bob), ["PUBREL #2"]);
}

/// The log need not have got the acknowledgements in whose stead more than a window went out: all of that may have been sent.
#[test]
fn what_went_out_behind_lost_acknowledgements_goes_again_with_dup() {
    let mut settings = Settings { logs: true, ..Settings::default() };
    settings.limits.in_flight_max = 2;
    let mut w = World::with(settings);
    let bob = w.connect(0, durable(V5, "bob"));
    w.subscribe(bob, "t", Q1);
    let ann = w.join(0, V5, "ann");
    for (number, payload) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        w.publish(ann, message_1(number, "t", payload));
    }
    assert_eq!(w.read(bob), [r#"t "a" q1 #1"#, r#"t "b" q1 #2"#]);
    w.places[0].log_held = true;
    (1..=2).for_each(|number| w.puback(bob, number));
    assert_eq!(w.read(bob), [r#"t "c" q1 #3"#, r#"t "d" q1 #4"#]);
    w.crash();
    let (bob, lines) = waiting(&mut w, 0, "bob");
    assert_eq!(lines, [r#"t "a" q1 #1 dup"#, r#"t "b" q1 #2 dup"#]);
    (1..=2).for_each(|number| w.puback(bob, number));
    assert_eq!(w.read(bob), [r#"t "c" q1 #3 dup"#, r#"t "d" q1 #4 dup"#]);
    // What comes from here on was never sent.
    (1..=4).for_each(|number| w.puback(bob, number));
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message_1(5, "t", "e"));
    assert_eq!(w.read(bob), [r#"t "e" q1 #5"#]);
}

/// A client that publishes one message of QoS 2, and one that gets it, each keeping what a client keeps.
struct Exchange {
    w: World,
    ann: Client,
    bob: Client,
    received: bool,
    done: bool,
    /// Packet ids between PUBLISH and PUBREL.
    known: BTreeSet<u16>,
    delivered: usize,
}

impl Exchange {
    fn new(homes: (usize, usize)) -> Exchange {
        let mut w = World::durable(2);
        let bob = w.connect(homes.1, durable(V5, "bob"));
        w.subscribe(bob, "t", Q2);
        let ann = w.connect(homes.0, durable(V5, "ann"));
        Exchange { w, ann, bob, received: false, done: false, known: BTreeSet::new(), delivered: 0 }
    }

    fn publish(&mut self, dup: bool) {
        self.w.publish(self.ann, Publish { dup, ..message_2(1, "t", "x") });
    }

    /// The clients answer what lies on their wires. Whether anything did.
    fn answer(&mut self) -> bool {
        let (to_ann, to_bob) = (self.w.read_now(self.ann), self.w.read_now(self.bob));
        for line in &to_ann {
            match &**line {
                "PUBREC #1" | "PUBREC #1 10" => {
                    self.received = true;
                    self.w.pubrel(self.ann, 1);
                }
                "PUBCOMP #1" | "PUBCOMP #1 92" => self.done = true,
                other => assert!(other.starts_with("CONNACK 00 present"), "{other}"),
            }
        }
        for line in &to_bob {
            if let Some(number) = line.strip_prefix("PUBREL #") {
                let number = number.split(' ').next().and_then(|id| id.parse().ok()).expect("a packet id");
                self.known.remove(&number);
                self.w.pubcomp(self.bob, number);
            } else if let Some(rest) = line.strip_prefix(r#"t "x" q2 #"#) {
                let number = rest.split(' ').next().and_then(|id| id.parse().ok()).expect("a packet id");
                self.delivered += usize::from(self.known.insert(number));
                self.w.pubrec(self.bob, number);
            } else {
                assert!(line.starts_with("CONNACK 00 present"), "{line}");
            }
        }
        !to_ann.is_empty() || !to_bob.is_empty()
    }

    /// One turn of both shards, whose logs get on with `commits`.
    fn step(&mut self, commits: [bool; 2]) {
        for (shard, commit) in commits.into_iter().enumerate() {
            self.w.places[shard].log_held = !commit;
        }
        self.w.turn_once();
        self.answer();
    }

    fn crash(&mut self, left: [usize; 2], homes: (usize, usize)) {
        self.w.crash_leaving(&left);
        self.ann = self.w.dial(homes.0, durable(V5, "ann"));
        self.bob = self.w.dial(homes.1, durable(V5, "bob"));
        self.w.run();
        self.answer();
        match (self.done, self.received) {
            (true, _) => {}
            (false, true) => self.w.pubrel(self.ann, 1),
            (false, false) => self.publish(true),
        }
    }

    fn finish(mut self, what: &str) {
        loop {
            self.w.run();
            if !self.answer() {
                break;
            }
        }
        assert!(self.done && self.known.is_empty(), "{what}");
        assert_eq!(self.delivered, 1, "{what}");
        self.w.crash();
        let (_, lines) = waiting(&mut self.w, 0, "bob");
        assert!(lines.is_empty(), "{what}: {lines:?}");
    }
}

#[test]
fn qos_2_comes_exactly_once_wherever_the_broker_crashes() {
    for (case, homes) in [(0, 0), (0, 1), (1, 0)].into_iter().enumerate() {
        for crash_at in 0..7 {
            for commits in [[true, true], [true, false], [false, true], [false, false]] {
                for left in [[0, 0], [1, 0], [0, 1], [1, 1], [9, 0], [0, 9], [2, 2]] {
                    let mut exchange = Exchange::new(homes);
                    exchange.publish(false);
                    for _ in 0..crash_at {
                        exchange.step(commits);
                    }
                    exchange.crash(left, homes);
                    // Once more, on the way.
                    for _ in 0..case {
                        exchange.step(commits);
                    }
                    exchange.crash([left[1], left[0]], homes);
                    exchange.finish(&format!("{homes:?} crash {crash_at} commits {commits:?} left {left:?}"));
                }
            }
        }
    }
}

#[test]
fn the_outbox_brings_what_a_crashed_shard_had_not_logged() {
    let mut w = World::durable(2);
    away(&mut w, 1, "bob", "t", Q1);
    let ann = w.join(0, V5, "ann");
    w.places[1].log_held = true;
    for number in 1..=40 {
        w.publish(ann, message_1(number, "t", &number.to_string()));
    }
    assert_eq!(w.read(ann).len(), 40, "the publisher's log is what counts");
    w.crash_leaving(&[0, 7]);
    w.crash();
    let (_, lines) = waiting(&mut w, 1, "bob");
    let expected: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&lines), expected, "each once, in order");
    w.turn_once();
    assert_eq!(w.shard(0).sizes().outbox, 0, "nobody is owed anything");
}

#[test]
fn a_fan_out_that_was_open_is_finished() {
    for turns in 0..6 {
        let mut settings = Settings { shards: 2, logs: true, ..Settings::default() };
        settings.limits.fan_out_batch = 2;
        let mut w = World::with(settings);
        for n in 0..7 {
            away(&mut w, n % 2, &format!("away{n}"), "t", Q1);
        }
        let ann = w.join(0, V5, "ann");
        w.publish(ann, message_1(1, "t", "x"));
        w.publish(ann, message_1(2, "t", "y"));
        for _ in 0..turns {
            w.turn_once();
        }
        let acknowledged = w.read_now(ann).len();
        w.crash();
        for n in 0..7 {
            let (_, lines) = waiting(&mut w, n % 2, &format!("away{n}"));
            let got = payloads(&lines);
            let both = ["x", "y"];
            assert!(both.starts_with(&got) && got.len() >= acknowledged, "{turns} turns, {n}: {got:?}");
        }
    }
}

#[test]
fn what_a_member_gives_back_is_another_members_after_a_crash_too() {
    for left in 0..9 {
        let mut w = World::durable(2);
        let members = [w.connect(0, durable(V5, "one")), w.connect(1, durable(V5, "two"))];
        for member in members {
            w.subscribe(member, "$share/g/t", Q1);
        }
        w.leave(members[1], ReasonCode::Success);
        w.leave(members[0], ReasonCode::Success);
        let ann = w.join(0, V5, "ann");
        for number in 1..=4 {
            w.publish(ann, message_1(number, "t", &number.to_string()));
        }
        assert_eq!(w.read(ann).len(), 4);
        // One of them comes back on a shard whose log is late, and is given what waits for the other.
        (w.places[0].log_held, w.places[1].log_held) = (false, true);
        let one = w.dial(0, durable(V5, "one"));
        w.run();
        w.read(one);
        w.crash_leaving(&[left, 8 - left]);
        let mut got = Vec::new();
        for (shard, client_id) in ["one", "two"].into_iter().enumerate() {
            let (client, lines) = waiting(&mut w, shard, client_id);
            got.extend(payloads(&lines).into_iter().map(String::from));
            for line in &lines {
                let number =
                    line.split(" q1 #").nth(1).and_then(|id| id.split(' ').next()).expect("of QoS 1");
                w.puback(client, number.parse().expect("a packet id"));
            }
            got.extend(payloads(&w.read(client)).into_iter().map(String::from));
        }
        got.sort();
        assert_eq!(got, ["1", "2", "3", "4"], "{left}");
    }
}

#[test]
fn clean_sessions_and_qos_0_leave_nothing_in_the_log() {
    let mut w = World::durable(2);
    let bob = w.join(1, V5, "bob");
    w.subscribe(bob, "t", Q2);
    let cid = w.join(0, V311, "cid");
    w.subscribe(cid, "t", Q1);
    away(&mut w, 1, "away", "t", Q0);
    let ann = w.join(0, V5, "ann");
    let before = [0, 1].map(|shard| w.shard(shard).newest_lsn());
    for publish in [message("t", "0"), message_1(1, "t", "1"), message_2(2, "t", "2")] {
        w.publish(ann, publish);
    }
    assert_eq!(w.read(ann), ["PUBACK #1", "PUBREC #2"]);
    w.send(ann, Packet::Pubrel(shardmq_shards::wire::Ack::new(id(2))));
    assert_eq!(payloads(&w.read(bob)), ["0", "1", "2"]);
    assert_eq!([0, 1].map(|shard| w.shard(shard).newest_lsn()), before);
}

#[test]
fn a_fan_out_that_goes_on_after_a_crash_still_leaves_out_who_wants_nothing_of_its_own() {
    for turns in 0..8 {
        let mut settings = Settings { logs: true, ..Settings::default() };
        settings.limits.fan_out_batch = 1;
        let mut w = World::with(settings);
        let ann = w.connect(0, durable(V5, "ann"));
        let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::with_qos(Q2) };
        w.subscribe_with(ann, "t", no_local, None);
        for n in 0..4 {
            away(&mut w, 0, &format!("away{n}"), "t", Q1);
        }
        w.read(ann);
        w.publish(ann, message_1(1, "t", "x"));
        for _ in 0..turns {
            w.turn_once();
        }
        w.crash_leaving(&[99]);
        let (_, lines) = waiting(&mut w, 0, "ann");
        assert_eq!(lines, [""; 0], "{turns} turns");
        for n in 0..4 {
            let (_, lines) = waiting(&mut w, 0, &format!("away{n}"));
            assert!(turns == 0 || payloads(&lines) == ["x"], "{turns} turns: {lines:?}");
        }
    }
}
