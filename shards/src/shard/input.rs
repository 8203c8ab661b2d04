//! Bytes from a socket: cut into packets, handled one by one, kept unread where they must wait.

use super::connection::{Parked, Phase};
use super::{Action, ConnectionKey, Shard};
use crate::base::limits::HELD_INPUT_BYTES_MAX;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::wire::{Frame, Packet, PacketType, Publish, Split, Violation, split};

/// What one packet did to the reading of the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// Go on.
    Continue,
    /// This packet and all behind it wait: the connection was put on a list of waiters.
    Park,
    /// This packet is kept with all behind it until the coordinator has answered.
    Hold,
    /// This packet is handled, all behind it is kept until the coordinator has answered.
    HoldNext,
    /// The connection is closing.
    Stop,
}

impl Shard {
    /// Bytes that the driver read. Everything is consumed: what cannot be handled now is copied.
    pub fn handle_input(&mut self, now: Time, key: ConnectionKey, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        self.counters.bytes_in += bytes.len() as u64;
        if connection.web_socket_mut().is_some() {
            self.handle_wrapped(now, key, bytes);
        } else {
            self.handle_packets(now, key, bytes);
        }
    }

    /// Packets' bytes, out of whatever they travelled in.
    pub(super) fn handle_packets(&mut self, now: Time, key: ConnectionKey, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.last_heard = now;
        let waits = connection.parked == Parked::Waiting
            || matches!(
                connection.phase,
                Phase::Authenticated | Phase::Claiming | Phase::Moving | Phase::AwaitConnack
            );
        if waits {
            if self.planted.is(Bug::ParkedInputReordered) && connection.parked == Parked::Waiting {
                return self.read_packets(now, key, bytes);
            }
            connection.unread.extend_from_slice(bytes);
            if connection.unread.len() > HELD_INPUT_BYTES_MAX
                && connection.phase == Phase::Connected
                && !connection.paused
            {
                connection.paused = true;
                self.outputs.actions.push_back(Action::Pause(key));
            }
            return;
        }
        if connection.unread.is_empty() {
            self.read_packets(now, key, bytes);
        } else {
            self.complete_packet(now, key, bytes);
        }
        self.read_more_until_connect(key);
    }

    /// Until CONNECT is complete, and the client authenticated, reads are single-shot. What a WebSocket has to say, and AUTH, goes out
    /// first: a socket moves with nothing to send.
    pub(super) fn read_more_until_connect(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get(key) else { return };
        let reads = matches!(connection.phase, Phase::AwaitConnect | Phase::Authenticating);
        if reads && !connection.writing && !connection.is_flushable() {
            self.outputs.actions.push_back(Action::ReadOnce(key));
        }
    }

    /// Completes the partial packet in `unread` with as few of `bytes` as it needs, so that the rest is handled where it lies.
    fn complete_packet(&mut self, now: Time, key: ConnectionKey, mut bytes: &[u8]) {
        let packet_bytes_max = self.limits.packet_bytes_max as usize;
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        let mut packet = std::mem::take(&mut connection.unread);
        loop {
            match split(&packet, packet_bytes_max) {
                Ok(Split::Partial { bytes: needed }) => {
                    let missing = needed.saturating_sub(packet.len()).min(bytes.len());
                    if missing == 0 {
                        self.connections.get_mut(key).expect("still there").unread = packet;
                        return;
                    }
                    packet.extend_from_slice(&bytes[..missing]);
                    bytes = &bytes[missing..];
                }
                Ok(Split::Whole(_)) => break,
                Err(violation) => return self.violated(now, key, violation),
            }
        }
        self.read_packets(now, key, &packet);
        if bytes.is_empty() {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.unread.is_empty() && connection.phase != Phase::Closing {
            self.read_packets(now, key, bytes);
        } else if connection.phase != Phase::Closing {
            connection.unread.extend_from_slice(bytes);
        }
    }

    /// Handles whole packets at the start of `input` and keeps what is left unread. The connection's `unread` must be empty.
    pub(super) fn read_packets(&mut self, now: Time, key: ConnectionKey, input: &[u8]) {
        let packet_bytes_max = self.limits.packet_bytes_max as usize;
        let mut rest = input;
        loop {
            match split(rest, packet_bytes_max) {
                Ok(Split::Whole(frame)) => {
                    let bytes = frame.wire_bytes();
                    match self.handle_frame(now, key, frame) {
                        Ok(Flow::Continue) => rest = &rest[bytes..],
                        Ok(Flow::Park | Flow::Hold) => break,
                        Ok(Flow::HoldNext) => {
                            rest = &rest[bytes..];
                            break;
                        }
                        Ok(Flow::Stop) => return,
                        Err(violation) => return self.violated(now, key, violation),
                    }
                }
                Ok(Split::Partial { .. }) => break,
                Err(violation) => return self.violated(now, key, violation),
            }
        }
        if !rest.is_empty()
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.unread.extend_from_slice(rest);
        }
    }

