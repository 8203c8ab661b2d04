//! Outbound QoS 1 and 2 messages between their PUBLISH and their last acknowledgement.
//!
//! ```text
//!            PUBLISH                      PUBACK
//! QoS 1  ──────────────► Puback ──────────────────────────────────► done
//!            PUBLISH                      PUBREC            PUBCOMP
//! QoS 2  ──────────────► Pubrec ───────────────► Pubcomp ─────────► done
//!                             │ PUBREC with an error code: done
//! ```
//! Packet ids are given out in order, so the table is a ring indexed by the distance from the oldest id: no hash, no search. On resume
//! everything is unsent again and goes out in the same order with DUP, or as PUBREL [MQTT-4.4.0-1].
//!
//! A QoS 2 message that the log has is *held* at first: it has its packet id and its place, and goes out when the log says so. Those behind it
//! wait for it, QoS 1 too, since all go again in the order in which they went first [MQTT-4.6.0-1].

use super::{Kept, PendingCopy, Restored};
use crate::base::kept::CopyNumber;
use crate::base::limits::IN_FLIGHT_SPAN_FACTOR;
use crate::base::planted::{Bug, Planted};
use crate::topics::GroupId;
use crate::wire::{PacketId, QoS};
use std::collections::VecDeque;

/// What the client still owes.
#[derive(Clone, Debug)]
enum State {
    Puback(PendingCopy),
    Pubrec(PendingCopy),
    /// What the log calls the copy, if it has it.
    Pubcomp(Option<CopyNumber>),
}

#[derive(Clone, Debug)]
struct Slot {
    state: State,
    /// Sent on the present connection.
    sent: bool,
    /// Sent on any connection: a repetition carries DUP.
    dup: bool,
    /// Waits for the log.
    held: bool,
}

/// What is in flight towards one client.
#[derive(Debug)]
pub struct InFlight {
    slots: VecDeque<Option<Slot>>,
    /// The packet id of the first slot.
    first: PacketId,
    /// Slots before this one are sent on the present connection.
    resend_from: usize,
    /// PUBLISH sent on the present connection and not finished: the client's quota in use.
    outstanding: u16,
    live: u16,
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight { slots: VecDeque::new(), first: PacketId::MIN, resend_from: 0, outstanding: 0, live: 0 }
    }
}

/// What an unsent slot has to send again.
pub enum Resend<'a> {
    /// The PUBLISH, with DUP when it went out on an earlier connection.
    Publish {
        /// Its id.
        packet_id: PacketId,
        /// The message.
        copy: &'a PendingCopy,
        /// Whether it was sent before.
        dup: bool,
    },
    /// The PUBREL.
    Pubrel(PacketId),
}

impl InFlight {
    /// What is in flight after a start, from the packet id `first` on: nothing of it is sent on the present connection, and all of it may have been
    /// before.
    pub(super) fn restored(first: PacketId, places: Vec<Option<Restored>>) -> InFlight {
        let slot = |restored| {
            let state = match restored {
                Restored::Queued(copy) if copy.qos == QoS::AtLeastOnce => State::Puback(copy),
                Restored::Queued(copy) | Restored::Started(_, copy) => State::Pubrec(copy),
                Restored::Arrived(_, number) => State::Pubcomp(Some(number)),
                Restored::Paged(_) => unreachable!("what is on disk waits"),
            };
            Slot { state, sent: false, dup: true, held: false }
        };
        let slots: VecDeque<_> = places.into_iter().map(|place| place.map(slot)).collect();
        let live = slots.iter().flatten().count();
        InFlight {
            slots,
            first,
            live: u16::try_from(live).expect("packet ids are 16 bits"),
            ..InFlight::default()
        }
    }

