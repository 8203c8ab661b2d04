//! What anybody can send must not panic a shard: storms of clients that share few client ids and keep to no order, seeded.
//!
//! A storm ends when all have gone and time has passed beyond every expiry: then [`accounting`] must hold and nothing may be left. `HOSTILE_STORMS` and
//! `HOSTILE_FIRST` set how many storms, and from which seed.

mod packets;

use crate::accounting;
use crate::toy::toys;
use crate::verbs::*;
use crate::web_socket::{REQUEST, frame};
use crate::world::{Client, Settings, World};
use shardmq_shards::base::limits::Limits;
use shardmq_shards::base::random::Random;
use shardmq_shards::shard::{AutoSubscription, Doorway, End, Extensions};
use shardmq_shards::topics::{RewriteAction, RewriteRule, RewriteRules};
use shardmq_shards::transport::Transport;
use shardmq_shards::wire::{SubscriptionOptions, Version};
use std::time::Duration;

const STORMS: u64 = 1_000;
const SHARDS: u64 = 3;
const STEPS: u64 = 150;
/// What must happen in the storms of the suite, or they have lost their force.
const REACHED: [&str; 11] = [
    "connected",
    "taken_over",
    "handed_off",
    "stale_claims",
    "refused",
    "violations",
    "not_authenticated",
    "timed_out",
    "delayed_accepted",
    "delivered",
    "expired",
];

/// Says which storm it was.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("HOSTILE_STORMS=1 HOSTILE_FIRST={}", self.0);
        }
    }
}

/// A client, and what it has still to put on the wire.
struct Peer {
    client: Client,
    version: Version,
    web: bool,
    outbox: Vec<u8>,
}

struct Storm {
    w: World,
    random: Random,
    peers: Vec<Peer>,
}

fn extensions() -> Extensions {
    let rule = |action, filter, pattern, to| RewriteRule { action, filter, pattern, to };
    let rules = [
        rule(RewriteAction::All, "old/#", "^old/(.*)$", "$1"),
        rule(RewriteAction::Publish, "up", "", "a/%c/%u"),
        rule(RewriteAction::Subscribe, "mine/#", "^mine/(.*)$", "a/%c/$1"),
        rule(RewriteAction::Publish, "later/#", "^later/(.*)$", "$delayed/5/$1"),
        rule(RewriteAction::All, "bad/#", "^bad/(.*)$", "$1#"),
    ];
    let auto =
        |filter: &str| AutoSubscription { filter: filter.into(), options: SubscriptionOptions::with_qos(Q1) };
    Extensions {
        permission: None,
        delayed: true,
        exclusive: true,
        rewrite: RewriteRules::new(&rules).expect("the rules are right"),
        auto_subscribe: [auto("a/%c/#"), auto("$share/g/b"), auto("%u/b")].into(),
    }
}

