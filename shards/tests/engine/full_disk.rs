//! Publishers and a disk that is slow to say whether it has room, or has none: they wait for the one and are refused for the other, and whatever frees
//! space goes on.

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::limits::LOG_SPARE_SEGMENTS;
use shardmq_shards::shard::Extensions;
use shardmq_shards::wire::{QoS, ReasonCode, SubscriptionOptions};

pub const SEGMENT_BYTES: u64 = 128 * 1024;
/// What publishers leave of it.
const RESERVE_BYTES: u64 = SEGMENT_BYTES * (LOG_SPARE_SEGMENTS as u64 - 1);

/// A broker whose shards have room for so many segments each.
pub fn with_space(shards: usize, segments: usize) -> World {
    let extensions = Extensions { delayed: true, ..Extensions::default() };
    let segment_bytes = Some(SEGMENT_BYTES);
    let mut settings = Settings { shards, logs: true, segment_bytes, extensions, ..Settings::default() };
    settings.limits.queue_messages_max = 100_000;
    settings.limits.queue_bytes_max = 1 << 30;
    settings.limits.receive_maximum = 1_000;
    let mut w = World::with(settings);
    w.platters.iter_mut().for_each(|platter| platter.space = Some(segments));
    w
}

/// A durable session of `client_id` on `shard`, subscribed to `filter` and away.
pub fn away(w: &mut World, shard: usize, client_id: &str, filter: &str, qos: QoS) {
    let client = w.connect(shard, durable(V5, client_id));
    w.subscribe_with(client, filter, SubscriptionOptions::with_qos(qos), None);
    w.leave(client, ReasonCode::Success);
}

/// Publishes with QoS 1, a batch at a time, until all of one is refused. How many were acknowledged.
pub fn fill(w: &mut World, publisher: Client, topic: &str) -> usize {
    let payload = "x".repeat(900);
    let mut kept = 0;
    for _ in 0..200 {
        (1..=32).for_each(|number| w.publish(publisher, message_1(number, topic, &payload)));
        let answers = w.read(publisher);
        let refused = answers.iter().filter(|line| line.ends_with(" 97")).count();
        assert_eq!(answers.len(), 32, "{answers:?}");
        kept += 32 - refused;
        if refused == 32 {
            return kept;
        }
    }
    panic!("the disk is never full");
}

/// There is room again.
pub fn give_space(w: &mut World) {
    w.platters.iter_mut().for_each(|platter| platter.space = None);
    w.pass_secs(2);
}

/// Bytes that are ready and not written to.
fn ready(w: &World, shard: usize) -> u64 {
    w.platters[shard].bytes() - w.shard(shard).log().journal().expect("on disk").used().1
}

/// The packet identifiers of the messages of QoS 1 and 2 among `lines`.
pub fn messages(lines: &[String]) -> Vec<u16> {
    let number = |line: &String| line.split_once(" q")?.1.split('#').nth(1)?.split(' ').next()?.parse().ok();
    lines.iter().filter_map(number).collect()
}

/// Takes what there is for `client` by QoS 1, one message at a time. How many.
pub fn drain(w: &mut World, client: Client, mut lines: Vec<String>) -> usize {
    let mut taken = 0;
    loop {
        let got = messages(&lines);
        if got.is_empty() {
            return taken;
        }
        for number in got {
            taken += 1;
            w.puback(client, number);
            w.run();
        }
        lines = w.read(client);
    }
}

/// 800 messages by a client that does not wait for anything, on a disk whose keeper is busy; the answers until then.
fn flood(w: &mut World, version: shardmq_shards::wire::Version, qos: QoS) -> (Client, Vec<String>) {
    away(w, 0, "away", "t", Q2);
    let ann = w.join(0, version, "ann");
    w.platters[0].late = true;
    let payload = "x".repeat(900);
    for number in 1..=800 {
        let publish =
            if qos == Q1 { message_1(number, "t", &payload) } else { message_2(number, "t", &payload) };
        w.publish(ann, publish);
    }
    let early = w.read(ann);
    (ann, early)
}

#[test]
fn a_fast_publisher_waits_for_a_slow_keeper_and_is_not_refused() {
    for (version, qos) in [(V5, Q1), (V5, Q2), (V311, Q1), (V311, Q2)] {
        let mut w = with_space(1, 100);
        let (ann, early) = flood(&mut w, version, qos);
        assert!((100..500).contains(&early.len()), "{early:?}");
        assert!(ready(&w, 0) + 8_192 >= RESERVE_BYTES, "the reserve is touched: {}", ready(&w, 0));
        w.pass_secs(30);
        assert!(w.read(ann).is_empty(), "it waits");
        w.platters[0].late = false;
        w.turn_once();
        let all = [early, w.read(ann)].concat();
        let word = if qos == Q1 { "PUBACK" } else { "PUBREC" };
        assert_eq!(all, (1..=800).map(|number| format!("{word} #{number}")).collect::<Vec<_>>());
        assert_eq!(w.count("disk_refused"), 0);
        assert!(w.count("parked_for_backlog") > 0);
    }
}