    /// What the log has of it, with the packet ids that it knows.
    pub(super) fn kept(&self) -> impl Iterator<Item = Kept<'_>> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(at, slot)| {
            let packet_id = self.first.plus(at);
            match &slot.as_ref()?.state {
                State::Puback(copy) => copy.kept.map(|_| Kept::Copy(copy, None)),
                State::Pubrec(copy) => copy.kept.map(|_| Kept::Copy(copy, Some(packet_id))),
                State::Pubcomp(number) => number.map(|number| Kept::Arrived(packet_id, number)),
            }
        })
    }

    /// Packet ids from the oldest in use to the newest.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Messages not finished.
    pub fn len(&self) -> usize {
        usize::from(self.live)
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Whether another message may start, with the client taking `window` at a time.
    pub fn is_open(&self, window: u16) -> bool {
        let unsent = self.slots.len() - self.resend_from;
        usize::from(self.outstanding) + unsent < usize::from(window)
            && (unsent == 0 || self.is_held_up())
            && self.slots.len() < (usize::from(window) * IN_FLIGHT_SPAN_FACTOR).min(usize::from(u16::MAX))
    }

    /// Whether the next to be sent waits for the log.
    fn is_held_up(&self) -> bool {
        matches!(self.slots.get(self.resend_from), Some(Some(Slot { held: true, .. })))
    }

    /// Starts `copy`, whose QoS must be above 0. True: it is being sent now; false: [`InFlight::resend`] gives it out when the log allows it.
    pub fn start(&mut self, copy: PendingCopy) -> (PacketId, bool) {
        let packet_id = self.first.plus(self.slots.len());
        let held = copy.is_held_at_first();
        let state = if copy.qos == QoS::ExactlyOnce { State::Pubrec(copy) } else { State::Puback(copy) };
        let sent = !held && self.is_resent();
        self.slots.push_back(Some(Slot { state, sent, dup: sent, held }));
        if sent {
            self.resend_from = self.slots.len();
            self.outstanding += 1;
        }
        self.live += 1;
        (packet_id, sent)
    }

    /// What was started with this id just now may have been sent before the broker's end.
    pub(super) fn note_sent_before(&mut self, packet_id: PacketId) {
        if let Some(slot) = self.slot_mut(packet_id) {
            slot.dup = true;
        }
    }

    /// The log has what the PUBLISH waited for: it goes out with the next [`InFlight::resend`]. False: nothing of this id is held.
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        self.slot_mut(packet_id).is_some_and(|slot| std::mem::take(&mut slot.held))
    }

    fn slot_mut(&mut self, packet_id: PacketId) -> Option<&mut Slot> {
        self.slots.get_mut(packet_id.distance_from(self.first))?.as_mut()
    }

    fn finish(&mut self, packet_id: PacketId) -> Option<Slot> {
        let slot = self.slots.get_mut(packet_id.distance_from(self.first))?.take()?;
        self.live -= 1;
        if slot.sent {
            self.outstanding -= 1;
        }
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first = self.first.plus(1);
            self.resend_from = self.resend_from.saturating_sub(1);
        }
        if self.slots.is_empty() && self.slots.capacity() > 64 {
            self.slots = VecDeque::new();
        }
        Some(slot)
    }

    /// PUBACK: the message is done. `None`: nothing waits for it.
    pub fn puback(&mut self, packet_id: PacketId) -> Option<PendingCopy> {
        matches!(self.slot_mut(packet_id)?.state, State::Puback(_)).then_some(())?;
        match self.finish(packet_id)?.state {
            State::Puback(copy) => Some(copy),
            _ => unreachable!("checked above"),
        }
    }

    /// PUBREC without error: the message has arrived and is handed back; PUBREL is due. `Ok(None)`: it had arrived before (PUBREL is due
    /// again).
    ///
    /// # Errors
    /// Nothing waits for it: v5 answers PUBREL with reason 0x92.
    pub fn pubrec(&mut self, packet_id: PacketId) -> Result<Option<PendingCopy>, UnknownPacketId> {
        // What is held the client cannot have.
        let slot = self.slot_mut(packet_id).filter(|slot| !slot.held).ok_or(UnknownPacketId)?;
        let number = match &slot.state {
            State::Pubrec(copy) => copy.kept.map(|kept| kept.number),
            State::Pubcomp(_) => return Ok(None),
            State::Puback(_) => return Err(UnknownPacketId),
        };
        match std::mem::replace(&mut slot.state, State::Pubcomp(number)) {
            State::Pubrec(copy) => Ok(Some(copy)),
            _ => unreachable!("looked at just now"),
        }
    }

    /// PUBREC with an error code: the exchange ends here [MQTT-4.3.3-4]. `None`: nothing waits for it.
    pub fn pubrec_refused(&mut self, packet_id: PacketId) -> Option<PendingCopy> {
        matches!(self.slot_mut(packet_id)?, Slot { state: State::Pubrec(_), held: false, .. })
            .then_some(())?;
        match self.finish(packet_id)?.state {
            State::Pubrec(copy) => Some(copy),
            _ => unreachable!("checked above"),
        }
    }

    /// Ends the exchange of a PUBLISH that the client cannot take. `None`: it has arrived.
    pub fn abandon(&mut self, packet_id: PacketId) -> Option<PendingCopy> {
        matches!(self.slot_mut(packet_id)?.state, State::Puback(_) | State::Pubrec(_)).then_some(())?;
        match self.finish(packet_id)?.state {
            State::Puback(copy) | State::Pubrec(copy) => Some(copy),
            State::Pubcomp(_) => unreachable!("checked above"),
        }
    }

    /// PUBCOMP: done; what the log calls the copy, if it has it. `None`: nothing waits for it.
    pub fn pubcomp(&mut self, packet_id: PacketId) -> Option<Option<CopyNumber>> {
        let State::Pubcomp(number) = self.slot_mut(packet_id)?.state else { return None };
        self.finish(packet_id).map(|_| number)
    }

    /// The connection is gone or new: everything is unsent.
    pub fn restart(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            slot.sent = false;
        }
        self.resend_from = 0;
        self.outstanding = 0;
    }

    /// The next thing to send again, oldest first; `None` when all is sent, or `window` is used up.
    pub fn resend(&mut self, window: u16) -> Option<Resend<'_>> {
        while self.resend_from < self.slots.len() {
            let at = self.resend_from;
            match &self.slots[at] {
                Some(slot) if !slot.sent => {
                    if self.outstanding >= window || slot.held {
                        return None;
                    }
                    break;
                }
                _ => self.resend_from += 1,
            }
        }
        let at = self.resend_from;
        let packet_id = self.first.plus(at);
        let slot = self.slots.get_mut(at)?.as_mut()?;
        slot.sent = true;
        self.resend_from += 1;
        self.outstanding += 1;
        let dup = std::mem::replace(&mut slot.dup, true);
        Some(match &slot.state {
            State::Puback(copy) | State::Pubrec(copy) => Resend::Publish { packet_id, copy, dup },
            State::Pubcomp(_) => Resend::Pubrel(packet_id),
        })
    }

    /// Whether everything in flight is sent on the present connection.
    pub fn is_resent(&self) -> bool {
        self.resend_from == self.slots.len()
    }

    /// Takes out the QoS 1 copies of shared groups, oldest first: at the session's end they go to another member (MQTT 5 section 4.8.2). Those
    /// of QoS 2 never do [MQTT-4.8.2-5].
    pub fn take_shared(&mut self, planted: Planted) -> Vec<PendingCopy> {
        let moves = |state: &State| match state {
            State::Puback(copy) => copy.group.is_some(),
            State::Pubrec(copy) => copy.group.is_some() && planted.is(Bug::StartedQos2Moves),
            State::Pubcomp(_) => false,
        };
        let shared = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| moves(&slot.state));
        let at: Vec<usize> = (0..self.slots.len()).filter(|at| shared(&self.slots[*at])).collect();
        let packet_ids: Vec<PacketId> = at.into_iter().map(|at| self.first.plus(at)).collect();
        packet_ids.into_iter().filter_map(|packet_id| self.abandon(packet_id)).collect()
    }

    /// The client has left a shared group: what is in flight stays with it, whatever happens.
    pub fn forget_group(&mut self, group: GroupId) {
        for slot in self.slots.iter_mut().flatten() {
            if let State::Puback(copy) | State::Pubrec(copy) = &mut slot.state
                && copy.group == Some(group)
            {
                copy.group = None;
            }
        }
    }

    /// The log has none of them from here on.
    pub fn forget_kept(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            match &mut slot.state {
                State::Puback(copy) | State::Pubrec(copy) => copy.kept = None,
                State::Pubcomp(number) => *number = None,
            }
        }
    }

    /// Messages whose payload is still kept: they count as in flight, the rest was delivered.
    pub fn undelivered(&self) -> usize {
        self.slots.iter().flatten().filter(|slot| !matches!(slot.state, State::Pubcomp(_))).count()
    }

    /// The copies that have not arrived, oldest first.
    pub fn copies(&self) -> impl Iterator<Item = &PendingCopy> {
        self.slots.iter().flatten().filter_map(|slot| match &slot.state {
            State::Puback(copy) | State::Pubrec(copy) => Some(copy),
            State::Pubcomp(_) => None,
        })
    }
}

/// An acknowledgement for a packet id that nothing waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownPacketId;

#[cfg(test)]
mod tests;
