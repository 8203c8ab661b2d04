//! The topics layer against naive models: what is fast must give what is simple.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use shardmq_shards::base::hash::HashKey;
use shardmq_shards::base::limits::WILDCARD_SHAPES_MAX;
use shardmq_shards::base::random::Random;
use shardmq_shards::base::shard_set::ShardId;
use shardmq_shards::topics::{
    FilterSet, InterestBatch, Subscriber, SubscriptionTree, Ticket, TopicFilter, TopicIndex, TopicName,
};
use shardmq_shards::wire::{QoS, SubscriptionOptions};

const LEVELS: [&str; 7] = ["", "a", "b", "c", "aa", "$a", "ä"];

fn topic(random: &mut Random) -> String {
    loop {
        let count = 1 + random.below(5);
        let levels: Vec<&str> = (0..count).map(|_| *random.pick(&LEVELS)).collect();
        let topic = levels.join("/");
        if TopicName::new(&topic).is_ok() {
            return topic;
        }
    }
}

/// A valid filter: literal, `+`, `#` and empty levels in all places.
fn filter(random: &mut Random) -> String {
    loop {
        let count = 1 + random.below(5);
        let mut levels: Vec<&str> = Vec::new();
        for _ in 0..count {
            levels.push(if random.one_in(3) { "+" } else { *random.pick(&LEVELS) });
        }
        if random.one_in(4) {
            levels.push("#");
        }
        let filter = levels.join("/");
        if TopicFilter::new(&filter).is_ok() {
            return filter;
        }
    }
}

fn options(random: &mut Random) -> SubscriptionOptions {
    let qos = QoS::from_bits(random.below(3) as u8).unwrap();
    let no_local = random.one_in(3);
    SubscriptionOptions { qos, no_local, retain_as_published: random.one_in(3), ..Default::default() }
}

/// What one session subscribed, kept as simply as can be.
#[derive(Clone, Copy)]
struct Wanted {
    options: SubscriptionOptions,
    identifier: Option<NonZeroU32>,
    durable: bool,
}

/// An index and the sessions of its shard, beside a flat map that says what is right.
struct Shard {
    id: ShardId,
    index: TopicIndex<u64>,
    held: BTreeMap<u64, FilterSet>,
    model: BTreeMap<(u64, String), Wanted>,
}

impl Shard {
    fn new(id: usize, shards: usize, key: &HashKey, bits: u32) -> Shard {
        let id = ShardId::new(id);
        let index = TopicIndex::new(id, shards, key.clone(), bits);
        Shard { id, index, held: BTreeMap::new(), model: BTreeMap::new() }
    }

    fn subscribe(&mut self, session: u64, filter: &str, wanted: Wanted) -> Ticket {
        let held = self.held.entry(session).or_default();
        let checked = TopicFilter::new(filter).unwrap();
        let Wanted { options, identifier, durable } = wanted;
        let subscribed = self.index.subscribe(session, checked, options, identifier, durable, held);
        let before = self.model.insert((session, filter.to_string()), wanted);
        assert_eq!(subscribed.existed, before.is_some());
        subscribed.ticket
    }

    fn unsubscribe(&mut self, session: u64, filter: &str) {
        let held = self.held.entry(session).or_default();
        let existed = self.index.unsubscribe(session, TopicFilter::new(filter).unwrap(), held);
        assert_eq!(existed, self.model.remove(&(session, filter.to_string())).is_some());
    }

    fn remove_all(&mut self, session: u64, budget: usize) {
        let held = self.held.entry(session).or_default();
        let mut calls = 0;
        let before = held.len();
        while !self.index.remove_all(session, held, budget) {
            calls += 1;
        }
        assert!(calls <= before / budget);
        self.model.retain(|(key, _), _| *key != session);
    }

