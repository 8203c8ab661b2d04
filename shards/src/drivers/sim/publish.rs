//! A model client publishes.

use super::client::{Outgoing, Sent};
use super::ledger::{ClientId, Fate, Kept, MessageId, Published};
use super::network::SocketId;
use super::profile::Flavor;
use super::topics::{RETAINED_FROM, TOPICS, Topic, WILLS_FROM};
use super::world::World;
use crate::wire::{Packet, PacketId, Publish, PublishProperties, QoS, Version};

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
            expires: false,
            sends: 1,
            sent: self.step,
            arrived: None,
            log_then: 0,
            certain: false,
            fate: Fate::Sent,
        }
    }

    pub(super) fn publish_something(&mut self, client: ClientId, socket: SocketId) {
        let topic = self.pick_topic(client);
        let retained = topic >= RETAINED_FROM;
        // Order is promised per QoS: to end with the last of a topic takes one QoS.
        let qos = if retained { QoS::ALL[topic % 3] } else { *self.random.pick(&QoS::ALL) };
        let v5 = self.clients[client].version == Version::V5;
        let clear = retained && self.random.one_in(6);
        let expiry = (v5 && !retained && self.random.one_in(15)).then(|| 1 + self.random.below(5) as u32);
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
        let retain = topic >= RETAINED_FROM;
        if clear {
            return self.clear_retained(socket, topic);
        }
        let mut message = self.message(client, socket, topic, qos);
        message.retain = retain;
        message.expires = expiry.is_some();
        message.sends = 0;
        let id = self.ledger.publish(message);
        let packet_id = (qos > QoS::AtMostOnce).then(|| self.clients[client].packet_id(&self.links[socket]));
        if let Some(packet_id) = packet_id {
            let state = match qos {
                QoS::ExactlyOnce => Outgoing::Pubrec(id),
                _ => Outgoing::Puback(id),
            };
            self.clients[client].outgoing.insert(packet_id, state);
        }
        self.send_publish_expiring(socket, id, packet_id, (false, expiry));
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
        self.send_publish_expiring(socket, id, packet_id, (dup, None));
    }

    fn send_publish_expiring(
        &mut self,
        socket: SocketId,
        id: MessageId,
        packet_id: Option<PacketId>,
        (dup, expiry): (bool, Option<u32>),
    ) {
        let step = self.step;
        let large = self.random.one_in(20);
        let filler = if large { 4_500 } else { self.random.below(30) as usize };
        let message = self.ledger.message(id);
        message.sends += 1;
        let (topic, retain) = (message.topic, message.retain);
        let payload = payload_of(id, filler);
        let publish = Publish {
            dup,
            qos: message.qos,
            retain,
            topic: TOPICS[topic],
            packet_id,
            properties: PublishProperties { message_expiry: expiry, ..PublishProperties::default() },
            payload: &payload,
        };
        if retain {
            self.ledger.write_retained(topic, Kept::Message(id), (socket, dup), step);
        }
        self.send_packet(socket, &Packet::Publish(publish), Sent::Publish(id));
    }
}

/// The number of the message, then as many filler bytes as asked for.
pub fn payload_of(id: MessageId, filler: usize) -> Vec<u8> {
    let number = id.to_be_bytes();
    let mut payload = number.to_vec();
    payload.resize(4 + filler, number[3]);
    payload
}
