//! One shard cleans its log at a time, unless one is late.

use crate::full_disk::drain;
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::kept::CopyNumber;
use shardmq_shards::base::limits::Limits;
use shardmq_shards::log::Record;
use shardmq_shards::wire::ReasonCode;

const SEGMENT_BYTES: u64 = 512 * 1024;

fn cleaned(shards: usize) -> World {
    World::with(Settings { shards, logs: true, segment_bytes: Some(SEGMENT_BYTES), ..Settings::default() })
}

/// On `shard`, a subscriber of its own topic and a publisher to it.
struct Pair {
    shard: usize,
    subscriber: Client,
    publisher: Client,
    number: u16,
}

impl Pair {
    fn new(w: &mut World, shard: usize) -> Pair {
        let subscriber = w.connect(shard, durable(V5, &format!("subscriber-{shard}")));
        w.subscribe(subscriber, &format!("t/{shard}"), Q1);
        let publisher = w.join(shard, V5, &format!("publisher-{shard}"));
        Pair { shard, subscriber, publisher, number: 0 }
    }

    /// A message comes and goes.
    fn exchange(&mut self, w: &mut World) {
        self.number += 1;
        w.publish(self.publisher, message_1(self.number, &format!("t/{}", self.shard), &"x".repeat(300)));
        assert_eq!((w.read(self.publisher).len(), w.read(self.subscriber).len()), (1, 1));
        w.puback(self.subscriber, self.number);
        w.run();
    }
}

fn used(w: &World, shard: usize) -> u64 {
    w.shard(shard).log().journal().expect("on disk").used().1
}

fn rounds(w: &World, shard: usize) -> u64 {
    w.shard(shard).cleaning_rounds()
}

/// Shards that have their turn to clean, or wait for it.
fn queue(w: &World) -> usize {
    let coordinator = w.places.iter().find_map(|place| place.seat.coordinator.as_ref());
    coordinator.expect("on shard 0").coordinator().cleaning_shards()
}

/// Three shards. The round of shard 0 has begun and cannot end: what came to it from shard 1 is not committed there.
fn with_a_round_that_does_not_end() -> (World, Vec<Pair>) {
    let mut w = cleaned(3);
    let mut pairs: Vec<Pair> = (0..3).map(|shard| Pair::new(&mut w, shard)).collect();
    w.places[1].log_held = true;
    w.publish(pairs[1].publisher, message_1(1, "t/0", "from afar"));
    assert_eq!((w.read(pairs[1].publisher).len(), w.read(pairs[0].subscriber).len()), (0, 1));
    w.puback(pairs[0].subscriber, 1);
    pairs[0].number = 1;
    while !w.shard(0).is_cleaning() {
        pairs[0].exchange(&mut w);
    }
    assert_eq!((queue(&w), rounds(&w, 0)), (1, 0));
    (w, pairs)
}

#[test]
fn a_shard_waits_for_its_turn() {
    let (mut w, mut pairs) = with_a_round_that_does_not_end();
    while queue(&w) == 1 {
        pairs[2].exchange(&mut w);
    }
    pairs[2].exchange(&mut w);
    assert!(used(&w, 2) > SEGMENT_BYTES && w.shard(0).is_cleaning() && !w.shard(2).is_cleaning());
    w.commit(1);
    w.run();
    assert_eq!([0, 1, 2].map(|shard| rounds(&w, shard)), [1, 0, 1], "one after the other");
    assert_eq!(queue(&w), 0, "both have given it back");
}

#[test]
fn a_shard_that_is_late_does_not_wait() {
    let (mut w, mut pairs) = with_a_round_that_does_not_end();
    let mut waited = 0;
    for _ in 0..2_000 {
        pairs[2].exchange(&mut w);
        waited += u64::from(queue(&w) == 2 && rounds(&w, 2) == 0);
        let bound = 2 * w.shard(2).live_log_bytes() + 2 * SEGMENT_BYTES;
        assert!(used(&w, 2) <= bound && w.shard(0).is_cleaning(), "{}", used(&w, 2));
    }
    assert!(waited > 3 && rounds(&w, 2) > 10 && rounds(&w, 0) == 0, "{waited}, {}", rounds(&w, 2));
    w.commit(1);
    w.run();
    assert_eq!((rounds(&w, 0), queue(&w)), (1, 0));
}

#[test]
fn a_shard_that_stops_gives_its_turn_back() {
    let mut w = cleaned(2);
    let mut pair = Pair::new(&mut w, 1);
    // The coordinator, on shard 0, hears of it late.
    w.places[0].frozen = true;
    while used(&w, 1) <= SEGMENT_BYTES + SEGMENT_BYTES / 8 {
        pair.exchange(&mut w);
    }
    assert!(!w.shard(1).is_cleaning(), "it waits for its turn");
    w.request_shutdown();
    w.run();
    w.places[0].frozen = false;
    w.run();
    assert_eq!((queue(&w), rounds(&w, 1)), (0, 0));
    // The books are closed by shards that run.
    w.die_leaving(&[]);
    w.start();
}

