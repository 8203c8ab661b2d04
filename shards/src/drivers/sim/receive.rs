//! What a model client got as a subscriber: messages, and the answers to SUBSCRIBE and UNSUBSCRIBE.

use super::client::Request;
use super::failure::{Checked, ensure, fail};
use super::ledger::Kept;
use super::network::{Moment, SocketId};
use super::properties::{are_forwarded, payload_of, properties_of};
use super::topics::{TOPICS, Topic};
use super::verdict::Delivery;
use super::world::World;
use crate::wire::{Ack, Packet, PacketId, Publish, QoS, ReasonCode, Suback, Unsuback, Version};

impl World {
    pub(super) fn got_publish(
        &mut self,
        socket: SocketId,
        publish: &Publish<'_>,
        written: Moment,
    ) -> Checked {
        let attached = self.links[socket].attached.expect("CONNACK was read");
        let topic = self.topic_of(socket, publish)?;
        if !self.acknowledge(socket, publish)? {
            self.coverage.reach("a QoS 2 message is sent again");
            return Ok(());
        }
        self.coverage.deliveries += 1;
        let Some(number) = publish.payload.first_chunk::<4>() else {
            let as_published =
                self.subscriptions_of(socket).any(|subscription| subscription.retain_as_published);
            ensure(!publish.retain || as_published, "retained", || {
                format!("an empty message on {} came from the retained store", publish.topic)
            })?;
            self.ledger.sessions[attached.session].last_seen.insert(topic, Kept::Cleared);
            return Ok(());
        };
        let message = u32::from_be_bytes(*number);
        let publisher = self.check_content(socket, message, publish)?;
        let publisher = self.ledger.messages[message as usize]
            .of
            .or(self.links[publisher].attached.map(|attached| attached.session));
        // A will of a connection that came and went within one step.
        let perhaps_own =
            publisher.is_none() && self.ledger.messages[message as usize].client == self.links[socket].client;
        let v5 = self.clients[self.links[socket].client].version == Version::V5;
        let identifiers: Vec<u32> = publish.properties.subscription_ids.iter().collect();
        self.ledger.delivered(&Delivery {
            session: attached.session,
            message,
            topic,
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            expiry: publish.properties.message_expiry,
            identifiers: v5.then_some(&identifiers),
            own: publisher == Some(attached.session),
            perhaps_own,
            logged: self.profile.keeps,
            written,
            attached_at: attached.at,
            now: self.now,
        })
    }

    /// The topic, which an alias may stand for.
    fn topic_of(
        &mut self,
        _socket: SocketId,
        publish: &Publish<'_>,
    ) -> Result<Topic, super::failure::Failure> {
        let topic = TOPICS.iter().position(|topic| *topic == publish.topic);
        topic.map_or_else(|| fail("integrity", format!("{publish:?}")), Ok)
    }

    /// Payload and properties are those of the message. The link that published it.
    fn check_content(
        &self,
        socket: SocketId,
        id: u32,
        publish: &Publish<'_>,
    ) -> Result<SocketId, super::failure::Failure> {
        let Some(message) = self.ledger.messages.get(id as usize) else {
            return fail("integrity", format!("{publish:?}: no such message"));
        };
        let payload = payload_of(id, message.filler);
        ensure(publish.payload == payload, "integrity", || format!("the payload of {publish:?} is torn"))?;
        let mut expected = properties_of(id, message, &payload);
        if self.clients[self.links[socket].client].version != Version::V5 {
            expected = Default::default();
        }
        ensure(are_forwarded(&publish.properties, &expected), "properties", || {
            format!("{publish:?} instead of {expected:?}")
        })?;
        Ok(message.link)
    }

