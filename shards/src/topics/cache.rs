//! The match cache of a shard: hot topics and where they go.

use std::sync::Arc;

use super::levels::{Levels, fold};
use super::routes::Routes;
use super::shape::{PREFIX_BITS, PREFIX_LEVELS, Shape};
use crate::base::limits::{MATCH_CACHE_BYTES_MAX, MATCH_CACHE_SWEEP_MAX, MATCH_CACHE_TOPICS_MAX};
use crate::base::parted::Parted;
use crate::base::slab::Slab;

/// How the match cache does: counters since the start, and its size now.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CacheStats {
    /// Lookups answered from the cache.
    pub hits: u64,
    /// Lookups that had to match.
    pub misses: u64,
    /// Topics dropped because a subscription or a peer's interest changed.
    pub invalidations: u64,
    /// Topics in the cache.
    pub topics: usize,
    /// Bytes of them, receivers included.
    pub bytes: usize,
}

/// Stamps, one for each group of topics that a wildcard change may concern.
const STAMPS: usize = 4096;
/// Topics with at least so many levels share their stamps.
const LEVELS_TOLD_APART: usize = 16;
/// What the cache remembers of topics seen once while it is full.
const DOOR_TAGS: usize = 4096;

/// Topic → routes, bounded in topics and bytes.
///
/// - A change of an exact filter drops the topics of its fingerprint.
/// - A change of a wildcard filter stamps the groups of topics that it may match, by leading literal levels and number of levels: a few writes, no scan. An
///   entry made before the stamp of one of its groups is stale.
/// - When full, a topic enters only when seen twice, and pushes out one that was not looked up since the sweep last came by (second chance).
pub(super) struct MatchCache<K> {
    entries: Slab<Entry<K>>,
    table: Parted<u32>,
    stamps: Box<[u64]>,
    /// Counts wildcard changes.
    clock: u64,
    /// Where the sweep goes on, and the highest slot it has to visit.
    hand: u32,
    slots: u32,
    bytes: usize,
    door: Box<[u16]>,
    topics_max: usize,
    bytes_max: usize,
    hits: u64,
    misses: u64,
    invalidations: u64,
}

struct Entry<K> {
    topic: Box<str>,
    fingerprint: u64,
    groups: TopicGroups,
    made_at: u64,
    bytes: u32,
    referenced: bool,
    routes: Arc<Routes<K>>,
}

/// The stamps that concern one topic: by its first 0, 1, 2 and 3 levels.
#[derive(Clone, Copy)]
pub(super) struct TopicGroups([u16; PREFIX_LEVELS + 1]);

fn group(prefix: u64, prefix_levels: usize, topic_levels: usize) -> u16 {
    let class = topic_levels.min(LEVELS_TOLD_APART) as u64;
    (fold(prefix, 1 + class * 8 + prefix_levels as u64) % STAMPS as u64) as u16
}

fn prefix_bits(mask: u64) -> u64 {
    mask & ((1 << PREFIX_BITS) - 1)
}

impl TopicGroups {
    /// `mask` shortens the prefix as it does the fingerprints.
    pub(super) fn of(topic: &Levels<'_>, mask: u64) -> TopicGroups {
        let mut hash = 0;
        TopicGroups(std::array::from_fn(|prefix_levels| {
            // A topic with fewer levels than this repeats its last group: one stamp checked twice.
            if (1..=topic.count()).contains(&prefix_levels) {
                hash = fold(hash, topic.hash(prefix_levels - 1));
            }
            group(hash & prefix_bits(mask), prefix_levels.min(topic.count()), topic.count())
        }))
    }
}

fn table_hash(fingerprint: u64) -> u64 {
    fold(fingerprint, 0x6d61_7463_6820_6869)
}

impl<K> MatchCache<K> {
    pub(super) fn new() -> MatchCache<K> {
        MatchCache::bounded(MATCH_CACHE_TOPICS_MAX, MATCH_CACHE_BYTES_MAX)
    }

    fn bounded(topics_max: usize, bytes_max: usize) -> MatchCache<K> {
        MatchCache {
            entries: Slab::new(),
            table: Parted::new(),
            stamps: vec![0; STAMPS].into_boxed_slice(),
            clock: 0,
            hand: 0,
            slots: 0,
            bytes: 0,
            door: vec![0; DOOR_TAGS].into_boxed_slice(),
            topics_max,
            bytes_max,
            hits: 0,
            misses: 0,
            invalidations: 0,
        }
    }

    fn entry(&self, slot: u32) -> &Entry<K> {
        self.entries.at(slot).expect("a slot in the table is used")
    }

    fn find(&self, topic: &str, fingerprint: u64) -> Option<u32> {
        let is = |slot: &u32| {
            let entry = self.entry(*slot);
            entry.fingerprint == fingerprint && *entry.topic == *topic
        };
        self.table.find(table_hash(fingerprint), is).copied()
    }

    fn is_fresh(&self, entry: &Entry<K>) -> bool {
        entry.groups.0.iter().all(|group| self.stamps[usize::from(*group)] <= entry.made_at)
    }

