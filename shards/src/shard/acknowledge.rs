//! PUBACK, PUBREC, PUBREL, PUBCOMP from a client (MQTT 5 section 4.3).

use super::session::{Session, SessionKey};
use super::{ConnectionKey, Shard};
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::session::DropReason;
use crate::wire::{Ack, Packet, ReasonCode, Version};

use super::reply::Reply;

impl Shard {
    fn session_of(&mut self, key: ConnectionKey) -> Option<(SessionKey, &mut Session)> {
        let session = self.connections.get(key)?.session?;
        Some((session, self.sessions.get_mut(session)?))
    }

    pub(super) fn handle_puback(&mut self, now: Time, key: ConnectionKey, ack: &Ack<'_>) {
        let Some((_, session)) = self.session_of(key) else { return };
        // A PUBACK that nothing waits for may answer a message of an earlier connection: no harm in it.
        if session.outbound.puback(ack.packet_id) {
            // With an error it is acknowledged, and goes to nobody else [MQTT-4.4.0-2, MQTT-4.8.2-6].
            let refused = ack.reason as u8 >= ReasonCode::UnspecifiedError as u8;
            self.counters.delivered += u64::from(!refused);
            self.drop_copies(DropReason::Refused, u64::from(refused));
        }
        self.pump(now, key);
    }

    pub(super) fn handle_pubrec(&mut self, now: Time, key: ConnectionKey, ack: &Ack<'_>) {
        let ignored = self.planted.is(Bug::RefusalIgnored);
        let Some((_, session)) = self.session_of(key) else { return };
        if ack.reason as u8 >= ReasonCode::UnspecifiedError as u8 && !ignored {
            let refused = session.outbound.pubrec_refused(ack.packet_id);
            self.drop_copies(DropReason::Refused, u64::from(refused));
            return self.pump(now, key);
        }
        let reason = match session.outbound.pubrec(ack.packet_id) {
            Ok(arrived) => {
                self.counters.delivered += u64::from(arrived);
                ReasonCode::Success
            }
            Err(_) => ReasonCode::PacketIdentifierNotFound,
        };
        self.write_ack(key, (ack.packet_id, reason), Packet::Pubrel);
    }

    pub(super) fn handle_pubcomp(&mut self, now: Time, key: ConnectionKey, ack: &Ack<'_>) {
        let Some((_, session)) = self.session_of(key) else { return };
        session.outbound.pubcomp(ack.packet_id);
        self.pump(now, key);
    }

    pub(super) fn handle_pubrel(&mut self, now: Time, key: ConnectionKey, ack: &Ack<'_>) {
        let Some((_, session)) = self.session_of(key) else { return };
        let known = session.inbound.release(ack.packet_id);
        let durable = session.is_durable();
        // The id must be forgotten on disk before PUBCOMP allows the client to use it again.
        let lsn = if known && durable { self.log.number() } else { Lsn::NONE };
        let v5 = self.connections.get(key).is_some_and(|connection| connection.version == Version::V5);
        let reason = if known || !v5 { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        self.reply(now, key, lsn, Reply::Pubcomp(ack.packet_id, reason));
    }
}
