//! The copies of a session that the log has, as it is to have them.

use super::{Outbound, PagedCopy, PendingCopy};
use crate::base::kept::CopyNumber;
use crate::wire::PacketId;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'s> {
    /// In memory; with its packet id if it is of QoS 2 and in flight.
    Copy(&'s PendingCopy, Option<PacketId>),
    /// Its message is on disk.
    Paged(&'s PagedCopy),
    /// QoS 2, and the client has it: the packet id waits for PUBCOMP.
    Arrived(PacketId, CopyNumber),
}

impl Kept<'_> {
    /// Its number.
    pub fn number(&self) -> CopyNumber {
        match self {
            Kept::Copy(copy, _) => copy.kept.expect("the log has it").number,
            Kept::Paged(copy) => copy.kept.number,
            Kept::Arrived(_, number) => *number,
        }
    }
}

impl Outbound {
    /// Of those up to `through` the last `max`, in order. Takes as long as that and what is in flight, however many wait.
    pub fn kept_through(&self, through: CopyNumber, max: usize) -> Vec<Kept<'_>> {
        let waiting = self.waiting.as_deref();
        let mut kept: Vec<Kept<'_>> =
            waiting.into_iter().flat_map(|waiting| waiting.kept_back_from(through)).take(max).collect();
        if kept.len() < max {
            // What waits came later than what was started before it. Packet ids go round: their order is not that of the numbers.
            let mut started: Vec<_> = self.in_flight.kept().filter(|kept| kept.number() <= through).collect();
            started.sort_unstable_by_key(|kept| std::cmp::Reverse(kept.number()));
            started.truncate(max - kept.len());
            kept.append(&mut started);
        }
        kept.reverse();
        debug_assert!(kept.is_sorted_by_key(Kept::number), "what came later waits behind");
        kept
    }

    /// Packet ids from the oldest in flight to the newest.
    pub fn in_flight_slots(&self) -> usize {
        self.in_flight.slots()
    }
}
