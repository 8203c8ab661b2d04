//! Storms of crashes, seeded: clients that keep to the protocol publish and subscribe, logs are late, each shard's log ends anywhere behind what it had
//! committed. In the end nobody lacks what was acknowledged, and nobody has QoS 2 twice.

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::planted::{Bug, Planted};
use shardmq_shards::base::random::Random;
use shardmq_shards::wire::{Publish, QoS, SubscriptionOptions};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const SHARDS: usize = 3;
const STEPS: usize = 160;
/// Messages that a publisher has unacknowledged at most.
const WINDOW: usize = 4;

/// A subscriber's filter, and what it is granted.
const SUBSCRIBERS: [(&str, &str, QoS); 7] = [
    ("all", "t/#", Q2),
    ("some", "t/1", Q2),
    ("once", "t/+", Q1),
    ("member1", "$share/g/t/#", Q2),
    ("member2", "$share/g/t/#", Q2),
    // The one stays, the other comes and goes.
    ("member3", "$share/h/t/#", Q2),
    ("member4", "$share/h/t/#", Q2),
];

/// What a member is in beside its first group, which has the same members.
fn second_group(filter: &str) -> Option<&'static str> {
    match filter {
        "$share/g/t/#" => Some("$share/i/t/+"),
        "$share/h/t/#" => Some("$share/j/#"),
        _ => None,
    }
}

/// A message of a publisher.
struct Sent {
    packet_id: u16,
    payload: String,
    qos: QoS,
    /// PUBREC came.
    received: bool,
}

struct Publisher {
    client: Client,
    connected: bool,
    topic: String,
    waiting: VecDeque<Sent>,
    published: Vec<(String, QoS)>,
}

struct Subscriber {
    client: Client,
    /// Packet ids between PUBLISH and PUBREL.
    known: BTreeSet<u16>,
    /// Payloads by QoS, in the order in which they came first.
    got: [Vec<String>; 2],
}

struct Storm {
    w: World,
    random: Random,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
}

/// The number behind `#` in a line.
fn number(line: &str) -> u16 {
    let digits = line.split('#').nth(1).and_then(|rest| rest.split(' ').next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("a packet id: {line}"))
}

impl Storm {
    fn new(seed: u64, planted: Planted) -> Storm {
        let mut settings = Settings { shards: SHARDS, logs: true, planted, ..Settings::default() };
        let mut random = Random::from_seed(seed);
        settings.limits.fan_out_batch = 1 + random.below(3) as u32;
        settings.limits.in_flight_max = 2 + random.below(5) as u16;
        let mut w = World::with(settings);
        let mut subscribers = Vec::new();
        for (client_id, filter, qos) in SUBSCRIBERS {
            let client = w.connect(random.below(SHARDS as u64) as usize, durable(V5, client_id));
            w.subscribe(client, filter, qos);
            second_group(filter).iter().for_each(|filter| w.subscribe(client, filter, qos));
            subscribers.push(Subscriber { client, known: BTreeSet::new(), got: Default::default() });
        }
        let publishers = (0..2).map(|n| Publisher {
            client: w.connect(random.below(SHARDS as u64) as usize, durable(V5, &format!("publisher{n}"))),
            connected: true,
            topic: format!("t/{n}"),
            waiting: VecDeque::new(),
            published: Vec::new(),
        });
        let publishers = publishers.collect();
        Storm { w, random, publishers, subscribers }
    }

    fn any_shard(&mut self) -> usize {
        self.random.below(SHARDS as u64) as usize
    }

    fn publish(&mut self, n: usize) {
        let qos = *self.random.pick(&[Q1, Q2]);
        let publisher = &mut self.publishers[n];
        if !publisher.connected || publisher.waiting.len() >= WINDOW {
            return;
        }
        let payload = format!("{n}-{:04}", publisher.published.len());
        // The first that is free, so that a packet id that the broker has not forgotten is met.
        let free = |id: &u16| publisher.waiting.iter().all(|sent| sent.packet_id != *id);
        let packet_id = (1..).find(free).expect("fewer wait than there are packet ids");
        publisher.published.push((payload.clone(), qos));
        publisher.waiting.push_back(Sent { packet_id, payload, qos, received: false });
        self.send(n, publisher_last(&self.publishers[n]), false);
    }

    fn send(&mut self, n: usize, at: usize, dup: bool) {
        let publisher = &self.publishers[n];
        let sent = &publisher.waiting[at];
        let publish =
            Publish { dup, qos: sent.qos, ..message_1(sent.packet_id, &publisher.topic, &sent.payload) };
        self.w.publish(publisher.client, publish);
    }

