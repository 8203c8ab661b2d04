//! How far the logs of the shards are, told over shared numbers: they only rise, so that a later one replaces an earlier one, and nothing queues.

use super::Port;
use crate::base::lsn::Lsn;
use crate::base::shard_set::{ShardId, ShardSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One number per log, and one per pair of logs. Lives on every core; each number is written by one shard. A number that comes late keeps QoS 2
/// messages and outbox entries waiting, and is safe.
pub(super) struct Progress {
    shards: usize,
    /// By shard: how far its log is committed.
    committed: Box<[AtomicU64]>,
    /// By receiver and source: up to where the receiver has logged, and committed, what the source has sent.
    kept: Box<[AtomicU64]>,
    /// By shard: whether the disk of its log is full.
    full: Box<[AtomicBool]>,
}

impl Progress {
    pub(super) fn new(shards: usize) -> Progress {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let full = (0..shards).map(|_| AtomicBool::new(false)).collect();
        Progress { shards, committed: zeros(shards), kept: zeros(shards * shards), full }
    }

    fn kept(&self, receiver: ShardId, source: ShardId) -> &AtomicU64 {
        &self.kept[receiver.index() * self.shards + source.index()]
    }
}

impl Port {
    /// This shard's log is committed up to `lsn`. `waiting` are the shards that wait for it, to be woken at the end of the turn.
    pub fn publish_committed(&mut self, lsn: Lsn, waiting: ShardSet) {
        self.board.progress.committed[self.own.index()].store(lsn.0, Ordering::Release);
        self.to_ring = self.to_ring.union(waiting);
    }

    /// Whether the disk of this shard's log is full. The others are woken and see it in their next turn.
    pub fn publish_full(&mut self, full: bool) {
        self.board.progress.full[self.own.index()].store(full, Ordering::Release);
        for peer in (0..self.board.progress.shards).map(ShardId::new).filter(|peer| *peer != self.own) {
            self.to_ring.insert(peer);
        }
    }

    /// Whether the disk of the log of `peer` is full.
    pub fn is_full(&self, peer: ShardId) -> bool {
        self.board.progress.full[peer.index()].load(Ordering::Acquire)
    }

    /// What `source` has sent up to its `lsn` is logged here, and committed.
    pub fn publish_kept(&self, source: ShardId, lsn: Lsn) {
        self.board.progress.kept(self.own, source).store(lsn.0, Ordering::Release);
    }

    /// How far the log of `peer` is committed.
    pub fn committed_of(&self, peer: ShardId) -> Lsn {
        Lsn(self.board.progress.committed[peer.index()].load(Ordering::Acquire))
    }

    /// How far `peer` has logged what this shard has sent.
    pub fn kept_by(&self, peer: ShardId) -> Lsn {
        Lsn(self.board.progress.kept(peer, self.own).load(Ordering::Acquire))
    }
}
