//! How much a partition of the retained messages may hold.

use crate::base::limits::{DATA_LANE_SLOTS, Limits, RETAINED_RESERVE_FRACTION};

/// The bounds of one partition. The reserve is a part of the maximum: publishers are told that the partition is full when only that is left,
/// and it takes what they sent before they knew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetainedBounds {
    /// Messages.
    pub messages_max: usize,
    /// Bytes of memory, as [`super::retained_bytes`] counts them.
    pub bytes_max: usize,
    /// Messages of the reserve.
    pub messages_reserve: usize,
    /// Bytes of the reserve.
    pub bytes_reserve: usize,
}

/// Up to where a message may fill the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// Up to the reserve.
    Open,
    /// Up to the maximum: its publisher was, or is to be, told that it is accepted.
    Reserve,
}

impl RetainedBounds {
    /// Without reserve.
    pub fn exactly(messages_max: usize, bytes_max: usize) -> RetainedBounds {
        RetainedBounds { messages_max, bytes_max, messages_reserve: 0, bytes_reserve: 0 }
    }

    /// An even share of the broker's limits. A single shard knows its store exactly and needs no reserve; else it is what the other shards'
    /// lanes can hold twice over (one lane full, another written before the word arrives), but never more than a small part of the whole.
    pub fn share(limits: &Limits, shards: usize) -> RetainedBounds {
        let messages_max = limits.retained_messages_max.div_ceil(shards);
        let bytes_max = limits.retained_bytes_max.div_ceil(shards);
        if shards == 1 {
            return RetainedBounds::exactly(messages_max, bytes_max);
        }
        let on_lanes = 2 * DATA_LANE_SLOTS * (shards - 1);
        RetainedBounds {
            messages_max,
            bytes_max,
            messages_reserve: on_lanes.min(messages_max / RETAINED_RESERVE_FRACTION),
            bytes_reserve: bytes_max / RETAINED_RESERVE_FRACTION,
        }
    }

    /// Messages and bytes up to which `room` goes.
    pub(super) fn of(&self, room: Room) -> (usize, usize) {
        match room {
            Room::Open => (self.messages_max - self.messages_reserve, self.bytes_max - self.bytes_reserve),
            Room::Reserve => (self.messages_max, self.bytes_max),
        }
    }
}
