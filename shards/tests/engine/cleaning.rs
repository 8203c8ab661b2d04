//! Logs that are cleaned while they grow: what is still there says what all of it would have said.

use crate::crash::images;
use crate::verbs::*;
use crate::world::{Client, Place, Settings, World};
use shardmq_shards::base::limits::Limits;
use shardmq_shards::base::planted::{Bug, Planted};
use shardmq_shards::base::random::Random;
use shardmq_shards::log::{SegmentId, ShardImage};
use shardmq_shards::wire::{ReasonCode, SubscriptionOptions};

pub const SEGMENT_BYTES: u64 = 32 * 1024;

fn cleaned(shards: usize, planted: Planted) -> World {
    cleaned_within(shards, planted, Settings::default().limits)
}

fn cleaned_within(shards: usize, planted: Planted, limits: Limits) -> World {
    World::with(Settings {
        shards,
        logs: true,
        segment_bytes: Some(SEGMENT_BYTES),
        planted,
        limits,
        ..Settings::default()
    })
}

/// Without what an image says of the log itself.
fn content(image: &ShardImage) -> ShardImage {
    let (oldest, newest, stopped, oddities, ended) = Default::default();
    ShardImage { oldest, newest, stopped, oddities, ended, at: None, ..image.clone() }
}

/// What is left of the logs says what all that this run appended says.
fn check(w: &World) {
    let tapes: Vec<_> = w.places.iter().map(|place| place.seat.shard.log().tape().to_vec()).collect();
    for (shard, (left, all)) in w.images_of_segments().iter().zip(images(&tapes)).enumerate() {
        assert_eq!(left.oddities.bodiless, 0, "messages are there");
        assert_eq!(content(left), content(&all), "shard {shard}: as all of it");
    }
}

/// Segments that are given up may still be there when the broker ends: a replay that begins with any of them says the same.
fn check_from_anywhere(w: &World, random: &mut Random) {
    let all = w.images_from(&vec![SegmentId(0); w.places.len()]);
    let mut anywhere = |(shard, place): (usize, &Place)| {
        let oldest = place.seat.shard.log().journal().expect("on disk").oldest();
        let there = w.platters[shard].ids();
        *random.pick(&there[..=there.partition_point(|id| *id < oldest)])
    };
    let firsts: Vec<_> = w.places.iter().enumerate().map(&mut anywhere).collect();
    for (from_there, all) in w.images_from(&firsts).iter().zip(&all) {
        assert_eq!(content(from_there), content(all), "from {firsts:?}: as all of it");
        assert_eq!(from_there.oddities.bodiless, 0, "messages are there");
    }
}

pub fn rounds(w: &World) -> u64 {
    w.places.iter().map(|place| place.seat.shard.cleaning_rounds()).sum()
}

#[test]
fn a_log_stays_within_twice_what_lives_and_two_segments() {
    let mut w = cleaned(1, Planted::default());
    let bob = w.connect(0, durable(V5, "bob"));
    w.subscribe(bob, "t", Q1);
    let ann = w.join(0, V5, "ann");
    let payload = "x".repeat(300);
    let mut highest = 0;
    for number in 0..3_000_u16 {
        w.publish(ann, message_1(number + 1, "t", &payload));
        let lines = w.read(bob);
        assert_eq!((w.read(ann).len(), lines.len()), (1, 1));
        w.puback(bob, number + 1);
        let shard = w.shard(0);
        let (_, used) = shard.log().journal().expect("on disk").used();
        assert!(used <= 2 * shard.live_log_bytes() + 2 * SEGMENT_BYTES, "{number}: {used}");
        highest = highest.max(used);
    }
    assert!(highest >= SEGMENT_BYTES && rounds(&w) > 10, "{highest}, {}", rounds(&w));
    check(&w);
}

/// Clients that do anything, on shards that deliver to each other.
struct Mixture {
    w: World,
    random: Random,
    clients: Vec<Client>,
    numbers: u16,
}

const IDS: [&str; 6] = ["anna", "bert", "cleo", "dora", "emil", "fritz"];
const FILTERS: [&str; 6] = ["t/#", "t/1", "t/+", "$share/g/t/#", "$share/g/t/2", "u"];
const TOPICS: [&str; 5] = ["t/1", "t/2", "t/3", "u", "$delayed/5/t/1"];

impl Mixture {
    fn new(seed: u64, planted: Planted, limits: Limits) -> Mixture {
        let mut random = Random::from_seed(seed);
        let shards = 1 + random.below(3) as usize;
        let mut w = cleaned_within(shards, planted, limits);
        w.platters.iter_mut().for_each(|platter| platter.keeps_retired = true);
        let clients = IDS.map(|id| w.connect(random.below(shards as u64) as usize, durable(V5, id))).to_vec();
        Mixture { w, random, clients, numbers: 0 }
    }

