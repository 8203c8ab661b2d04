//! Delayed messages: `$delayed/SECONDS/TOPIC`.

use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::base::limits::Limits;
use shardmq_shards::shard::Extensions;
use shardmq_shards::wire::{Connect, Publish, ReasonCode, Version, Will, WillProperties};

fn delaying(shards: usize, change: impl FnOnce(&mut Limits)) -> World {
    let extensions = Extensions { delayed: true, ..Extensions::default() };
    let mut settings = Settings { shards, extensions, ..Settings::default() };
    change(&mut settings.limits);
    World::with(settings)
}

fn waiting(w: &World) -> u64 {
    w.places.iter().map(|place| place.seat.shard.statistics().gauges.delayed).sum()
}

#[test]
fn a_message_is_published_after_its_delay_and_not_before() {
    for version in Version::ALL {
        let mut w = delaying(2, |_| {});
        let bob = w.join(1, V5, "bob");
        w.subscribe(bob, "a/b", Q2);
        let ann = w.join(0, version, "ann");
        w.publish(ann, message("$delayed/10/a/b", "0"));
        w.publish(ann, message_1(1, "$delayed/10/a/b", "1"));
        w.publish(ann, message_2(2, "$delayed/10/a/b", "2"));
        w.publish(ann, message_2(2, "$delayed/10/a/b", "2"));
        w.pubrel(ann, 2);
        assert_eq!(w.read(ann), ["PUBACK #1", "PUBREC #2", "PUBREC #2", "PUBCOMP #2"]);
        w.vanish(ann);
        assert_eq!(waiting(&w), 3, "a repeated QoS 2 PUBLISH is one message");
        w.pass_secs(9);
        assert!(w.read(bob).is_empty());
        w.pass_secs(2);
        assert_eq!(w.read(bob), [r#"a/b "0""#, r#"a/b "1" q1 #1"#, r#"a/b "2" q2 #2"#], "in their order");
        assert_eq!((waiting(&w), w.count("delayed_accepted"), w.count("messages_in")), (0, 3, 3));
        w.puback(bob, 1);
        w.pubrec(bob, 2);
    }
}

#[test]
fn they_go_by_their_time_whatever_came_first() {
    let mut w = delaying(1, |_| {});
    let bob = w.join(0, V5, "bob");
    w.subscribe(bob, "#", Q0);
    w.publish(bob, message("$delayed/30/t", "30"));
    w.publish(bob, message("$delayed/3/t", "3"));
    w.publish(bob, message("$delayed/20/t", "20"));
    w.publish(bob, message("$delayed/0/t", "0"));
    w.pass_secs(1);
    assert_eq!(w.read(bob), [r#"t "0""#]);
    w.pass_secs(3);
    assert_eq!(w.read(bob), [r#"t "3""#]);
    w.pass_secs(40);
    assert_eq!(w.read(bob), [r#"t "20""#, r#"t "30""#]);
}

#[test]
fn a_topic_that_names_no_delay_is_refused() {
    for topic in [
        "$delayed/x/a",
        "$delayed/5",
        "$delayed/5/",
        "$delayed/4294968/a",
        "$delayed/",
        "$delayed/1/$delayed/1/a",
    ] {
        let mut w = delaying(1, |_| {});
        let ann = w.join(0, V5, "ann");
        w.publish(ann, message(topic, "0"));
        w.publish(ann, message_1(1, topic, "1"));
        w.publish(ann, message_2(2, topic, "2"));
        assert_eq!(w.read(ann), ["PUBACK #1 90", "PUBREC #2 90"], "{topic}");
        for version in [V31, V311] {
            let bob = w.join(0, version, "bob");
            w.publish(bob, message_1(1, topic, "1"));
            assert_eq!(w.read(bob), ["closed"], "{topic}");
        }
        assert_eq!((waiting(&w), w.count("topic_refused")), (0, 5));
    }
}

#[test]
fn nobody_subscribes_to_what_is_not_due() {
    let mut w = delaying(1, |_| {});
    let ann = w.join(0, V5, "ann");
    let filters = [
        ("$delayed/#", Q0),
        ("$share/g/$delayed/1/a", Q0),
        ("$delayed", Q0),
        ("#", Q0),
        ("$delayed/1/a", Q0),
    ];
    w.subscribe_all(ann, &filters);
    assert_eq!(w.read(ann), ["SUBACK #1000 [8f, 8f, 00, 00, 8f]"]);
    w.publish(ann, message("$delayed/5/a", "1"));
    assert!(w.read(ann).is_empty());
    w.unsubscribe(ann, &["$delayed/#"]);
    assert_eq!(w.read(ann), ["UNSUBACK #1001 [11]"]);
    w.pass_secs(7);
    assert_eq!(w.read(ann), [r#"a "1""#]);
}

#[test]
fn a_full_store_refuses_and_has_room_again_when_messages_went() {
    let bytes = |limits: &mut Limits| limits.delayed_bytes_max = 500;
    let messages = |limits: &mut Limits| limits.delayed_messages_max = 2;
    for change in [bytes as fn(&mut Limits), messages] {
        let mut w = delaying(1, change);
        let ann = w.join(0, V5, "ann");
        let long = "x".repeat(120);
        w.publish(ann, message("$delayed/5/a", &long));
        w.publish(ann, message_1(1, "$delayed/5/a", &long));
        w.publish(ann, message_2(2, "$delayed/5/a", &long));
        w.publish(ann, message_1(3, "$delayed/5/a", &long));
        w.publish(ann, message("$delayed/5/a", &long));
        assert_eq!(w.read(ann), ["PUBACK #1", "PUBREC #2 97", "PUBACK #3 97"]);
        assert_eq!((waiting(&w), w.count("delayed_refused")), (2, 3));
        let bob = w.join(0, V311, "bob");
        w.publish(bob, message("$delayed/5/a", &long));
        w.ping(bob);
        w.publish(bob, message_1(1, "$delayed/5/a", &long));
        assert_eq!(w.read(bob), ["closed"], "no acknowledgement of what is not kept");
        w.pass_secs(7);
        w.publish(ann, message_1(4, "$delayed/5/a", &long));
        assert_eq!(w.read(ann), ["PUBACK #4"]);
        w.pass_secs(7);
    }
}

#[test]
fn expiry_runs_while_it_waits() {
    let mut w = delaying(1, |_| {});
    let bob = w.join(0, V5, "bob");
    w.subscribe(bob, "a", Q0);
    for (expiry, payload) in [(5, "too short"), (60, "long enough")] {
        let mut publish = message("$delayed/10/a", payload);
        publish.properties.message_expiry = Some(expiry);
        publish.properties.content_type = Some("text");
        w.publish(bob, publish);
    }
    w.pass_secs(10);
    assert_eq!(w.read(bob), [r#"a "long enough" expiry=50 type=text"#]);
    assert_eq!(w.count("delayed_expired"), 1);
}

#[test]
fn a_retained_one_is_retained_when_it_is_due() {
    let mut w = delaying(2, |_| {});
    let ann = w.join(0, V5, "ann");
    w.publish(ann, retained(message_1(1, "$delayed/10/a", "kept")));
    assert_eq!(w.read(ann), ["PUBACK #1"]);
    w.subscribe(ann, "a", Q0);
    w.pass_secs(12);
    assert_eq!(w.read(ann), [r#"a "kept""#]);
    let bob = w.join(1, V5, "bob");
    w.subscribe_all(bob, &[("a", Q0)]);
    assert_eq!(w.read(bob), ["SUBACK #1000 [00]", r#"a "kept" retain"#]);
}

#[test]
fn wills_and_aliases_can_be_delayed() {
    let mut w = delaying(1, |_| {});
    let bob = w.join(0, V5, "bob");
    w.subscribe(bob, "w", Q0);
    let properties = WillProperties { delay: Some(10), message_expiry: Some(60), ..Default::default() };
    let will = Will { qos: Q1, retain: false, topic: "$delayed/20/w", payload: b"will", properties };
    let ann = w.connect(0, Connect { will: Some(will), ..durable(V5, "ann") });
    w.vanish(ann);
    w.pass_secs(29);
    assert!(w.read(bob).is_empty());
    w.pass_secs(3);
    let seen = w.read(bob);
    assert!(seen[0].starts_with(r#"w "will" expiry="#), "{seen:?}");
    let mut publish = message("$delayed/1/w", "alias");
    publish.properties.topic_alias = std::num::NonZeroU16::new(1);
    w.publish(bob, publish);
    w.publish(bob, Publish { topic: "", ..publish });
    w.pass_secs(3);
    assert_eq!(w.read(bob), [r#"w "alias""#, r#"w "alias""#]);
}

#[test]
fn many_at_once_wait_for_lanes_as_publishers_do() {
    let mut w = delaying(2, |_| {});
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V5, "bob"));
    w.subscribe(bob, "a", Q0);
    for number in 0..300 {
        w.publish(ann, message("$delayed/5/a", &number.to_string()));
    }
    w.leave(ann, ReasonCode::Success);
    w.pass_secs(7);
    let seen = w.read(bob);
    let expected: Vec<_> = (0..300).map(|number| format!(r#"a "{number}""#)).collect();
    assert_eq!(seen, expected, "a lane has 16 slots");
}

#[test]
fn an_acknowledgement_waits_for_the_record() {
    let mut w = delaying(1, |_| {});
    let ann = w.join(0, V5, "ann");
    w.places[0].log_held = true;
    w.publish(ann, message_1(1, "$delayed/5/a", "1"));
    assert!(w.read(ann).is_empty(), "it is to survive what PUBACK promises");
    w.commit(0);
    assert_eq!(w.read(ann), ["PUBACK #1"]);
    w.pass_secs(7);
}

#[test]
fn switched_off_it_is_a_topic_as_any_other() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "$delayed/#", Q0);
    w.publish(ann, message("$delayed/5/a", "1"));
    w.publish(ann, message("$delayed/x", "2"));
    assert_eq!(w.read(ann), [r#"$delayed/5/a "1""#, r#"$delayed/x "2""#]);
}
