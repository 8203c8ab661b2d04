//! Copies that wait for a client: those of QoS 0 for its socket, those of QoS 1 and 2 for its acknowledgements too, and so apart.

use super::PendingCopy;
use crate::base::kept::KeptCopy;
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
}

impl Gone {
    pub(super) fn note(&mut self, copy: &PendingCopy) {
        self.copies += 1;
        self.kept.extend(copy.kept);
    }
}

/// The queues of one session, bounded together by count and bytes.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    acknowledged: VecDeque<PendingCopy>,
    unacknowledged: VecDeque<PendingCopy>,
    bytes: usize,
    /// What has expired and made room, not reported yet.
    pub(super) expired: Gone,
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

    /// Lets `keep` change every copy, and drops those for which it says no.
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

    /// Every copy.
    pub(super) fn copies(&self) -> impl Iterator<Item = &PendingCopy> {
        self.acknowledged.iter().chain(&self.unacknowledged)
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
    }
}