    /// The routes of `topic`, whose exact fingerprint is `fingerprint`, if known and still right. Counts a hit or a miss.
    pub(super) fn get(&mut self, topic: &str, fingerprint: u64) -> Option<Arc<Routes<K>>> {
        if let Some(slot) = self.find(topic, fingerprint)
            && self.is_fresh(self.entry(slot))
        {
            self.hits += 1;
            let entry = self.entries.at_mut(slot).expect("a slot in the table is used");
            entry.referenced = true;
            return Some(entry.routes.clone());
        }
        self.misses += 1;
        None
    }

    /// Remembers routes computed just now, or not: when they are too big, or the topic too rare for a full cache.
    pub(super) fn insert(
        &mut self,
        topic: &str,
        fingerprint: u64,
        groups: TopicGroups,
        (routes, routes_bytes): (&Arc<Routes<K>>, usize),
    ) {
        let stale = self.find(topic, fingerprint).map(|slot| self.remove(slot));
        self.invalidations += u64::from(stale.is_some());
        let bytes = size_of::<Entry<K>>() + 8 + topic.len() + routes_bytes;
        // One topic may take a quarter: a bigger one is delivered for so long that matching it again does not count.
        if bytes > self.bytes_max / 4 {
            return;
        }
        if !self.has_room(bytes) {
            let admitted = stale.is_some() || self.was_at_the_door(fingerprint);
            if !admitted || !self.make_room(bytes) {
                return;
            }
        }
        let topic = stale.map_or_else(|| topic.into(), |entry| entry.topic);
        let (made_at, routes) = (self.clock, routes.clone());
        let entry = Entry {
            topic,
            fingerprint,
            groups,
            made_at,
            bytes: u32::try_from(bytes).expect("a quarter of the cache is far below 4 GiB"),
            referenced: false,
            routes,
        };
        let slot = self.entries.insert(entry).index() as u32;
        self.slots = self.slots.max(slot + 1);
        self.bytes += bytes;
        let entries = &self.entries;
        self.table.insert(table_hash(fingerprint), slot, |slot| entry_hash(entries, *slot));
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.entries.len() < self.topics_max && self.bytes + bytes <= self.bytes_max
    }

    /// Whether the topic was turned away not long ago; if not, it is turned away now.
    fn was_at_the_door(&mut self, fingerprint: u64) -> bool {
        let hash = table_hash(fingerprint);
        let place = &mut self.door[hash as usize % DOOR_TAGS];
        let tag = (hash >> 48) as u16 | 1; // never the 0 of an empty place
        std::mem::replace(place, tag) == tag
    }

    /// Sweeps over a bounded number of slots, until there is room or not.
    fn make_room(&mut self, bytes: usize) -> bool {
        for _ in 0..MATCH_CACHE_SWEEP_MAX {
            let slot = self.hand;
            self.hand = if slot + 1 >= self.slots { 0 } else { slot + 1 };
            let Some(entry) = self.entries.at(slot) else { continue };
            if entry.referenced && self.is_fresh(entry) {
                self.entries.at_mut(slot).expect("looked up just now").referenced = false;
            } else {
                self.remove(slot);
                if self.has_room(bytes) {
                    return true;
                }
            }
        }
        false
    }

    fn remove(&mut self, slot: u32) -> Entry<K> {
        let (entries, table) = (&self.entries, &mut self.table);
        table
            .remove(entry_hash(entries, slot), |other| *other == slot, |slot| entry_hash(entries, *slot))
            .expect("every entry stands in the table");
        let entry = self.entries.remove_at(slot).expect("a slot in the table is used");
        self.bytes -= entry.bytes as usize;
        entry
    }

    /// An exact filter with this fingerprint changed, here or at a peer.
    pub(super) fn invalidate_exact(&mut self, fingerprint: u64) {
        let is = |entries: &Slab<Entry<K>>, slot: u32| {
            entries.at(slot).expect("a slot in the table is used").fingerprint == fingerprint
        };
        let hash = table_hash(fingerprint);
        while let Some(slot) = self.table.find(hash, |slot| is(&self.entries, *slot)).copied() {
            self.remove(slot);
            self.invalidations += 1;
        }
    }

    /// A wildcard filter of this shape and (shortened) fingerprint changed, here or at a peer.
    pub(super) fn invalidate_wildcard(&mut self, shape: &Shape, fingerprint: u64, mask: u64) {
        self.clock += 1;
        let prefix_levels = shape.leading_literals().min(PREFIX_LEVELS);
        let prefix = fingerprint & prefix_bits(mask);
        let (least, most) = shape.topic_levels();
        let least = least.clamp(1, LEVELS_TOLD_APART);
        let most = most.unwrap_or(LEVELS_TOLD_APART).clamp(1, LEVELS_TOLD_APART);
        for topic_levels in least..=most {
            self.stamps[usize::from(group(prefix, prefix_levels, topic_levels))] = self.clock;
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits,
            misses: self.misses,
            invalidations: self.invalidations,
            topics: self.entries.len(),
            bytes: self.bytes,
        }
    }
}