    /// Goes on with what was kept unread, now that the reason to wait is gone.
    pub(super) fn read_unread(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if matches!(connection.phase, Phase::Closing) {
            return;
        }
        connection.parked = Parked::No;
        let input = std::mem::take(&mut connection.unread);
        if !input.is_empty() {
            self.read_packets(now, key, &input);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.paused && connection.parked == Parked::No && connection.phase == Phase::Connected {
            connection.paused = false;
            connection.last_heard = now;
            self.outputs.actions.push_back(Action::Read(key));
        }
    }

    fn handle_frame(&mut self, now: Time, key: ConnectionKey, frame: Frame<'_>) -> Result<Flow, Violation> {
        let Some(connection) = self.connections.get(key) else { return Ok(Flow::Stop) };
        let (version, session) = (connection.version, connection.session);
        match connection.phase {
            Phase::Connected => {}
            Phase::AwaitConnect => return self.handle_connect(now, key, frame),
            Phase::Authenticating => return Ok(self.handle_while_authenticating(now, key, frame)),
            Phase::Authenticated | Phase::Claiming | Phase::Moving | Phase::AwaitConnack => {
                return Ok(Flow::Hold);
            }
            Phase::Closing => return Ok(Flow::Stop),
        }
        if connection.held_bytes > 0 && self.awaits_log(key) {
            return Ok(Flow::Park);
        }
        match frame.packet_type() {
            PacketType::Publish => return self.handle_publish(now, key, Publish::decode(frame, version)?),
            // An UNSUBSCRIBE may look through the session's queue, however short it is itself.
            PacketType::Subscribe | PacketType::Unsubscribe if self.work.is_exhausted() => {
                return Ok(self.yield_reading(key));
            }
            // What is in them does not matter: its own breach would be named with a code that DISCONNECT cannot carry.
            PacketType::Connect => return Err(Violation::SecondConnect),
            PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp => {
                return Err(Violation::PacketFromServer);
            }
            _ => {}
        }
        match Packet::decode(frame, version)? {
            Packet::Puback(ack) => self.handle_puback(now, key, &ack),
            Packet::Pubrec(ack) => self.handle_pubrec(now, key, &ack),
            Packet::Pubrel(ack) => self.handle_pubrel(now, key, &ack),
            Packet::Pubcomp(ack) => self.handle_pubcomp(now, key, &ack),
            Packet::Subscribe(subscribe) => {
                if self.awaits_exclusive(key, &subscribe) {
                    return Ok(Flow::Park);
                }
                let handled = self.handle_subscribe(now, key, &subscribe);
                self.settle_exclusive(key, session);
                handled?;
            }
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(now, key, &unsubscribe)?,
            Packet::Pingreq => self.write(key, |out| Packet::Pingresp.encode(version, out)),
            Packet::Disconnect(disconnect) => return self.handle_disconnect(now, key, &disconnect),
            Packet::Auth(auth) => self.handle_auth(now, key, &auth)?,
            Packet::Publish(_)
            | Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp => unreachable!("handled above by their type"),
        }
        self.check_reply_backlog(now, key)
    }
}
