//! One publisher's window: what it has sent, what of it is unacknowledged or not yet received by all.

use crate::stamp::Stamp;

/// What a message still waits for from the broker.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Handshake {
    /// Nothing: QoS 0, or complete.
    #[default]
    Done,
    /// PUBACK (QoS 1) or PUBREC (QoS 2).
    Published,
    /// PUBCOMP.
    Released,
}

#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    copies_due: u32,
    handshake: Handshake,
}

/// A pre-encoded PUBLISH and where it is patched.
#[derive(Clone, Debug)]
pub struct Template {
    /// The whole packet.
    pub bytes: Vec<u8>,
    /// Where its packet id stands; none at QoS 0.
    pub packet_id_at: Option<usize>,
    /// Where its payload begins.
    pub payload_at: usize,
    /// Where its topic stands.
    pub topic: std::ops::Range<usize>,
}

/// A publisher. Messages are numbered from 0; those in `oldest..next` are incomplete or wait behind an incomplete one.
#[derive(Debug)]
pub struct Publisher {
    template: Template,
    copies: u32,
    next: u64,
    oldest: u64,
    slots: Box<[Slot]>,
}

impl Publisher {
    /// A publisher whose messages go to `copies` subscribers, at most `in_flight` at a time.
    pub fn new(template: Template, copies: u32, in_flight: u32) -> Publisher {
        let slots = vec![Slot::default(); in_flight.next_power_of_two() as usize].into_boxed_slice();
        Publisher { template, copies, next: 0, oldest: 0, slots }
    }

    /// Subscribers that get each message.
    pub fn copies(&self) -> u32 {
        self.copies
    }

    /// Messages published so far.
    pub fn published(&self) -> u64 {
        self.next
    }

    /// Messages from the oldest incomplete one on.
    pub fn in_flight(&self) -> u32 {
        (self.next - self.oldest) as u32
    }

    /// Messages whose acknowledgement is still to come.
    pub fn unacknowledged(&self) -> u64 {
        let mask = self.slots.len() - 1; // a power of two
        let waits = |&sequence: &u64| self.slots[sequence as usize & mask].handshake != Handshake::Done;
        (self.oldest..self.next).filter(waits).count() as u64
    }

    /// The topic it publishes to.
    pub fn topic(&self) -> &[u8] {
        &self.template.bytes[self.template.topic.clone()]
    }

    /// Appends its next message to `out`.
    #[inline]
    pub fn publish(&mut self, run: u32, publisher: u32, intended_ns: u64, out: &mut Vec<u8>) {
        let sequence = self.next;
        let start = out.len();
        out.extend_from_slice(&self.template.bytes);
        let packet = &mut out[start..];
        let handshake = if let Some(at) = self.template.packet_id_at {
            packet[at..at + 2].copy_from_slice(&packet_id(sequence).to_be_bytes());
            Handshake::Published
        } else {
            Handshake::Done
        };
        Stamp { run, publisher, sequence, intended_ns }.write(&mut packet[self.template.payload_at..]);
        let copies_due = self.copies;
        let slot = self.slot(sequence);
        debug_assert!(slot.copies_due == 0 && slot.handshake == Handshake::Done, "the window holds it back");
        *slot = Slot { copies_due, handshake };
        self.next += 1;
        if copies_due == 0 {
            self.advance();
        }
    }

    /// A subscriber got its copy of `sequence`; true when that was the last copy.
    #[inline]
    pub fn received(&mut self, sequence: u64) -> bool {
        if sequence < self.oldest {
            return false;
        }
        let slot = self.slot(sequence);
        if slot.copies_due == 0 {
            return false; // no copy is awaited: it goes to a session that is away
        }
        slot.copies_due -= 1;
        let complete = slot.copies_due == 0;
        if complete {
            self.advance();
        }
        complete
    }

    /// An acknowledgement arrived; false when no message waits for this one.
    pub fn acknowledged(&mut self, packet_id: u16, step: Step) -> bool {
        let Some(sequence) = self.sequence_of(packet_id) else { return false };
        let slot = self.slot(sequence);
        let (from, to) = match step {
            Step::Puback => (Handshake::Published, Handshake::Done),
            Step::Pubrec => (Handshake::Published, Handshake::Released),
            Step::Pubcomp => (Handshake::Released, Handshake::Done),
        };
        if slot.handshake != from {
            return false;
        }
        slot.handshake = to;
        self.advance();
        true
    }

    fn sequence_of(&self, packet_id: u16) -> Option<u64> {
        let ahead = (u64::from(packet_id) + 65_535 - u64::from(self::packet_id(self.oldest))) % 65_535;
        let sequence = self.oldest + ahead;
        (packet_id != 0 && sequence < self.next).then_some(sequence)
    }

    #[inline]
    fn advance(&mut self) {
        while self.oldest < self.next {
            let slot = *self.slot(self.oldest);
            if slot.copies_due > 0 || slot.handshake != Handshake::Done {
                break;
            }
            self.oldest += 1;
        }
    }

    #[inline]
    fn slot(&mut self, sequence: u64) -> &mut Slot {
        let mask = self.slots.len() - 1; // a power of two
        &mut self.slots[sequence as usize & mask]
    }
}

/// A broker's answer to a PUBLISH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// QoS 1 complete.
    Puback,
    /// QoS 2 received, to be answered with PUBREL.
    Pubrec,
    /// QoS 2 complete.
    Pubcomp,
}

/// Message `sequence`'s packet id: 1 to 65,535, then from 1 again.
fn packet_id(sequence: u64) -> u16 {
    (sequence % 65_535) as u16 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(qos: u8, copies: u32) -> Publisher {
        let packet_id_at = (qos > 0).then_some(5);
        let bytes = vec![0; 40];
        Publisher::new(Template { bytes, packet_id_at, payload_at: 8, topic: 4..5 }, copies, 4)
    }

    #[test]
    fn a_message_is_in_flight_until_the_last_copy_and_the_handshake() {
        let mut publisher = publisher(2, 2);
        let mut out = Vec::new();
        publisher.publish(1, 0, 9, &mut out);
        assert_eq!(out[5..7], [0, 1]);
        assert!(!publisher.received(0));
        assert!(publisher.received(0));
        assert_eq!(publisher.in_flight(), 1);
        assert!(!publisher.acknowledged(1, Step::Pubcomp), "PUBREC comes first");
        assert!(publisher.acknowledged(1, Step::Pubrec));
        assert!(publisher.acknowledged(1, Step::Pubcomp));
        assert_eq!(publisher.in_flight(), 0);
        assert!(!publisher.acknowledged(1, Step::Pubcomp), "nothing waits for it any more");
    }

    #[test]
    fn packet_ids_wrap_past_zero() {
        let mut publisher = publisher(1, 1);
        let mut out = Vec::new();
        for sequence in 0..140_000 {
            out.clear();
            publisher.publish(1, 0, 9, &mut out);
            let id = u16::from_be_bytes([out[5], out[6]]);
            assert_ne!(id, 0);
            assert!(publisher.acknowledged(id, Step::Puback));
            assert!(publisher.received(sequence));
        }
        assert_eq!(publisher.in_flight(), 0);
    }

    #[test]
    fn an_incomplete_message_holds_the_window() {
        let mut publisher = publisher(0, 1);
        for _ in 0..4 {
            publisher.publish(1, 0, 9, &mut Vec::new());
        }
        assert!(publisher.received(1) && publisher.received(2) && publisher.received(3));
        assert_eq!(publisher.in_flight(), 4);
        assert!(publisher.received(0));
        assert_eq!(publisher.in_flight(), 0);
    }
}
