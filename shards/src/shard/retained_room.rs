//! When a partition of the retained messages is full. New topics are refused before anything of them goes out: by the publisher's shard, which
//! knows that the partition is full and asks it whether the topic is one that it has already.
//!
//! Who can be told (v5, QoS 1 and 2) is told 0x97, and nobody gets the message. Who cannot be told (v3, QoS 0, wills) has its message delivered
//! and only not retained, as EMQX does it.

use super::input::Flow;
use super::session::SessionKey;
use super::share::Plan;
use super::{ConnectionKey, Event, Shard};
use crate::base::limits::RETAINED_ROOM_CREDITS;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::mesh::{Control, Keep, RetainedAsk};
use crate::topics::retained::{PublisherMark, Room, counted};
use crate::wire::{Message, Publish, QoS, ReasonCode, Violation};
use std::collections::VecDeque;
use std::time::Duration;

/// Shortest time between two events about refused messages.
const REFUSALS_REPORTED_EVERY: Duration = Duration::from_secs(60);

/// Whether a message that is to be retained will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RetainedRoom {
    /// As far as this shard can know; or nobody can be told otherwise.
    Yes,
    /// Its publisher is to be told.
    No,
    /// Its partition is being asked; the connection is parked.
    Unknown,
}

/// Which partitions are full, and who waits to hear whether they have room all the same.
pub(super) struct Fullness {
    /// Partitions of other shards that are.
    full: ShardSet,
    /// What the others were told of this one.
    told: bool,
    /// Those that have not said that they know.
    unknowing: ShardSet,
    /// Questions that each partition may be asked.
    credits: Box<[usize]>,
    /// Publishers that wait for a credit, by partition.
    waiting: Box<[VecDeque<ConnectionKey>]>,
    reported: Option<Time>,
}

impl Fullness {
    pub(super) fn new(shards: usize) -> Fullness {
        Fullness {
            full: ShardSet::EMPTY,
            told: false,
            unknowing: ShardSet::EMPTY,
            credits: vec![RETAINED_ROOM_CREDITS; shards].into(),
            waiting: (0..shards).map(|_| VecDeque::new()).collect(),
            reported: None,
        }
    }

    /// `peer` knows what it was told last.
    pub(super) fn known(&mut self, peer: ShardId) {
        self.unknowing.remove(peer);
    }
}

impl Shard {
    /// How a message of `session` is to be retained. `told`: its publisher is told if it is not.
    pub(super) fn keep_for(&self, session: SessionKey, told: bool) -> Keep {
        let client_id = self.sessions.get(session).map(|session| &*session.client_id);
        Keep {
            publisher: client_id.map(|client_id| PublisherMark::new(client_id, &self.retained.key)),
            room: if told { Room::Reserve } else { Room::Open },
        }
    }

    /// Whether the retained PUBLISH that is next in the input of `key` finds room. When that is not known the connection is parked, until the
    /// partition has answered.
    pub(super) fn retained_room(
        &mut self,
        key: ConnectionKey,
        publish: &Publish<'_>,
        topic: &str,
        plan: &Plan,
    ) -> RetainedRoom {
        let Some((partition, keep)) = plan.keep else { return RetainedRoom::Yes };
        if keep.room == Room::Open || publish.payload.is_empty() {
            return RetainedRoom::Yes;
        }
        let own = partition == self.id;
        if !own && !self.retained.fullness.full.contains(partition) || self.is_repeated(key, publish) {
            return RetainedRoom::Yes;
        }
        let bytes = counted(Message::memory_bytes_of(publish, topic));
        let answered = if own {
            Some(self.retained.store.has_room(topic, bytes, Room::Open))
        } else {
            let connection = self.connections.get(key).expect("the caller has looked");
            connection.extra.as_ref().and_then(|extra| extra.retained_room)
        };
        match answered {
            Some(true) => RetainedRoom::Yes,
            Some(false) => RetainedRoom::No,
            None => {
                self.ask_room(key, partition, (topic, bytes));
                RetainedRoom::Unknown
            }
        }
    }