    fn connect(&mut self, at: usize) {
        let shard = self.random.below(self.w.places.len() as u64) as usize;
        let mut connect = durable(V5, IDS[at]);
        connect.clean_start = self.random.one_in(8);
        self.clients[at] = self.w.connect_and_read(shard, connect).0;
    }

    fn publish(&mut self, client: Client) {
        let topic = *self.random.pick(&TOPICS);
        let payload = "x".repeat(self.random.below(2_000) as usize);
        self.numbers = self.numbers % 60_000 + 1;
        let publish = match self.random.below(3) {
            0 => message(topic, &payload),
            1 => message_1(self.numbers, topic, &payload),
            _ => message_2(self.numbers, topic, &payload),
        };
        let publish = if self.random.one_in(4) { retained(publish) } else { publish };
        self.w.publish(client, publish);
        self.w.run();
        if self.random.one_in(2) {
            self.w.pubrel(client, self.numbers);
        }
    }

    /// Takes what lies there, and acknowledges some of it.
    fn hear(&mut self, client: Client) {
        for line in self.w.read(client) {
            let number = line.split('#').nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            let Some(number) = number.filter(|_| line.contains('"') && !self.random.one_in(4)) else {
                continue;
            };
            if line.contains(" q1 ") {
                self.w.puback(client, number);
            } else {
                self.w.pubrec(client, number);
                if self.random.one_in(2) {
                    self.w.pubcomp(client, number);
                }
            }
        }
    }

    fn step(&mut self) {
        let at = self.random.below(IDS.len() as u64) as usize;
        let client = self.clients[at];
        match self.random.below(24) {
            0 => self.connect(at),
            1 => self.w.vanish(client),
            2 => self.w.leave(client, ReasonCode::Success),
            3 => {
                let filter = *self.random.pick(&FILTERS);
                let qos = *self.random.pick(&[Q0, Q1, Q2]);
                self.w.subscribe_with(client, filter, SubscriptionOptions::with_qos(qos), None);
            }
            4 if self.random.one_in(3) => self.w.unsubscribe(client, &[*self.random.pick(&FILTERS)]),
            5 => self.w.pass_secs(self.random.below(8)),
            6..10 => self.hear(client),
            _ => self.publish(client),
        }
        self.w.run();
    }
}

/// The histories of these seeds, cleaned at every opportunity: what is left says what all of it would.
fn play(seeds: std::ops::Range<u64>, planted: Planted) -> u64 {
    let mut all = 0;
    for seed in seeds {
        let mut mixture = Mixture::new(seed, planted, Settings::default().limits);
        for step in 0..400 {
            mixture.step();
            if step % 20 == 19 {
                check_from_anywhere(&mixture.w, &mut mixture.random);
            }
        }
        check(&mixture.w);
        all += rounds(&mixture.w);
    }
    all
}

#[test]
fn what_is_left_of_a_log_says_what_all_of_it_would() {
    let rounds = play(0..6, Planted::default());
    assert!(rounds > 30, "{rounds}");
}

/// Most of what waits is on disk only, and the broker ends in the middle of everything now and then.
#[test]
fn what_is_left_of_a_log_says_what_all_of_it_would_with_queues_larger_than_memory() {
    let limits = || Limits { queue_bytes_max: 3_000, in_flight_max: 3, ..Settings::default().limits };
    let (mut all, mut on_disk, mut late) = (0, 0, 0);
    for seed in 0..8 {
        let mut mixture = Mixture::new(seed, Planted::default(), limits());
        for step in 0..500 {
            let shard = mixture.random.below(mixture.w.places.len() as u64) as usize;
            let place = &mut mixture.w.places[shard];
            place.reads_held = mixture.random.one_in(2);
            late += usize::from(!place.reads.is_empty());
            mixture.step();
            if step % 20 == 19 {
                check_from_anywhere(&mixture.w, &mut mixture.random);
            }
            let sizes = mixture.w.places.iter().map(|place| place.seat.shard.sizes());
            on_disk = on_disk.max(sizes.map(|sizes| sizes.bodies - sizes.bodies_in_memory).sum());
            let dropped = mixture.w.dropped();
            assert!(
                dropped.iter().all(|(reason, _)| *reason != "unreadable"),
                "{dropped:?}: all can be read"
            );
            if mixture.random.one_in(80) {
                all += rounds(&mixture.w);
                mixture.w.crash();
                (0..IDS.len()).for_each(|at| mixture.connect(at));
            }
        }
        mixture.w.places.iter_mut().for_each(|place| place.reads_held = false);
        mixture.w.run();
        all += rounds(&mixture.w);
    }
    assert!(all > 30 && on_disk > 20 && late > 50, "{all} rounds, {on_disk} messages, {late} reads");
}

#[test]
fn messages_that_cleaning_forgets_are_missed() {
    let missed = std::panic::catch_unwind(|| play(0..6, Planted::bug(Bug::BodyNotWrittenAgain)));
    let message = missed.expect_err("nothing is missing");
    let message = message.downcast_ref::<String>().map_or("", String::as_str);
    assert!(message.contains("messages are there") || message.contains("as all of it"), "{message}");
}

