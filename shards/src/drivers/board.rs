//! Where a shard's statistics can be read from other threads.

use crate::session::DropReason;
use crate::shard::{Counters, Gauges, Statistics};
use std::sync::atomic::{AtomicU64, Ordering};

/// The latest statistics of one shard. Written by the shard's thread, read by anyone; a reading may mix two turns.
pub struct StatisticsBoard {
    counters: [AtomicU64; Counters::NAMES.len()],
    dropped: [AtomicU64; DropReason::ALL.len()],
    gauges: [AtomicU64; Gauges::NAMES.len()],
    bells_rung: AtomicU64,
}

impl Default for StatisticsBoard {
    fn default() -> Self {
        StatisticsBoard {
            counters: zeros(),
            dropped: zeros(),
            gauges: zeros(),
            bells_rung: AtomicU64::new(0),
        }
    }
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn store<const N: usize>(board: &[AtomicU64; N], numbers: [u64; N]) {
    for (field, number) in board.iter().zip(numbers) {
        field.store(number, Ordering::Relaxed);
    }
}

fn load<const N: usize>(board: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|index| board[index].load(Ordering::Relaxed))
}

impl StatisticsBoard {
    /// Publishes a reading; `bells_rung` counts the sleeping peers that the shard had to wake.
    pub fn publish(&self, statistics: &Statistics, bells_rung: u64) {
        store(&self.counters, statistics.counters.to_array());
        store(&self.dropped, statistics.dropped);
        store(&self.gauges, statistics.gauges.to_array());
        self.bells_rung.store(bells_rung, Ordering::Relaxed);
    }

    /// The latest reading.
    pub fn read(&self) -> Statistics {
        Statistics {
            counters: Counters::from_array(load(&self.counters)),
            dropped: load(&self.dropped),
            gauges: Gauges::from_array(load(&self.gauges)),
        }
    }

    /// Sleeping peers that the shard had to wake.
    pub fn bells_rung(&self) -> u64 {
        self.bells_rung.load(Ordering::Relaxed)
    }
}