    /// A publisher takes what lies on its wire.
    fn hear_publisher(&mut self, n: usize) {
        for line in self.w.read_now(self.publishers[n].client) {
            if line.starts_with("CONNACK 00") {
                self.publishers[n].connected = true;
                self.repeat(n);
                continue;
            }
            if line == "closed" || line.starts_with("DISCONNECT") {
                continue;
            }
            let packet_id = number(&line);
            let publisher = &mut self.publishers[n];
            let at = publisher.waiting.iter().position(|sent| sent.packet_id == packet_id);
            let Some(at) = at else { continue };
            if line.starts_with("PUBREC") {
                publisher.waiting[at].received = true;
                let client = publisher.client;
                self.w.pubrel(client, packet_id);
            } else {
                publisher.waiting.remove(at);
            }
        }
    }

    /// A new connection: what is not done goes again, in order.
    fn repeat(&mut self, n: usize) {
        for at in 0..self.publishers[n].waiting.len() {
            let sent = &self.publishers[n].waiting[at];
            if sent.received {
                let (client, packet_id) = (self.publishers[n].client, sent.packet_id);
                self.w.pubrel(client, packet_id);
            } else {
                self.send(n, at, true);
            }
        }
    }

    /// A subscriber takes what lies on its wire.
    fn hear_subscriber(&mut self, n: usize) {
        let client = self.subscribers[n].client;
        for line in self.w.read_now(client) {
            let subscriber = &mut self.subscribers[n];
            if line.starts_with("PUBREL") {
                subscriber.known.remove(&number(&line));
                self.w.pubcomp(client, number(&line));
            } else if let Some(payload) = line.split('"').nth(1) {
                let packet_id = number(&line);
                if line.contains(" q1 ") {
                    subscriber.got[0].push(payload.into());
                    self.w.puback(client, packet_id);
                } else {
                    if subscriber.known.insert(packet_id) {
                        subscriber.got[1].push(payload.into());
                    }
                    self.w.pubrec(client, packet_id);
                }
            }
        }
    }

    fn dial_publisher(&mut self, n: usize) {
        let shard = self.any_shard();
        let publisher = &mut self.publishers[n];
        publisher.connected = false;
        publisher.client = self.w.dial(shard, durable(V5, &format!("publisher{n}")));
    }

    fn dial_subscriber(&mut self, n: usize) {
        let shard = self.any_shard();
        self.subscribers[n].client = self.w.dial(shard, durable(V5, SUBSCRIBERS[n].0));
    }

    /// One or both.
    fn groups_of_the_unsteady(&mut self) -> Vec<&'static str> {
        let first = SUBSCRIBERS[6].1;
        let mut filters = vec![first, second_group(first).expect("a member is in two")];
        if self.random.one_in(2) {
            filters.remove(self.random.below(2) as usize);
        }
        filters
    }

    fn crash(&mut self) {
        let left: Vec<usize> = (0..SHARDS).map(|_| self.random.below(6) as usize).collect();
        // What is on the wires arrives, or not.
        for n in 0..self.publishers.len() {
            if self.random.one_in(2) {
                self.hear_publisher(n);
            }
        }
        for n in 0..self.subscribers.len() {
            if self.random.one_in(2) {
                self.hear_subscriber(n);
            }
        }
        self.w.crash_leaving(&left);
        (0..self.publishers.len()).for_each(|n| self.dial_publisher(n));
        (0..self.subscribers.len()).for_each(|n| self.dial_subscriber(n));
    }

    fn step(&mut self) {
        let shard = self.any_shard();
        let (publisher, subscriber) = (self.random.below(2) as usize, self.random.below(7) as usize);
        match self.random.below(42) {
            0..8 => self.publish(publisher),
            8..24 => {
                self.w.places[shard].log_held = self.random.one_in(2);
                self.w.turn(shard);
            }
            24..29 => self.hear_publisher(publisher),
            29..37 => self.hear_subscriber(subscriber),
            37 => {
                self.w.end(self.subscribers[subscriber].client, shardmq_shards::shard::End::Failed);
                self.dial_subscriber(subscriber);
            }
            38 => {
                self.w.end(self.publishers[publisher].client, shardmq_shards::shard::End::Failed);
                self.dial_publisher(publisher);
            }
            39 => {
                let filters = self.groups_of_the_unsteady();
                self.w.unsubscribe(self.subscribers[6].client, &filters);
            }
            40 => {
                let (client, options) = (self.subscribers[6].client, SubscriptionOptions::with_qos(Q2));
                for filter in self.groups_of_the_unsteady() {
                    self.w.subscribe_with(client, filter, options, None);
                }
            }
            _ => self.crash(),
        }
    }

    /// Everybody takes and acknowledges everything.
    fn calm(&mut self) {
        for shard in 0..SHARDS {
            self.w.places[shard].log_held = false;
            self.w.commit(shard);
        }
        for _ in 0..200 {
            self.w.run();
            (0..self.publishers.len()).for_each(|n| self.hear_publisher(n));
            (0..self.subscribers.len()).for_each(|n| self.hear_subscriber(n));
        }
    }

    fn verdict(&self) -> Result<(), String> {
        for publisher in &self.publishers {
            if let Some(sent) = publisher.waiting.front() {
                return Err(format!("{} was never acknowledged", sent.payload));
            }
            for (payload, qos) in &publisher.published {
                for (subscriber, (client_id, filter, granted)) in self.subscribers.iter().zip(SUBSCRIBERS) {
                    let concerned = filter == "t/#" || filter == "t/+" || filter == publisher.topic;
                    if concerned {
                        let got = [subscriber].into_iter();
                        check_count(client_id, payload, ((*qos).min(granted), 1), got)?;
                    }
                }
                check_count("groups g and i", payload, (*qos, 2), self.subscribers[3..5].iter())?;
                check_count("groups h and j", payload, (*qos, 2), self.subscribers[5..].iter())?;
            }
        }
        self.subscribers
            .iter()
            .zip(SUBSCRIBERS)
            .try_for_each(|(subscriber, of)| check_order(of.0, subscriber))
    }
}