/// What the last run had is cleaned in the next ones, of which each begins with what the segments say.
#[test]
fn a_log_is_cleaned_over_crashes() {
    let mut w = cleaned(2, Planted::default());
    for shard in 0..2 {
        let away = w.connect(shard, durable(V5, &format!("away{shard}")));
        w.subscribe(away, "kept", Q2);
        w.leave(away, ReasonCode::Success);
    }
    let payload = "x".repeat(900);
    let ann = w.join(0, V5, "ann");
    for number in 1..=20 {
        w.publish(ann, message_1(number, "kept", &format!("{number}")));
        w.publish(ann, retained(message_1(1000 + number, &format!("r/{number}"), "r")));
    }
    for run in 0..4 {
        let (bob, _) = w.connect_and_read(1, durable(V5, "bob"));
        w.subscribe_with(bob, "t", SubscriptionOptions::with_qos(Q1), None);
        let ann = w.join(0, V5, "ann");
        for number in 1..=200 {
            w.publish(ann, message_1(number, "t", &payload));
            let numbers: Vec<u16> =
                w.read(bob).iter().filter_map(|line| line.split('#').nth(1)?.parse().ok()).collect();
            numbers.into_iter().for_each(|number| w.puback(bob, number));
        }
        assert!(rounds(&w) > 0, "run {run}");
        w.crash();
        for (shard, platter) in w.platters.iter().enumerate() {
            let (report, _) = platter.read(shard, SegmentId(0));
            assert!(report.is_clean(), "what has been given up is not missed: {report:?}");
        }
    }
    for shard in 0..2 {
        let (away, lines) = w.connect_and_read(shard, durable(V5, &format!("away{shard}")));
        assert_eq!(lines.len(), 21, "{lines:?}");
        w.subscribe_with(away, "r/#", SubscriptionOptions::with_qos(Q0), None);
        assert_eq!(w.read(away).len(), 21, "SUBACK and the retained messages");
    }
}

#[test]
fn the_oldest_segment_goes_first() {
    let grow = |planted| {
        let mut w = cleaned(1, planted);
        let ann = w.connect(0, durable(V5, "ann"));
        let payload = "x".repeat(9_000);
        for number in 1..=400 {
            w.publish(ann, retained(message_1(number, &format!("r/{}", number % 30), &payload)));
        }
        for number in 401..=430 {
            w.publish(ann, retained(message_1(number, &format!("r/{}", number % 30), "")));
        }
        w.run();
        rounds(&w)
    };
    assert!(grow(Planted::default()) > 0);
    let planted = std::panic::catch_unwind(|| grow(Planted::bug(Bug::NewestSegmentGoesFirst)));
    assert!(planted.is_err(), "a gap is not noticed");
}

/// Messages for bob, who is away: shard 1 has them, and not in its log; shard 0 has cleaned the segments where they lay when both end. How many of
/// them he gets after that, of how many.
fn lost_by_the_receiver(seed: u64, planted: Planted) -> (usize, usize) {
    let mut random = Random::from_seed(seed);
    let mut w = cleaned(2, planted);
    let bob = w.connect(1, durable(V5, "bob"));
    w.subscribe(bob, "far", Q1);
    w.leave(bob, ReasonCode::Success);
    let cat = w.connect(0, durable(V5, "cat"));
    w.subscribe(cat, "near", Q1);
    let ann = w.join(0, V5, "ann");
    w.places[1].log_held = true;
    let messages = 1 + random.below(8) as u16;
    for number in 1..=messages {
        w.publish(ann, message_1(number, "far", &format!("{number}")));
        assert_eq!(w.read(ann).len(), 1, "acknowledged: it is in the log of shard 0");
    }
    let newest = *w.platters[0].ids().last().expect("some are ready");
    let payload = "x".repeat(600 + random.below(900) as usize);
    let mut number = 100;
    while w.shard(0).log().journal().expect("on disk").oldest() <= newest {
        number += 1;
        assert!(number < 5_000, "it is not cleaned");
        w.publish(ann, message_1(number, "near", &payload));
        assert_eq!((w.read(ann).len(), w.read(cat).len()), (1, 1));
        w.puback(cat, number - 100);
    }
    w.crash();
    let (_, lines) = w.connect_and_read(1, durable(V5, "bob"));
    (lines.iter().filter(|line| line.contains("far")).count(), usize::from(messages))
}

#[test]
fn what_the_receiver_has_not_in_its_log_outlives_the_segments_of_the_source() {
    for seed in 0..12 {
        let (got, sent) = lost_by_the_receiver(seed, Planted::default());
        assert_eq!(got, sent, "seed {seed}");
        let (got, _) = lost_by_the_receiver(seed, Planted::bug(Bug::MarkToldEarly));
        assert_eq!(got, 0, "seed {seed}: the source was told, and has given them up");
    }
}
