//! Replies to a client: written at once, or held until the log has the record that they answer for.

use super::connection::Phase;
use super::input::Flow;
use super::{ConnectionKey, Event, Shard};
use crate::base::limits::REPLY_BUFFER_BYTES_MAX;
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::wire::{Packet, PacketId, ReasonCode, Violation};

/// A reply that waits for its record's commit.
#[derive(Debug)]
pub(super) struct HeldReply {
    pub(super) key: ConnectionKey,
    pub(super) reply: Reply,
}

/// What may have to wait.
#[derive(Debug)]
pub(super) enum Reply {
    Puback(PacketId, ReasonCode),
    Pubrec(PacketId, ReasonCode),
    Pubrel(PacketId, ReasonCode),
    Pubcomp(PacketId, ReasonCode),
    /// An encoded SUBACK or UNSUBACK.
    Encoded(Box<[u8]>),
    /// The CONNACK that lies with the connection.
    Connack,
}

impl Reply {
    /// What it takes while it waits, in bytes.
    fn held_bytes(&self) -> u32 {
        let encoded = if let Reply::Encoded(bytes) = self { bytes.len() } else { 0 };
        (size_of::<(Lsn, HeldReply)>() + encoded) as u32
    }
}

impl Shard {
    /// Whether as many replies of the connection wait for the log as may: its input waits too, then. The log drains by itself.
    pub(super) fn awaits_log(&mut self, key: ConnectionKey) -> bool {
        let held_bytes = self.connections.get(key).map_or(0, |connection| connection.held_bytes);
        if (held_bytes as usize) < REPLY_BUFFER_BYTES_MAX {
            return false;
        }
        self.counters.parked_for_log += 1;
        self.park(key);
        self.awaiting_commit.push(key);
        true
    }

    /// Sends `reply` once `lsn` is committed, and never before an earlier reply of the same connection.
    pub(super) fn reply(&mut self, now: Time, key: ConnectionKey, lsn: Lsn, reply: Reply) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let lsn = lsn.max(connection.last_lsn);
        connection.last_lsn = lsn;
        if self.gate.is_committed(lsn) || self.planted.is(Bug::AckBeforeCommit) {
            self.send_reply(now, key, reply);
        } else {
            connection.held_bytes += reply.held_bytes();
            self.gate.hold(lsn, HeldReply { key, reply });
        }
    }

    /// The log is on disk up to `lsn`: what waited for that goes out.
    pub fn handle_committed(&mut self, now: Time, lsn: Lsn) {
        self.gate.commit(lsn);
        self.coordination.uncommitted.commit(lsn);
        while let Some(news) = self.coordination.uncommitted.release() {
            self.coordination.add(news);
        }
        while let Some(held) = self.gate.release() {
            if let Some(connection) = self.connections.get_mut(held.key) {
                connection.held_bytes -= held.reply.held_bytes();
            }
            self.send_reply(now, held.key, held.reply);
        }
        for key in std::mem::take(&mut self.awaiting_commit) {
            self.resume(now, key);
        }
        if self.log.keeps() {
            self.release_held(now, lsn);
        }
    }

    /// The newest record of this shard's log.
    pub fn newest_lsn(&self) -> Lsn {
        self.log.newest()
    }

    fn send_reply(&mut self, now: Time, key: ConnectionKey, reply: Reply) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        match reply {
            Reply::Connack => self.send_connack(now, key),
            Reply::Puback(packet_id, reason) => {
                let session = connection.session;
                self.write_ack(key, (packet_id, reason), Packet::Puback);
                if let Some(session) = session.and_then(|session| self.sessions.get_mut(session)) {
                    session.inbound.puback_sent();
                }
            }
            Reply::Pubrec(packet_id, reason) => self.write_ack(key, (packet_id, reason), Packet::Pubrec),
            Reply::Pubrel(packet_id, reason) => self.write_ack(key, (packet_id, reason), Packet::Pubrel),
            Reply::Pubcomp(packet_id, reason) => self.write_ack(key, (packet_id, reason), Packet::Pubcomp),
            Reply::Encoded(bytes) => self.write(key, |out| out.extend_from_slice(&bytes)),
        }
    }

    /// A client that sends but does not read its replies is closed before they fill memory.
    pub(super) fn check_reply_backlog(&mut self, now: Time, key: ConnectionKey) -> Result<Flow, Violation> {
        let Some(connection) = self.connections.get(key) else { return Ok(Flow::Stop) };
        if connection.phase == Phase::Closing {
            return Ok(Flow::Stop);
        }
        // Replies are small and copied; a large payload on its way to the client is neither.
        if connection.out.as_ref().is_some_and(|out| out.copied_bytes() > REPLY_BUFFER_BYTES_MAX) {
            self.counters.timed_out += 1;
            self.report(Event::TimedOut { peer: connection.peer, what: "replies left unread" });
            self.fail(now, key, ReasonCode::QuotaExceeded);
            return Ok(Flow::Stop);
        }
        Ok(Flow::Continue)
    }
}
