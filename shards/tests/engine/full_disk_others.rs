//! A full disk and everything that is not simply published to a topic: retained and delayed messages, wills, shared groups, sessions and subscriptions,
//! and other shards.

use crate::full_disk::{away, drain, fill, give_space, messages, with_space};
use crate::retained_room::topic_of;
use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Connect, ReasonCode, SubscriptionOptions, Version, Will, WillProperties};

const REFUSED: &str = " 97";

/// A full disk: `away` has a queue, `ann` was refused.
fn full(shards: usize, segments: usize) -> (World, Client, usize) {
    let mut w = with_space(shards, segments);
    away(&mut w, 0, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    let kept = fill(&mut w, ann, "t");
    (w, ann, kept)
}

#[test]
fn a_retained_message_is_refused_and_one_that_clears_is_not() {
    let mut w = with_space(1, 12);
    away(&mut w, 0, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    for (number, topic) in [(1, "r/1"), (2, "r/2"), (3, "r/3")] {
        w.publish(ann, retained(message_1(number, topic, "before")));
    }
    assert_eq!(w.read(ann).len(), 3);
    fill(&mut w, ann, "t");
    let bob = w.join(0, V5, "bob");
    w.subscribe_with(bob, "r/#", SubscriptionOptions::with_qos(Q0), None);
    assert_eq!(w.read(bob).len(), 4);
    w.publish(ann, retained(message_1(4, "r/1", "after")));
    w.publish(ann, retained(message_2(5, "r/1", "after")));
    assert_eq!(w.read(ann), [format!("PUBACK #4{REFUSED}"), format!("PUBREC #5{REFUSED}")]);
    assert!(w.read(bob).is_empty(), "nobody got what was refused");
    w.publish(ann, retained(message("r/1", "QoS 0")));
    assert_eq!(w.read(bob), [r#"r/1 "QoS 0""#], "delivered, and not retained: nobody can be told");
    w.publish(ann, retained(message_1(6, "r/1", "")));
    w.publish(ann, retained(message_2(7, "r/2", "")));
    w.publish(ann, retained(message("r/3", "")));
    assert_eq!(w.read(ann), ["PUBACK #6", "PUBREC #7"]);
    assert_eq!(w.read(bob).len(), 3);
    w.crash();
    assert_eq!(w.shard(0).retained_len(), 0);
}

fn with_will<'a>(connect: Connect<'a>, payload: &'a str) -> Connect<'a> {
    let properties = WillProperties::default();
    let will = Will { qos: Q1, retain: false, topic: "w", payload: payload.as_bytes(), properties };
    Connect { will: Some(will), ..connect }
}

#[test]
fn wills_have_a_part_of_the_reserve_and_then_wait_for_room() {
    let mut w = with_space(1, 12);
    away(&mut w, 0, "away", "t", Q1);
    away(&mut w, 0, "mourner", "w", Q1);
    let ann = w.join(0, V5, "ann");
    let payload = "x".repeat(6_000);
    let connects: Vec<String> = (0..40).map(|n| format!("mortal-{n}")).collect();
    let mortals: Vec<Client> =
        connects.iter().map(|id| w.connect(0, with_will(Connect::new(V5, id, true), &payload))).collect();
    fill(&mut w, ann, "t");
    let watcher = w.join(0, V5, "watcher");
    w.subscribe(watcher, "w", Q0);
    for mortal in mortals {
        w.vanish(mortal);
    }
    let early = w.read(watcher).len();
    assert!((1..40).contains(&early), "{early}");
    // Acknowledgements have the rest.
    let (away, lines) = w.connect_and_read(0, durable_taking("away", 3));
    assert_eq!(messages(&lines).len(), 3);
    (1..=3).for_each(|number| w.puback(away, number));
    assert_eq!(messages(&w.read(away)).len(), 3);
    assert!(w.shard(0).log().is_quiet());
    give_space(&mut w);
    assert_eq!(early + w.read(watcher).len(), 40);
    w.crash();
    let (mourner, lines) = w.connect_and_read(0, durable(V5, "mourner"));
    assert_eq!(drain(&mut w, mourner, lines), 40);
}

#[test]
fn delayed_messages_are_refused_and_those_from_before_come() {
    let mut w = with_space(1, 12);
    away(&mut w, 0, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message_2(1_999, "$delayed/60/t", "early"));
    assert_eq!(w.read(ann), ["PUBREC #1999"]);
    let kept = fill(&mut w, ann, "t");
    let bob = w.join(0, V5, "bob");
    w.subscribe(bob, "t", Q0);
    w.publish(ann, message_1(1, "$delayed/5/t", "late"));
    w.publish(ann, message_2(2, "$delayed/5/t", "late"));
    w.publish(ann, message_2(1_999, "$delayed/60/t", "early"));
    assert_eq!(
        w.read(ann),
        [format!("PUBACK #1{REFUSED}"), format!("PUBREC #2{REFUSED}"), "PUBREC #1999".into()]
    );
    w.publish(ann, retained(message("$delayed/5/t", "QoS 0")));
    w.pass_secs(6);
    assert_eq!(w.read(bob), [r#"t "QoS 0""#]);
    w.pass_secs(60);
    assert_eq!(w.read(bob), [r#"t "early""#]);
    w.crash();
    w.pass_secs(100);
    let (away, lines) = w.connect_and_read(0, durable(V5, "away"));
    assert_eq!(drain(&mut w, away, lines), kept + 1, "early, once");
    let carl = w.join(0, V311, "carl");
    w.publish(carl, message_1(1, "$delayed/5/t", "x"));
    assert_eq!(w.read(carl).len(), 1);
}

#[test]
fn a_slow_keeper_parks_what_is_to_be_delayed() {
    let mut w = with_space(1, 100);
    let ann = w.join(0, V5, "ann");
    w.platters[0].late = true;
    let payload = "x".repeat(900);
    for number in 1..=800 {
        w.publish(ann, message_1(number, "$delayed/5/t", &payload));
    }
    let early = w.read(ann);
    assert!(early.len() < 700);
    w.platters[0].late = false;
    w.turn_once();
    let all = [early, w.read(ann)].concat();
    assert_eq!(all, (1..=800).map(|number| format!("PUBACK #{number}")).collect::<Vec<_>>());
}

#[test]
fn a_message_to_a_group_is_refused_and_what_a_member_gives_back_moves() {
    let mut w = with_space(1, 12);
    away(&mut w, 0, "away", "t", Q1);
    let member = w.connect(0, durable_taking("one", 1));
    w.subscribe_with(member, "$share/g/s", SubscriptionOptions::with_qos(Q1), None);
    w.read(member);
    let ann = w.join(0, V5, "ann");
    for number in 1..=5 {
        w.publish(ann, message_1(number, "s", &number.to_string()));
    }
    assert_eq!(w.read(ann).len(), 5);
    let other = w.connect(0, durable(V5, "two"));
    w.subscribe_with(other, "$share/g/s", SubscriptionOptions::with_qos(Q1), None);
    w.read(other);
    fill(&mut w, ann, "t");
    w.publish(ann, message_1(9, "s", "refused"));
    assert_eq!(w.read(ann), [format!("PUBACK #9{REFUSED}")]);
    assert_eq!(messages(&w.read(member)).len(), 1);
    w.leave_with(member, ReasonCode::Success, Some(0));
    assert_eq!(messages(&w.read(other)).len(), 5, "also what was in flight, since the session has ended");
    w.crash();
    let (other, lines) = w.connect_and_read(0, durable(V5, "two"));
    assert_eq!(drain(&mut w, other, lines), 5);
}

#[test]
fn a_new_durable_session_is_refused_and_an_old_one_comes_back() {
    let (mut w, _, kept) = full(1, 12);
    let before = w.count("disk_refused");
    let new = w.dial(0, durable(V5, "new"));
    let answer = w.read(new);
    assert!(answer[0].starts_with("CONNACK 97") && answer[1] == "closed", "{answer:?}");
    for version in [V31, V311] {
        let new = w.dial(0, durable(version, "new"));
        assert_eq!(w.read(new), ["CONNACK 88", "closed"]);
    }
    assert_eq!(w.count("disk_refused"), before + 3);
    // Who wants nothing kept is welcome.
    let clean = w.join(0, V5, "clean");
    w.subscribe(clean, "u", Q1);
    let (away, lines) = w.connect_and_read(0, durable(V5, "away"));
    assert_eq!(lines[0], "CONNACK 00 present");
    assert_eq!(messages(&lines).len(), kept.min(messages(&lines).len()));
    w.vanish(away);
    // A clean start frees what the old session had.
    let away = w.connect(0, Connect { clean_start: true, ..durable(V5, "away") });
    w.pass_secs(3);
    w.subscribe(away, "t", Q1);
    w.connect(0, durable(V5, "new"));
}

#[test]
fn a_new_subscription_is_refused_and_the_same_again_is_granted() {
    for version in Version::ALL {
        let mut w = with_space(1, 12);
        let bob = w.connect(0, durable(version, "bob"));
        w.subscribe(bob, "mine", Q1);
        away(&mut w, 0, "away", "t", Q1);
        let ann = w.join(0, V5, "ann");
        fill(&mut w, ann, "t");
        w.subscribe_all(bob, &[("other", Q1), ("mine", Q1), ("mine", Q0)]);
        // 3.1 has no word for a refusal.
        let codes = match version {
            V5 => "[97, 01, 97]",
            V311 => "[80, 01, 80]",
            V31 => "[00, 01, 00]",
        };
        let answer = w.read(bob).concat();
        assert!(answer.starts_with("SUBACK") && answer.ends_with(codes), "{answer}");
        w.unsubscribe(bob, &["mine"]);
        assert_eq!(w.read(bob).len(), 1, "UNSUBACK");
        w.crash();
        let bob = w.connect(0, durable(version, "bob"));
        w.publish(ann, message("mine", "x"));
        w.publish(ann, message("other", "x"));
        assert!(w.read(bob).is_empty());
    }
}

/// The logs lie on one disk: nobody goes on to send to a shard that cannot keep it, or fills the space that it waits for.
#[test]
fn what_is_full_for_one_shard_is_full_for_all() {
    let mut w = with_space(2, 100);
    w.platters[1].space = Some(4);
    away(&mut w, 1, "away", "t", Q1);
    away(&mut w, 0, "here", "u", Q1);
    let ann = w.join(0, V5, "ann");
    let kept = fill(&mut w, ann, "t");
    assert!(kept > 10);
    w.publish(ann, message_1(1, "u", "x"));
    assert_eq!(w.read(ann), [format!("PUBACK #1{REFUSED}")]);
    let bob = w.join(1, V5, "bob");
    w.subscribe(bob, "v", Q0);
    w.publish(ann, message("v", "the lanes are open"));
    assert_eq!(w.read(bob), [r#"v "the lanes are open""#]);
    give_space(&mut w);
    w.publish(ann, message_1(2, "t", "x"));
    assert_eq!(w.read(ann), ["PUBACK #2"]);
    w.crash();
    let (away, lines) = w.connect_and_read(1, durable(V5, "away"));
    assert_eq!(drain(&mut w, away, lines), kept + 1);
}

/// A shard that waits for its keeper takes nothing off its lanes; publishers elsewhere wait for a slot.
#[test]
fn a_slow_keeper_elsewhere_parks_publishers() {
    let mut w = with_space(2, 100);
    away(&mut w, 1, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    w.platters[1].late = true;
    let payload = "x".repeat(900);
    for number in 1..=600 {
        w.publish(ann, message_1(number, "t", &payload));
    }
    for _ in 0..800 {
        w.turn_once();
    }
    let early = w.read_now(ann);
    assert!((10..400).contains(&early.len()), "{}", early.len());
    w.platters[1].late = false;
    w.turn_once();
    let all = [early, w.read(ann)].concat();
    assert_eq!(all, (1..=600).map(|number| format!("PUBACK #{number}")).collect::<Vec<_>>());
    let (away, lines) = w.connect_and_read(1, durable(V5, "away"));
    assert_eq!(drain(&mut w, away, lines), 600);
}

/// 600 retained messages of QoS 0 by a client of shard 0, each on a topic that `keeper` keeps, whose disk has not said whether there is room. What `bob`
/// has got of them until then.
fn flood_retained(w: &mut World, keeper: usize) -> (Client, Vec<String>) {
    let bob = w.join(0, V5, "bob");
    w.subscribe(bob, "t/#", Q0);
    let ann = w.join(0, V5, "ann");
    w.platters[keeper].late = true;
    let shards = w.places.len();
    let payload = "x".repeat(900);
    for number in 0..600 {
        w.publish(ann, retained(message(&topic_of(keeper, shards, number), &payload)));
    }
    for _ in 0..800 {
        w.turn_once();
    }
    let early = w.read_now(bob);
    (bob, early)
}

/// What is only not known to be kept yet is not refused: no QoS 0 publisher could be told.
#[test]
fn a_slow_keeper_parks_what_is_to_be_retained_with_qos_0() {
    for shards in [1, 2] {
        let keeper = shards - 1;
        let mut w = with_space(shards, 100);
        let (bob, early) = flood_retained(&mut w, keeper);
        assert!((10..500).contains(&early.len()), "{}", early.len());
        w.platters[keeper].late = false;
        w.turn_once();
        let all = [early, w.read(bob)].concat();
        let told = |number| format!("{} 900 bytes", topic_of(keeper, shards, number));
        assert_eq!(all, (0..600).map(told).collect::<Vec<_>>(), "in order");
        assert_eq!((w.count("retained_refused"), w.count("disk_refused")), (0, 0));
        w.crash();
        assert_eq!(w.shard(keeper).retained_len(), 600);
    }
}

#[test]
fn what_waits_to_be_retained_with_qos_0_is_delivered_only_when_the_disk_is_full() {
    let mut w = with_space(1, 100);
    let (bob, early) = flood_retained(&mut w, 0);
    (w.platters[0].late, w.platters[0].space) = (false, Some(0));
    w.turn_once();
    assert_eq!(early.len() + w.read(bob).len(), 600);
    assert_eq!((w.count("retained_refused"), w.count("disk_refused")), (600 - early.len() as u64, 0));
    w.crash();
    assert_eq!(w.shard(0).retained_len(), early.len());
}