    fn random_step(&mut self, random: &mut Random, filters: &[String]) {
        let session = random.below(8);
        let filter = random.pick(filters);
        match random.below(20) {
            0..11 => {
                let options = options(random);
                let durable = options.qos > QoS::AtMostOnce && session.is_multiple_of(2) && !random.one_in(4);
                let identifier = NonZeroU32::new(random.below(4) as u32);
                self.subscribe(session, filter, Wanted { options, identifier, durable });
            }
            11..19 => self.unsubscribe(session, filter),
            _ => self.remove_all(session, 1 + random.below(3) as usize),
        }
    }

    fn matching(&self, topic: TopicName<'_>) -> impl Iterator<Item = (u64, &Wanted)> {
        self.model
            .iter()
            .filter(move |((_, filter), _)| TopicFilter::new(filter).unwrap().matches(topic))
            .map(|((session, _), wanted)| (*session, wanted))
    }

    /// Compares the routes of `topic` with the model, receiver by receiver.
    fn check_receivers(&mut self, topic: &str) {
        let topic = TopicName::new(topic).unwrap();
        let routes = self.index.routes(topic);
        let mut expected: BTreeMap<u64, Vec<&Wanted>> = BTreeMap::new();
        for (session, wanted) in self.matching(topic) {
            expected.entry(session).or_default().push(wanted);
        }
        let keys: Vec<u64> = routes.receivers().iter().map(|r| r.key()).collect();
        assert!(keys.iter().eq(expected.keys()), "{topic}: {keys:?} instead of {:?}", expected.keys());
        for receiver in routes.receivers() {
            let wanted = &expected[&receiver.key()];
            let others: Vec<&Wanted> = wanted.iter().filter(|w| !w.options.no_local).copied().collect();
            let qos = |wanted: &[&Wanted]| wanted.iter().map(|w| w.options.qos).max();
            let as_published = |wanted: &[&Wanted]| wanted.iter().any(|w| w.options.retain_as_published);
            let identifiers = |wanted: &[&Wanted]| {
                let mut all: Vec<u32> = wanted.iter().filter_map(|w| w.identifier).map(|i| i.get()).collect();
                all.sort_unstable();
                all
            };
            let sorted = |list: &[u32]| {
                let mut list = list.to_vec();
                list.sort_unstable();
                list
            };
            assert_eq!(Some(receiver.qos()), qos(wanted), "{topic}");
            assert_eq!(receiver.for_publisher(), qos(&others), "{topic}");
            assert_eq!(receiver.retain_as_published(), as_published(wanted));
            assert_eq!(receiver.retain_as_published_for_publisher(), as_published(&others));
            assert_eq!(sorted(routes.identifiers_of(receiver)), identifiers(wanted), "{topic}");
            if !others.is_empty() {
                let for_publisher = sorted(routes.identifiers_for_publisher(receiver));
                assert_eq!(for_publisher, identifiers(&others), "{topic}");
            }
        }
    }

    fn check_filters(&self) {
        for (session, held) in &self.held {
            let mut listed: Vec<&str> = self.index.filters(held).collect();
            listed.sort_unstable();
            let expected: Vec<&str> =
                self.model.keys().filter(|(key, _)| key == session).map(|(_, filter)| &**filter).collect();
            assert_eq!(listed, expected);
            assert_eq!(held.len(), expected.len());
        }
    }
}

#[test]
fn the_tree_matches_what_the_naive_matcher_does() {
    let mut matched = 0;
    for seed in 0..40 {
        let mut random = Random::from_seed(seed);
        let mut tree = SubscriptionTree::new(HashKey::from_seed(seed));
        let filters: Vec<String> = (0..100).map(|_| filter(&mut random)).collect();
        for (session, filter) in filters.iter().enumerate() {
            let subscriber = Subscriber::new(session, options(&mut random), None, false);
            tree.insert(TopicFilter::new(filter).unwrap(), subscriber);
        }
        for _ in 0..200 {
            let topic = topic(&mut random);
            let topic = TopicName::new(&topic).unwrap();
            let mut found = Vec::new();
            tree.matches(topic, &mut found);
            let mut found: Vec<usize> = found.iter().map(|s| s.key).collect();
            found.sort_unstable();
            let expected: Vec<usize> = (0..filters.len())
                .filter(|i| TopicFilter::new(&filters[*i]).unwrap().matches(topic))
                .collect();
            assert_eq!(found, expected, "seed {seed} topic {topic}");
            matched += found.len();
        }
    }
    assert!(matched > 20_000, "only {matched} matches: the texts do not meet often enough");
}

