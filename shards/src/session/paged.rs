//! Copies behind those that wait in memory: their messages are on disk, in the log, and come back when the client has taken what is before them.
//!
//! While there is one, whatever comes goes behind it: order holds. Copies of shared groups are never among them, since another member may have to
//! get them at once: to its groups such a session is full.

use super::waiting::Waiting;
use super::{Gone, Identifiers, Outbound, PendingCopy};
use crate::base::kept::{CopyNumber, KeptCopy};
use crate::base::limits::{Limits, PAGED_COPIES_MAX};
use crate::base::time::Time;
use crate::wire::{Message, QoS};
use std::collections::VecDeque;

/// A copy whose message is on disk.
#[derive(Clone, Debug)]
pub struct PagedCopy {
    /// What the log calls it.
    pub kept: KeptCopy,
    /// Subscription identifiers to send with it.
    pub identifiers: Identifiers,
    /// When its message expires.
    pub expires_at: Option<Time>,
    /// Bytes that its message takes up in memory.
    pub bytes: u32,
    /// Its QoS.
    pub qos: QoS,
    /// Its retain flag.
    pub retain: bool,
}

impl PagedCopy {
    /// `None`: the log does not have it, or it is one of a shared group's.
    pub fn of(copy: &PendingCopy) -> Option<PagedCopy> {
        let kept = copy.kept.filter(|_| copy.group.is_none())?;
        Some(PagedCopy {
            kept,
            identifiers: copy.identifiers.clone(),
            expires_at: copy.message.expires_at(),
            bytes: u32::try_from(copy.message.memory_bytes()).expect("a packet and little more"),
            qos: copy.qos,
            retain: copy.retain,
        })
    }

    /// The copy again, with its message.
    pub fn with(self, message: Message, kept: Option<KeptCopy>) -> PendingCopy {
        let PagedCopy { identifiers, qos, retain, .. } = self;
        PendingCopy { message, identifiers, qos, retain, group: None, kept }
    }

    /// Keeps the identifiers for which `keep` holds. Whether that was not all.
    pub fn retain_identifiers(&mut self, keep: impl Fn(u32) -> bool) -> bool {
        self.identifiers.retain(keep)
    }
}

/// See the module's documentation.
#[derive(Default, Debug)]
pub(super) struct Paged {
    copies: VecDeque<PagedCopy>,
    /// Of their messages.
    bytes: u64,
    /// They are being read back, or are to be.
    wanted: bool,
    /// The client has unsubscribed since those before this one came.
    unsubscribed: CopyNumber,
}

impl Paged {
    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// Of the message that is due next.
    pub(super) fn first_bytes(&self) -> usize {
        self.copies.front().map_or(0, |copy| copy.bytes as usize)
    }

    pub(super) fn has_room(&self, bytes: usize, limits: &Limits) -> bool {
        self.copies.len() < PAGED_COPIES_MAX && self.bytes + bytes as u64 <= limits.queue_disk_bytes_max
    }

    pub(super) fn push(&mut self, copy: PagedCopy) {
        self.bytes += u64::from(copy.bytes);
        self.copies.push_back(copy);
    }

    fn pop(&mut self) -> Option<PagedCopy> {
        let copy = self.copies.pop_front()?;
        self.bytes -= u64::from(copy.bytes);
        Some(copy)
    }

    pub(super) fn drop_expired(&mut self, now: Time, gone: &mut Gone) {
        while self.copies.front().is_some_and(|copy| copy.expires_at.is_some_and(|at| at <= now)) {
            let copy = self.pop().expect("looked at just now");
            gone.copies += 1;
            gone.paged.push(copy.kept);
        }
    }

    fn drop(&mut self, mut is: impl FnMut(&PagedCopy) -> bool) -> Vec<KeptCopy> {
        let mut gone = Vec::new();
        self.copies.retain(|copy| {
            let goes = is(copy);
            if goes {
                self.bytes -= u64::from(copy.bytes);
                gone.push(copy.kept);
            }
            !goes
        });
        gone
    }

    /// The last first, from `through` on.
    pub(super) fn back_from(&self, through: CopyNumber) -> impl Iterator<Item = &PagedCopy> {
        let end = self.copies.partition_point(|copy| copy.kept.number <= through);
        self.copies.range(..end).rev()
    }

    /// What is there now came before the client unsubscribed something.
    pub(super) fn note_unsubscribed(&mut self) {
        if let Some(last) = self.copies.back() {
            self.unsubscribed = last.kept.number.next();
        }
    }
}

impl Outbound {
    fn paged_mut(&mut self) -> Option<&mut Paged> {
        Some(&mut self.waiting.as_deref_mut()?.paged)
    }

    /// The copies whose messages are on disk, in order.
    pub fn paged(&self) -> impl Iterator<Item = &PagedCopy> {
        self.waiting.iter().flat_map(|waiting| &waiting.paged.copies)
    }

    /// Whether those that are due next are to be read back now; said once, until [`Outbound::has_read`].
    pub fn wants_paged(&mut self, limits: &Limits) -> bool {
        let Some(waiting) = self.waiting.as_deref_mut() else { return false };
        if waiting.paged.is_empty() || waiting.paged.wanted || !waiting.is_low(limits) {
            return false;
        }
        waiting.paged.wanted = true;
        true
    }

    /// What was wanted is read, or is not to be.
    pub fn has_read(&mut self) {
        if let Some(paged) = self.paged_mut() {
            paged.wanted = false;
        }
    }

    /// How many of those on disk, in order, memory has room for: one at least when nothing waits in it.
    pub fn room_for_paged(&self, limits: &Limits) -> usize {
        self.waiting.as_deref().map_or(0, |waiting| waiting.room_for_paged(limits))
    }

    /// Takes the next out, if it is this one: it may have expired since somebody looked.
    pub fn take_paged(&mut self, number: CopyNumber) -> Option<PagedCopy> {
        let paged = self.paged_mut()?;
        if paged.copies.front()?.kept.number != number {
            return None;
        }
        paged.pop()
    }

    /// Drops those for which `is` holds, and returns them.
    pub fn drop_paged(&mut self, is: impl FnMut(&PagedCopy) -> bool) -> Vec<KeptCopy> {
        self.paged_mut().map_or_else(Vec::new, |paged| paged.drop(is))
    }

    /// Whether the client has unsubscribed something since this copy came.
    pub fn came_before_unsubscribe(&self, copy: &PagedCopy) -> bool {
        self.waiting.as_deref().is_some_and(|waiting| copy.kept.number < waiting.paged.unsubscribed)
    }

    /// One that was on disk waits in memory, behind those that are there.
    pub fn page_in(&mut self, copy: PendingCopy) {
        self.waiting.get_or_insert_default().push(copy);
    }
}

impl Waiting {
    fn room_for_paged(&self, limits: &Limits) -> usize {
        let (mut count, mut bytes) = (self.in_memory(), self.bytes());
        let mut room = 0;
        for copy in &self.paged.copies {
            count += 1;
            bytes += copy.bytes as usize;
            let fits =
                count <= limits.queue_messages_max as usize && bytes <= limits.queue_bytes_max as usize;
            if !fits && (room > 0 || !self.has_no_acknowledged_in_memory()) {
                break;
            }
            room += 1;
        }
        room
    }
}

const _: () = assert!(size_of::<PagedCopy>() <= 64, "a session may have PAGED_COPIES_MAX of these");
