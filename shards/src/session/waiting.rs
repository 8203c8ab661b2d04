//! Copies that wait for a client: those of QoS 0 for its socket, those of QoS 1 and 2 for its acknowledgements too, and so apart. What memory has
//! no room for stays on disk, if the log has it.

use super::paged::Paged;
use super::{Kept, PagedCopy, PendingCopy};
use crate::base::kept::{CopyNumber, KeptCopy};
use crate::base::limits::Limits;
use crate::base::time::Time;
use crate::wire::QoS;
use std::collections::VecDeque;

/// Copies that are gone without having been delivered.
#[derive(Default, Debug)]
pub struct Gone {
    /// How many.
    pub copies: u32,
    /// Those of them that the log has.
    pub kept: Vec<KeptCopy>,
    /// Those of them whose messages are on disk.
    pub paged: Vec<KeptCopy>,
}

impl Gone {
    pub(super) fn note(&mut self, copy: &PendingCopy) {
        self.copies += 1;
        self.kept.extend(copy.kept);
    }
}

/// Where a copy can wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WaitingRoom {
    Memory,
    Disk,
    None,
}

/// The queues of one session, in memory bounded together by count and bytes.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    acknowledged: VecDeque<PendingCopy>,
    unacknowledged: VecDeque<PendingCopy>,
    bytes: usize,
    /// Copies of QoS 1 below this number may have been sent before the broker's end.
    pub(super) sent_before: CopyNumber,
    /// Of QoS 1 and 2, behind those in memory.
    pub(super) paged: Paged,
    /// What has expired and made room, not reported yet.
    pub(super) expired: Gone,
}

impl Waiting {
    /// Whether this copy, taken out just now, may have been sent before the broker's end: then it goes out with DUP.
    pub(super) fn may_have_been_sent(&self, copy: &PendingCopy) -> bool {
        copy.qos == QoS::AtLeastOnce && copy.kept.is_some_and(|kept| kept.number < self.sent_before)
    }

    /// Copies.
    pub(super) fn len(&self) -> usize {
        self.in_memory() + self.paged.len()
    }

    /// Copies whose messages are in memory.
    pub(super) fn in_memory(&self) -> usize {
        self.acknowledged.len() + self.unacknowledged.len()
    }