#[test]
fn the_match_cache_is_never_stale() {
    for seed in 0..30 {
        for bits in [64, 8] {
            let mut random = Random::from_seed(seed);
            let mut shard = Shard::new(0, 1, &HashKey::from_seed(seed), bits);
            let filters: Vec<String> = (0..60).map(|_| filter(&mut random)).collect();
            let topics: Vec<String> = (0..40).map(|_| topic(&mut random)).collect();
            for step in 0..400 {
                shard.random_step(&mut random, &filters);
                for topic in &topics {
                    shard.check_receivers(topic);
                }
                if step % 20 == 0 {
                    shard.check_filters();
                }
            }
            let stats = shard.index.cache_stats();
            assert!(stats.hits > 2_000 && stats.invalidations > 500, "seed {seed}: {stats:?}");
            assert_eq!(stats.hits + stats.misses, 400 * 40);
        }
    }
}

/// Shards with the batches under way between them: one FIFO per ordered pair, as the mesh has.
struct Mesh {
    shards: Vec<Shard>,
    lanes: BTreeMap<(usize, usize), Vec<InterestBatch>>,
    applied: BTreeMap<(usize, usize), Ticket>,
}

impl Mesh {
    fn new(shards: usize, seed: u64, bits: u32) -> Mesh {
        let key = HashKey::from_seed(seed);
        let shards = (0..shards).map(|id| Shard::new(id, shards, &key, bits)).collect();
        Mesh { shards, lanes: BTreeMap::new(), applied: BTreeMap::new() }
    }

