//! Retained messages: the partition that this shard keeps, and replays of all partitions to new subscriptions.
//!
//! A replay asks the partitions one after the other, a page at a time, and sends a page's messages only as the client takes them: no cap, no
//! stall. No update falls between retained and live: the query names how many messages of each shard's lane the partition must have
//! consumed, and a copy is left out when a live message of its topic went first (DESIGN.md section 5).

use super::Shard;
use super::replay::{Replay, ReplayKey};
use super::replays::Replays;
use super::retained_expiry::Sweep;
use super::retained_room::Fullness;
use super::session::SessionKey;
use crate::base::hash::HashKey;
use crate::base::limits::{
    REPLAY_LIVE_TOPICS_MAX, RETAINED_BATCH_MAX, RETAINED_QUERY_CREDITS, RETAINED_STEPS_MAX,
    RETAINED_STEPS_PER_TURN,
};
use crate::base::planted::Bug;
use crate::base::shard_set::ShardId;
use crate::base::slab::Slab;
use crate::base::time::Time;
use crate::log::{BodyRecord, Record};
use crate::mesh::{Control, Keep, RetainedMatches, RetainedQuery};
use crate::topics::TopicFilter;
use crate::topics::retained::{RetainedLookup, RetainedStore, partition};
use crate::wire::{Message, QoS, SubscriptionOptions};
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;

/// Replays advanced, and queries answered, per turn.
const REPLAYS_PER_TURN: usize = 32;

/// The state behind both sides.
pub(super) struct Retained {
    id: ShardId,
    shards: usize,
    pub(super) key: HashKey,
    pub(super) store: RetainedStore,
    pub(super) replays: Slab<Replay>,
    ready: VecDeque<ReplayKey>,
    /// By source shard and partition: what a query must wait for.
    positions: Box<[Box<[u64]>]>,
    /// Queries without answer, the own ones among them.
    queries: VecDeque<(ShardId, RetainedQuery)>,
    /// Replays that wait for what their shard has not consumed yet.
    behind: VecDeque<ReplayKey>,
    /// Something happened that may make a query answerable, or let a replay open.
    stirred: bool,
    pub(super) credits: Box<[usize]>,
    /// Replays that wait for a credit, by partition.
    creditless: Box<[VecDeque<ReplayKey>]>,
    pub(super) fullness: Fullness,
    pub(super) sweep: Sweep,
}

impl Retained {
    pub(super) fn new(id: ShardId, shards: usize, key: HashKey, store: RetainedStore) -> Retained {
        Retained {
            id,
            shards,
            key,
            store,
            replays: Slab::new(),
            ready: VecDeque::new(),
            positions: (0..shards).map(|_| vec![0; shards].into()).collect(),
            queries: VecDeque::new(),
            behind: VecDeque::new(),
            stirred: false,
            credits: vec![RETAINED_QUERY_CREDITS; shards].into(),
            creditless: (0..shards).map(|_| VecDeque::new()).collect(),
            fullness: Fullness::new(shards),
            sweep: Sweep::default(),
        }
    }

    /// The shard that keeps the retained message of `topic`.
    pub(super) fn partition(&self, topic: &str) -> ShardId {
        if self.shards == 1 { self.id } else { partition(topic, &self.key, self.shards) }
    }

    /// A replay for a subscription that is being answered; [`Retained::start`] sets it going.
    pub(super) fn begin(
        &mut self,
        session: SessionKey,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        identifier: Option<NonZeroU32>,
    ) -> ReplayKey {
        let exact = (!filter.is_wildcard()).then(|| self.partition(filter.as_str()).index());
        self.replays.insert(Replay {
            session,
            filter: filter.as_str().into(),
            options,
            identifier,
            partition: exact.unwrap_or(0),
            partitions_end: exact.map_or(self.shards, |partition| partition + 1),
            after: None,
            page: VecDeque::new(),
            asked: false,
            creditless: false,
            started: false,
            open: false,
            ready: false,
            live: BTreeSet::new(),
            cursors_before: None,
            own_positions: Box::default(),
        })
    }

    /// The SUBACK is out and the interest applied.
    pub(super) fn start(&mut self, key: ReplayKey) {
        let Some(replay) = self.replays.get_mut(key).filter(|replay| !replay.started) else { return };
        replay.started = true;
        self.wake(key);
    }

    /// The client may take more.
    pub(super) fn wake(&mut self, key: ReplayKey) {
        let Some(replay) = self.replays.get_mut(key) else { return };
        if replay.started && !replay.ready && !replay.asked && !replay.creditless {
            replay.ready = true;
            self.ready.push_back(key);
        }
    }

    pub(super) fn end_replay(&mut self, key: ReplayKey) {
        self.replays.remove(key);
    }

    /// A live retained message of `topic` reached the session of `replays`. It makes the retained one superfluous only if no later one can be
    /// missing: not before the replay is open.
    pub(super) fn went_live(&mut self, replays: &Replays, topic: &str) {
        let hash = self.key.hash(topic.as_bytes());
        for key in replays.iter() {
            if let Some(replay) = self.replays.get_mut(key)
                && replay.open
                && replay.live.len() < REPLAY_LIVE_TOPICS_MAX
            {
                replay.live.insert(hash);
            }
        }
    }

    /// A live retained message of `from` was consumed: a later query must find its partition at least as far.
    pub(super) fn saw_live(&mut self, from: ShardId, topic: &str, position: u64) {
        let partition = self.partition(topic);
        let known = &mut self.positions[from.index()][partition.index()];
        *known = (*known).max(position);
    }

    /// `from` had sent this much to each partition when it applied our interest.
    pub(super) fn applied(&mut self, from: ShardId, positions: &[u64]) {
        for (known, position) in self.positions[from.index()].iter_mut().zip(positions) {
            *known = (*known).max(*position);
        }
    }

