//! The façade: all that a shard knows of where topics go.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::cache::{CacheStats, MatchCache, TopicGroups};
use super::filter::TopicFilter;
use super::filter_set::FilterSet;
use super::group::GroupId;
use super::groups::SharedGroups;
use super::interest::{Announced, Announcements, CountChange, Fingerprinted, InterestBatch, Ticket};
use super::levels::Levels;
use super::name::TopicName;
use super::replica::{Applied, Replica};
use super::routes::Routes;
use super::shape::{Shape, ShapeSlot, Shapes};
use super::subscribers::Subscriber;
use super::tree::{FilterId, SubscriptionTree};
use crate::base::hash::HashKey;
use crate::base::limits::MATCH_SCRATCH_MAX;
use crate::base::planted::Planted;
use crate::base::shard_set::ShardId;
use crate::wire::SubscriptionOptions;

/// What a SUBSCRIBE of one filter did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribed {
    /// Whether the session had subscribed this filter before: its options were replaced (MQTT-3.8.4-3).
    pub existed: bool,
    /// SUBACK waits until this is settled; [`Ticket::ZERO`] when there is nothing to wait for.
    pub ticket: Ticket,
}

/// The topics of one shard (DESIGN.md section 5): own subscriptions, their announcement to the peers, the replica of the peers' interest, and
/// the match cache over all. Lives in its shard, written by it alone; what crosses to other shards is an [`InterestBatch`].
pub struct TopicIndex<K> {
    own: ShardId,
    pub(super) has_peers: bool,
    pub(super) key: HashKey,
    /// Keeps fewer bits of every fingerprint in the simulator, so that filters collide.
    fingerprint_mask: u64,
    pub(super) tree: SubscriptionTree<K>,
    pub(super) shapes: Shapes,
    pub(super) announcements: Announcements,
    pub(super) replica: Replica,
    cache: MatchCache<K>,
    pub(super) matching: Vec<Subscriber<K>>,
    pub(super) groups: SharedGroups<K>,
    matching_groups: Vec<GroupId>,
    /// Groups that became able to take what members without connection have in their queues.
    pub(super) relief: VecDeque<GroupId>,
    /// The routes of every topic that goes nowhere.
    nowhere: Arc<Routes<K>>,
}

impl<K: Copy + Ord + Debug> TopicIndex<K> {
    /// The empty index of shard `own` of `shards`. `key` is the same on all of them, and so is `fingerprint_bits`: 64, or fewer to force
    /// collisions (simulator).
    pub fn new(own: ShardId, shards: usize, key: HashKey, fingerprint_bits: u32) -> TopicIndex<K> {
        assert!(own.index() < shards && (1..=64).contains(&fingerprint_bits));
        let none = Default::default();
        TopicIndex {
            own,
            has_peers: shards > 1,
            fingerprint_mask: u64::MAX >> (64 - fingerprint_bits),
            tree: SubscriptionTree::new(key.clone()),
            groups: SharedGroups::new(own, key.clone()),
            matching_groups: Vec::new(),
            relief: VecDeque::new(),
            key,
            shapes: Shapes::new(shards),
            announcements: Announcements::new(),
            replica: Replica::new(),
            cache: MatchCache::new(),
            matching: Vec::new(),
            nowhere: Arc::new(Routes::merge(&mut [], none, none)),
        }
    }

    /// Plants a bug (see [`Planted`]).
    pub fn plant(&mut self, planted: Planted) {
        self.announcements.planted = planted;
    }

    /// Adds or replaces the subscription of `filter` by session `key`, whose own list is `held`. `durable`: the session outlives its connection and
    /// the granted QoS is above 0.
    pub fn subscribe(
        &mut self,
        key: K,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        identifier: Option<NonZeroU32>,
        durable: bool,
        held: &mut FilterSet,
    ) -> Subscribed {
        let subscriber = Subscriber::new(key, options, identifier, durable);
        if filter.shared().is_some() {
            return self.join(filter, subscriber, held);
        }
        let (id, replaced) = self.tree.insert(filter, subscriber);
        held.insert(id);
        if replaced != Some(subscriber) {
            self.invalidate(filter);
        }
        if !self.has_peers {
            return Subscribed { existed: replaced.is_some(), ticket: Ticket::ZERO };
        }
        if self.tree.shape(id) == Some(ShapeSlot::NONE) {
            let shape = Shape::of(&Levels::of(filter.as_str(), &self.key));
            let (next, settled) = (self.announcements.next_ticket(), self.announcements.settled_ticket());
            self.tree.set_shape(id, self.shapes.place(shape, next, settled));
        }
        let announced = self.announced(id);
        let durable_before = replaced.is_some_and(|old| old.durable());
        let change = CountChange {
            any: i32::from(replaced.is_none()),
            durable: i32::from(durable) - i32::from(durable_before),
        };
        self.announcements.count(announced, change, &mut self.shapes);
        Subscribed { existed: replaced.is_some(), ticket: self.announcements.ticket_of(announced) }
    }