    fn send(&mut self, from: usize, max: usize) {
        if let Some(batch) = self.shards[from].index.next_batch(max) {
            assert!(batch.changes.len() <= max);
            for to in (0..self.shards.len()).filter(|to| *to != from) {
                self.lanes.entry((from, to)).or_default().push(batch.clone());
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let lane = self.lanes.entry((from, to)).or_default();
        if lane.is_empty() {
            return false;
        }
        let batch = lane.remove(0);
        let id = self.shards[from].id;
        self.shards[to].index.apply(id, &batch);
        self.applied.insert((from, to), batch.through);
        let peers = (0..self.shards.len()).filter(|peer| *peer != from);
        let through = peers.map(|peer| self.applied.get(&(from, peer)).copied().unwrap_or_default()).min();
        self.shards[from].index.settled(through.unwrap());
        true
    }

    /// Everything sent and applied.
    fn settle(&mut self) {
        for from in 0..self.shards.len() {
            while let Some(batch) = self.shards[from].index.next_batch(7) {
                for to in (0..self.shards.len()).filter(|to| *to != from) {
                    self.lanes.entry((from, to)).or_default().push(batch.clone());
                }
            }
            for to in (0..self.shards.len()).filter(|to| *to != from) {
                while self.deliver(from, to) {}
            }
        }
    }

    /// No shard with a settled matching subscription is missing from the routes of another.
    fn check(&mut self, topic: &str, settled: impl Fn(&Shard, &Wanted, u64, &str) -> bool) -> (u32, u32) {
        let topic = TopicName::new(topic).unwrap();
        let (mut needed, mut superfluous) = (0, 0);
        for publisher in 0..self.shards.len() {
            let routes = self.shards[publisher].index.routes(topic);
            assert!(!routes.remote().contains(ShardId::new(publisher)));
            for shard in self.shards.iter().filter(|shard| shard.id.index() != publisher) {
                let filters = shard
                    .model
                    .iter()
                    .filter(|((_, filter), _)| TopicFilter::new(filter).unwrap().matches(topic));
                let (mut any, mut durable) = (false, false);
                for ((session, filter), wanted) in filters {
                    if settled(shard, wanted, *session, filter) {
                        any = true;
                        durable |= wanted.durable;
                    }
                }
                assert!(!any || routes.remote().contains(shard.id), "{topic} {publisher} → {}", shard.id);
                assert!(!durable || routes.remote_durable().contains(shard.id), "{topic} → {}", shard.id);
                needed += u32::from(any);
                superfluous += u32::from(!any && routes.remote().contains(shard.id));
            }
            let (any, durable) = (routes.remote().to_bits(), routes.remote_durable().to_bits());
            assert_eq!(durable & !any, 0, "durable interest is interest");
        }
        (needed, superfluous)
    }
}

fn interest_is_never_missed(bits: u32, seeds: u64) -> (u32, u32) {
    let mut totals = (0, 0);
    for seed in 0..seeds {
        let mut random = Random::from_seed(seed);
        let shards = 2 + seed as usize % 3;
        let mut mesh = Mesh::new(shards, seed, bits);
        let filters: Vec<String> = (0..80).map(|_| filter(&mut random)).collect();
        let topics: Vec<String> = (0..30).map(|_| topic(&mut random)).collect();
        for step in 0..150 {
            for _ in 0..random.below(6) {
                let shard = random.below(shards as u64) as usize;
                mesh.shards[shard].random_step(&mut random, &filters);
            }
            for topic in &topics {
                // What a session has waited for, as SUBACK and CONNACK do, is known everywhere: also in the middle of the traffic.
                mesh.check(topic, |shard, _, session, _| {
                    shard.index.ticket_of(&shard.held[&session]) <= shard.index.settled_ticket()
                });
            }
            let (from, to) = (random.below(shards as u64) as usize, random.below(shards as u64) as usize);
            if random.one_in(2) {
                mesh.send(from, 1 + random.below(5) as usize);
            } else if from != to {
                mesh.deliver(from, to);
            }
            if step % 25 == 24 {
                mesh.settle();
                for topic in &topics {
                    let (needed, superfluous) = mesh.check(topic, |_, _, _, _| true);
                    totals = (totals.0 + needed, totals.1 + superfluous);
                }
            }
        }
        for shard in &mut mesh.shards {
            for session in 0..8 {
                shard.remove_all(session, 100);
            }
        }
        mesh.settle();
        for shard in &mesh.shards {
            assert_eq!(shard.index.remote_interest_len(), 0, "seed {seed}: interest is left over");
            assert_eq!(shard.index.shapes_len(), 0, "seed {seed}: shapes are left over");
            assert_eq!(shard.index.filters_len(), 0);
        }
    }
    totals
}

#[test]
fn the_replica_misses_no_interest_and_invents_next_to_none() {
    let (needed, superfluous) = interest_is_never_missed(64, 60);
    assert!(needed > 10_000, "{needed}");
    // Past 64 shapes interest is widened; below, only topics with `$` are taken for a match that is none.
    assert!(superfluous * 4 < needed, "{superfluous} superfluous of {needed}");
}

#[test]
fn collisions_of_short_fingerprints_cost_no_interest() {
    let (needed, superfluous) = interest_is_never_missed(8, 60);
    assert!(needed > 10_000 && superfluous > 1_000, "{needed} {superfluous}: collisions were not reached");
}

/// `count` filters of as many shapes: the bits of the number are the levels.
fn shapes(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|bits| {
        let levels: Vec<&str> = (0..7).map(|level| if bits >> level & 1 == 1 { "+" } else { "x" }).collect();
        format!("{}/+", levels.join("/"))
    })
}

#[test]
fn too_many_shapes_are_widened_and_undone() {
    let wanted = Wanted { options: SubscriptionOptions::default(), identifier: None, durable: false };
    for seed in 0..10 {
        let mut random = Random::from_seed(seed);
        let mut mesh = Mesh::new(2, seed, 64);
        for filter in shapes(128) {
            let shard = random.below(2) as usize;
            mesh.shards[shard].subscribe(random.below(8), &filter, wanted);
            mesh.settle();
        }
        for shard in &mesh.shards {
            assert!(shard.index.shapes_len() <= WILDCARD_SHAPES_MAX, "{}", shard.index.shapes_len());
        }
        for _ in 0..200 {
            let topic: Vec<&str> = (0..8).map(|_| *random.pick(&["x", "y"])).collect();
            mesh.check(&topic.join("/"), |_, _, _, _| true);
        }
        for shard in &mut mesh.shards {
            for session in 0..8 {
                shard.remove_all(session, 3);
            }
        }
        mesh.settle();
        assert!(mesh.shards.iter().all(|s| s.index.shapes_len() == 0 && s.index.remote_interest_len() == 0));
    }
}

#[test]
fn shapes_stay_bounded_when_all_shards_bring_new_ones_unseen() {
    let wanted = Wanted { options: SubscriptionOptions::default(), identifier: None, durable: false };
    let mut mesh = Mesh::new(8, 1, 64);
    let filters: Vec<String> = shapes(128).collect();
    for (at, filter) in filters.iter().enumerate() {
        mesh.shards[at % 8].subscribe(0, filter, wanted);
    }
    mesh.settle();
    for shard in &mesh.shards {
        assert!(shard.index.shapes_len() <= 2 * WILDCARD_SHAPES_MAX, "{}", shard.index.shapes_len());
    }
    mesh.check("x/x/x/x/x/x/x/x", |_, _, _, _| true);
}

#[test]
fn a_subscriber_waits_for_the_transition_that_another_caused() {
    let key = HashKey::from_seed(1);
    let mut shard = Shard::new(0, 2, &key, 64);
    let volatile = Wanted { options: SubscriptionOptions::default(), identifier: None, durable: false };
    let durable = Wanted { durable: true, ..volatile };
    let first = shard.subscribe(1, "a", volatile);
    assert!(first > Ticket::ZERO);
    assert_eq!(shard.subscribe(2, "a", volatile), first, "its filter is announced by the same transition");
    let batch = shard.index.next_batch(10).unwrap();
    assert_eq!(batch.through, first);
    assert_eq!(shard.subscribe(3, "a", volatile), first, "sent is not applied");
    shard.index.settled(first);
    assert_eq!(shard.subscribe(4, "a", volatile), Ticket::ZERO, "all peers know");
    let second = shard.subscribe(5, "a", durable);
    assert!(second > first, "the durable bit is a transition of its own");
    shard.unsubscribe(5, "a");
    let batch = shard.index.next_batch(10).unwrap();
    assert_eq!((batch.changes.len(), batch.through), (1, second), "transitions coalesce");
    assert!(batch.changes[0].any && !batch.changes[0].durable, "the state is that of now");
    for session in 1..5 {
        shard.unsubscribe(session, "a");
    }
    let third = shard.subscribe(1, "a", volatile);
    assert!(third > second, "the fingerprint went away meanwhile");
    assert_eq!(shard.index.ticket_of(&shard.held[&1]), third);
    shard.index.settled(second);
    assert_eq!(shard.index.ticket_of(&shard.held[&1]), third, "an older transition does not settle it");
    assert!(shard.index.next_batch(10).unwrap().changes[0].any);
    assert_eq!(shard.index.next_batch(10), None);
}

#[test]
fn colliding_filters_wait_for_each_other() {
    // One bit: of three filters, two have the same fingerprint.
    let mut shard = Shard::new(0, 2, &HashKey::from_seed(1), 1);
    let wanted = Wanted { options: SubscriptionOptions::default(), identifier: None, durable: false };
    let tickets: Vec<Ticket> = ["a", "b", "c"].iter().map(|f| shard.subscribe(1, f, wanted)).collect();
    assert!(tickets.iter().all(|ticket| *ticket > Ticket::ZERO));
    assert!(tickets[0] == tickets[1] || tickets[1] == tickets[2] || tickets[0] == tickets[2]);
}