    /// One page of this partition; adds what it took to `steps`.
    fn read_page(&self, now: Time, query: &RetainedQuery, steps: &mut usize) -> RetainedMatches {
        let filter =
            TopicFilter::new(&query.filter).expect("checked by the shard that accepted the SUBSCRIBE");
        let lookup = RetainedLookup {
            filter,
            after: query.after.as_deref(),
            except: query.except,
            now,
            messages_max: RETAINED_BATCH_MAX,
            steps_max: RETAINED_STEPS_MAX,
        };
        let mut messages = Vec::new();
        let page = self.store.matching(&lookup, &mut messages);
        *steps += page.steps;
        RetainedMatches { query: query.query, messages, resume: page.resume }
    }

    pub(super) fn asked(&mut self, from: ShardId, query: RetainedQuery) {
        self.queries.push_back((from, query));
        self.stirred = true;
    }

    pub(super) fn answered(&mut self, from: ShardId, matches: RetainedMatches) {
        self.credits[from.index()] += 1;
        self.wake_creditless(from);
        let key = ReplayKey::from_bits(matches.query);
        let Some(replay) = self.replays.get_mut(key) else { return };
        replay.asked = false;
        replay.take_page(matches.messages, matches.resume);
        self.wake(key);
    }

    /// `partition` has no credit for the replay's next query.
    pub(super) fn await_credit(&mut self, key: ReplayKey, partition: usize) {
        let replay = self.replays.get_mut(key).expect("the caller has looked");
        replay.creditless = true;
        self.creditless[partition].push_back(key);
    }

    /// The first in the line that is still there has its turn.
    fn wake_creditless(&mut self, partition: ShardId) {
        while let Some(key) = self.creditless[partition.index()].pop_front() {
            if let Some(replay) = self.replays.get_mut(key) {
                replay.creditless = false;
                return self.wake(key);
            }
        }
    }

    /// How many messages of `source` this shard must have consumed before a replay opens.
    pub(super) fn sent_before_applied(&self, source: ShardId) -> u64 {
        self.positions[source.index()][self.id.index()]
    }

    /// The replay of `key` goes on when more data is consumed.
    pub(super) fn await_data(&mut self, key: ReplayKey) {
        let replay = self.replays.get_mut(key).expect("the caller has looked");
        replay.ready = true;
        self.behind.push_back(key);
    }

    pub(super) fn data_consumed(&mut self) {
        self.stirred |= !self.queries.is_empty() || !self.behind.is_empty();
    }

    /// Replays under way.
    pub(super) fn replays_len(&self) -> usize {
        self.replays.len()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty() || self.stirred || self.sweep.running
    }

    /// What the partition must have consumed of each shard's lane before it answers `replay`.
    pub(super) fn positions_for(&self, replay: &Replay) -> Box<[u64]> {
        let needed = |source: usize| {
            if source == self.id.index() {
                replay.own_positions.get(replay.partition).copied().unwrap_or(0)
            } else if source == replay.partition {
                0
            } else {
                self.positions[source][replay.partition]
            }
        };
        (0..self.shards).map(needed).collect()
    }
}

impl Shard {
    /// Keeps a retained message in this shard's partition, or clears its topic. Whether there was room.
    pub(super) fn store_retained(&mut self, now: Time, message: Message, keep: Keep) -> bool {
        let expires = message.expires_at().is_some();
        let alone = message.qos() == QoS::AtMostOnce && self.log.keeps();
        if alone && !message.payload().is_empty() && self.disk_is_full() {
            // Delivered all the same: nobody is told that it is kept. While the disk has only not answered yet publishers wait, and so do the lanes.
            self.retained_refused(now);
            return false;
        }
        let unlogged = alone.then(|| message.clone());
        if self.retained.store.set(message, keep.publisher, keep.room, self.log.written()).is_err() {
            self.retained_refused(now);
            return false;
        }
        if let Some(message) = unlogged {
            // With a higher QoS the record of its publication says so.
            self.log.append(&Record::Retained(BodyRecord::of(&message, keep.publisher)));
        }
        if expires {
            self.arm_sweep(now);
        }
        true
    }

    /// Answers queries whose lanes have caught up, and advances replays whose clients can take more.
    pub(super) fn advance_replays(&mut self, now: Time) {
        if std::mem::take(&mut self.retained.stirred) {
            let behind = &mut self.retained.behind;
            self.retained.ready.extend(behind.drain(..));
            self.answer_queries(now);
        }
        for _ in 0..self.retained.ready.len().min(REPLAYS_PER_TURN) {
            let Some(key) = self.retained.ready.pop_front() else { return };
            self.advance_replay(now, key);
        }
    }

    fn answer_queries(&mut self, now: Time) {
        let (mut answered, mut steps) = (0, 0);
        for _ in 0..self.retained.queries.len() {
            let Some((from, query)) = self.retained.queries.pop_front() else { return };
            let behind =
                |(source, position): (usize, &u64)| self.peers[ShardId::new(source)].consumed < *position;
            let early = query.positions.iter().enumerate().any(behind);
            let enough = answered == REPLAYS_PER_TURN || steps >= RETAINED_STEPS_PER_TURN;
            if enough || early && !self.planted.is(Bug::RetainedQueryTooEarly) {
                self.retained.stirred |= !early;
                self.counters.retained_waits += u64::from(early);
                self.retained.queries.push_back((from, query));
                continue;
            }
            answered += 1;
            let matches = self.retained.read_page(now, &query, &mut steps);
            if from == self.id {
                self.retained.answered(from, matches);
            } else {
                self.peers[from].control.push_back(Control::RetainedMatches(Box::new(matches)));
            }
        }
    }
}