    /// Of the messages in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_no_acknowledged(&self) -> bool {
        self.acknowledged.is_empty() && self.paged.is_empty()
    }

    pub(super) fn has_no_acknowledged_in_memory(&self) -> bool {
        self.acknowledged.is_empty()
    }

    pub(super) fn has_no_unacknowledged(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// Where a copy that comes now can wait. A single message larger than the limit of bytes still fits an empty queue: the limit bounds backlog,
    /// not message size. One that exceeds the count is dropped, unless there is something on disk: then it goes there.
    pub(super) fn room(&self, copy: &PendingCopy, limits: &Limits) -> WaitingRoom {
        let (count, bytes) = (self.in_memory(), copy.message.memory_bytes());
        let is_countable = count < limits.queue_messages_max as usize;
        let fits = count == 0 || self.bytes + bytes <= limits.queue_bytes_max as usize;
        if is_countable && fits && (copy.qos == QoS::AtMostOnce || self.paged.is_empty()) {
            return WaitingRoom::Memory;
        }
        let is_kept = copy.kept.is_some() && copy.group.is_none();
        if is_kept && (is_countable || !self.paged.is_empty()) && self.paged.has_room(bytes, limits) {
            return WaitingRoom::Disk;
        }
        WaitingRoom::None
    }

    pub(super) fn push(&mut self, copy: PendingCopy) {
        self.bytes += copy.message.memory_bytes();
        if copy.qos == QoS::AtMostOnce {
            self.unacknowledged.push_back(copy);
        } else {
            self.acknowledged.push_back(copy);
        }
    }

    pub(super) fn pop_acknowledged(&mut self) -> Option<PendingCopy> {
        let copy = self.acknowledged.pop_front()?;
        self.bytes -= copy.message.memory_bytes();
        Some(copy)
    }

    pub(super) fn pop_unacknowledged(&mut self) -> Option<PendingCopy> {
        let copy = self.unacknowledged.pop_front()?;
        self.bytes -= copy.message.memory_bytes();
        Some(copy)
    }

    /// The copy waits on disk.
    pub(super) fn push_paged(&mut self, copy: PagedCopy) {
        self.paged.push(copy);
    }

    /// Whether half of it is free.
    pub(super) fn has_headroom(&self, limits: &Limits) -> bool {
        self.paged.is_empty() && self.memory_is_half_free(limits)
    }

    fn memory_is_half_free(&self, limits: &Limits) -> bool {
        self.in_memory() <= limits.queue_messages_max as usize / 2
            && self.bytes <= limits.queue_bytes_max as usize / 2
    }

    /// Whether it is time to read back what is on disk: there is room again, for the first of it at least.
    pub(super) fn is_low(&self, limits: &Limits) -> bool {
        self.acknowledged.is_empty()
            || self.memory_is_half_free(limits)
                && self.bytes + self.paged.first_bytes() <= limits.queue_bytes_max as usize
    }

    /// Takes out the copies in memory for which `is` holds, at most `max` of each queue, oldest first.
    pub(super) fn withdraw(&mut self, max: usize, is: impl Fn(&PendingCopy) -> bool) -> Vec<PendingCopy> {
        let mut taken = Vec::new();
        for queue in [&mut self.acknowledged, &mut self.unacknowledged] {
            let enough = taken.len().saturating_add(max);
            for copy in std::mem::take(queue) {
                let out = taken.len() < enough && is(&copy);
                if out { taken.push(copy) } else { queue.push_back(copy) }
            }
        }
        self.bytes -= taken.iter().map(|copy| copy.message.memory_bytes()).sum::<usize>();
        taken
    }

    /// Lets `keep` change every copy in memory, and drops those for which it says no.
    pub(super) fn revise(&mut self, mut keep: impl FnMut(&mut PendingCopy) -> bool) -> Gone {
        let mut gone = Gone::default();
        for queue in [&mut self.acknowledged, &mut self.unacknowledged] {
            queue.retain_mut(|copy| {
                let bytes = copy.message.memory_bytes();
                let kept = keep(copy);
                if !kept {
                    self.bytes -= bytes;
                    gone.note(copy);
                }
                kept
            });
        }
        gone
    }

    /// Every copy in memory.
    pub(super) fn copies(&self) -> impl Iterator<Item = &PendingCopy> {
        self.acknowledged.iter().chain(&self.unacknowledged)
    }

    /// Those of QoS 1 and 2 that the log has, the last first, from `through` on: they wait in the order of their numbers.
    pub(super) fn kept_back_from(&self, through: CopyNumber) -> impl Iterator<Item = Kept<'_>> {
        let is_before = |kept: Option<KeptCopy>| kept.is_none_or(|kept| kept.number <= through);
        let in_memory = self.acknowledged.partition_point(|copy| is_before(copy.kept));
        let in_memory = self.acknowledged.range(..in_memory).rev().filter(|copy| copy.kept.is_some());
        self.paged.back_from(through).map(Kept::Paged).chain(in_memory.map(|copy| Kept::Copy(copy, None)))
    }

    /// Drops the QoS 0 copies; how many those were.
    pub(super) fn drop_unacknowledged(&mut self) -> usize {
        let dropped = std::mem::take(&mut self.unacknowledged);
        self.bytes -= dropped.iter().map(|copy| copy.message.memory_bytes()).sum::<usize>();
        dropped.len()
    }

    /// Drops what has expired at the heads, to be found in `expired`. The whole queues are not looked through for each message that does not
    /// fit.
    pub(super) fn drop_expired(&mut self, now: Time) {
        while self.acknowledged.front().is_some_and(|copy| copy.is_expired(now)) {
            let copy = self.pop_acknowledged().expect("looked at just now");
            self.expired.note(&copy);
        }
        while self.unacknowledged.front().is_some_and(|copy| copy.is_expired(now)) {
            let copy = self.pop_unacknowledged().expect("looked at just now");
            self.expired.note(&copy);
        }
        self.paged.drop_expired(now, &mut self.expired);
    }
}
