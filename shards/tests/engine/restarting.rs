//! What sessions are after a crash: each kind of state that a durable session has, and what the broker keeps on its own account.

use crate::authenticating::{as_user, with_method};
use crate::toy::toys;
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::planted::{Bug, Planted};
use shardmq_shards::shard::{AutoSubscription, Extensions};
use shardmq_shards::wire::{Connect, ReasonCode, SubscriptionOptions, Version, Will, WillProperties};
use std::time::Duration;

/// What a session of `connect` is after all: its CONNACK, and what is sent with it.
fn back(w: &mut World, shard: usize, connect: Connect<'_>) -> (Client, Vec<String>) {
    w.connect_and_read(shard, connect)
}

/// The client resumes its session, in which nothing waits.
fn resumes(w: &mut World, shard: usize, connect: Connect<'_>) -> Client {
    let version = connect.version;
    let (client, said) = back(w, shard, connect);
    let present = if version == V31 { "CONNACK 00" } else { "CONNACK 00 present" };
    assert!(said.len() == 1 && said[0].starts_with(present), "{said:?}");
    client
}

fn extended(shards: usize) -> World {
    let extensions = Extensions { delayed: true, exclusive: true, ..Extensions::default() };
    World::with(Settings { shards, logs: true, extensions, ..Settings::default() })
}