    /// Takes out the subscription of `filter` by session `key`; returns whether there was one.
    pub fn unsubscribe(&mut self, key: K, filter: TopicFilter<'_>, held: &mut FilterSet) -> bool {
        match self.find(filter) {
            Some(id) if self.held_subscription(id, key).is_some() => {
                held.remove(id);
                self.remove(id, key);
                true
            }
            _ => false,
        }
    }

    /// Takes out at most `budget` of the session's subscriptions; returns whether that were all.
    pub fn remove_all(&mut self, key: K, held: &mut FilterSet, budget: usize) -> bool {
        for _ in 0..budget {
            match held.pop() {
                Some(id) => self.remove(id, key),
                None => return true,
            }
        }
        held.is_empty()
    }

    pub(super) fn remove(&mut self, id: FilterId, key: K) {
        if let Some(group) = id.group() {
            return self.part(group, key);
        }
        // The session may be the last that keeps the filter: all that its text tells comes first.
        let what = self.changed(self.tree.text(id));
        let announced = self.announced(id);
        let removed = self.tree.remove(id, key).expect("a session's list names its subscriptions");
        let last = self.tree.discard_unused(id);
        self.invalidate_changed(what);
        if self.has_peers {
            let change = CountChange { any: -1, durable: -i32::from(removed.durable()) };
            self.announcements.count(announced, change, &mut self.shapes);
            if last && announced.shape != ShapeSlot::NONE {
                self.shapes.release(announced.shape); // the announcement that may be under way holds it on its own
            }
        }
    }

    /// The texts of the session's filters, in a fixed order.
    pub fn filters<'a>(&'a self, held: &'a FilterSet) -> impl Iterator<Item = &'a str> {
        held.iter().map(|id| match id.group() {
            Some(group) => self.groups.text(group).as_str(),
            None => self.tree.text(id).as_str(),
        })
    }

    /// The session's subscription of `filter`.
    pub fn subscription(&self, key: K, filter: TopicFilter<'_>) -> Option<&Subscriber<K>> {
        self.held_subscription(self.find(filter)?, key)
    }

    fn find(&self, filter: TopicFilter<'_>) -> Option<FilterId> {
        if filter.shared().is_some() {
            return self.groups.find(filter.as_str()).map(FilterId::of_group);
        }
        self.tree.find(filter)
    }

    fn held_subscription(&self, id: FilterId, key: K) -> Option<&Subscriber<K>> {
        match id.group() {
            Some(group) => self.member(group, key),
            None => self.tree.get(id, key),
        }
    }

    /// The newest transition not yet settled that one of the session's filters depends on, else [`Ticket::ZERO`]: what the CONNACK of a
    /// resumed session waits for.
    pub fn ticket_of(&self, held: &FilterSet) -> Ticket {
        let tickets = held.iter().map(|id| self.announcements.ticket_of(self.announced(id)));
        if self.has_peers { tickets.max().unwrap_or_default() } else { Ticket::ZERO }
    }

    fn exact_fingerprint(&self, text: &str) -> u64 {
        self.key.hash(text.as_bytes()) & self.fingerprint_mask
    }

    /// How the peers know this filter.
    fn announced(&self, id: FilterId) -> Announced {
        if let Some(group) = id.group() {
            return Announced::of_group(self.groups.key_of(group));
        }
        let text = self.tree.text(id).as_str();
        match self.tree.shape(id) {
            None => Announced { shape: ShapeSlot::NONE, fingerprint: self.exact_fingerprint(text) },
            // Without peers nobody knows it.
            Some(ShapeSlot::NONE) => Announced { shape: ShapeSlot::NONE, fingerprint: 0 },
            Some(shape) => {
                let levels = Levels::of(text, &self.key);
                let fingerprint = self.shapes.shape(shape).fingerprint(&levels) & self.fingerprint_mask;
                Announced { shape, fingerprint }
            }
        }
    }

