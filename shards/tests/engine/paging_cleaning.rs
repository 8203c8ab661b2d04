//! Queues larger than memory in a log that is cleaned: what is on disk only is read, written again, and read from where it lies then.

use crate::cleaning::{SEGMENT_BYTES, rounds};
use crate::paging::{away, back, limits, numbered, publish, take, take_some};
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::log::{DiskRequest, SegmentId};
use shardmq_shards::wire::{PublishProperties, ReasonCode};
use std::collections::VecDeque;

/// Ann is away, with this many messages waiting; bob publishes; what cat gets and acknowledges fills the log.
struct Churned {
    w: World,
    bob: Client,
    cat: Client,
    number: u16,
}

fn churned(waiting: u16) -> Churned {
    let settings = Settings {
        shards: 1,
        logs: true,
        segment_bytes: Some(SEGMENT_BYTES),
        limits: limits(10_000),
        ..Settings::default()
    };
    let mut w = World::with(settings);
    away(&mut w, 0, "ann", &[("own", Q2)]);
    let bob = w.join(0, V5, "bob");
    let cat = w.connect(0, durable(V5, "cat"));
    w.subscribe(cat, "t", Q1);
    publish(&mut w, bob, "own", 0..waiting);
    Churned { w, bob, cat, number: 30_000 }
}

fn id_in(line: &str) -> u16 {
    line.split('#').nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a packet id")
}

fn number_in(line: &str) -> u16 {
    line.split_once('"').and_then(|(_, payload)| payload[..4].parse().ok()).expect("a message")
}

impl Churned {
    /// One message for cat.
    fn churn(&mut self) {
        self.number += 1;
        self.w.publish(self.bob, message_1(self.number, "t", &"x".repeat(900)));
        for line in self.w.read(self.cat).iter().filter(|line| !line.starts_with("CONNACK")) {
            self.w.puback(self.cat, id_in(line));
        }
        self.w.read(self.bob);
    }

    /// Until the log has been cleaned so many times more.
    fn clean(&mut self, more: u64) {
        let before = rounds(&self.w);
        for _ in 0..2_000 {
            if rounds(&self.w) >= before + more {
                return;
            }
            self.churn();
        }
        panic!("the log is not cleaned");
    }

    /// Until cleaning waits for what it reads. Nobody else reads meanwhile.
    fn clean_until_it_reads(&mut self) {
        self.w.places[0].reads_held = true;
        for _ in 0..2_000 {
            if !self.w.places[0].reads.is_empty() {
                return;
            }
            self.churn();
        }
        panic!("nothing is read to be written again");
    }

    fn segments(&self) -> Vec<SegmentId> {
        self.w.platters[0].ids()
    }

    /// Ann comes back and takes all: what was published is there, in order.
    fn expect_all(&mut self, numbers: std::ops::Range<u16>) {
        let ann = back(&mut self.w, 0, "ann");
        assert_eq!(take(&mut self.w, ann), numbers.collect::<Vec<_>>());
        assert_eq!(self.w.dropped(), []);
    }
}

#[test]
fn what_waits_on_disk_outlives_the_segments_that_it_came_in() {
    let mut of = churned(300);
    let first = of.segments()[0];
    for _ in 0..1_500 {
        of.churn();
        let shard = of.w.shard(0);
        let (_, used) = shard.log().journal().expect("on disk").used();
        assert!(used <= 2 * shard.live_log_bytes() + 2 * SEGMENT_BYTES, "{used}");
        assert!(shard.sizes().bodies_in_memory < 30, "{:?}", shard.sizes());
    }
    assert!(rounds(&of.w) > 5 && !of.segments().contains(&first), "{}", rounds(&of.w));
    of.expect_all(0..300);
    assert_eq!(of.w.shard(0).sizes().bodies, 0);
}

#[test]
fn what_waits_on_disk_is_there_after_cleaning_and_a_crash_and_again() {
    let mut of = churned(120);
    for run in 1..4_u16 {
        of.clean(6);
        of.w.crash();
        of.bob = of.w.join(0, V5, "bob");
        of.cat = back(&mut of.w, 0, "cat");
        publish(&mut of.w, of.bob, "own", run * 120..(run + 1) * 120);
    }
    assert!(of.w.shard(0).sizes().bodies_in_memory < 200, "{:?}", of.w.shard(0).sizes());
    of.expect_all(0..480);
}

#[test]
fn a_crash_while_cleaning_reads_loses_nothing() {
    let mut of = churned(120);
    of.clean(2);
    of.clean_until_it_reads();
    of.w.crash();
    of.expect_all(0..120);
}

