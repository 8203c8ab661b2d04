//! Copies that a client has not been sent yet, taken back: those of shared groups for another member, those of a filter that it unsubscribed.

use super::{Gone, Identifiers, Outbound, PendingCopy};
use crate::base::limits::Limits;
use crate::base::planted::Planted;
use crate::topics::GroupId;

impl Outbound {
    /// Takes back copies that wait and whose group `is` one of those in question: at most `max` of QoS 0 and `max` of QoS 1 and 2.
    pub fn withdraw(&mut self, max: usize, is: impl Fn(GroupId) -> bool) -> Vec<PendingCopy> {
        let Some(waiting) = self.waiting.as_deref_mut() else { return Vec::new() };
        let taken = waiting.withdraw(max, |copy| copy.group.is_some_and(&is));
        if waiting.len() == 0 {
            self.waiting = None;
        }
        taken
    }

    /// The client has unsubscribed. `subscribed` says for a topic which identifiers its remaining subscriptions have, `None` without any: then
    /// the copies that wait are dropped. `left` are the identifiers of what was unsubscribed, sorted: copies that go all the same, because
    /// of another subscription, do without them. What belongs to shared groups is not touched, and what is on disk is looked at when it is read.
    /// Returns what was dropped, and what the log has with other identifiers.
    pub fn withdraw_unsubscribed(
        &mut self,
        left: &[u32],
        mut subscribed: impl FnMut(&str) -> Option<Identifiers>,
    ) -> (Gone, Vec<PendingCopy>) {
        let mut revised = Vec::new();
        let Some(waiting) = self.waiting.as_deref_mut() else { return (Gone::default(), revised) };
        waiting.paged.note_unsubscribed();
        let dropped = waiting.revise(|copy| {
            if copy.group.is_some() {
                return true;
            }
            let Some(remaining) = subscribed(copy.message.topic()) else { return false };
            let keep = |id| left.binary_search(&id).is_err() || remaining.as_slice().contains(&id);
            if copy.identifiers.retain(keep) && copy.kept.is_some() {
                revised.push(copy.clone());
            }
            true
        });
        if waiting.len() == 0 {
            self.waiting = None;
        }
        (dropped, revised)
    }

    /// Takes back what is in flight with QoS 1, as only the session's end allows.
    pub fn withdraw_in_flight(&mut self, planted: Planted) -> Vec<PendingCopy> {
        let taken = self.in_flight.take_shared(planted);
        self.in_flight_bytes -= taken.iter().map(|copy| copy.message.memory_bytes()).sum::<usize>();
        taken
    }

    /// The client has left the group: what is in flight stays with it.
    pub fn forget_group(&mut self, group: GroupId) {
        self.in_flight.forget_group(group);
    }

    /// Whether the queue has room again to speak of, after it was found full: one slot would only be found full again.
    pub fn has_headroom(&self, limits: &Limits) -> bool {
        self.waiting.as_deref().is_none_or(|waiting| waiting.has_headroom(limits))
    }
}

#[cfg(test)]
mod tests {
    use crate::base::limits::Limits;
    use crate::base::planted::Planted;
    use crate::base::time::Time;
    use crate::session::{Encoded, Incoming, Offer, Offered, Outbound, WriteBuffer, Writer};
    use crate::topics::GroupId;
    use crate::wire::{Message, MessageParts, QoS, Version};

    const NOW: Time = Time::from_micros(1);

    fn offer(outbound: &mut Outbound, qos: QoS, group: Option<GroupId>, connected: bool) -> Offered {
        let parts =
            MessageParts { topic: "t", properties: &[], payload: b"x", qos, retain: false, expires_at: None };
        let message = Message::from_parts(parts);
        let mut incoming = Incoming::owned(&message);
        let mut encoded = Encoded::default();
        encoded.fill(&mut incoming, NOW, Version::V5, (qos, false), &[]);
        let (incoming, encoded) = (&mut incoming, &encoded);
        let offer =
            Offer { incoming, now: NOW, encoded, qos, retain: false, identifiers: &[], group, kept: None };
        let mut out = WriteBuffer::default();
        let writer =
            Writer { out: &mut out, version: Version::V5, packet_bytes_max: u32::MAX, aliases: None };
        outbound.offer(offer, connected.then_some(writer), &Limits::default(), Planted::default())
    }

    #[test]
    fn only_what_is_not_started_is_taken_back_before_the_end_and_never_qos_2_in_flight() {
        let (one, other) = (GroupId::for_test(1), GroupId::for_test(2));
        let mut outbound = Outbound::new(3);
        for (qos, group) in
            [(QoS::AtLeastOnce, Some(one)), (QoS::ExactlyOnce, Some(one)), (QoS::AtLeastOnce, None)]
        {
            assert_eq!(offer(&mut outbound, qos, group, true), Offered::InFlight);
        }
        for group in [Some(one), None, Some(other), Some(one)] {
            assert_eq!(offer(&mut outbound, QoS::ExactlyOnce, group, true), Offered::Queued);
        }
        assert_eq!(outbound.withdraw(1, |group| group == one).len(), 1);
        assert_eq!(outbound.withdraw(9, |group| group == one).len(), 1);
        assert_eq!((outbound.queued(), outbound.in_flight()), (2, 3));
        assert_eq!(outbound.withdraw_in_flight(Planted::default()).len(), 1);
        assert_eq!((outbound.queued(), outbound.in_flight()), (2, 2));
    }

    #[test]
    fn what_is_in_flight_stays_with_a_client_that_left_the_group() {
        let group = GroupId::for_test(1);
        let mut outbound = Outbound::new(3);
        assert_eq!(offer(&mut outbound, QoS::AtLeastOnce, Some(group), true), Offered::InFlight);
        outbound.forget_group(group);
        assert!(outbound.withdraw_in_flight(Planted::default()).is_empty());
        assert_eq!(outbound.in_flight(), 1);
    }

    #[test]
    fn headroom_is_half_of_the_queue() {
        let limits = Limits { queue_messages_max: 4, ..Limits::default() };
        let group = Some(GroupId::for_test(1));
        let mut outbound = Outbound::new(3);
        for (queued, headroom) in [(1, true), (2, true), (3, false)] {
            assert_eq!(offer(&mut outbound, QoS::AtLeastOnce, group, false), Offered::Queued);
            assert_eq!((outbound.queued(), outbound.has_headroom(&limits)), (queued, headroom));
        }
    }
}
