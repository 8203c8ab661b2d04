//! A model client reads: it checks what the protocol lets it expect, answers, and tells the reference what it got.

use super::client::{LinkState, Outgoing};
use super::failure::{Checked, ensure, fail};
use super::ledger::SessionId;
use super::network::{ClientEnd, Moment, SocketId};
use super::world::World;
use crate::wire::{Ack, Connack, Packet, ReasonCode, Split, Version, split};
use std::time::Duration;

/// Bytes of any packet that the broker sends in a run.
const PACKET_BYTES_MAX: usize = 1024 * 1024;

impl World {
    /// The client reads at most `count` bytes from `socket` and handles every packet that is whole.
    pub(super) fn client_reads(&mut self, socket: SocketId, count: usize) -> Checked {
        let bytes = self.network.socket(socket).receive(count);
        let link = &mut self.links[socket];
        link.slow |= self.now.since(link.last_read) >= self.profile.limits.write_stall;
        link.last_read = self.now;
        link.inbox.extend(bytes);
        let version = self.clients[link.client].version;
        let inbox = std::mem::take(&mut link.inbox);
        let mut rest = &inbox[..];
        while let Ok(Split::Whole(frame)) = split(rest, PACKET_BYTES_MAX) {
            rest = &rest[frame.wire_bytes()..];
            self.links[socket].parsed += frame.wire_bytes() as u64;
            let parsed = self.links[socket].parsed;
            let written = self.network.socket(socket).written_at(parsed);
            match Packet::decode(frame, version) {
                Ok(packet) => self.client_got(socket, &packet, written)?,
                Err(violation) => {
                    return fail("protocol", format!("link {socket} got bytes that are {violation}"));
                }
            }
        }
        self.links[socket].inbox = rest.to_vec();
        if self.network.peek(socket).is_over() {
            self.check_close_was_right(socket)?;
            self.give_up(socket);
        }
        Ok(())
    }

    /// The link is of no use any more.
    pub(super) fn give_up(&mut self, socket: SocketId) {
        let link = &mut self.links[socket];
        link.state = LinkState::Over;
        link.requests.clear();
        link.replies.clear();
        link.pings = 0;
        if self.clients[link.client].current == Some(socket) {
            self.clients[link.client].current = None;
        }
    }

    /// A close must have a reason: a newer link, silence, a client that did not read, a refusal.
    fn check_close_was_right(&self, socket: SocketId) -> Checked {
        let link = &self.links[socket];
        let since = link.attached.map_or(0, |attached| attached.step);
        let newer = |(other, rival): (usize, &super::client::Link)| {
            let came =
                rival.attached.map_or(rival.connect_arrived.is_some(), |attached| attached.step >= since);
            other != socket && rival.client == link.client && came
        };
        let silent = link.keep_alive > 0
            && self.now.since(link.last_arrived) >= Duration::from_millis(1_500 * u64::from(link.keep_alive));
        let right = link.state != LinkState::Up
            || link.hostile
            || self.links.iter().any(|other| other.client == link.client && other.early)
            || link.disconnect_arrived.is_some()
            || self.links.iter().enumerate().any(newer)
            || silent
            || link.stalled
            || link.slow;
        ensure(right, "one owner", || format!("link {socket} was closed for no reason: {link:?}"))
    }

    fn client_got(&mut self, socket: SocketId, packet: &Packet<'_>, written: Moment) -> Checked {
        self.trace(|| format!("link {socket} got {packet:?} written at {written:?}"));
        let connecting = self.links[socket].state == LinkState::Connecting;
        ensure(connecting == matches!(packet, Packet::Connack(_)), "protocol", || {
            format!("link {socket} got {packet:?} out of turn")
        })?;
        match packet {
            Packet::Connack(connack) => self.got_connack(socket, connack),
            Packet::Publish(publish) => self.got_publish(socket, publish, written),
            Packet::Puback(ack) => self.got_puback(socket, ack, written),
            Packet::Pubrec(ack) => self.got_pubrec(socket, ack, written),
            Packet::Pubrel(ack) => self.got_pubrel(socket, ack),
            Packet::Pubcomp(ack) => {
                self.note_pubcomp();
                let outgoing = &mut self.clients[self.links[socket].client].outgoing;
                let was = outgoing.remove(&ack.packet_id);
                ensure(matches!(was, Some(Outgoing::Pubcomp(_))), "protocol", || {
                    format!("{ack:?} for {was:?}")
                })
            }
            Packet::Suback(suback) => self.got_suback(socket, suback, written),
            Packet::Unsuback(unsuback) => self.got_unsuback(socket, unsuback, written),
            Packet::Pingresp => {
                let link = &mut self.links[socket];
                ensure(link.pings > 0, "protocol", || "a PINGRESP too many".into())?;
                link.pings -= 1;
                Ok(())
            }
            Packet::Disconnect(_) => Ok(()),
            other => fail("protocol", format!("link {socket} got {other:?}")),
        }
    }

    /// The subscriptions of the session that `socket` is attached to.
    pub(super) fn subscriptions_of(
        &mut self,
        socket: SocketId,
    ) -> impl Iterator<Item = &mut super::ledger::Subscription> {
        let session = self.links[socket].attached.map(|attached| attached.session);
        let session = session.map(|session| &mut self.ledger.sessions[session]);
        session.into_iter().flat_map(|session| session.subscriptions.iter_mut())
    }

