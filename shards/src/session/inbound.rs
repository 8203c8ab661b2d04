//! From the client: QoS 2 packet ids seen, and how much is unacknowledged.
//!
//! ```text
//!            PUBLISH QoS 2              PUBREL
//!  (unknown) ─────────────► Received ───────────► (unknown)
//!                │ answered PUBREC when committed     │ answered PUBCOMP, also when unknown
//!                └─ again: PUBREC, not published again [MQTT-4.3.3-10]
//! ```

use crate::wire::{PacketId, Violation};

/// The inbound half of a session.
#[derive(Default, Debug)]
pub struct Inbound {
    /// QoS 2 ids between PUBLISH and PUBREL, sorted. At most all 65,535.
    received: Vec<Received>,
    /// What the present connection has sent of the client's quota: its QoS 2 ids in `received`, and QoS 1 PUBLISH packets that wait for
    /// their commit. A new connection starts at 0, whatever is still received (section 4.9).
    unacknowledged: u16,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    packet_id: PacketId,
    /// By the present connection.
    counted: bool,
}

/// What a PUBLISH with QoS above 0 is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Publication {
    /// Not seen before: publish it.
    Fresh,
    /// A QoS 2 id that was received before: acknowledge only.
    Repeated,
}

impl Inbound {
    /// Of a session that was kept: these ids are between PUBLISH and PUBREL.
    pub fn restored(packet_ids: &[PacketId]) -> Inbound {
        let mut received: Vec<_> =
            packet_ids.iter().map(|id| Received { packet_id: *id, counted: false }).collect();
        received.sort_unstable_by_key(|received| received.packet_id);
        Inbound { received, unacknowledged: 0 }
    }

    /// A QoS 1 PUBLISH arrived.
    ///
    /// # Errors
    /// [`Violation::ReceiveMaximumExceeded`] when `receive_maximum` (v5 only) are unacknowledged.
    pub fn at_least_once(&mut self, receive_maximum: Option<u16>) -> Result<(), Violation> {
        self.check_quota(receive_maximum)?;
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        Ok(())
    }

    /// A QoS 2 PUBLISH arrived.
    ///
    /// # Errors
    /// As [`Inbound::at_least_once`].
    pub fn exactly_once(
        &mut self,
        packet_id: PacketId,
        receive_maximum: Option<u16>,
    ) -> Result<Publication, Violation> {
        match self.find(packet_id) {
            Ok(_) => Ok(Publication::Repeated),
            Err(at) => {
                self.check_quota(receive_maximum)?;
                self.received.insert(at, Received { packet_id, counted: true });
                self.unacknowledged = self.unacknowledged.saturating_add(1);
                Ok(Publication::Fresh)
            }
        }
    }

    /// Whether `packet_id` is a QoS 2 id between PUBLISH and PUBREL.
    pub fn is_received(&self, packet_id: PacketId) -> bool {
        self.find(packet_id).is_ok()
    }

    fn find(&self, packet_id: PacketId) -> Result<usize, usize> {
        self.received.binary_search_by_key(&packet_id, |received| received.packet_id)
    }

    fn check_quota(&self, receive_maximum: Option<u16>) -> Result<(), Violation> {
        let exceeded = receive_maximum.is_some_and(|maximum| self.unacknowledged >= maximum);
        if exceeded { Err(Violation::ReceiveMaximumExceeded) } else { Ok(()) }
    }

    /// The PUBACK of one QoS 1 PUBLISH goes out.
    pub fn puback_sent(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// PUBREL: forgets the id. False when it was unknown (v5 answers PUBCOMP with 0x92).
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        match self.find(packet_id) {
            Ok(at) => {
                let released = self.received.remove(at);
                self.unacknowledged = self.unacknowledged.saturating_sub(u16::from(released.counted));
                if self.received.is_empty() && self.received.capacity() > 32 {
                    self.received = Vec::new();
                }
                true
            }
            Err(_) => false,
        }
    }

    /// The connection is gone: what it left unacknowledged will come again.
    pub fn restart(&mut self) {
        self.unacknowledged = 0;
        for received in &mut self.received {
            received.counted = false;
        }
    }

    /// QoS 2 ids between PUBLISH and PUBREL, in order.
    pub fn received(&self) -> impl Iterator<Item = PacketId> {
        self.received.iter().map(|received| received.packet_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_qos_2_publish_is_known_until_pubrel_and_the_quota_holds() {
        let id = |n| PacketId::new(n).expect("not zero");
        let mut inbound = Inbound::default();
        assert_eq!(inbound.exactly_once(id(9), Some(2)), Ok(Publication::Fresh));
        assert_eq!(inbound.exactly_once(id(9), Some(2)), Ok(Publication::Repeated));
        assert_eq!(inbound.at_least_once(Some(2)), Ok(()));
        assert_eq!(inbound.exactly_once(id(3), Some(2)), Err(Violation::ReceiveMaximumExceeded));
        assert_eq!(
            inbound.exactly_once(id(9), Some(2)),
            Ok(Publication::Repeated),
            "a repetition uses no quota"
        );
        inbound.puback_sent();
        assert_eq!(inbound.exactly_once(id(3), None), Ok(Publication::Fresh));
        assert!(inbound.release(id(9)) && !inbound.release(id(9)));
        assert!(inbound.received().eq([id(3)]));
    }
}