fn small_limits(random: &mut Random) -> Limits {
    Limits {
        connections_max: *random.pick(&[4, 8, 1_000]),
        packet_bytes_max: 2_000,
        filters_per_client_max: 5,
        receive_maximum: 3,
        in_flight_max: 3,
        queue_messages_max: *random.pick(&[3, 30]),
        queue_bytes_max: *random.pick(&[1_000, 10_000]),
        topic_alias_max: 3,
        topic_alias_to_client_max: 2,
        keep_alive_max: Duration::from_secs(*random.pick(&[0, 60])),
        session_expiry_v3: Duration::from_secs(60),
        session_expiry_max: Duration::from_secs(90),
        fan_out_batch: *random.pick(&[1, 2, 100]),
        retained_messages_max: *random.pick(&[3, 9, 1_000]),
        delayed_messages_max: *random.pick(&[3, 100]),
        ..Limits::default()
    }
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let mut random = Random::from_seed(seed);
        let door = |transport| Doorway { versions: Version::ALL.to_vec(), transport };
        let settings = Settings {
            shards: SHARDS as usize,
            limits: small_limits(&mut random),
            lane_slots: *random.pick(&[2, 3, 16]),
            doorways: vec![door(Transport::Tcp), door(Transport::WebSocket)],
            authentication: toys(false),
            extensions: extensions(),
            ..Settings::default()
        };
        Storm { w: World::with(settings), random, peers: Vec::new() }
    }

    /// How often each of [`REACHED`] has happened.
    fn rage(mut self) -> [u64; REACHED.len()] {
        for _ in 0..STEPS {
            self.step();
        }
        for place in &mut self.w.places {
            place.frozen = false;
        }
        for wire in &mut self.w.wires {
            wire.space = usize::MAX;
        }
        accounting::settle(&mut self.w);
        let before = REACHED.map(|name| self.w.count(name));
        if self.w.settings.logs {
            // Whatever happened, shutdown included, a new start makes good.
            self.w.crash();
        }
        // Beyond the longest delay of a message.
        self.w.pass(Duration::from_secs(51 * 86_400));
        for place in &self.w.places {
            let sizes = place.seat.shard.sizes();
            assert_eq!((sizes.sessions, sizes.delayed), (0, 0), "{sizes:?}");
        }
        let after = REACHED.map(|name| self.w.count(name));
        if self.w.settings.logs { std::array::from_fn(|index| before[index] + after[index]) } else { after }
    }

    fn step(&mut self) {
        let shard = self.random.below(SHARDS) as usize;
        match self.random.below(24) {
            0..=3 => self.arrive(shard),
            4..=13 => self.speak(),
            14 => self.end(),
            15 => self.change_space(),
            16 if self.w.places[shard].frozen || self.random.one_in(3) => self.w.places[shard].frozen ^= true,
            17 if self.w.places[shard].log_held => {
                self.w.places[shard].frozen = false;
                self.w.commit(shard);
            }
            17 if self.random.one_in(3) => self.w.places[shard].log_held = true,
            18 if self.random.one_in(60) => self.w.request_shutdown(),
            18 => {
                let span = *self.random.pick(&[1, 500, 500, 2_000, 2_000, 11_000, 40_000]);
                self.w.pass(Duration::from_millis(span));
            }
            19 if self.w.settings.logs && self.random.one_in(30) => {
                let left: Vec<usize> = (0..SHARDS).map(|_| self.random.below(4) as usize).collect();
                self.w.crash_leaving(&left);
            }
            19 => (0..self.peers.len()).for_each(|peer| self.flush(peer)),
            20 | 21 if !self.w.places[shard].frozen => self.w.turn(shard),
            22 => self.w.turn_once(),
            _ => self.w.run(),
        }
        self.w.read_bytes_max = *self.random.pick(&[1, 7, 50, 64 * 1024]);
    }

    fn arrive(&mut self, shard: usize) {
        let web = self.random.one_in(2);
        let version = *self.random.pick(&[V5, V5, V5, V311, V31]);
        let client = self.w.arrive(shard, u16::from(web), version);
        self.peers.push(Peer { client, version, web, outbox: Vec::new() });
        let peer = self.peers.len() - 1;
        if web {
            self.w.send_bytes(client, REQUEST.as_bytes());
        }
        let mut bytes = self.connect(version);
        if self.random.one_in(3) {
            bytes.extend(self.packets(version));
        }
        self.put(peer, &bytes);
        self.flush(peer);
    }

    fn speak(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        // Mostly those that came last: the others are gone by now.
        let near = self.random.below(self.peers.len().min(10) as u64) as usize;
        let peer = self.peers.len() - 1 - near;
        let mut bytes = self.packets(self.peers[peer].version);
        if self.random.one_in(25) {
            spoil(&mut bytes, &mut self.random);
        }
        self.put(peer, &bytes);
        self.flush(peer);
    }

    /// Into the outbox, in frames where it takes them.
    fn put(&mut self, peer: usize, bytes: &[u8]) {
        if !self.peers[peer].web {
            return self.peers[peer].outbox.extend(bytes);
        }
        let random = &mut self.random;
        let (left, right) = bytes.split_at(random.below(bytes.len() as u64 + 1) as usize);
        let mut framed = match random.below(4) {
            0 => [frame(0x82, left), frame(0x82, right)].concat(),
            1 => [frame(0x02, left), frame(0x89, b"within"), frame(0x80, right)].concat(),
            _ => frame(0x82, bytes),
        };
        match random.below(40) {
            0..=2 => framed.extend(frame(0x89, b"ping")),
            3 => framed.extend(frame(0x8A, b"pong")),
            4 | 5 => framed.extend(frame(0x88, &[0x03, 0xE8])),
            6 => framed.extend(frame(0x88, &[0x03])),
            7 => framed.extend(frame(0x81, b"text")),
            8 => spoil(&mut framed, random),
            _ => {}
        }
        self.peers[peer].outbox.extend(framed);
    }

    /// Puts all of the outbox, or some, on the wire.
    fn flush(&mut self, peer: usize) {
        let Peer { client, outbox, web, .. } = &mut self.peers[peer];
        let upgraded = !*web || !self.w.wires[client.0].from_broker.is_empty();
        if !upgraded && !self.random.one_in(50) {
            return;
        }
        let all = outbox.len();
        let bytes = if self.random.one_in(5) { self.random.below(all as u64 + 1) as usize } else { all };
        let bytes: Vec<u8> = outbox.drain(..bytes).collect();
        self.w.send_bytes(*client, &bytes);
    }

    fn end(&mut self) {
        if !self.peers.is_empty() {
            let client = self.random.pick(&self.peers).client;
            let end = *self.random.pick(&[End::Eof, End::Failed]);
            self.w.end(client, end);
        }
    }

    /// Of the client's receive buffer.
    fn change_space(&mut self) {
        if !self.peers.is_empty() {
            let client = self.random.pick(&self.peers).client;
            self.w.wires[client.0].space = *self.random.pick(&[0, 3, 100, usize::MAX]);
        }
    }
}

/// One to three bytes changed, taken out or put in.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next_u64() as u8,
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.next_u64() as u8),
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().expect("a number"))
}

#[test]
fn storms_harm_no_shard_and_leave_nothing_behind() {
    let first = from_environment("HOSTILE_FIRST").unwrap_or(0);
    let storms = from_environment("HOSTILE_STORMS");
    let mut reached = [0; REACHED.len()];
    for seed in first..first + storms.unwrap_or(STORMS) {
        let _told = Seed(seed);
        let counts = Storm::new(seed).rage();
        reached.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let told: Vec<_> = REACHED.iter().zip(reached).collect();
    println!("{told:?}");
    assert!(storms.is_some() || reached.iter().all(|count| *count > 0), "{told:?}");
}
