//! A model client connects, with what its CONNECT says.

use super::client::{Link, Sent};
use super::ledger::{ClientId, Fate, MessageId};
use super::network::{ClientEnd, SocketId};
use super::properties::{payload_of, properties_of};
use super::publish::Intent;
use super::topics::{RETAINED_FROM, RETAINED_WILLS, TOPICS, WILLS_FROM};
use super::world::World;
use crate::wire::{Connect, PublishProperties, QoS, Version, Will, WillProperties};
use std::num::NonZeroU16;

impl World {
    /// Opens a new link to a random shard and forgets the one before.
    pub(super) fn connect(&mut self, client: ClientId) -> SocketId {
        let shard = self.random.below(self.loops.len() as u64) as usize;
        let clean = !self.clients[client].durable || self.random.one_in(12);
        self.connect_to(client, shard, clean)
    }

    /// Opens a new link to `shard`.
    pub(super) fn connect_to(&mut self, client: ClientId, shard: usize, clean: bool) -> SocketId {
        if let Some(old) = self.clients[client].current {
            self.give_up(old);
        }
        let socket = self.network.open(self.profile.window);
        let mut link = Link::new(client, self.now);
        let durable = self.clients[client].durable;
        link.clean = clean;
        let version = self.clients[client].version;
        link.expiry = match (version, durable) {
            (Version::V5, true) if self.calm => 1_000_000,
            (Version::V5, true) => *self.random.pick(&[5, 60, 1_000_000, u32::MAX]),
            (Version::V5, false) => 0,
            _ if clean => 0,
            _ => self.profile.limits.session_expiry_v3.as_secs() as u32,
        };
        link.keep_alive = if self.calm { 0 } else { *self.random.pick(&[0, 10, 60]) };
        let keep_alive = link.keep_alive;
        if version == Version::V5 && keep_alive == 0 {
            link.keep_alive = self.profile.limits.keep_alive_max.as_secs() as u16;
        }
        let (expiry, window) = (link.expiry, if self.calm { 0 } else { self.random.below(6) as u16 });
        let reads = NonZeroU16::new(window);
        self.links.push(link);
        let will = match self.next_will.take() {
            Some(delay) => Some((self.make_will(client, socket).0, delay)),
            None if self.calm || self.random.below(3) > 0 => None,
            None => Some(self.make_will(client, socket)),
        };
        let name = self.clients[client].name.clone();
        let mut connect = Connect::new(version, &name, clean);
        connect.keep_alive = keep_alive;
        if version == Version::V5 {
            connect.properties.session_expiry = (expiry > 0).then_some(expiry);
            connect.properties.receive_maximum = reads;
        }
        let payload = will.map(|(id, _)| payload_of(id, self.ledger.messages[id as usize].filler));
        if let (Some((id, delay)), Some(payload)) = (will, &payload) {
            let message = &self.ledger.messages[id as usize];
            let delay = (version == Version::V5 && delay > 0).then_some(delay);
            let properties = will_properties(properties_of(id, message, payload), (delay, message.expiry));
            let topic = TOPICS[message.topic];
            connect.will =
                Some(Will { qos: message.qos, retain: message.retain, topic, payload, properties });
        }
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        if self.traced {
            println!("{} {:?} link {socket} to s{shard}: {connect:?}", self.step, self.now);
        }
        self.links[socket].will = will;
        self.open_at(client, shard, socket, &bytes);
        socket
    }

    fn open_at(&mut self, client: ClientId, shard: usize, socket: SocketId, connect: &[u8]) {
        self.clients[client].current = Some(socket);
        self.clients[client].reading = true;
        self.loops[shard].accept(self.now, socket);
        if !self.calm && self.random.one_in(40) {
            self.coverage.reach("a CONNECT is never completed");
            let part = &connect[..connect.len() / 2];
            self.network.socket(socket).send(part);
            self.links[socket].mute = true;
            self.network.socket(socket).client = ClientEnd::Vanished;
            return self.give_up(socket);
        }
        self.client_sends(socket, connect, Sent::Connect);
        if !self.calm && self.random.one_in(4) {
            self.coverage.reach("a client publishes before it has its CONNACK");
            self.links[socket].early = true;
            let topic = self.random.below(RETAINED_FROM as u64) as usize;
            let qos = *self.random.pick(&QoS::ALL);
            for _ in 0..1 + self.random.below(3) {
                self.publish(socket, Intent { topic, qos, clear: false, expiry: None });
            }
        }
    }

    fn make_will(&mut self, client: ClientId, socket: SocketId) -> (MessageId, u32) {
        let v5 = self.clients[client].version == Version::V5;
        let delay = if v5 { *self.random.pick(&[0, 0, 3, 30]) } else { 0 };
        let topic = WILLS_FROM + self.random.below((TOPICS.len() - WILLS_FROM) as u64) as usize;
        let retain = topic == RETAINED_WILLS;
        let qos = if retain { QoS::AtLeastOnce } else { *self.random.pick(&QoS::ALL) };
        let mut message = self.message(client, socket, topic, qos);
        message.fate = Fate::Carried;
        message.retain = retain;
        message.expiry = (v5 && self.random.one_in(4)).then(|| 1 + self.random.below(9) as u32);
        self.dress(&mut message);
        (self.ledger.publish(message), delay)
    }
}

/// The will's properties: those of its message, with its delay and expiry in seconds.
fn will_properties(
    of: PublishProperties<'_>,
    (delay, message_expiry): (Option<u32>, Option<u32>),
) -> WillProperties<'_> {
    WillProperties {
        delay,
        message_expiry,
        payload_format_utf8: of.payload_format_utf8,
        content_type: of.content_type,
        response_topic: of.response_topic,
        correlation_data: of.correlation_data,
        user: of.user,
    }
}
