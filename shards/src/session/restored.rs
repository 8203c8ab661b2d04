//! The outbound half of a session as the log has it: what may have been sent is in flight again, and goes out with DUP; the rest waits.
//!
//! QoS 2 messages in flight have the packet ids that the client knows. Those of QoS 1 were not worth a record: as many of them as fit between and
//! behind take their places, up to the window, in the order in which they were queued.

use super::in_flight::InFlight;
use super::{Outbound, PagedCopy, PendingCopy};
use crate::base::kept::CopyNumber;
use crate::wire::{PacketId, QoS};

/// One copy that a session has again.
#[derive(Debug)]
pub enum Restored {
    /// It waits, or was in flight with QoS 1.
    Queued(PendingCopy),
    /// It waits, and its message is on disk. Nothing but such follows.
    Paged(PagedCopy),
    /// QoS 2, in flight with this packet id.
    Started(PacketId, PendingCopy),
    /// QoS 2, and the client has it: the packet id waits for PUBCOMP.
    Arrived(PacketId, CopyNumber),
}

impl Restored {
    fn packet_id(&self) -> Option<PacketId> {
        match self {
            Restored::Queued(_) | Restored::Paged(_) => None,
            Restored::Started(packet_id, _) | Restored::Arrived(packet_id, _) => Some(*packet_id),
        }
    }

    fn may_be_in_flight(&self) -> bool {
        match self {
            Restored::Queued(copy) => copy.qos == QoS::AtLeastOnce,
            Restored::Paged(_) => false,
            Restored::Started(..) | Restored::Arrived(..) => true,
        }
    }
}

impl Outbound {
    /// Towards a client whose last connection took `window` messages in flight, with these copies, in the order in which they were queued.
    pub fn restored(window: u16, mut copies: Vec<Restored>) -> Outbound {
        let mut outbound = Outbound::new(window);
        let waiting = copies.split_off(in_flight(&copies, window));
        let (first, places) = place(copies);
        outbound.in_flight_bytes = places.iter().flatten().map(memory_bytes).sum();
        outbound.in_flight = InFlight::restored(first, places);
        for copy in waiting {
            match copy {
                Restored::Queued(copy) => outbound.waiting.get_or_insert_default().push(copy),
                Restored::Paged(copy) => outbound.waiting.get_or_insert_default().push_paged(copy),
                Restored::Started(..) | Restored::Arrived(..) => {}
            }
        }
        if let Some(waiting) = &mut outbound.waiting {
            // What the client unsubscribed while they were on disk is looked at when they are read.
            waiting.paged.note_unsubscribed();
        }
        outbound
    }

    /// Those of QoS 1 below this number may have been sent, also where the window has no place for them: of acknowledgements in whose stead they
    /// went out the log need not have got anything.
    pub fn note_sent_before(&mut self, number: CopyNumber) {
        if let Some(waiting) = &mut self.waiting {
            waiting.sent_before = number;
        }
    }
}

/// How many of the copies were or may have been started: all up to the last with a packet id, and what follows without a record, up to the window.
fn in_flight(copies: &[Restored], window: u16) -> usize {
    let started = copies.iter().rposition(|copy| copy.packet_id().is_some()).map_or(0, |last| last + 1);
    let may = copies.iter().position(|copy| !copy.may_be_in_flight()).unwrap_or(copies.len());
    started.max(may.min(usize::from(window)))
}

/// Each at the place of its packet id; those without in between, where as many packet ids lie as were given to them. The first packet id, and all
/// places from it on.
fn place(copies: Vec<Restored>) -> (PacketId, Vec<Option<Restored>>) {
    let known = copies.iter().enumerate().find_map(|(at, copy)| Some((at, copy.packet_id()?)));
    let first =
        known.map_or(PacketId::MIN, |(at, id)| id.plus(usize::from(u16::MAX) - at % usize::from(u16::MAX)));
    let mut places: Vec<Option<Restored>> = Vec::new();
    for copy in copies {
        let at = copy.packet_id().map_or(places.len(), |id| id.distance_from(first));
        // Only damage to the log puts two in one place. The message is kept, with a packet id of its own; one that has arrived is done.
        match copy {
            Restored::Started(_, copy) if at < places.len() => places.push(Some(Restored::Queued(copy))),
            Restored::Arrived(..) if at < places.len() => {}
            copy => {
                places.resize_with(at, || None);
                places.push(Some(copy));
            }
        }
    }
    (first, places)
}

fn memory_bytes(copy: &Restored) -> usize {
    match copy {
        Restored::Queued(copy) | Restored::Started(_, copy) => copy.message.memory_bytes(),
        Restored::Paged(_) | Restored::Arrived(..) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Identifiers, Resend};
    use crate::wire::{Message, MessageParts};

    fn copy(qos: QoS, payload: &[u8]) -> PendingCopy {
        let (topic, properties, retain, expires_at) = ("t", &[][..], false, None);
        let message =
            Message::from_parts(MessageParts { topic, properties, payload, qos, retain, expires_at });
        PendingCopy { message, identifiers: Identifiers::None, qos, retain, group: None, kept: None }
    }

    fn id(id: u16) -> PacketId {
        PacketId::new(id).expect("not zero")
    }

    fn sent(outbound: &mut Outbound) -> Vec<(u16, Vec<u8>, bool)> {
        let mut sent = Vec::new();
        while let Some(resend) = outbound.in_flight.resend(u16::MAX) {
            sent.push(match resend {
                Resend::Publish { packet_id, copy, dup } => {
                    (packet_id.get(), copy.message.payload().to_vec(), dup)
                }
                Resend::Pubrel(packet_id) => (packet_id.get(), b"PUBREL".to_vec(), false),
            });
        }
        sent
    }

    #[test]
    fn what_the_client_knows_keeps_its_packet_id_and_the_rest_lies_between() {
        let queued = |payload: &[u8]| Restored::Queued(copy(QoS::AtLeastOnce, payload));
        let copies = vec![
            queued(b"a"),
            Restored::Started(id(1), copy(QoS::ExactlyOnce, b"b")),
            queued(b"c"),
            Restored::Arrived(id(4), CopyNumber(3)),
            queued(b"d"),
            queued(b"e"),
        ];
        let mut outbound = Outbound::restored(5, copies);
        assert_eq!((outbound.in_flight(), outbound.queued()), (4, 1));
        let expected =
            [(65_535, "a", true), (1, "b", true), (2, "c", true), (4, "PUBREL", false), (5, "d", true)];
        let expected = expected.map(|(id, text, dup)| (id, text.as_bytes().to_vec(), dup));
        assert_eq!(sent(&mut outbound), expected);
    }

    #[test]
    fn what_was_not_started_waits_for_its_turn() {
        let copies = [b"a", b"b"].map(|payload| Restored::Queued(copy(QoS::ExactlyOnce, payload)));
        let mut outbound = Outbound::restored(5, copies.into());
        assert_eq!((outbound.in_flight(), outbound.queued()), (0, 2));
        assert!(sent(&mut outbound).is_empty());
    }

    #[test]
    fn two_with_one_packet_id_are_both_kept() {
        let copies = vec![
            Restored::Started(id(7), copy(QoS::ExactlyOnce, b"a")),
            Restored::Started(id(7), copy(QoS::ExactlyOnce, b"b")),
        ];
        let ids: Vec<u16> = sent(&mut Outbound::restored(5, copies)).iter().map(|sent| sent.0).collect();
        assert_eq!(ids, [7, 8]);
    }
}
