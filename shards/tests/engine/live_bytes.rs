//! What a shard takes for the bytes of its log that live is within a third of what they would be, written anew.

use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::base::lsn::Incarnation;
use shardmq_shards::base::planted::Planted;
use shardmq_shards::base::shard_set::ShardId;
use shardmq_shards::log::{Journal, JournalConfig, Log, LogIdentity, SegmentId, ShardImage, records_of};
use shardmq_shards::shard::Extensions;
use shardmq_shards::wire::{Connect, ReasonCode, Will, WillProperties};

fn world() -> World {
    let extensions = Extensions { delayed: true, ..Extensions::default() };
    let segment_bytes = Some(64 * 1024 * 1024);
    World::with(Settings { logs: true, segment_bytes, extensions, ..Settings::default() })
}

/// Bytes of a fresh log that says `image`.
fn written_anew(image: &ShardImage) -> u64 {
    let mut log = Log::over(Journal::new(JournalConfig {
        identity: LogIdentity { generation: 1, shard: ShardId::new(0), salt: 5 },
        incarnation: Incarnation(1),
        segment_bytes: 1 << 30,
        first: SegmentId(1),
        held: Vec::new(),
        durable: true,
        planted: Planted::default(),
    }));
    for record in records_of(image) {
        log.append(&record);
    }
    log.appended_bytes()
}

fn check(w: &mut World, what: &str) {
    w.run();
    let (estimate, truth) = (w.shard(0).live_log_bytes(), written_anew(&w.images_of_segments()[0]));
    eprintln!("{what}: {estimate} of {truth}: {:.2}", estimate as f64 / truth as f64);
    assert!(3 * estimate >= 2 * truth && 3 * estimate <= 4 * truth, "{what}: {estimate} for {truth}");
}

/// As every other, before and after a start.
fn check_also_recovered(mut w: World, what: &str) {
    check(&mut w, what);
    w.crash();
    check(&mut w, &format!("{what}, recovered"));
}

/// Durable sessions that are away, each with `filters`.
fn leave(w: &mut World, sessions: usize, filters: &[&str]) {
    for number in 0..sessions {
        let client = w.connect(0, durable(V5, &format!("client-{number:04}")));
        for filter in filters {
            w.subscribe(client, filter, Q2);
        }
        w.leave(client, ReasonCode::Success);
    }
}

#[test]
fn of_messages_to_one_session_each() {
    for payload in [0, 64, 1_000] {
        let mut w = world();
        leave(&mut w, 1, &["sensors/kitchen/+"]);
        let ann = w.join(0, V5, "ann");
        let payload = "x".repeat(payload);
        for number in 1..=900 {
            w.publish(ann, message_1(number, "sensors/kitchen/heat", &payload));
            w.run();
        }
        check_also_recovered(w, &format!("{} bytes to one session", payload.len()));
    }
}

#[test]
fn of_messages_to_many_sessions() {
    let mut w = world();
    leave(&mut w, 300, &["news"]);
    let ann = w.join(0, V5, "ann");
    for number in 1..=60 {
        w.publish(ann, message_1(number, "news", "it is raining"));
        w.run();
    }
    check_also_recovered(w, "fan-out");
}

#[test]
fn of_retained_messages() {
    let mut w = world();
    let ann = w.join(0, V5, "ann");
    for number in 1..=900 {
        let topic = format!("state/of/lamp/{}", number % 600);
        w.publish(ann, retained(message_1(number, &topic, "{\"on\": true, \"dimmed\": 77}")));
        w.run();
    }
    check_also_recovered(w, "retained");
}

#[test]
fn of_sessions_with_filters_and_wills() {
    let mut w = world();
    leave(&mut w, 300, &[]);
    check(&mut w, "sessions");
    let mut w = world();
    leave(&mut w, 100, &["a", "building/7/floor/+/room/#", "b/c/d/e", "$share/workers/jobs/+"]);
    check(&mut w, "sessions with filters");
    // What is subscribed again is not there twice.
    for _ in 0..10 {
        leave(&mut w, 100, &["a", "building/7/floor/+/room/#", "b/c/d/e"]);
    }
    check_also_recovered(w, "sessions that subscribe again and again");
    let mut w = world();
    for number in 0..100 {
        let client_id = format!("client-{number:04}");
        let (topic, payload, properties) = ("gone", &[7; 200][..], WillProperties::default());
        let will = Will { qos: Q1, retain: false, topic, payload, properties };
        w.connect(0, Connect { will: Some(will), ..durable(V5, &client_id) });
    }
    check(&mut w, "wills");
}

#[test]
fn of_what_waits_and_what_is_under_way() {
    let mut w = world();
    let ann = w.join(0, V5, "ann");
    for number in 1..=300 {
        w.publish(ann, message_1(number, "$delayed/3600/later", "it is too early"));
        w.run();
    }
    check_also_recovered(w, "delayed");
    let mut w = world();
    let bob = w.connect(0, durable(V5, "bob"));
    w.subscribe(bob, "t", Q2);
    let ann = w.connect(0, durable(V5, "ann"));
    for number in 1..=60 {
        w.publish(ann, message_2(number, "t", "exactly once, please"));
    }
    check(&mut w, "QoS 2 under way on both sides");
}

/// What is estimated too low would be cleaned for ever.
#[test]
fn a_log_that_lives_more_than_it_seems_is_left_alone_while_nothing_comes() {
    let mut w = World::with(Settings { logs: true, segment_bytes: Some(32 * 1024), ..Settings::default() });
    let clients: Vec<_> = (0..60)
        .map(|number| {
            let client = w.connect(0, durable(V5, &format!("client-{number:04}")));
            w.subscribe(client, "t", Q2);
            client
        })
        .collect();
    let ann = w.join(0, V5, "ann");
    for number in 1..=60 {
        w.publish(ann, message_2(number, "t", ""));
        w.run();
        w.pubrel(ann, number);
        // Nobody says PUBCOMP: the packet ids are taken.
        clients.iter().for_each(|client| w.pubrec(*client, number));
        w.run();
    }
    let (shard, image) = (w.shard(0), &w.images_of_segments()[0]);
    let segment = shard.log().journal().expect("on disk").segment_bytes();
    let (estimate, truth) = (shard.live_log_bytes(), written_anew(image));
    assert!(truth > estimate / 8 * 11 + segment, "{truth} where {estimate} seems to live");
    w.pass_secs(1);
    let rounds = w.shard(0).cleaning_rounds();
    w.pass_secs(60);
    assert!(rounds > 0, "it was cleaned while it grew");
    assert_eq!(w.shard(0).cleaning_rounds(), rounds, "and not since");
}

#[test]
fn of_what_is_left_when_most_has_gone() {
    let mut w = world();
    leave(&mut w, 50, &["news", "more/+"]);
    let ann = w.join(0, V5, "ann");
    for number in 1..=200 {
        w.publish(ann, message_1(number, "news", "it is raining"));
        w.publish(ann, retained(message_1(number + 1_000, &format!("more/{}", number % 20), "clouds")));
        w.run();
    }
    for number in 0..40 {
        let client_id = format!("client-{number:04}");
        let mut connect = durable(V5, &client_id);
        (connect.clean_start, connect.properties.session_expiry) = (true, None);
        let (client, _) = w.connect_and_read(0, connect);
        w.leave(client, ReasonCode::Success);
    }
    check_also_recovered(w, "most sessions have ended");
}
