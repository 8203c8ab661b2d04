//! A model client publishes.

use super::client::{Outgoing, Sent};
use super::ledger::{ClientId, Fate, Kept, MessageId, Published};
use super::network::SocketId;
use super::profile::Flavor;
use super::properties::{EVERYTHING, payload_of, properties_of};
use super::topics::{RETAINED_FROM, SHARED_FROM, TOPICS, Topic, WILLS_FROM};
use super::world::World;
use crate::base::time::Time;
use crate::wire::{Packet, PacketId, Publish, PublishProperties, QoS, Version};
use std::num::NonZeroU16;

/// Filler of a large message: more than a small socket takes, and more than some clients.
pub const LARGE_BYTES: usize = 4_500;
/// Aliases that a client uses: few, so that they change.
pub const ALIASES: u16 = 2;

/// A PUBLISH as a client means it.
#[derive(Clone, Copy, Debug)]
pub struct Intent {
    /// Where.
    pub topic: Topic,
    /// How.
    pub qos: QoS,
    /// Clears the retained topic.
    pub clear: bool,
    /// Seconds until it expires (v5).
    pub expiry: Option<u32>,
}

impl World {
    /// A message that is about to be sent.
    pub(super) fn message(&self, client: ClientId, link: SocketId, topic: Topic, qos: QoS) -> Published {
        Published {
            client,
            link,
            topic,
            qos,
            of: self.links[link].attached.map(|attached| attached.session),
            retain: false,
            expiry: None,
            properties: 0,
            filler: 0,
            sends: 1,
            sent: self.step,
            arrived: None,
            arrived_at: self.now,
            handled_by: None,
            log_then: 0,
            certain: false,
            fate: Fate::Sent,
            due_by: Time::ZERO,
            settled: false,
            replays: 0,
        }
    }

    pub(super) fn publish_something(&mut self, client: ClientId, socket: SocketId) {
        let topic = self.pick_topic(client);
        let retained = topic >= RETAINED_FROM;
        // Order is promised per QoS: to end with the last of a topic takes one QoS.
        let qos = if retained { QoS::ALL[topic % 3] } else { *self.random.pick(&QoS::ALL) };
        let v5 = self.clients[client].version == Version::V5;
        let clear = retained && self.random.one_in(6);
        let expiry = (v5 && self.random.one_in(15)).then(|| 1 + self.random.below(9) as u32);
        let repeats = if self.random.one_in(6) { 1 + self.random.below(8) } else { 1 };
        for _ in 0..repeats {
            self.publish(socket, Intent { topic, qos, clear, expiry });
        }
    }

    fn pick_topic(&mut self, client: ClientId) -> Topic {
        let (from, below) = match self.profile.flavor {
            // One writer for each topic: what was written last is then known.
            Flavor::Retained if RETAINED_FROM + client < WILLS_FROM => {
                (RETAINED_FROM + client, RETAINED_FROM + client + 1)
            }
            Flavor::Retained => (0, RETAINED_FROM),
            Flavor::Shared if self.random.below(4) > 0 => (SHARED_FROM, RETAINED_FROM),
            Flavor::FanOut => (0, 3),
            _ => (0, WILLS_FROM),
        };
        from + self.random.below((below - from) as u64) as usize
    }

    /// Publishes once, if the broker's quota allows it.
    pub(super) fn publish(&mut self, socket: SocketId, intent: Intent) {
        let client = self.links[socket].client;
        let Intent { topic, qos, clear, expiry } = intent;
        let quota = self.links[socket].quota.min(20);
        if qos > QoS::AtMostOnce && self.clients[client].outgoing.len() >= quota {
            return;
        }
        if clear {
            return self.clear_retained(socket, topic);
        }
        let mut message = self.message(client, socket, topic, qos);
        message.retain = topic >= RETAINED_FROM;
        message.sends = 0;
        message.expiry = expiry;
        self.dress(&mut message);
        let id = self.ledger.publish(message);
        let packet_id = (qos > QoS::AtMostOnce)
            .then(|| self.clients[client].packet_id(&self.links[socket], self.profile.keeps));
        if let Some(packet_id) = packet_id {
            let state = match qos {
                QoS::ExactlyOnce => Outgoing::Pubrec(id),
                _ => Outgoing::Puback(id),
            };
            self.clients[client].outgoing.insert(packet_id, state);
        }
        self.send_publish(socket, id, packet_id, false);
    }

    /// Decides what a message is made of.
    pub(super) fn dress(&mut self, message: &mut Published) {
        message.filler = if self.random.one_in(20) { LARGE_BYTES } else { self.random.below(30) as usize };
        let v5 = self.clients[message.client].version == Version::V5;
        if v5 && self.random.one_in(4) {
            message.properties = self.random.below(u64::from(EVERYTHING) + 1) as u8;
        }
    }

    fn clear_retained(&mut self, socket: SocketId, topic: Topic) {
        self.ledger.write_retained(topic, Kept::Cleared, (socket, false), self.step);
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: TOPICS[topic],
            packet_id: None,
            properties: PublishProperties::default(),
            payload: &[],
        };
        self.send_packet(socket, &Packet::Publish(publish), Sent::Other);
    }

    /// Sends the message `id`, for the first time or again.
    pub(super) fn send_publish(
        &mut self,
        socket: SocketId,
        id: MessageId,
        packet_id: Option<PacketId>,
        dup: bool,
    ) {
        let message = self.ledger.message(id);
        message.sends += 1;
        // With QoS 1 it is another one to the broker when it is sent again: of that the logs have nothing yet.
        message.settled &= message.qos != QoS::AtLeastOnce;
        let message = message.clone();
        let payload = payload_of(id, message.filler);
        let (name, topic_alias) = self.alias(socket, message.topic);
        let properties = properties_of(id, &message, &payload);
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic: name,
            packet_id,
            properties: PublishProperties { message_expiry: message.expiry, topic_alias, ..properties },
            payload: &payload,
        };
        if message.retain {
            let step = self.step;
            self.ledger.write_retained(message.topic, Kept::Message(id), (socket, dup), step);
        }
        self.send_packet(socket, &Packet::Publish(publish), Sent::Publish(id));
    }

    /// The topic as it is written: sometimes with an alias, which may have stood for another one, sometimes as an alias alone.
    fn alias(&mut self, socket: SocketId, topic: Topic) -> (&'static str, Option<NonZeroU16>) {
        let link = &mut self.links[socket];
        let highest = link.alias_max.min(ALIASES);
        if highest == 0 || !self.random.one_in(3) {
            return (TOPICS[topic], None);
        }
        if let Some(alias) = link.aliases.iter().position(|of| *of == Some(topic)) {
            self.coverage.reach("an alias stands for a topic");
            return ("", NonZeroU16::new(alias as u16 + 1));
        }
        let alias = self.random.below(u64::from(highest)) as usize;
        if link.aliases[alias].replace(topic).is_some() {
            self.coverage.reach("an alias comes to stand for another topic");
        }
        (TOPICS[topic], NonZeroU16::new(alias as u16 + 1))
    }
}
