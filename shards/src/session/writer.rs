//! The sending end of a connection: PUBLISH packets are appended here, with a topic alias where the client takes some.

use super::copy::{append_delivery, remaining_expiry};
use super::{Naming, Offer, PendingCopy, TopicAliases, WriteBuffer};
use crate::base::limits::{SHARED_PAYLOAD_BYTES_MIN, WRITE_BUFFER_BYTES_MAX};
use crate::base::time::Time;
use crate::wire::{Delivery, PacketId, Version};

/// What a packet may grow by when an alias is defined in it: the property, and a byte more of each of two lengths.
const ALIAS_ROOM: usize = 5;

/// The sending end of the present connection.
pub struct Writer<'a> {
    /// Where packets are appended.
    pub out: &'a mut WriteBuffer,
    /// The connection's protocol version.
    pub version: Version,
    /// The client's Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// The aliases that the client takes, if any.
    pub aliases: Option<&'a mut TopicAliases>,
}

impl Writer<'_> {
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < WRITE_BUFFER_BYTES_MAX
    }

    /// Appends the copy of an offer, which fits.
    #[inline]
    pub(super) fn append(&mut self, offer: &mut Offer<'_, '_>, packet_id: Option<PacketId>) {
        if self.aliases.is_some() {
            return self.append_named(offer, packet_id);
        }
        offer.encoded.append(packet_id, offer.incoming, self.out);
    }

    fn append_named(&mut self, offer: &mut Offer<'_, '_>, packet_id: Option<PacketId>) {
        let incoming = &mut *offer.incoming;
        let naming = self.name(incoming.topic(), offer.encoded.wire_bytes());
        if naming == Naming::Text {
            return offer.encoded.append(packet_id, incoming, self.out);
        }
        let delivery = Delivery {
            dup: false,
            qos: offer.qos,
            retain: offer.retain,
            packet_id,
            topic: incoming.topic(),
            topic_alias: None,
            expiry: remaining_expiry(incoming.expires_at(), offer.now),
            subscription_ids: offer.identifiers,
            properties: incoming.properties(),
        };
        let payload = incoming.payload();
        named(delivery, naming).encode_head(self.version, payload.len(), self.out.bytes_mut());
        if payload.len() >= SHARED_PAYLOAD_BYTES_MIN {
            self.out.splice(incoming.message().clone());
        } else {
            self.out.bytes_mut().extend_from_slice(payload);
        }
    }

    /// Appends a copy that has waited; false when it is larger than the client takes.
    pub(super) fn write(&mut self, copy: &PendingCopy, now: Time, packet_id: Option<PacketId>) -> bool {
        let delivery = copy.delivery(now, packet_id, false);
        let bytes = delivery.wire_bytes(self.version, copy.message.payload().len());
        // Its size with the whole topic: it may have to be sent again on a connection that knows no alias.
        if bytes > self.packet_bytes_max as usize {
            return false;
        }
        let naming = self.name(delivery.topic, bytes);
        append_delivery(&named(delivery, naming), self.version, &copy.message, self.out);
        true
    }

    /// Appends a copy that has its packet id; `dup`: it was sent before, or may have been. False when it is larger than the client takes.
    pub(super) fn write_started(
        &mut self,
        copy: &PendingCopy,
        now: Time,
        (packet_id, dup): (PacketId, bool),
    ) -> bool {
        if dup {
            // With the whole topic: aliases are for what is sent once.
            return copy.write(now, Some(packet_id), dup, (self.version, self.packet_bytes_max), self.out);
        }
        self.write(copy, now, Some(packet_id))
    }

    fn name(&mut self, topic: &str, bytes: usize) -> Naming {
        let may_define = bytes + ALIAS_ROOM <= self.packet_bytes_max as usize;
        self.aliases.as_mut().map_or(Naming::Text, |aliases| aliases.name(topic, may_define))
    }
}

fn named(delivery: Delivery<'_>, naming: Naming) -> Delivery<'_> {
    match naming {
        Naming::Text => delivery,
        Naming::Defining(alias) => Delivery { topic_alias: Some(alias), ..delivery },
        Naming::Alias(alias) => Delivery { topic: "", topic_alias: Some(alias), ..delivery },
    }
}
