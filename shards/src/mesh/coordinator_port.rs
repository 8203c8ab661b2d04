//! The coordinator's side of the lanes.

use super::board::Board;
use super::{ClaimBatch, ClaimReplies};
use crate::base::planted::Planted;
use crate::base::shard_set::{ShardId, ShardSet};
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The coordinator's ends of the lanes to all shards. Owned by shard 0's driver loop, or by the coordinator's thread.
pub struct CoordinatorPort {
    pub(super) claims: Vec<Receiver<ClaimBatch>>,
    pub(super) replies: Vec<Sender<ClaimReplies>>,
    pub(super) board: Arc<Board>,
    pub(super) pending: ShardSet,
}

impl CoordinatorPort {
    /// Shards of the broker.
    pub fn shards(&self) -> usize {
        self.claims.len()
    }

    /// The next batch, taking the shards in turn.
    pub fn receive(&mut self) -> Option<(ShardId, ClaimBatch)> {
        let bell = self.board.coordinator();
        if bell.inbound.load(Ordering::Relaxed) != 0 {
            self.pending = self.pending.union(ShardSet::from_bits(bell.inbound.swap(0, Ordering::Acquire)));
        }
        while let Some(shard) = self.pending.iter().next() {
            if let Ok(batch) = self.claims[shard.index()].try_recv() {
                return Some((shard, batch));
            }
            self.pending.remove(shard);
        }
        None
    }

    /// Answers a batch of `shard`, or tells it of the turn that it asked for: the batch's credit guarantees the slot, a turn has one of its own.
    pub fn send(&mut self, shard: ShardId, replies: ClaimReplies) {
        let sent = self.replies[shard.index()].try_send(replies);
        assert!(
            sent.is_ok() || !self.replies[shard.index()].is_full(),
            "a batch reserves the slot of its answer, a shard asks for one turn at a time"
        );
        let bell = &self.board.bells[shard.index()];
        bell.coordinator.store(true, Ordering::Release);
        bell.ring();
    }

    /// Whether the broker is to stop.
    pub fn shutdown_requested(&self) -> bool {
        self.board.coordinator().shutdown.load(Ordering::Relaxed)
    }

    /// As [`Port::try_sleep`]; a coordinator inside shard 0's turn asks here too before the shard sleeps.
    pub fn try_sleep(&mut self) -> bool {
        self.pending.is_empty() && self.board.coordinator().try_sleep(Planted::default())
    }

    /// Awake again.
    pub fn woke(&mut self) {
        self.board.coordinator().woke();
    }
}