#[test]
fn who_waits_is_refused_when_the_disk_is_full() {
    for qos in [Q1, Q2] {
        let mut w = with_space(1, 100);
        let (ann, early) = flood(&mut w, V5, qos);
        let kept = early.len();
        (w.platters[0].late, w.platters[0].space) = (false, Some(0));
        w.turn_once();
        let refused = w.read(ann);
        assert_eq!(kept + refused.len(), 800);
        assert!(refused.iter().all(|line| line.contains(" 97")), "{refused:?}");
        assert_eq!(w.count("disk_refused"), refused.len() as u64);
        if qos == Q2 {
            // The refusal has ended the exchange: the identifier is free.
            w.pubrel(ann, 800);
            assert_eq!(w.read(ann), ["PUBCOMP #800 92"]);
        }
        give_space(&mut w);
        w.publish(ann, message_1(801, "t", "room"));
        assert_eq!(w.read(ann), ["PUBACK #801"]);
        w.crash();
        let (away, lines) = w.connect_and_read(0, durable(V5, "away"));
        let got = if qos == Q1 { drain(&mut w, away, lines) } else { messages(&lines).len() };
        assert!(got == kept + 1 || qos == Q2 && got == kept.min(got), "{got} of {kept}");
    }
}

#[test]
fn a_publisher_of_version_3_that_waits_is_closed_without_acknowledgement() {
    for (version, qos) in [(V311, Q1), (V31, Q2)] {
        let mut w = with_space(1, 100);
        let (ann, early) = flood(&mut w, version, qos);
        assert!(early.len() < 500);
        (w.platters[0].late, w.platters[0].space) = (false, Some(0));
        w.turn_once();
        assert_eq!(w.read(ann), ["closed"]);
        // Who publishes then is closed at once.
        let bob = w.join(0, version, "bob");
        w.publish(bob, message("t", "QoS 0 is promised nothing"));
        w.ping(bob);
        w.publish(bob, message_1(1, "t", "x"));
        assert_eq!(w.read(bob), ["closed"]);
        w.publish(bob, message_1(1, "nobody", "x"));
    }
}

#[test]
fn what_nobody_has_to_keep_goes_on() {
    let mut w = with_space(1, 4);
    away(&mut w, 0, "away", "t", Q2);
    let ann = w.join(0, V5, "ann");
    fill(&mut w, ann, "t");
    let bob = w.join(0, V5, "bob");
    w.subscribe(bob, "u", Q2);
    for publish in [message("u", "0"), message_1(1, "u", "1"), message_2(2, "u", "2")] {
        w.publish(ann, publish);
    }
    w.pubrel(ann, 2);
    assert_eq!(w.read(ann), ["PUBACK #1", "PUBREC #2", "PUBCOMP #2"]);
    assert_eq!(w.read(bob).len(), 3);
    w.puback(bob, 1);
    w.pubrec(bob, 2);
    w.run();
}

