//! Copies that wait for a client: those of QoS 0 for its socket, those of QoS 1 and 2 for its acknowledgements too, and so apart.

use super::PendingCopy;
use crate::base::limits::Limits;
use crate::base::time::Time;
use crate::wire::QoS;
use std::collections::VecDeque;

/// The queues of one session, bounded together by count and bytes.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    acknowledged: VecDeque<PendingCopy>,
    unacknowledged: VecDeque<PendingCopy>,
    bytes: usize,
}

impl Waiting {
    /// Copies.
    pub(super) fn len(&self) -> usize {
        self.acknowledged.len() + self.unacknowledged.len()
    }

    pub(super) fn has_no_acknowledged(&self) -> bool {
        self.acknowledged.is_empty()
    }

    pub(super) fn has_no_unacknowledged(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// Whether a message of `bytes` is too much. A single one larger than the byte limit still fits an empty queue: the limit bounds
    /// backlog, not message size.
    pub(super) fn is_full(&self, bytes: usize, limits: &Limits) -> bool {
        let count = self.len();
        count >= limits.queue_messages_max as usize
            || count > 0 && self.bytes + bytes > limits.queue_bytes_max as usize
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

    /// Whether half of it is free.
    pub(super) fn has_headroom(&self, limits: &Limits) -> bool {
        self.len() <= limits.queue_messages_max as usize / 2
            && self.bytes <= limits.queue_bytes_max as usize / 2
    }

    /// Takes out the copies for which `is` holds, at most `max` of each queue, oldest first.
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

    /// Lets `keep` change every copy, and drops those for which it says no; how many those were.
    pub(super) fn revise(&mut self, mut keep: impl FnMut(&mut PendingCopy) -> bool) -> usize {
        let before = self.len();
        for queue in [&mut self.acknowledged, &mut self.unacknowledged] {
            queue.retain_mut(|copy| {
                let bytes = copy.message.memory_bytes();
                let kept = keep(copy);
                self.bytes -= if kept { 0 } else { bytes };
                kept
            });
        }
        before - self.len()
    }

    /// Drops the QoS 0 copies; how many those were.
    pub(super) fn drop_unacknowledged(&mut self) -> usize {
        let dropped = std::mem::take(&mut self.unacknowledged);
        self.bytes -= dropped.iter().map(|copy| copy.message.memory_bytes()).sum::<usize>();
        dropped.len()
    }

    /// Drops what has expired at the heads; how many those were. The whole queues are not looked through for each message that does not
    /// fit.
    pub(super) fn drop_expired(&mut self, now: Time) -> u32 {
        let mut expired = 0;
        while self.acknowledged.front().is_some_and(|copy| copy.is_expired(now)) {
            self.pop_acknowledged();
            expired += 1;
        }
        while self.unacknowledged.front().is_some_and(|copy| copy.is_expired(now)) {
            self.pop_unacknowledged();
            expired += 1;
        }
        expired
    }
}
