//! Messages that other shards have to log, as long as they may not have: what a crash of one of them between their arrival and its log loses is sent
//! again from here.

use super::Shard;
use super::peers::LaneWaiter;
use crate::base::kept::{BodyKey, Written};
use crate::base::lsn::Lsn;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::log::{Bodies, Destination};
use crate::mesh::{Deliver, Keep, SharedGroup, SharedPick};
use crate::topics::retained::{PublisherMark, Room};
use std::borrow::Cow;
use std::collections::VecDeque;

/// One message.
pub(super) struct Sent {
    /// The number of its record.
    pub(super) lsn: Lsn,
    pub(super) body: BodyKey,
    pub(super) destinations: Box<[Destination<'static>]>,
    /// Where its last record lies.
    pub(super) written: Written,
}

/// One message that a shard has to be sent again.
pub(super) struct Again {
    pub(super) lsn: Lsn,
    /// Who published it, for the shard that retains it.
    pub(super) publisher: Option<PublisherMark>,
}

/// See the module's documentation. In the order of the log.
pub(super) struct Outbox {
    sent: VecDeque<Sent>,
    /// By shard, what it has to be sent again after a start, before anything else.
    pub(super) again: Box<[VecDeque<Again>]>,
    /// By shard, how far it has logged what it was sent.
    kept: Box<[Lsn]>,
}

impl Outbox {
    pub(super) fn new(shards: usize) -> Outbox {
        let again = (0..shards).map(|_| VecDeque::new()).collect();
        Outbox { sent: VecDeque::new(), again, kept: vec![Lsn::NONE; shards].into() }
    }

    /// Takes a message over, with the body, which the caller has held for it.
    pub(super) fn push(&mut self, sent: Sent) {
        debug_assert!(self.sent.back().is_none_or(|last| last.lsn < sent.lsn), "messages come in log order");
        self.sent.push_back(sent);
    }

    /// `peer` has logged what it was sent up to `kept`: messages that have arrived everywhere go. One that has not keeps those behind it here,
    /// as long as its lane is full at most.
    pub(super) fn advance(&mut self, peer: ShardId, kept: Lsn, bodies: &mut Bodies) {
        if kept <= self.kept[peer.index()] {
            return;
        }
        self.kept[peer.index()] = kept;
        let arrived = |sent: &Sent| {
            sent.destinations.iter().all(|destination| self.kept[destination.shard.index()] >= sent.lsn)
        };
        while self.sent.front().is_some_and(arrived) {
            let sent = self.sent.pop_front().expect("looked at just now");
            bodies.release(sent.body);
        }
    }

    /// The shards that have to log the newest message, if that has the number `lsn`.
    pub(super) fn destinations_of(&self, lsn: Lsn) -> ShardSet {
        let mut shards = ShardSet::EMPTY;
        if let Some(sent) = self.sent.back().filter(|sent| sent.lsn == lsn) {
            sent.destinations.iter().for_each(|destination| shards.insert(destination.shard));
        }
        shards
    }

    fn find(&self, lsn: Lsn) -> &Sent {
        let at = self.sent.binary_search_by_key(&lsn, |sent| sent.lsn);
        &self.sent[at.expect("what has to be sent again is in the outbox")]
    }

    /// The first message behind `lsn`.
    pub(super) fn behind(&mut self, lsn: Lsn) -> Option<&mut Sent> {
        let at = self.sent.partition_point(|sent| sent.lsn <= lsn);
        self.sent.get_mut(at)
    }

    /// Messages that some shard may not have.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }
}

impl Shard {
    /// All shards know of each other's interest: what the last run may not have brought to the others goes again, before anything else enters the
    /// lanes.
    pub(super) fn send_again(&mut self) {
        for shard in self.peers.others().iter() {
            if !self.outbox.again[shard.index()].is_empty() {
                self.peers[shard].waiters.push_front(LaneWaiter::Outbox);
            }
        }
    }

    /// As much of it as the lane to `shard` has slots for.
    pub(super) fn send_again_to(&mut self, shard: ShardId) {
        while let Some(again) = self.outbox.again[shard.index()].front() {
            if self.peers[shard].free == 0 || self.work.is_exhausted() {
                return self.peers[shard].waiters.push_front(LaneWaiter::Outbox);
            }
            let deliver = self.deliver_again(shard, again);
            self.outbox.again[shard.index()].pop_front();
            self.work.charge(1);
            self.counters.remote_out += u64::from(deliver.fan_out || !deliver.groups.is_empty());
            self.peers.send(shard, deliver);
        }
    }

    fn deliver_again(&self, shard: ShardId, again: &Again) -> Deliver {
        let sent = self.outbox.find(again.lsn);
        let destination = sent.destinations.iter().find(|destination| destination.shard == shard);
        let destination = destination.expect("it is sent again to where it went");
        let named = |(filter, spread): &(Cow<'static, str>, u64)| SharedPick {
            group: SharedGroup::Filter((**filter).into()),
            spread: *spread,
        };
        Deliver {
            message: self.bodies.message(sent.body).clone(),
            fan_out: destination.fan_out,
            store: destination.store.then_some(Keep { publisher: again.publisher, room: Room::Reserve }),
            retained_position: if destination.store { self.peers[shard].sent + 1 } else { 0 },
            lsn: again.lsn,
            kept: true,
            groups: destination.groups.iter().map(named).collect(),
            sent_on: false,
        }
    }
}
