//! How far what is ready goes: whether publishers may append, and who else.

use super::Journal;
use super::batch::Batch;

/// Whether the disk has room for what publishers send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// It has.
    Ample,
    /// What is ready is short, and the disk has not said yet whether there will be more: publishers wait for that.
    Awaited,
    /// Only for what frees space: acknowledgements, releases, ends. What is ready is kept for those, and publishers are refused.
    Low,
}

impl Journal {
    /// Where in the segment being filled the next record would lie.
    fn end(&self) -> usize {
        self.gathering.back().map_or(self.segments.position().1, Batch::end)
    }

    /// Whether publishers should wait, or be refused.
    pub(in crate::log) fn room(&self) -> Room {
        self.segments.room(self.end())
    }

    /// Whether there is room for what nobody can be refused any more, short of what only frees space.
    pub(in crate::log) fn has_room_for_accepted(&self) -> bool {
        self.segments.has_room_for_accepted(self.end())
    }

    /// Whether there is room for what cleaning writes again.
    pub(in crate::log) fn has_room_to_clean(&self) -> bool {
        self.segments.has_room_to_clean(self.end())
    }

    /// Bytes that cleaning may append while room is low.
    pub fn ready_to_clean(&self) -> u64 {
        self.segments.ready_to_clean(self.end()) as u64
    }

    /// Asks once more for what the disk had no room for: once a second, while room is low.
    pub(in crate::log) fn retry_room(&mut self) {
        self.segments.retry();
    }
}
