//! Messages that other shards have to log, as long as they may not have: what a crash of one of them between their arrival and its log loses is sent
//! again from here.

use crate::base::kept::BodyKey;
use crate::base::lsn::Lsn;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::log::{Bodies, Destination};
use std::collections::VecDeque;

/// One message.
pub(super) struct Sent {
    /// The number of its record.
    pub(super) lsn: Lsn,
    pub(super) body: BodyKey,
    pub(super) destinations: Box<[Destination<'static>]>,
}

/// See the module's documentation. In the order of the log.
pub(super) struct Outbox {
    sent: VecDeque<Sent>,
    /// By shard, how far it has logged what it was sent.
    kept: Box<[Lsn]>,
}

impl Outbox {
    pub(super) fn new(shards: usize) -> Outbox {
        Outbox { sent: VecDeque::new(), kept: vec![Lsn::NONE; shards].into() }
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

    /// Messages that some shard may not have.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }
}