#[test]
fn a_crash_before_what_was_read_is_written_loses_nothing() {
    let mut of = churned(120);
    of.clean_until_it_reads();
    of.w.places[0].log_held = true;
    of.w.places[0].reads_held = false;
    of.w.turn_once();
    assert!(!of.w.places[0].stalled.is_empty(), "it is being written");
    of.w.crash();
    of.expect_all(0..120);
}

#[test]
fn what_is_written_again_is_read_from_there_only_when_it_is_on_disk() {
    let mut of = churned(0);
    let ann = back(&mut of.w, 0, "ann");
    assert_eq!(of.w.read(ann), ["CONNACK 00 present"]);
    for number in (0..240).step_by(2) {
        publish(&mut of.w, of.bob, "own", number..number + 1);
    }
    let first = of.w.read(ann);
    assert_eq!(first.len(), 4, "her window");
    of.clean_until_it_reads();
    of.w.places[0].log_held = true;
    of.w.places[0].reads_held = false;
    for _ in 0..20 {
        of.w.turn_once();
    }
    assert!(of.w.places[0].reads.is_empty() && !of.w.places[0].stalled.is_empty(), "all is read, and late");
    // She takes all that is there, up to the first that is not on disk where it is said to be.
    let mut lines = VecDeque::from(first);
    let mut numbers = Vec::new();
    while let Some(line) = lines.pop_front() {
        numbers.push(number_in(&line));
        of.w.puback(ann, id_in(&line));
        (0..4).for_each(|_| of.w.turn_once());
        lines.extend(of.w.read_now(ann));
    }
    assert!((14..120).contains(&numbers.len()) && of.w.places[0].reads.is_empty(), "{numbers:?}");
    of.w.commit(0);
    numbers.extend(take(&mut of.w, ann));
    assert_eq!(numbers, (0..240).step_by(2).collect::<Vec<_>>());
    assert_eq!(of.w.dropped(), []);
}

/// A read that finds its segment gone, or other records in its place, is made again where the messages lie by then.
#[test]
fn a_read_that_is_later_than_the_segment_is_made_again() {
    for recycled in [false, true] {
        let mut of = churned(200);
        let ann = back(&mut of.w, 0, "ann");
        let first = of.w.read(ann).split_off(1);
        of.clean_until_it_reads();
        let of_cleaning = of.w.places[0].reads.len();
        let mut lines = VecDeque::from(first);
        while of.w.places[0].reads.len() == of_cleaning {
            let line = lines.pop_front().expect("she has too much");
            let id = id_in(&line);
            if line.contains("q2") {
                of.w.pubrec(ann, id)
            } else {
                of.w.puback(ann, id)
            }
            lines.extend(of.w.read(ann).into_iter().filter(|line| line.contains('"')));
        }
        let late = of.w.places[0].reads.split_off(of_cleaning);
        let [DiskRequest::Read { segment, .. }] = &late[..] else { panic!("one read: {late:?}") };
        let segment = *segment;
        of.w.places[0].reads_held = false;
        while of.segments().contains(&segment) {
            of.churn();
        }
        if recycled {
            of.w.platters[0].recycle(segment);
        }
        of.w.places[0].reads = late;
        of.w.run();
        of.w.vanish(ann);
        let ann = back(&mut of.w, 0, "ann");
        let numbers = take(&mut of.w, ann);
        let first = numbers[0];
        assert!(first < 30, "{first}");
        let fresh: Vec<u16> = numbers.into_iter().filter(|number| *number >= 30).collect();
        assert_eq!(fresh, (30..200).collect::<Vec<_>>());
        assert_eq!(of.w.dropped(), []);
    }
}

#[test]
fn what_cleaning_finds_damaged_is_dropped_and_told_and_the_rest_stays() {
    let mut of = churned(0);
    away(&mut of.w, 0, "eve", &[("own", Q1)]);
    publish(&mut of.w, of.bob, "own", 0..100);
    of.w.platters[0].spoil(numbered(50).as_bytes());
    of.w.platters[0].spoil(numbered(70).as_bytes());
    of.clean(30);
    assert_eq!(of.w.dropped(), [("unreadable", 4)]);
    let told: Vec<String> = of.w.events.iter().map(|event| event.to_string()).collect();
    for client in ["ann", "eve"] {
        let expected =
            format!("messages for client id \"{client}\" cannot be read from the log and are dropped");
        assert!(told.iter().any(|line| line.contains(&expected)), "{told:?}");
    }
    of.clean(3);
    let expected: Vec<u16> = (0..100).filter(|number| ![50, 70].contains(number)).collect();
    let ann = back(&mut of.w, 0, "ann");
    assert_eq!(take(&mut of.w, ann), expected);
    of.w.crash();
    let eve = back(&mut of.w, 0, "eve");
    assert_eq!(take(&mut of.w, eve), expected);
}