    /// Answers as the QoS demands, now and then with an error. Whether the message is new to the client.
    fn acknowledge(
        &mut self,
        socket: SocketId,
        publish: &Publish<'_>,
    ) -> Result<bool, super::failure::Failure> {
        let client = self.links[socket].client;
        match (publish.qos, publish.packet_id) {
            (QoS::AtMostOnce, _) => Ok(true),
            (QoS::AtLeastOnce, Some(id)) => {
                self.answer(socket, &Packet::Puback(Ack::new(id)));
                Ok(true)
            }
            (QoS::ExactlyOnce, Some(id)) => {
                // After a crash ids are given out from the first again: this one may be another message's by now.
                let again = publish.dup || !self.profile.keeps;
                let refused = again && self.clients[client].refused.contains(&id);
                ensure(!refused || publish.dup, "refusal", || {
                    format!("link {socket}: packet id {id} is used again after it was refused")
                })?;
                if self.refuses(client) && !self.clients[client].incoming.contains(&id) {
                    self.refuse(socket, id);
                    return Ok(!refused);
                }
                self.clients[client].refused.remove(&id);
                self.answer(socket, &Packet::Pubrec(Ack::new(id)));
                let fresh = self.clients[client].incoming.insert(id);
                ensure(fresh || publish.dup, "exactly once", || {
                    format!("link {socket}: packet id {id} is used again before PUBREL")
                })?;
                Ok(fresh && !refused)
            }
            (_, None) => fail("protocol", format!("{publish:?}")),
        }
    }

    fn refuses(&mut self, client: usize) -> bool {
        self.clients[client].version == Version::V5 && !self.calm && self.random.one_in(25)
    }

    /// PUBREC with an error ends the exchange [MQTT-4.3.3-4].
    fn refuse(&mut self, socket: SocketId, id: PacketId) {
        self.coverage.reach("a client refuses a QoS 2 message");
        self.clients[self.links[socket].client].refused.insert(id);
        let refusal = Ack { reason: ReasonCode::QuotaExceeded, ..Ack::new(id) };
        self.answer(socket, &Packet::Pubrec(refusal));
    }

    pub(super) fn got_pubrel(&mut self, socket: SocketId, ack: &Ack<'_>) -> Checked {
        let client = &mut self.clients[self.links[socket].client];
        client.incoming.remove(&ack.packet_id);
        ensure(!client.refused.contains(&ack.packet_id), "refusal", || {
            format!("link {socket} got {ack:?} for a message that it has refused")
        })?;
        self.answer(socket, &Packet::Pubcomp(Ack::new(ack.packet_id)));
        Ok(())
    }

    pub(super) fn got_suback(&mut self, socket: SocketId, suback: &Suback<'_>, written: Moment) -> Checked {
        let Some(Request::Subscribe(entries)) = self.links[socket].requests.remove(&suback.packet_id) else {
            return fail("protocol", format!("{suback:?} was not asked for"));
        };
        let codes = suback.codes;
        ensure(codes.len() == entries.len() && codes.iter().all(|code| *code <= 2), "suback", || {
            format!("{suback:?} for {entries:?}")
        })?;
        let Some(attached) = self.links[socket].attached else { return Ok(()) };
        let subscriptions = &mut self.ledger.sessions[attached.session].subscriptions;
        for entry in entries {
            let (before, from) = subscriptions.split_at_mut(entry);
            from[0].promised = Some(written.step);
            for replaced in before.iter_mut().filter(|before| before.filter == from[0].filter) {
                replaced.replaced_surely.get_or_insert(written.step);
            }
        }
        Ok(())
    }

    pub(super) fn got_unsuback(
        &mut self,
        socket: SocketId,
        unsuback: &Unsuback<'_>,
        written: Moment,
    ) -> Checked {
        let asked = self.links[socket].requests.remove(&unsuback.packet_id);
        let Some(Request::Unsubscribe(dropped)) = asked else {
            return fail("protocol", format!("{unsuback:?} was not asked for"));
        };
        for (_, subscription) in
            self.subscriptions_of(socket).enumerate().filter(|(index, _)| dropped.contains(index))
        {
            subscription.gone = Some(written.step);
        }
        Ok(())
    }
}