fn publisher_last(publisher: &Publisher) -> usize {
    publisher.waiting.len() - 1
}

fn check_count<'a>(
    who: &str,
    payload: &str,
    (qos, times): (QoS, usize),
    subscribers: impl Iterator<Item = &'a Subscriber>,
) -> Result<(), String> {
    let at = usize::from(qos == Q2);
    let count: usize = subscribers.map(|s| s.got[at].iter().filter(|got| *got == payload).count()).sum();
    if count == times || qos == Q1 && count > times {
        return Ok(());
    }
    Err(format!("{who} got {payload} of {qos:?} {count} times"))
}

/// Per publisher and QoS, what came first came in order.
fn check_order(who: &str, subscriber: &Subscriber) -> Result<(), String> {
    if who.starts_with("member") {
        return Ok(());
    }
    for got in &subscriber.got {
        let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for payload in got.iter().filter(|payload| seen.insert(*payload)) {
            let publisher = &payload[..1];
            if newest.insert(publisher, payload).is_some_and(|before| before > payload.as_str()) {
                return Err(format!("{who} got {payload} late: {got:?}"));
            }
        }
    }
    Ok(())
}

fn storm(seed: u64, planted: Planted) -> Result<(), String> {
    let mut storm = Storm::new(seed, planted);
    (0..STEPS).for_each(|_| storm.step());
    storm.crash();
    storm.calm();
    storm.verdict()?;
    let got =
        |storm: &Storm| storm.subscribers.iter().map(|s| s.got[0].len() + s.got[1].len()).sum::<usize>();
    let before = got(&storm);
    storm.crash();
    storm.calm();
    if got(&storm) == before { Ok(()) } else { Err("what was delivered comes again".into()) }
}

#[test]
fn nothing_acknowledged_is_lost_and_qos_2_comes_once_through_storms_of_crashes() {
    let number = |name, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (first, storms): (u64, u64) = (number("CRASHES_FIRST", 0), number("CRASHES", 40));
    for seed in first..first + storms {
        println!("CRASHES=1 CRASHES_FIRST={seed}");
        if let Err(why) = storm(seed, Planted::default()) {
            panic!("seed {seed}: {why}");
        }
    }
}

/// Seeds within which a planted bug has to show.
#[cfg(debug_assertions)]
fn caught(bug: Bug) {
    let fails = |seed| {
        let run = std::panic::AssertUnwindSafe(|| storm(seed, Planted::bug(bug)));
        !matches!(std::panic::catch_unwind(run), Ok(Ok(())))
    };
    assert!((0..300).any(fails), "{bug:?}");
}

#[cfg(debug_assertions)]
#[test]
fn what_the_log_is_not_told_in_time_is_noticed() {
    for bug in [
        Bug::CopyNotRecorded,
        Bug::PubrelBeforeRecord,
        Bug::Qos2BeforeSource,
        Bug::ArrivalTakenForOwn,
        Bug::MarkBeforeMessage,
        Bug::FinishedNotWritten,
    ] {
        caught(bug);
    }
}
