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

use super::PendingCopy;
use crate::base::limits::IN_FLIGHT_SPAN_FACTOR;
use crate::base::planted::{Bug, Planted};
use crate::topics::GroupId;
use crate::wire::PacketId;
use std::collections::VecDeque;

/// What the client still owes.
#[derive(Clone, Debug)]
enum State {
    Puback(PendingCopy),
    Pubrec(PendingCopy),
    Pubcomp,
}

#[derive(Clone, Debug)]
struct Slot {
    state: State,
    /// Sent on the present connection.
    sent: bool,
    /// Sent on any connection: a repetition carries DUP.
    dup: bool,
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
        self.outstanding < window
            && self.resend_from == self.slots.len()
            && self.slots.len() < (usize::from(window) * IN_FLIGHT_SPAN_FACTOR).min(usize::from(u16::MAX))
    }

    /// Starts `copy`, which is being sent now. Its QoS must be above 0.
    pub fn start(&mut self, copy: PendingCopy) -> PacketId {
        let packet_id = self.first.plus(self.slots.len());
        let state =
            if copy.qos == crate::wire::QoS::ExactlyOnce { State::Pubrec(copy) } else { State::Puback(copy) };
        self.slots.push_back(Some(Slot { state, sent: true, dup: true }));
        self.resend_from = self.slots.len();
        self.outstanding += 1;
        self.live += 1;
        packet_id
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
        let slot = self.slot_mut(packet_id).ok_or(UnknownPacketId)?;
        match std::mem::replace(&mut slot.state, State::Pubcomp) {
            State::Pubrec(copy) => Ok(Some(copy)),
            State::Pubcomp => Ok(None),
            puback @ State::Puback(_) => {
                slot.state = puback;
                Err(UnknownPacketId)
            }
        }
    }

    /// PUBREC with an error code: the exchange ends here [MQTT-4.3.3-4]. `None`: nothing waits for it.
    pub fn pubrec_refused(&mut self, packet_id: PacketId) -> Option<PendingCopy> {
        matches!(self.slot_mut(packet_id)?.state, State::Pubrec(_)).then_some(())?;
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
            State::Pubcomp => unreachable!("checked above"),
        }
    }

    /// PUBCOMP: done. False: nothing waits for it.
    pub fn pubcomp(&mut self, packet_id: PacketId) -> bool {
        let waits = self.slot_mut(packet_id).is_some_and(|slot| matches!(slot.state, State::Pubcomp));
        waits && self.finish(packet_id).is_some()
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
                    if self.outstanding >= window {
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
        Some(match &slot.state {
            State::Puback(copy) | State::Pubrec(copy) => Resend::Publish { packet_id, copy, dup: slot.dup },
            State::Pubcomp => Resend::Pubrel(packet_id),
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
            State::Pubcomp => false,
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

    /// Messages whose payload is still kept: they count as in flight, the rest was delivered.
    pub fn undelivered(&self) -> usize {
        self.slots.iter().flatten().filter(|slot| !matches!(slot.state, State::Pubcomp)).count()
    }
}

/// An acknowledgement for a packet id that nothing waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownPacketId;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Identifiers;
    use crate::wire::{Message, Publish, QoS};

    fn copy(qos: QoS) -> PendingCopy {
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: "t",
            packet_id: None,
            properties: Default::default(),
            payload: b"x",
        };
        PendingCopy {
            message: Message::from_publish(&publish, "t", None),
            identifiers: Identifiers::None,
            qos,
            retain: false,
            group: None,
        }
    }

    fn id(n: u16) -> PacketId {
        PacketId::new(n).expect("not zero")
    }

    #[test]
    fn packet_ids_wrap_without_zero_and_the_window_closes() {
        let mut flight = InFlight::default();
        for n in 0..70_000u32 {
            assert!(flight.is_open(2));
            let packet_id = flight.start(copy(QoS::AtLeastOnce));
            assert_eq!(u32::from(packet_id.get()), n % 65_535 + 1);
            assert!(flight.puback(packet_id).is_some());
            assert!(flight.puback(packet_id).is_none(), "a second PUBACK finds nothing");
        }
        flight.start(copy(QoS::AtLeastOnce));
        flight.start(copy(QoS::AtLeastOnce));
        assert!(!flight.is_open(2));
    }

    #[test]
    fn one_unacknowledged_message_bounds_the_span() {
        let mut flight = InFlight::default();
        flight.start(copy(QoS::AtLeastOnce));
        let mut more = 0;
        while flight.is_open(4) {
            let packet_id = flight.start(copy(QoS::AtLeastOnce));
            flight.puback(packet_id);
            more += 1;
        }
        assert_eq!(more, 4 * IN_FLIGHT_SPAN_FACTOR - 1);
        assert!(flight.puback(id(1)).is_some());
        assert!(flight.is_open(4) && flight.is_empty());
    }

    #[test]
    fn qos_2_walks_its_states() {
        let mut flight = InFlight::default();
        let packet_id = flight.start(copy(QoS::ExactlyOnce));
        assert!(flight.puback(packet_id).is_none(), "PUBACK does not end a QoS 2 exchange");
        assert!(!flight.pubcomp(packet_id), "PUBCOMP before PUBREC ends nothing");
        assert!(flight.pubrec(packet_id).is_ok_and(|copy| copy.is_some()));
        assert!(flight.pubrec(packet_id).is_ok_and(|copy| copy.is_none()));
        assert_eq!((flight.len(), flight.undelivered()), (1, 0));
        assert!(flight.pubcomp(packet_id));
        assert_eq!(flight.pubrec(packet_id).unwrap_err(), UnknownPacketId);
        let refused = flight.start(copy(QoS::ExactlyOnce));
        assert!(flight.pubrec_refused(refused).is_some() && flight.is_empty());
    }

    #[test]
    fn resume_sends_again_in_order_within_the_new_window() {
        let mut flight = InFlight::default();
        let first = flight.start(copy(QoS::AtLeastOnce));
        let second = flight.start(copy(QoS::ExactlyOnce));
        let third = flight.start(copy(QoS::AtLeastOnce));
        flight.pubrec(second).expect("in flight");
        flight.restart();
        assert!(!flight.is_open(10), "nothing new overtakes what is sent again");
        assert!(
            matches!(flight.resend(2), Some(Resend::Publish { packet_id, dup: true, .. }) if packet_id == first)
        );
        assert!(matches!(flight.resend(2), Some(Resend::Pubrel(packet_id)) if packet_id == second));
        assert!(flight.resend(2).is_none(), "the window of 2 is used up");
        assert!(flight.puback(first).is_some());
        assert!(matches!(flight.resend(2), Some(Resend::Publish { packet_id, .. }) if packet_id == third));
        assert!(flight.resend(2).is_none() && flight.is_resent());
    }
}