#[test]
fn an_exchange_of_qos_2_that_has_begun_ends_on_a_full_disk() {
    let mut w = with_space(1, 4);
    away(&mut w, 0, "away", "t", Q2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.publish(ann, message_2(1_999, "t", "first"));
    assert_eq!(w.read(ann), ["PUBREC #1999"]);
    fill(&mut w, ann, "t");
    let repeated = shardmq_shards::wire::Publish { dup: true, ..message_2(1_999, "t", "first") };
    w.publish(ann, repeated);
    assert_eq!(w.read(ann), ["PUBREC #1999"], "what was taken is not refused when it comes again");
    w.pubrel(ann, 1_999);
    assert_eq!(w.read(ann), ["PUBCOMP #1999"]);
    w.publish(ann, message_2(1_999, "t", "second"));
    assert_eq!(w.read(ann).concat(), "PUBREC #1999 97");
}

#[test]
fn draining_a_session_makes_room_again() {
    let mut w = with_space(1, 12);
    away(&mut w, 0, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    let kept = fill(&mut w, ann, "t");
    assert!(kept > 200, "{kept}");
    let (away, lines) = w.connect_and_read(0, durable(V5, "away"));
    assert_eq!(drain(&mut w, away, lines), kept, "all of it, acknowledged one by one on a full disk");
    w.pass_secs(3);
    assert!(w.shard(0).cleaning_rounds() > 0);
    for number in 1..=100 {
        w.publish(ann, message_1(number, "t", "room"));
        assert_eq!(w.read(ann), [format!("PUBACK #{number}")]);
    }
    assert!(w.platters[0].ids().len() <= 12);
    let lines = w.read(away);
    assert_eq!(drain(&mut w, away, lines), 100);
}

#[test]
fn sessions_that_expire_on_a_full_disk_make_room() {
    let mut w = with_space(1, 12);
    away(&mut w, 0, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    fill(&mut w, ann, "t");
    w.pass_secs(1_005);
    w.publish(ann, message_1(1, "r", "room"));
    assert_eq!(w.read(ann), ["PUBACK #1 10"], "nobody is left who wants it");
    let bob = w.connect(0, durable(V5, "bob"));
    w.subscribe(bob, "t", Q1);
    assert!(fill(&mut w, ann, "t") > 200, "all of the space is there again");
}

/// Acknowledgements with a write of their own each, many times more than the reserve has room for: cleaning gives back what they take.
#[test]
fn acknowledgements_are_kept_on_a_full_disk_as_long_as_they_come() {
    let mut w = with_space(1, 12);
    away(&mut w, 0, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    let kept = fill(&mut w, ann, "t");
    let before = ready(&w, 0);
    assert!(before < 4 * SEGMENT_BYTES);
    for round in 0..300 {
        // It comes back, takes one and goes: a head, an end, and what it has acknowledged every hundredth time.
        let (away, lines) = w.connect_and_read(0, durable_taking("away", 1));
        let numbers = messages(&lines);
        assert_eq!(numbers.len(), 1, "{round}: {lines:?}");
        if round % 100 == 99 {
            w.puback(away, numbers[0]);
        }
        w.leave(away, ReasonCode::Success);
    }
    assert!(w.shard(0).log().is_quiet());
    assert!(w.platters[0].ids().len() <= 12);
    let (away, lines) = w.connect_and_read(0, durable_taking("away", 1));
    assert_eq!(drain(&mut w, away, lines), kept - 3);
    assert!(w.shard(0).log().is_quiet());
    w.crash();
    let (_, lines) = w.connect_and_read(0, durable(V5, "away"));
    assert_eq!(lines, ["CONNACK 00 present"]);
}

/// A keeper that hangs, or a disk that took the last of its space away: what is ready is used up, and then answers wait.
#[test]
fn when_the_reserve_is_used_up_too_answers_wait_and_nothing_is_lost() {
    let mut w = with_space(1, 6);
    away(&mut w, 0, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    let kept = fill(&mut w, ann, "t");
    w.platters[0].late = true;
    let (bob, lines) = w.connect_and_read(0, durable(V5, "away"));
    drain(&mut w, bob, lines);
    assert!(!w.shard(0).log().is_quiet(), "more is to be written than is ready");
    // What needs an answer: it comes when there is room.
    w.unsubscribe(bob, &["t"]);
    let answered = w.read(bob);
    w.platters[0].late = false;
    give_space(&mut w);
    let all = [answered, w.read(bob)].concat();
    assert!(all.iter().any(|line| line.starts_with("UNSUBACK")), "{all:?}");
    w.publish(ann, message_1(1, "t", "x"));
    assert_eq!(w.read(ann).len(), 1);
    assert!(kept > 0 && w.shard(0).log().is_quiet());
}

#[test]
fn a_broker_starts_on_a_full_disk_and_serves_what_it_has() {
    let mut w = with_space(1, 12);
    away(&mut w, 0, "away", "t", Q1);
    let ann = w.join(0, V5, "ann");
    let kept = fill(&mut w, ann, "t");
    w.crash();
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message_1(1, "t", "x"));
    assert_eq!(w.read(ann).concat(), "PUBACK #1 97");
    let (away, lines) = w.connect_and_read(0, durable(V5, "away"));
    assert_eq!(drain(&mut w, away, lines), kept);
    w.pass_secs(3);
    w.publish(ann, message_1(2, "t", "x"));
    assert_eq!(w.read(ann), ["PUBACK #2"]);
}

/// A start takes a block or two of the reserve, not the rest of a segment.
#[test]
fn however_often_a_broker_is_started_on_a_full_disk_it_can_free_what_it_has() {
    for shards in [1, 2] {
        let mut w = with_space(shards, 12);
        away(&mut w, 0, "away", "t", Q1);
        let ann = w.join(0, V5, "ann");
        let kept = fill(&mut w, ann, "t");
        for _ in 0..20 {
            w.crash();
            let bob = w.join(0, V5, "bob");
            w.publish(bob, message_1(1, "t", "x"));
            assert_eq!(w.read(bob).concat(), "PUBACK #1 97");
            // It comes, and goes with nothing.
            let (away, lines) = w.connect_and_read(0, durable_taking("away", 1));
            assert_eq!(messages(&lines).len(), 1);
            w.leave(away, ReasonCode::Success);
        }
        let (away, lines) = w.connect_and_read(0, durable(V5, "away"));
        assert_eq!(drain(&mut w, away, lines), kept);
        w.pass_secs(3);
        let ann = w.join(0, V5, "ann");
        for number in 1..=100 {
            w.publish(ann, message_1(number, "t", "room"));
            assert_eq!(w.read(ann), [format!("PUBACK #{number}")]);
        }
    }
}