fn entry_hash<K>(entries: &Slab<Entry<K>>, slot: u32) -> u64 {
    table_hash(entries.at(slot).expect("a slot in the table is used").fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::HashKey;
    use crate::base::shard_set::ShardSet;

    const MASK: u64 = u64::MAX;

    struct Fixture {
        key: HashKey,
        cache: MatchCache<u64>,
        routes: Arc<Routes<u64>>,
    }

    impl Fixture {
        fn new(topics_max: usize, bytes_max: usize) -> Fixture {
            let routes = Arc::new(Routes::merge(&mut [], ShardSet::first(1), ShardSet::EMPTY));
            let cache = MatchCache::bounded(topics_max, bytes_max);
            Fixture { key: HashKey::from_seed(1), cache, routes }
        }

        /// Looks `topic` up as a publish does; returns whether it was a hit.
        fn publish(&mut self, topic: &str, routes_bytes: usize) -> bool {
            let fingerprint = self.key.hash(topic.as_bytes());
            if self.cache.get(topic, fingerprint).is_some() {
                return true;
            }
            let groups = TopicGroups::of(&Levels::of(topic, &self.key), MASK);
            self.cache.insert(topic, fingerprint, groups, (&self.routes, routes_bytes));
            false
        }

        fn change(&mut self, filter: &str) {
            let levels = Levels::of(filter, &self.key);
            let shape = Shape::of(&levels);
            self.cache.invalidate_wildcard(&shape, shape.fingerprint(&levels), MASK);
        }
    }

    #[test]
    fn size_is_bounded_in_topics_and_in_bytes() {
        let mut fixture = Fixture::new(100, 50_000);
        for round in 0..3 {
            for n in 0..1_000 {
                fixture.publish(&format!("t/{n}"), n % 400 * 10);
                fixture.publish(&format!("t/{n}"), n % 400 * 10);
                let stats = fixture.cache.stats();
                assert!(stats.topics <= 100 && stats.bytes <= 50_000, "round {round} {stats:?}");
            }
        }
        assert!(fixture.cache.stats().topics > 10);
        assert!(!fixture.publish("huge", 20_000) && !fixture.publish("huge", 20_000), "over a quarter");
        for n in 0..1_000 {
            fixture.cache.invalidate_exact(fixture.key.hash(format!("t/{n}").as_bytes()));
        }
        let CacheStats { topics, bytes, .. } = fixture.cache.stats();
        assert_eq!((topics, bytes), (0, 0), "everything was accounted for");
        assert_eq!(fixture.cache.table.len(), 0);
    }

    #[test]
    fn a_flood_of_topics_seen_once_leaves_the_hot_ones_in_place() {
        let mut fixture = Fixture::new(256, MATCH_CACHE_BYTES_MAX);
        let hot: Vec<String> = (0..200).map(|n| format!("hot/{n}")).collect();
        for topic in &hot {
            fixture.publish(topic, 0);
        }
        let mut hits = 0;
        for n in 0..100_000 {
            fixture.publish(&format!("once/{n}"), 0);
            hits += u32::from(n % 5 == 0 && fixture.publish(&hot[n / 5 % hot.len()], 0));
        }
        assert!(hits > 19_900, "{hits} hits of 20,000 on hot topics");
    }

    #[test]
    fn new_hot_topics_replace_cold_ones() {
        let mut fixture = Fixture::new(256, MATCH_CACHE_BYTES_MAX);
        for era in 0..5 {
            let mut hits = 0;
            for n in 0..4_000 {
                hits += u32::from(fixture.publish(&format!("era{era}/{}", n % 200), 0));
            }
            assert!(hits > 3_000, "era {era}: {hits} hits of 4,000");
        }
    }

    #[test]
    fn a_wildcard_change_leaves_topics_alone_that_begin_otherwise_or_have_other_levels() {
        let mut fixture = Fixture::new(1_000, MATCH_CACHE_BYTES_MAX);
        let topics = ["dev/1/state", "dev/2/state", "dev/2", "car/1/state", "dev/1/state/x", "a/b/c/d/e/f"];
        let mut stale = |filter: &str| -> Vec<&str> {
            for topic in topics {
                fixture.publish(topic, 0);
            }
            fixture.change(filter);
            topics.into_iter().filter(|topic| !fixture.publish(topic, 0)).collect()
        };
        assert_eq!(stale("dev/1/#"), ["dev/1/state", "dev/1/state/x"]);
        assert_eq!(stale("dev/2/+"), ["dev/2/state"]);
        assert_eq!(stale("dev/2/#"), ["dev/2/state", "dev/2"]);
        assert_eq!(stale("dev/+/state"), ["dev/1/state", "dev/2/state"]);
        assert_eq!(stale("+/1/state"), ["dev/1/state", "dev/2/state", "car/1/state"]);
        assert_eq!(stale("a/b/c/d/+/f"), ["a/b/c/d/e/f"]);
        assert_eq!(stale("#"), topics);
        assert_eq!(stale("x/#"), [""; 0]);
    }
}