#[test]
fn a_session_is_there_with_its_subscriptions_options_and_identifiers() {
    for version in Version::ALL {
        let mut w = World::durable(3);
        let ann = w.connect(1, durable(version, "ann"));
        let options =
            SubscriptionOptions { retain_as_published: version.is_v5(), ..SubscriptionOptions::with_qos(Q1) };
        let identifier = version.is_v5().then_some(7);
        w.subscribe_with(ann, "a/+", options, identifier);
        w.subscribe_all(ann, &[("b", Q2), ("c/#", Q0), ("$share/g/d", Q1)]);
        w.unsubscribe(ann, &["b"]);
        w.read(ann);
        w.crash();
        w.crash();
        let ann = resumes(&mut w, 2, durable(version, "ann"));
        let bob = w.join(0, V5, "bob");
        for topic in ["a/1", "b", "c", "d"] {
            w.publish(bob, retained(message(topic, "x")));
        }
        w.run();
        let first = if version.is_v5() { r#"a/1 "x" retain ids=[7]"# } else { r#"a/1 "x""# };
        let mut said = w.read(ann);
        said.sort();
        assert_eq!(said, [first, r#"c "x""#, r#"d "x""#]);
    }
}

#[test]
fn a_session_that_ends_with_its_connection_is_not() {
    let mut w = World::durable(2);
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "a", Q1);
    w.crash();
    assert_eq!(back(&mut w, 0, durable(V5, "ann")).1, ["CONNACK 00"]);
}

#[test]
fn each_answer_waits_for_its_record_and_what_was_not_answered_may_be_lost() {
    for left in 0..=3 {
        let mut w = World::durable(1);
        w.places[0].log_held = true;
        let ann = w.dial(0, durable(V5, "ann"));
        assert!(w.read(ann).is_empty(), "CONNACK waits");
        w.commit(0);
        assert_eq!(w.read(ann), ["CONNACK 00"]);
        w.places[0].log_held = true;
        w.subscribe_all(ann, &[("a", Q1), ("b", Q1)]);
        w.unsubscribe(ann, &["a"]);
        assert!(w.read(ann).is_empty(), "SUBACK and UNSUBACK wait");
        assert_eq!(w.uncommitted(0), 3);
        w.crash_leaving(&[left]);
        resumes(&mut w, 0, durable(V5, "ann"));
        let filters: Vec<String> = w.shard(0).session_filters("ann");
        let expected: [&[&str]; 4] = [&[], &["a"], &["a", "b"], &["b"]];
        assert_eq!(filters, expected[left]);
    }
}

#[test]
fn it_ends_when_its_time_has_come_whether_the_broker_runs_or_not() {
    let mut w = World::durable(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.leave(ann, ReasonCode::Success);
    w.pass_secs(600);
    w.crash_for(Duration::from_secs(300));
    w.pass_secs(90);
    let ann = resumes(&mut w, 1, durable(V5, "ann"));
    w.leave(ann, ReasonCode::Success);
    w.pass_secs(600);
    w.crash();
    w.pass_secs(401);
    assert_eq!(back(&mut w, 1, durable(V5, "ann")).1, ["CONNACK 00"], "it has expired after the start");
    w.crash_for(Duration::from_secs(1_001));
    w.crash_for(Duration::from_secs(999));
    // The first crash was the end of its connection, noted by the start behind it.
    resumes(&mut w, 0, durable(V5, "ann"));
    w.crash();
    w.crash_for(Duration::from_secs(999));
    w.crash_for(Duration::from_secs(2));
    assert_eq!(back(&mut w, 0, durable(V5, "ann")).1, ["CONNACK 00"], "it has expired while it was down");
    w.crash();
    assert_eq!(w.images()[0].sessions.len(), 1, "the old one's end is logged")
}

#[test]
fn the_expiry_that_disconnect_brings_counts() {
    let mut w = World::durable(1);
    for (seconds, after, present) in [(5_000, 4_000, true), (10, 11, false), (0, 0, false)] {
        let ann = w.dial(0, durable(V5, "ann"));
        w.read(ann);
        w.leave_with(ann, ReasonCode::Success, Some(seconds));
        w.crash_for(Duration::from_secs(after));
        let expected = if present { "CONNACK 00 present" } else { "CONNACK 00" };
        assert_eq!(back(&mut w, 0, durable(V5, "ann")).1, [expected], "{seconds}");
    }
}

#[test]
fn a_clean_start_is_one_after_a_crash_too() {
    for durably in [true, false] {
        let mut w = World::durable(2);
        let ann = w.connect(0, durable(V5, "ann"));
        w.subscribe(ann, "old", Q1);
        let clean = Connect { clean_start: true, ..durable(V5, "ann") };
        let connect = if durably { clean } else { Connect::new(V5, "ann", true) };
        w.places[0].log_held = true;
        let second = w.dial(1, connect);
        assert!(w.read(second).is_empty(), "CONNACK waits until the log has the old session's end");
        w.commit(0);
        assert_eq!(w.read(second), ["CONNACK 00"]);
        w.crash();
        assert!(w.shard(0).session_filters("ann").is_empty());
        let said = back(&mut w, 0, durable(V5, "ann")).1;
        assert_eq!(said, [if durably { "CONNACK 00 present" } else { "CONNACK 00" }]);
    }
}

#[test]
fn a_session_resumed_to_end_with_its_connection_does() {
    let mut w = World::durable(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe(ann, "a/+", Q1);
    w.subscribe(ann, "$share/g/b", Q1);
    w.vanish(ann);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, message_1(1, "a/1", "kept"));
    assert_eq!(w.read(bob), ["PUBACK #1"]);
    let last = Connect::new(V5, "ann", false);
    let (ann, said) = back(&mut w, 0, last);
    assert_eq!(said, ["CONNACK 00 present", r#"a/1 "kept" q1 #1"#]);
    w.puback(ann, 1);
    let before = w.shard(1).newest_lsn();
    w.publish(bob, message_1(2, "a/2", "not kept"));
    assert_eq!(w.read(bob), ["PUBACK #2"]);
    assert_eq!(w.read(ann), [r#"a/2 "not kept" q1 #2"#]);
    assert_eq!(w.shard(1).newest_lsn(), before, "the other shard knows that nobody needs its record");
    w.puback(ann, 2);
    w.crash();
    assert_eq!(back(&mut w, 0, durable(V5, "ann")).1, ["CONNACK 00"]);
}

#[test]
fn its_user_still_owns_it() {
    let mut w =
        World::with(Settings { shards: 2, logs: true, authentication: toys(true), ..Settings::default() });
    let ann = w.prove(0, as_user("ann"));
    w.read(ann);
    w.crash();
    let other = w.prove(1, with_method(durable(V5, "ann"), "toy", "eve"));
    assert_eq!(w.read(other), [r#"CONNACK 00 method=toy "welcome""#], "what is in it is for ann");
    w.crash();
    let eve = w.prove(0, with_method(durable(V5, "ann"), "toy", "eve"));
    assert_eq!(w.read(eve), [r#"CONNACK 00 present method=toy "welcome""#]);
}

fn with_will(connect: Connect<'_>, delay: u32) -> Connect<'_> {
    let properties = WillProperties { delay: Some(delay), message_expiry: Some(60), ..Default::default() };
    Connect {
        will: Some(Will { qos: Q1, retain: false, topic: "w", payload: b"will", properties }),
        ..connect
    }
}

/// A subscriber of wills on shard 1.
fn watcher(w: &mut World) -> Client {
    let watcher = w.join(1, V5, "watcher");
    w.subscribe(watcher, "w", Q0);
    watcher
}

const WILL: &str = r#"w "will" expiry=60"#;

#[test]
fn a_will_comes_when_it_is_due_and_once() {
    let mut w = World::durable(2);
    let ann = w.connect(0, with_will(durable(V5, "ann"), 100));
    w.vanish(ann);
    w.pass_secs(50);
    w.crash();
    let bob = watcher(&mut w);
    w.pass_secs(49);
    assert!(w.read(bob).is_empty());
    w.pass_secs(2);
    assert_eq!(w.read(bob), [WILL]);
    w.crash();
    let bob = watcher(&mut w);
    w.pass_secs(2_000);
    assert!(w.read(bob).is_empty());
}

#[test]
fn the_crash_is_the_end_of_the_connection_that_left_a_will() {
    let mut w = World::durable(2);
    w.connect(0, with_will(durable(V5, "ann"), 10));
    w.crash();
    let bob = watcher(&mut w);
    w.pass_secs(5);
    assert!(w.read(bob).is_empty());
    w.pass_secs(6);
    assert_eq!(w.read(bob), [WILL]);
    let ann = w.dial(0, with_will(durable(V5, "ann"), 10));
    w.read(ann);
    w.crash();
    let bob = watcher(&mut w);
    resumes(&mut w, 0, durable(V5, "ann"));
    w.pass_secs(20);
    assert!(w.read(bob).is_empty(), "who is back in time has silenced it");
}

#[test]
fn a_disconnect_or_a_new_connect_has_forgotten_it() {
    for resumed in [false, true] {
        let mut w = World::durable(2);
        let ann = w.connect(0, with_will(durable(V5, "ann"), 10));
        if resumed {
            w.vanish(ann);
            resumes(&mut w, 1, durable(V5, "ann"));
        } else {
            w.leave(ann, ReasonCode::Success);
        }
        w.crash();
        let bob = watcher(&mut w);
        w.pass_secs(2_000);
        assert!(w.read(bob).is_empty());
    }
}

#[test]
fn an_orderly_end_leaves_wills_to_the_next_run() {
    let mut w = World::durable(2);
    w.connect(0, with_will(durable(V5, "ann"), 10));
    w.connect(1, with_will(Connect::new(V5, "eve", true), 0));
    w.die_orderly();
    w.now += Duration::from_secs(1);
    w.start();
    assert_eq!(w.count("messages_in"), 1, "that of the session that is no more, at once");
    let bob = watcher(&mut w);
    w.pass_secs(8);
    assert!(w.read(bob).is_empty());
    w.pass_secs(2);
    assert_eq!(w.read(bob), [WILL]);
    w.restart();
    let bob = watcher(&mut w);
    w.pass_secs(2_000);
    assert!(w.read(bob).is_empty());
}

#[test]
fn delayed_messages_come_when_they_are_due_and_once() {
    let mut w = extended(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.publish(ann, message_1(1, "$delayed/100/a", "1"));
    w.publish(ann, message_2(2, "$delayed/200/a", "2"));
    let mut short = message_1(3, "$delayed/150/a", "3");
    short.properties.message_expiry = Some(100);
    w.publish(ann, short);
    w.publish(ann, message("$delayed/100/a", "0"));
    assert_eq!(w.read(ann), ["PUBACK #1", "PUBREC #2", "PUBACK #3"]);
    w.crash_for(Duration::from_secs(50));
    let ann = resumes(&mut w, 0, durable(V5, "ann"));
    w.publish(ann, shardmq_shards::wire::Publish { dup: true, ..message_2(2, "$delayed/200/a", "2") });
    w.pubrel(ann, 2);
    assert_eq!(w.read(ann), ["PUBREC #2", "PUBCOMP #2"], "it was received before the crash");
    let bob = w.join(1, V5, "bob");
    w.subscribe(bob, "a", Q0);
    w.pass_secs(49);
    assert!(w.read(bob).is_empty());
    w.pass_secs(2);
    assert_eq!(w.read(bob), [r#"a "1""#]);
    w.crash();
    let bob = w.join(1, V5, "bob");
    w.subscribe(bob, "a", Q0);
    w.pass_secs(200);
    assert_eq!(w.read(bob), [r#"a "2""#]);
    w.crash();
    assert_eq!(w.images().iter().map(|image| image.parked.len()).sum::<usize>(), 0);
}

#[test]
fn an_exclusive_subscription_has_its_holder() {
    let mut w = extended(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe_all(ann, &[("$exclusive/a", Q1), ("$exclusive/b", Q1)]);
    w.read(ann);
    w.crash();
    let bob = w.connect(1, durable(V5, "bob"));
    w.subscribe_all(bob, &[("$exclusive/a", Q1), ("$exclusive/c", Q1)]);
    assert_eq!(w.read(bob), ["SUBACK #1000 [97, 01]"]);
    let ann = resumes(&mut w, 1, durable(V5, "ann"));
    w.places[0].log_held = true;
    w.unsubscribe(ann, &["$exclusive/a"]);
    w.run();
    w.subscribe_all(bob, &[("$exclusive/a", Q1)]);
    assert_eq!(w.read(bob), ["SUBACK #1001 [97]"], "ann would have it after a crash");
    w.commit(0);
    assert_eq!(w.read(ann), ["UNSUBACK #1000 [00]"]);
    w.subscribe_all(bob, &[("$exclusive/a", Q1)]);
    assert_eq!(w.read(bob), ["SUBACK #1002 [01]"]);
    w.crash();
    let eve = w.join(0, V5, "eve");
    w.subscribe_all(eve, &[("$exclusive/a", Q1), ("$exclusive/b", Q1), ("$exclusive/c", Q1)]);
    assert_eq!(w.read(eve), ["SUBACK #1000 [97, 97, 97]"]);
}

#[test]
fn an_id_is_given_back_only_when_the_log_has_its_sessions_end() {
    for committed in [false, true] {
        let mut w = World::durable(2);
        let ann = w.connect(0, durable(V5, "ann"));
        w.places[0].log_held = true;
        w.leave_with(ann, ReasonCode::Success, Some(0));
        let known = |w: &World| w.places[0].seat.coordinator.as_ref().unwrap().coordinator().client_ids();
        assert_eq!(known(&w), 1);
        if committed {
            w.commit(0);
            w.run();
            assert_eq!(known(&w), 0);
            // Its next session lives where it connects.
            w.connect(1, durable(V5, "ann"));
            w.crash();
            assert_eq!(w.shard(1).sessions().count(), 1);
        } else {
            w.crash();
        }
        assert_eq!(known(&w), 1);
        resumes(&mut w, 1, durable(V5, "ann"));
        assert_eq!(w.places.iter().map(|place| place.seat.shard.sessions().count()).sum::<usize>(), 1);
    }
}

#[test]
fn claims_go_on_above_all_that_were_recovered() {
    let mut w = World::durable(2);
    let ann = w.connect(0, durable(V5, "ann"));
    for shard in [1, 0, 1] {
        w.connect_and_read(shard, durable(V5, "ann"));
    }
    assert_eq!(w.read(ann), ["DISCONNECT 8e", "closed"]);
    let epoch = |w: &World| w.shard(0).sessions().next().expect("it lives here").epoch;
    let before = epoch(&w);
    w.crash();
    assert_eq!(epoch(&w), before);
    let ann = resumes(&mut w, 1, durable(V5, "ann"));
    assert!(epoch(&w) > before);
    let bob = w.connect(1, durable(V5, "bob"));
    let bobs = w.shard(1).sessions().next().expect("it lives here").number;
    assert!(bobs.0 > epoch(&w).0);
    w.subscribe(ann, "a", Q0);
    w.publish(bob, message("a", "1"));
    assert_eq!(w.read(ann), [r#"a "1""#]);
}
#[test]
fn a_will_that_found_no_room_before_the_crash_goes_out_after_it() {
    // Between the end of the session and the publication stand three records, and a crash may fall between any of them.
    for left in 0..=3 {
        let mut w = World::durable(2);
        let properties = WillProperties::default();
        let will = Will { qos: Q1, retain: true, topic: "w", payload: b"will", properties };
        let ann = w.connect(0, Connect { will: Some(will), ..durable(V5, "ann") });
        w.places[0].log_held = true;
        w.leave_with(ann, ReasonCode::DisconnectWithWill, Some(0));
        let all = w.uncommitted(0);
        w.crash_leaving(&[left.min(all)]);
        w.pass_secs(1);
        let bob = w.join(1, V5, "bob");
        w.subscribe_with(bob, "w", SubscriptionOptions::with_qos(Q0), None);
        let said = w.read(bob);
        assert_eq!(said[1..], [r#"w "will" retain"#], "{left} of {all}");
        // With all of them it was published before the crash; with none the crash was its connection's end.
        assert_eq!(w.count("messages_in"), u64::from(left < all), "{left} of {all}");
    }
}

#[test]
fn retained_messages_that_nobody_acknowledges_are_kept_where_they_lie() {
    let mut w = World::durable(3);
    let ann = w.join(0, V5, "ann");
    for topic in ["a", "b", "c", "d", "e", "f"] {
        w.publish(ann, retained(message(topic, "1")));
    }
    w.publish(ann, retained(message("c", "")));
    let mut short = retained(message("d", "2"));
    short.properties.message_expiry = Some(10);
    w.publish(ann, short);
    w.run();
    w.crash();
    w.pass_secs(11);
    w.crash();
    let bob = w.join(1, V5, "bob");
    w.subscribe_with(bob, "#", SubscriptionOptions::with_qos(Q0), None);
    let mut said = w.read(bob);
    assert_eq!(said.remove(0), "SUBACK #1000 [00]");
    said.sort();
    let expected = ["a", "b", "e", "f"].map(|topic| format!(r#"{topic} "1" retain"#));
    assert_eq!(said, expected);
}

#[test]
fn a_client_that_publishes_faster_than_the_log_writes_waits_for_it() {
    let mut w = World::durable(1);
    let bob = w.connect(0, durable(V5, "bob"));
    w.subscribe(bob, "a", Q1);
    w.vanish(bob);
    let ann = w.join(0, V311, "ann");
    w.places[0].log_held = true;
    for number in 1..=40_000 {
        w.publish(ann, message_1(number, "a", ""));
    }
    assert!(w.read(ann).is_empty());
    let held = w.shard(0).sizes().held_replies;
    assert!((10_000..30_000).contains(&held), "{held}");
    assert_eq!(w.count("parked_for_log"), 1);
    w.commit(0);
    assert_eq!(w.read(ann).len(), 40_000);
}

#[test]
fn connack_waits_for_automatic_subscriptions_and_they_are_there_again() {
    let options = SubscriptionOptions::with_qos(Q1);
    let wanted = AutoSubscription { filter: "clients/%c".into(), options };
    let extensions = Extensions { auto_subscribe: [wanted].into(), ..Extensions::default() };
    for left in 1..=4 {
        let mut w =
            World::with(Settings { logs: true, extensions: extensions.clone(), ..Settings::default() });
        w.places[0].log_held = true;
        let ann = w.dial(0, durable(V5, "ann"));
        assert!(w.read(ann).is_empty());
        assert_eq!(w.uncommitted(0), 4, "Start, the session twice, its subscription");
        w.crash_leaving(&[left]);
        let filters: &[&str] = if left < 4 { &[] } else { &["clients/ann"] };
        assert_eq!(w.shard(0).session_filters("ann"), filters);
    }
}

#[test]
fn an_id_given_back_early_could_have_two_sessions_after_a_crash() {
    let planted = Planted::bug(Bug::ReleaseBeforeDeletion);
    let mut w = World::with(Settings { shards: 2, logs: true, planted, ..Settings::default() });
    let ann = w.connect(0, durable(V5, "ann"));
    w.places[0].log_held = true;
    w.leave_with(ann, ReasonCode::Success, Some(0));
    w.connect(1, durable(V5, "ann"));
    w.crash();
    let superseded: u64 = w.images().iter().map(|image| image.oddities.superseded).sum();
    assert_eq!(superseded, 1, "what an_id_is_given_back_only_when_the_log_has_its_sessions_end is for");
    w.crash();
    assert!(w.images().iter().all(|image| image.oddities.superseded == 0), "the log was told of its end");
    resumes(&mut w, 0, durable(V5, "ann"));
}

#[test]
fn connack_waits_for_the_end_of_the_session_that_whose_place_it_takes_had_ended() {
    let mut w = World::durable(1);
    w.connect(0, durable(V5, "ann"));
    w.places[0].log_held = true;
    for _ in 0..2 {
        let ann = w.dial(0, Connect::new(V5, "ann", true));
        w.run();
        assert!(w.read(ann).is_empty(), "after a crash the session could be there again");
    }
    w.commit(0);
    w.places[0].log_held = false;
    w.crash();
    let (_, said) = back(&mut w, 0, durable(V5, "ann"));
    assert!(!said[0].contains("present"), "{said:?}");
}