    /// Which topics a change of `filter` concerns.
    pub(super) fn changed(&self, filter: TopicFilter<'_>) -> Fingerprinted {
        if !filter.is_wildcard() {
            return Fingerprinted::Exact(self.exact_fingerprint(filter.as_str()));
        }
        let levels = Levels::of(filter.as_str(), &self.key);
        let shape = Shape::of(&levels);
        Fingerprinted::Wildcard(shape, shape.fingerprint(&levels) & self.fingerprint_mask)
    }

    pub(super) fn invalidate(&mut self, filter: TopicFilter<'_>) {
        self.invalidate_changed(self.changed(filter));
    }

    pub(super) fn invalidate_changed(&mut self, what: Fingerprinted) {
        match what {
            Fingerprinted::Exact(fingerprint) => self.cache.invalidate_exact(fingerprint),
            Fingerprinted::Wildcard(shape, fingerprint) => {
                self.cache.invalidate_wildcard(&shape, fingerprint, self.fingerprint_mask);
            }
        }
    }

    /// Where `topic` goes: from the match cache, or matched now. Shared, so that a fan-out can keep it over several turns.
    pub fn routes(&mut self, topic: TopicName<'_>) -> Arc<Routes<K>> {
        let text = topic.as_str();
        let hash = self.key.hash(text.as_bytes());
        let fingerprint = hash & self.fingerprint_mask;
        if let Some(routes) = self.cache.get(text, fingerprint) {
            return routes;
        }
        let levels = Levels::of(text, &self.key);
        let (routes, bytes) = self.matched(&levels, hash);
        let groups = TopicGroups::of(&levels, self.fingerprint_mask);
        self.cache.insert(text, fingerprint, groups, (&routes, bytes));
        routes
    }

    /// Matches without the cache; the bytes are those that the routes take for themselves.
    fn matched(&mut self, topic: &Levels<'_>, hash: u64) -> (Arc<Routes<K>>, usize) {
        self.matching.clear();
        self.tree.matches_levels(topic, hash, &mut self.matching);
        let owners =
            self.replica.owners(hash & self.fingerprint_mask, topic, self.fingerprint_mask, &self.shapes);
        debug_assert!(!owners.any.contains(self.own), "nobody applies their own interest");
        let routes = Routes::merge(&mut self.matching, owners.any, owners.durable);
        if self.matching.capacity() > MATCH_SCRATCH_MAX {
            self.matching = Vec::new();
        }
        self.matching_groups.clear();
        if !self.groups.is_empty() {
            self.groups.matches(topic, hash, &mut self.matching_groups);
        }
        let routes = routes.with_groups(&self.matching_groups);
        if routes.is_nowhere() {
            return (self.nowhere.clone(), 0);
        }
        let bytes = routes.memory_bytes();
        (Arc::new(routes), bytes)
    }

    /// How the match cache does.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// The oldest transitions not yet sent, at most `max`, each with its state now. Every peer must get every batch, in order.
    pub fn next_batch(&mut self, max: usize) -> Option<InterestBatch> {
        self.announcements.next_batch(max, &self.shapes, |key| self.groups.state(key))
    }

    /// Every peer has applied everything up to `through`.
    pub fn settled(&mut self, through: Ticket) {
        let groups = &mut self.groups;
        self.announcements.settled(through, &mut self.shapes, |group| groups.release(group));
    }

    /// Every peer has applied everything up to here.
    pub fn settled_ticket(&self) -> Ticket {
        self.announcements.settled_ticket()
    }

    /// Takes a peer's transitions into the replica.
    pub fn apply(&mut self, from: ShardId, batch: &InterestBatch) {
        assert!(from != self.own, "a shard does not apply its own interest");
        self.apply_groups(from, &batch.groups);
        for change in &batch.changes {
            let applied = match change.what {
                Fingerprinted::Exact(fingerprint) => {
                    self.replica.set_exact(fingerprint, from, change.any, change.durable)
                }
                Fingerprinted::Wildcard(shape, fingerprint) => {
                    let Some(slot) = self.shapes.of_peer(&shape, change.any) else { continue };
                    let what = (slot, fingerprint);
                    let applied = self.replica.set_wildcard(what, from, change.any, change.durable);
                    match applied {
                        Applied::EntryAdded => self.shapes.count_remote(slot, 1),
                        Applied::EntryRemoved => self.shapes.count_remote(slot, -1),
                        Applied::Nothing | Applied::Changed => {}
                    }
                    applied
                }
            };
            if applied != Applied::Nothing {
                self.invalidate_changed(change.what);
            }
        }
    }
}