    /// Puts a packet on the list of what the client sends when it gets to it.
    pub(super) fn answer(&mut self, socket: SocketId, packet: &Packet<'_>) {
        let version = self.clients[self.links[socket].client].version;
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        self.links[socket].replies.push_back(bytes);
    }

    fn got_connack(&mut self, socket: SocketId, connack: &Connack<'_>) -> Checked {
        if connack.reason != ReasonCode::Success {
            self.coverage.reach("a CONNECT is refused");
            let full = self.profile.limits.connections_max < 100;
            // Lanes and logs may be so late that the deadline passes before the CONNACK can go out.
            let deadline = self.links[socket].opened + self.profile.limits.connect_deadline;
            let late = connack.reason == ReasonCode::ServerUnavailable && deadline <= self.now;
            ensure(full || late, "one owner", || format!("link {socket} was refused: {connack:?}"))?;
            self.give_up(socket);
            return Ok(());
        }
        let Some(attached) = self.links[socket].attached else {
            // Taken over in the very step in which it was served.
            self.network.socket(socket).client = ClientEnd::Reset;
            self.give_up(socket);
            return Ok(());
        };
        let link = &mut self.links[socket];
        link.state = LinkState::Up;
        let client = &mut self.clients[link.client];
        let says = connack.session_present;
        let right = client.version == Version::V31 || says == attached.present || !attached.sure;
        ensure(right, "session", || format!("link {socket}: session present is {says}, {attached:?}"))?;
        link.alias_max = connack.properties.topic_alias_maximum.unwrap_or(0);
        link.quota = connack.properties.receive_maximum.map_or(10, |maximum| usize::from(maximum.get()));
        if client.state_of.replace(attached.session) != Some(attached.session) {
            client.incoming.clear();
            client.refused.clear();
        }
        if attached.present {
            self.coverage.reach("a session is resumed");
        }
        self.send_again(socket, attached.session);
        Ok(())
    }

    fn got_puback(&mut self, socket: SocketId, ack: &Ack<'_>, written: Moment) -> Checked {
        let client = &mut self.clients[self.links[socket].client];
        match client.outgoing.remove(&ack.packet_id) {
            Some(Outgoing::Puback(message)) => self.accepted(socket, message, written),
            other => fail("protocol", format!("link {socket} got {ack:?} for {other:?}")),
        }
    }

    fn got_pubrec(&mut self, socket: SocketId, ack: &Ack<'_>, written: Moment) -> Checked {
        let client = &mut self.clients[self.links[socket].client];
        match client.outgoing.remove(&ack.packet_id) {
            Some(Outgoing::Pubrec(message)) => {
                client.outgoing.insert(ack.packet_id, Outgoing::Pubcomp(message));
                self.accepted(socket, message, written)?;
            }
            other => return fail("protocol", format!("link {socket} got {ack:?} for {other:?}")),
        }
        self.answer(socket, &Packet::Pubrel(Ack::new(ack.packet_id)));
        Ok(())
    }

    /// PUBACK or PUBREC: the message is the broker's from here on, and what needs a log record has it on disk.
    fn accepted(&mut self, socket: SocketId, id: super::ledger::MessageId, written: Moment) -> Checked {
        let thread = self.home_of(socket);
        let message = self.ledger.message(id);
        message.certain = true;
        message.handled_by.get_or_insert(written.at);
        let log_then = message.log_then;
        let Some(thread) = thread.filter(|_| message.retain) else { return Ok(()) };
        let committed = self.loops[thread].log.committed_at(written.step);
        ensure(committed.0 > log_then, "acknowledged is kept", || {
            format!(
                "message {id} was acknowledged with the log at {committed:?}, its record came after {log_then}"
            )
        })
    }

    /// The thread whose shard has the session of `socket`.
    fn home_of(&self, socket: SocketId) -> Option<usize> {
        let session = self.links[socket].attached?.session;
        let place = self.seen.iter().find(|(_, (seen, _))| *seen == session)?.0;
        Some(place.0.index())
    }

    /// After a resume what is not finished goes out again (MQTT-4.4.0-1); what belonged to another session is forgotten. What was sent
    /// behind this link's own CONNECT is under way.
    fn send_again(&mut self, socket: SocketId, session: SessionId) {
        let client = self.links[socket].client;
        let mut messages = Vec::new();
        for (id, state) in std::mem::take(&mut self.clients[client].outgoing) {
            let (Outgoing::Puback(message) | Outgoing::Pubrec(message) | Outgoing::Pubcomp(message)) = state;
            let link = self.ledger.message(message).link;
            if self.links[link].attached.is_none_or(|attached| attached.session != session) {
                continue;
            }
            self.clients[client].outgoing.insert(id, state);
            match state {
                _ if link == socket => {}
                Outgoing::Pubcomp(_) => self.answer(socket, &Packet::Pubrel(Ack::new(id))),
                _ => messages.push((message, id)),
            }
        }
        messages.sort_unstable();
        for (message, id) in messages {
            self.send_publish(socket, message, Some(id), true);
        }
    }

    /// Everything that the client has not sent yet.
    pub(super) fn send_replies(&mut self, socket: SocketId, count: usize) {
        for _ in 0..count {
            let Some(bytes) = self.links[socket].replies.pop_front() else { return };
            self.client_sends(socket, &bytes, super::client::Sent::Other);
        }
    }

    /// Whether the client's end of `socket` is open.
    pub(super) fn is_open(&self, socket: SocketId) -> bool {
        self.network.peek(socket).client == ClientEnd::Open
    }
}
