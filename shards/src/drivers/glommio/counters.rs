//! How often the ring met its rare states, readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// One count. Written by the shard's own thread only, so that adding needs no locked instruction.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The ring of one shard: its real size, its turns and its rare states. Lives with the shard's thread, which alone writes it; anyone reads. Nothing
/// depends on it: losing it loses statistics.
#[derive(Default, Debug)]
pub struct RingCounters {
    /// Submission entries that the kernel gave.
    pub submission_entries: Counter,
    /// Completion entries that the kernel gave.
    pub completion_entries: Counter,
    /// Receive buffers provided to the kernel.
    pub buffers: Counter,
    /// System calls that submitted and waited: one per turn.
    pub enters: Counter,
    /// Receives that found no free buffer and waited for one.
    pub enobufs: Counter,
    /// Turns that found completions queued in the kernel because the completion queue was full.
    pub cq_overflows: Counter,
    /// Entries that found the submission queue full, and submitted it at once.
    pub sq_full: Counter,
    /// Entries that even then found no place and waited for the next turn.
    pub spilled: Counter,
    /// Completions of a slot's former tenant, dropped.
    pub stale_completions: Counter,
    /// Sends that the socket took only a part of; the rest was sent again.
    pub partial_sends: Counter,
    /// Waits that a signal ended.
    pub interrupted: Counter,
    /// Submissions that the kernel could not take now (EAGAIN, EBUSY) and that were tried again.
    pub refused: Counter,
    /// Reads that arrived after their connection was paused, and went to the core all the same.
    pub held_after_pause: Counter,
    /// Multishot receives that the kernel ended although the peer had not, and that were armed again.
    pub rearmed: Counter,
    /// Times that accepting backed off: out of descriptors or memory.
    pub accept_backoffs: Counter,
    /// Connections reset before they were accepted.
    pub accepts_aborted: Counter,
    /// Closes whose last bytes the peer did not take in time.
    pub flush_timeouts: Counter,
    /// Sends of several pieces.
    pub gathered_sends: Counter,
}