#[test]
fn of_what_lies_together_only_what_the_disk_cannot_read_is_lost() {
    let mut of = churned(100);
    of.w.platters[0].unreadable = Some(numbered(50).into());
    of.clean(30);
    assert_eq!(of.w.dropped(), [("unreadable", 1)]);
    let ann = back(&mut of.w, 0, "ann");
    assert_eq!(take(&mut of.w, ann), (0..100).filter(|number| *number != 50).collect::<Vec<_>>());
}

#[test]
fn what_the_disk_cannot_read_for_cleaning_is_dropped_and_cleaning_goes_on() {
    let mut of = churned(100);
    of.clean_until_it_reads();
    of.w.places[0].reads_fail = true;
    of.w.places[0].reads_held = false;
    of.w.run();
    of.w.places[0].reads_fail = false;
    let [("unreadable", lost)] = of.w.dropped()[..] else { panic!("{:?}", of.w.dropped()) };
    of.clean(3);
    let ann = back(&mut of.w, 0, "ann");
    let numbers = take(&mut of.w, ann);
    assert!(lost > 10 && numbers.len() as u64 == 100 - lost, "{lost} lost, {numbers:?}");
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(of.w.shard(0).sizes().bodies, 0);
}

#[test]
fn a_session_that_ends_while_cleaning_reads_leaves_nothing() {
    let mut of = churned(100);
    of.clean_until_it_reads();
    let mut clean = durable(V5, "ann");
    clean.clean_start = true;
    of.w.connect(0, clean);
    of.w.places[0].reads_held = false;
    of.w.run();
    assert_eq!(of.w.shard(0).sizes().bodies, 0);
    of.clean(2);
    assert_eq!(of.w.dropped(), [("session_ended", 100)]);
}

#[test]
fn messages_that_expire_while_cleaning_reads_are_gone() {
    let mut of = churned(20);
    for number in 20..60 {
        let payload = numbered(number);
        let publish = message_1(number + 1, "own", &payload);
        let properties = PublishProperties { message_expiry: Some(5), ..publish.properties };
        of.w.publish(of.bob, shardmq_shards::wire::Publish { properties, ..publish });
        of.w.read(of.bob);
    }
    publish(&mut of.w, of.bob, "own", 60..80);
    of.clean_until_it_reads();
    of.w.pass_secs(6);
    of.w.places[0].reads_held = false;
    of.clean(2);
    let ann = back(&mut of.w, 0, "ann");
    assert_eq!(take(&mut of.w, ann), (0..20).chain(60..80).collect::<Vec<_>>());
    assert_eq!((of.w.dropped(), of.w.count("expired")), (vec![], 40));
}

#[test]
fn what_is_unsubscribed_while_cleaning_reads_does_not_come() {
    let mut of = churned(60);
    let ann = back(&mut of.w, 0, "ann");
    assert_eq!(of.w.read(ann).len(), 5, "CONNACK and her window");
    of.clean_until_it_reads();
    of.w.unsubscribe(ann, &["own"]);
    of.w.run();
    of.w.places[0].reads_held = false;
    of.clean(2);
    of.w.vanish(ann);
    let ann = back(&mut of.w, 0, "ann");
    assert_eq!(take(&mut of.w, ann), [0, 1, 2, 3], "what was in flight goes on");
    assert_eq!(of.w.dropped(), [("unsubscribed", 56)]);
}

#[test]
fn a_client_that_is_taken_over_while_cleaning_and_it_itself_read_gets_the_rest() {
    let mut of = churned(100);
    let ann = back(&mut of.w, 0, "ann");
    let mut taken = take_some(&mut of.w, ann, 20);
    of.clean_until_it_reads();
    let again = of.w.dial(0, durable(V5, "ann"));
    of.w.run();
    of.w.places[0].reads_held = false;
    of.w.leave(again, ReasonCode::Success);
    of.clean(2);
    let ann = back(&mut of.w, 0, "ann");
    taken.extend(take(&mut of.w, ann));
    taken.dedup();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken, (0..100).collect::<Vec<_>>());
    assert_eq!(of.w.dropped(), []);
}
