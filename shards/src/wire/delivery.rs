//! A copy of a message on its way to a subscriber.

use super::frame::variable_integer_bytes;
use super::packet_id::PacketId;
use super::property::{Property, subscription_id_bytes};
use super::publish::first_byte;
use super::put::{put_binary, put_u16, put_variable_integer};
use super::qos::QoS;
use super::version::Version;
use std::num::NonZeroU16;

/// What one copy of a message looks like on the wire; the head that a fan-out shares and a single copy are written by the same code.
///
/// v3 leaves out all properties, the alias with them.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Sent before; ignored with QoS 0.
    pub dup: bool,
    /// QoS of this delivery.
    pub qos: QoS,
    /// RETAIN flag of this delivery.
    pub retain: bool,
    /// The packet identifier; `None` with QoS 1 or 2 leaves two zero bytes to be patched.
    pub packet_id: Option<PacketId>,
    /// The topic name, empty when the alias alone says it.
    pub topic: &'a str,
    /// The alias to set or to use.
    pub topic_alias: Option<NonZeroU16>,
    /// Seconds until the message expires.
    pub expiry: Option<u32>,
    /// Identifiers of the matching subscriptions, each 1 to 268,435,455.
    pub subscription_ids: &'a [u32],
    /// Forwarded properties, encoded, as `Message::properties` returns them.
    pub properties: &'a [u8],
}

impl Delivery<'_> {
    /// Appends everything up to the payload, whose `payload_bytes` are counted in the length; the caller appends or splices them.
    ///
    /// Returns the offset of the packet identifier in `out`, `None` with QoS 0. Panics when the packet is longer than the protocol can
    /// express; limits keep messages far below.
    #[inline]
    pub fn encode_head(&self, version: Version, payload_bytes: usize, out: &mut Vec<u8>) -> Option<usize> {
        let properties_bytes = self.properties_bytes(version);
        let body_bytes = self.body_bytes(version, properties_bytes, payload_bytes);
        out.reserve(1 + variable_integer_bytes(body_bytes) + body_bytes - payload_bytes);
        out.push(first_byte(self.dup, self.qos, self.retain));
        put_variable_integer(out, body_bytes);
        put_binary(out, self.topic.as_bytes());
        let packet_id_at = (self.qos != QoS::AtMostOnce).then(|| {
            put_u16(out, self.packet_id.map_or(0, PacketId::get));
            out.len() - 2
        });
        if version.is_v5() {
            put_variable_integer(out, properties_bytes);
            if properties_bytes > 0 {
                self.put_properties(out);
            }
        }
        packet_id_at
    }

    /// Bytes of the whole packet, to be held against the client's Maximum Packet Size.
    #[inline]
    pub fn wire_bytes(&self, version: Version, payload_bytes: usize) -> usize {
        let body_bytes = self.body_bytes(version, self.properties_bytes(version), payload_bytes);
        1 + variable_integer_bytes(body_bytes) + body_bytes
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        Property::TopicAlias.put_u16(out, self.topic_alias.map(NonZeroU16::get));
        Property::MessageExpiry.put_u32(out, self.expiry);
        for &id in self.subscription_ids {
            Property::SubscriptionId.put_variable_integer(out, Some(id));
        }
        out.extend_from_slice(self.properties);
    }

    #[inline]
    fn properties_bytes(&self, version: Version) -> usize {
        if !version.is_v5() {
            return 0;
        }
        let alias = self.topic_alias.map_or(0, |_| 3);
        let expiry = self.expiry.map_or(0, |_| 5);
        let ids: usize = self.subscription_ids.iter().map(|&id| subscription_id_bytes(id)).sum();
        alias + expiry + ids + self.properties.len()
    }

    #[inline]
    fn body_bytes(&self, version: Version, properties_bytes: usize, payload_bytes: usize) -> usize {
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let length = if version.is_v5() { variable_integer_bytes(properties_bytes) } else { 0 };
        2 + self.topic.len() + packet_id + length + properties_bytes + payload_bytes
    }
}