    /// A QoS 2 PUBLISH that was accepted before is not asked about again.
    fn is_repeated(&self, key: ConnectionKey, publish: &Publish<'_>) -> bool {
        let session = self.connections.get(key).and_then(|connection| self.sessions.get(connection.session?));
        let packet_id = publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce);
        session.zip(packet_id).is_some_and(|(session, packet_id)| session.inbound.is_received(packet_id))
    }

    fn ask_room(&mut self, key: ConnectionKey, partition: ShardId, (topic, bytes): (&str, usize)) {
        self.counters.parked_for_retained += 1;
        self.park(key);
        let fullness = &mut self.retained.fullness;
        let credits = &mut fullness.credits[partition.index()];
        if *credits == 0 {
            return fullness.waiting[partition.index()].push_back(key);
        }
        *credits -= 1;
        let ask = RetainedAsk { ask: key.to_bits(), topic: topic.into(), bytes };
        self.peers[partition].control.push_back(Control::RetainedAsk(Box::new(ask)));
    }

    /// A publisher of `from` asks.
    pub(super) fn answer_ask(&mut self, from: ShardId, ask: &RetainedAsk) {
        let room = self.retained.store.has_room(&ask.topic, ask.bytes, Room::Open);
        self.peers[from].control.push_back(Control::RetainedRoom { ask: ask.ask, room });
    }

    /// The partition has answered: the publisher goes on, and so do those that waited for the credit.
    pub(super) fn room_answered(&mut self, now: Time, partition: ShardId, (ask, room): (u64, bool)) {
        self.retained.fullness.credits[partition.index()] += 1;
        let key = ConnectionKey::from_bits(ask);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.extra_mut().retained_room = Some(room);
            self.resume(now, key);
        }
        while self.retained.fullness.credits[partition.index()] > 0 {
            let Some(key) = self.retained.fullness.waiting[partition.index()].pop_front() else { return };
            self.resume(now, key);
        }
    }

    /// What the partition had answered was for the PUBLISH that is being handled.
    pub(super) fn room_used(&mut self, key: ConnectionKey) {
        if let Some(extra) = self.connections.get_mut(key).and_then(|connection| connection.extra.as_mut()) {
            extra.retained_room = None;
        }
    }

    /// The partition of `from` is full, or no longer.
    pub(super) fn learn_fullness(&mut self, from: ShardId, full: bool) {
        let known = &mut self.retained.fullness.full;
        if full {
            known.insert(from);
        } else {
            known.remove(from);
        }
        self.peers[from].control.push_back(Control::RetainedFullKnown);
    }

    /// Tells the others when this shard's partition has become full, or has room again; not before all know what they were told last.
    pub(super) fn tell_fullness(&mut self) {
        let full = self.retained.store.is_full();
        let fullness = &mut self.retained.fullness;
        if full == fullness.told || !fullness.unknowing.is_empty() {
            return;
        }
        fullness.told = full;
        fullness.unknowing = self.peers.others();
        for shard in self.peers.others().iter() {
            self.peers[shard].control.push_back(Control::RetainedFull(full));
        }
    }

    /// Tells the publisher that its message is not retained, and goes to nobody.
    pub(super) fn refuse_retained(
        &mut self,
        now: Time,
        key: ConnectionKey,
        publish: &Publish<'_>,
    ) -> Result<Flow, Violation> {
        self.room_used(key);
        self.retained_refused(now);
        self.refuse_publish(now, key, publish, ReasonCode::QuotaExceeded)
    }

    /// Counts a message that is not retained, and says so now and then.
    pub(super) fn retained_refused(&mut self, now: Time) {
        self.counters.retained_refused += 1;
        let reported = &mut self.retained.fullness.reported;
        if reported.is_none_or(|at| at + REFUSALS_REPORTED_EVERY <= now) {
            *reported = Some(now);
            self.report(Event::RetainedRefused { since_start: self.counters.retained_refused });
        }
    }
}
