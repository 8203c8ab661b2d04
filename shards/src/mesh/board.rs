//! What all ports share: the bells, and who waits for room.

use super::bell::Bell;
use super::progress::Progress;
use crate::base::planted::Planted;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by all ports: bells by shard (the coordinator's last), and who waits for room on which lane.
pub(super) struct Board {
    pub(super) bells: Box<[Bell]>,
    /// Bit `from` at index `to`: the sender `from` has parked work for the lane to `to`.
    pub(super) wants_space: Box<[AtomicU64]>,
    /// How far the logs are.
    pub(super) progress: Progress,
    /// Slots of each data lane.
    pub(super) slots: usize,
    pub(super) planted: Planted,
}

impl Board {
    pub(super) fn coordinator(&self) -> &Bell {
        self.bells.last().expect("the coordinator's bell is always there")
    }
}

/// Reaches every shard from outside: asks them to stop.
#[derive(Clone)]
pub struct MeshHandle {
    pub(super) board: Arc<Board>,
}

impl MeshHandle {
    /// Tells all shards to stop, and wakes them.
    pub fn request_shutdown(&self) {
        let (_, shards) = self.board.bells.split_last().expect("the coordinator's bell is always there");
        for bell in shards {
            bell.shutdown.store(true, Ordering::Relaxed);
            bell.ring();
        }
    }

    /// Tells a coordinator on its own thread to stop, once all shards have.
    pub fn stop_coordinator(&self) {
        self.board.coordinator().shutdown.store(true, Ordering::Relaxed);
        self.board.coordinator().ring();
    }
}