/// A round that had to write again all that it freed is followed by a rest, which ends when what lived is taken: acknowledgements are few bytes.
#[test]
fn a_log_whose_queues_are_drained_is_cleaned_though_hardly_anything_comes() {
    const SEGMENT: u64 = 32 * 1024;
    let payload = "x".repeat(900);
    for garbage in (60..400).step_by(8) {
        let mut w = World::with(Settings { logs: true, segment_bytes: Some(SEGMENT), ..Settings::default() });
        let bob = w.connect(0, durable(V5, "bob"));
        w.subscribe(bob, "news", Q1);
        w.leave(bob, ReasonCode::Success);
        let ann = w.join(0, V5, "ann");
        for number in 1..=300 {
            w.publish(ann, message_1(number, "news", &payload));
        }
        for number in 1..=garbage {
            w.publish(ann, retained(message_1(number, "state", &payload)));
            assert!(!w.read(ann).is_empty());
        }
        let (bob, lines) = w.connect_and_read(0, durable(V5, "bob"));
        assert_eq!(drain(&mut w, bob, lines), 300);
        let (live, used) = (w.shard(0).live_log_bytes(), used(&w, 0));
        assert!(used <= 2 * live + 2 * SEGMENT, "{garbage}: {used} bytes, of which {live} live");
    }
}

/// The worst place of things: the heads of all sessions lie together, so that one round writes all their queues again before it gives a segment back.
#[test]
fn where_all_heads_lie_together_the_log_has_up_to_two_and_a_half_times_what_lives() {
    const SEGMENT: u64 = 32 * 1024;
    let mut w = World::with(Settings { logs: true, segment_bytes: Some(SEGMENT), ..Settings::default() });
    for number in 0..30 {
        let client = w.connect(0, durable(V5, &format!("client-{number}")));
        w.subscribe(client, "news", Q1);
        w.leave(client, ReasonCode::Success);
    }
    let ann = w.join(0, V5, "ann");
    let (mut beyond, mut most) = (0, 0);
    for burst in 0..150_u16 {
        for number in 1..=60 {
            let payload = "x".repeat(300);
            w.publish(
                ann,
                match burst {
                    0..16 => message_1(number, "news", "it is raining"),
                    _ => retained(message_1(number, "state", &payload)),
                },
            );
        }
        for _ in 0..40 {
            w.turn_once();
            let (live, used) = (w.shard(0).live_log_bytes(), used(&w, 0));
            beyond += u64::from(used > 2 * live + 2 * SEGMENT);
            most = most.max(1_000 * used.saturating_sub(2 * SEGMENT) / live.max(SEGMENT));
        }
        assert_eq!(w.read(ann).len(), 60);
    }
    assert!(w.shard(0).live_log_bytes() > 10 * SEGMENT && rounds(&w, 0) > 20, "it was gone through");
    assert!(most <= 2_600, "{most} thousandths of what lives, and two segments; {beyond} times beyond twice");
}

/// Places in the log, from the first segment on, where something of a session's queue was written again before its beginning was, and the session's
/// client came in between.
fn resumed_between_parts(w: &World) -> usize {
    let (mut is_open, mut resumed) = (false, 0);
    for (_, record) in w.shard(0).log().tape() {
        match record {
            Record::Queue { from, .. } => is_open = *from != CopyNumber::default(),
            Record::Session(head) if is_open && &*head.client_id == "bob" => resumed += 1,
            _ => {}
        }
    }
    resumed
}

/// Others fill the log, and bob comes and goes all the time: how often that was in the middle of his queue.
fn fill_while_bob_comes(w: &mut World, messages: u16) -> usize {
    let ann = w.join(0, V5, "ann");
    let mut bob = w.dial(0, durable_taking("bob", 1));
    for number in 1..=messages {
        w.publish(ann, retained(message_1(number, "state", &"x".repeat(3_000))));
        for turn in 0..12_u16 {
            w.turn_once();
            // A CONNECT takes some turns, and a round is not always at the same point of them.
            if (turn + number) % 5 == 0 {
                w.vanish(bob);
                bob = w.dial(0, durable_taking("bob", 1));
            }
        }
    }
    w.run();
    resumed_between_parts(w)
}

#[test]
fn a_long_queue_is_written_again_in_parts_while_its_client_comes_and_goes() {
    const COPIES: u16 = 6_000;
    let limits = Limits { queue_messages_max: 10_000, ..Settings::default().limits };
    let segment_bytes = Some(32 * 1024);
    let mut w = World::with(Settings { logs: true, segment_bytes, limits, ..Settings::default() });
    let bob = w.connect(0, durable(V5, "bob"));
    w.subscribe(bob, "news", Q1);
    w.leave(bob, ReasonCode::Success);
    let ann = w.join(0, V5, "ann");
    for number in 1..=COPIES {
        w.publish(ann, message_1(number, "news", &number.to_string()));
        assert_eq!(w.read(ann).len(), 1);
    }
    for run in 0..3 {
        let resumed = fill_while_bob_comes(&mut w, 500);
        assert!(resumed > 0 && rounds(&w, 0) > 20, "run {run}: {resumed} times, {} rounds", rounds(&w, 0));
        let image = &w.images_of_segments()[0];
        let copies = image.sessions.values().map(|session| session.copies.len()).sum::<usize>();
        assert_eq!((copies, image.oddities.bodiless), (usize::from(COPIES), 0), "run {run}");
        w.crash();
    }
}
