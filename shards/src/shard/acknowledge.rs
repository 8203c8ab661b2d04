//! PUBACK, PUBREC, PUBREL, PUBCOMP from a client (MQTT 5 section 4.3).

use super::session::{Session, SessionKey};
use super::{ConnectionKey, Shard};
use crate::base::kept::KeptCopy;
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::log::Record;
use crate::session::DropReason;
use crate::wire::{Ack, Packet, PacketId, ReasonCode, Version};

use super::reply::Reply;

impl Shard {
    fn session_of(&mut self, key: ConnectionKey) -> Option<(SessionKey, &mut Session)> {
        let session = self.connections.get(key)?.session?;
        Some((session, self.sessions.get_mut(session)?))
    }

    pub(super) fn handle_puback(&mut self, now: Time, key: ConnectionKey, ack: &Ack<'_>) {
        let Some((of, session)) = self.session_of(key) else { return };
        // A PUBACK that nothing waits for may answer a message of an earlier connection: no harm in it.
        if let Some(copy) = session.outbound.puback(ack.packet_id) {
            self.finish_copies(of, copy.kept.as_slice());
            // With an error it is acknowledged, and goes to nobody else [MQTT-4.4.0-2, MQTT-4.8.2-6].
            let refused = ack.reason as u8 >= ReasonCode::UnspecifiedError as u8;
            self.counters.delivered += u64::from(!refused);
            self.drop_copies(DropReason::Refused, u64::from(refused));
        }
        self.pump(now, key);
    }

    pub(super) fn handle_pubrec(&mut self, now: Time, key: ConnectionKey, ack: &Ack<'_>) {
        let ignored = self.planted.is(Bug::RefusalIgnored);
        let Some((of, session)) = self.session_of(key) else { return };
        if ack.reason as u8 >= ReasonCode::UnspecifiedError as u8 && !ignored {
            if let Some(copy) = session.outbound.pubrec_refused(ack.packet_id) {
                self.drop_copies(DropReason::Refused, 1);
                self.finish_copies(of, copy.kept.as_slice());
            }
            return self.pump(now, key);
        }
        let durable = session.is_durable();
        let mut lsn = Lsn::NONE;
        let reason = match session.outbound.pubrec(ack.packet_id) {
            Ok(arrived) => {
                self.counters.delivered += u64::from(arrived.is_some());
                let kept = arrived.and_then(|copy| copy.kept);
                lsn = kept.map_or(Lsn::NONE, |kept| self.record_arrived(of, kept, ack.packet_id));
                ReasonCode::Success
            }
            Err(_) => ReasonCode::PacketIdentifierNotFound,
        };
        if durable && self.log.keeps() && !self.planted.is(Bug::PubrelBeforeRecord) {
            // Once more for a PUBREC that comes again: not before the first one's, which is behind its record.
            return self.reply(now, key, lsn, Reply::Pubrel(ack.packet_id, reason));
        }
        self.write_ack(key, (ack.packet_id, reason), Packet::Pubrel);
    }

    /// The client has the copy: its packet id is all that is left of it.
    fn record_arrived(&mut self, of: SessionKey, kept: KeptCopy, packet_id: PacketId) -> Lsn {
        self.bodies.release(kept.body);
        let session = self.sessions.get(of).expect("the caller has it").number;
        self.log.append(&Record::Arrived { session, copy: kept.number, packet_id })
    }

    /// Copies are in flight, and held until the log has their packet ids.
    pub(super) fn record_started(&mut self, of: SessionKey, started: &[(KeptCopy, PacketId)]) {
        for (kept, packet_id) in started {
            let Some(session) = self.sessions.get(of) else { return };
            let (session, copy, packet_id) = (session.number, kept.number, *packet_id);
            let lsn = self.log.append(&Record::Started { session, copy, packet_id });
            let origin = self.bodies.get(kept.body).origin;
            self.holds.hold(lsn, of, packet_id, origin);
        }
    }

    pub(super) fn handle_pubcomp(&mut self, now: Time, key: ConnectionKey, ack: &Ack<'_>) {
        let Some((of, session)) = self.session_of(key) else { return };
        if let Some(number) = session.outbound.pubcomp(ack.packet_id) {
            self.record_finished(of, &[number]);
        }
        self.pump(now, key);
    }

    pub(super) fn handle_pubrel(&mut self, now: Time, key: ConnectionKey, ack: &Ack<'_>) {
        let Some((_, session)) = self.session_of(key) else { return };
        let known = session.inbound.release(ack.packet_id);
        // The id must be forgotten on disk before PUBCOMP allows the client to use it again.
        let mut lsn = Lsn::NONE;
        if known && session.is_durable() {
            let session = session.number;
            lsn = self.log.append(&Record::Released { session, packet_id: ack.packet_id });
            if self.planted.is(Bug::PubcompBeforeRecord) {
                lsn = Lsn::NONE;
            }
        }
        let v5 = self.connections.get(key).is_some_and(|connection| connection.version == Version::V5);
        let reason = if known || !v5 { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        self.reply(now, key, lsn, Reply::Pubcomp(ack.packet_id, reason));
    }
}
