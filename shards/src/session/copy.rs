//! Copies of a message for one receiver: as they arrive, as they are encoded once per class, as they wait.

use super::{Splice, WriteBuffer};
use crate::base::kept::KeptCopy;
use crate::base::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::base::time::Time;
use crate::topics::GroupId;
use crate::wire::{Delivery, Message, PacketId, Publish, QoS, Version};

/// A message being published: borrowed from the read buffer as long as that is enough, owned from the first copy that has to wait.
pub struct Incoming<'a> {
    topic: &'a str,
    publish: Option<Publish<'a>>,
    expires_at: Option<Time>,
    owned: Option<Message>,
}

impl<'a> Incoming<'a> {
    /// A PUBLISH just decoded, with its alias resolved to `topic`.
    pub fn borrowed(publish: Publish<'a>, topic: &'a str, expires_at: Option<Time>) -> Incoming<'a> {
        // Properties are forwarded in encoded form, which only the owned message has.
        let mut incoming = Incoming { topic, publish: Some(publish), expires_at, owned: None };
        if incoming.publish.as_ref().is_some_and(|publish| publish.properties.has_forwarded()) {
            incoming.message();
        }
        incoming
    }

    /// A message that is owned already: from a lane, a will, the retained store.
    pub fn owned(message: &'a Message) -> Incoming<'a> {
        Incoming {
            topic: message.topic(),
            publish: None,
            expires_at: message.expires_at(),
            owned: Some(message.clone()),
        }
    }

    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The publisher's QoS.
    pub fn qos(&self) -> QoS {
        self.publish.as_ref().map_or_else(|| self.expect_owned().qos(), |publish| publish.qos)
    }

    /// The publisher's retain flag.
    pub fn retain(&self) -> bool {
        self.publish.as_ref().map_or_else(|| self.expect_owned().retain(), |publish| publish.retain)
    }

    /// When it expires.
    pub fn expires_at(&self) -> Option<Time> {
        self.expires_at
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.publish.as_ref().map_or_else(|| self.expect_owned().payload(), |publish| publish.payload)
    }

    /// Forwarded properties in encoded form.
    pub fn properties(&self) -> &[u8] {
        self.owned.as_ref().map_or(&[], |message| message.properties())
    }

    /// The message to keep; made at the first call.
    pub fn message(&mut self) -> &Message {
        self.owned.get_or_insert_with(|| {
            let publish = self.publish.as_ref().expect("a message is borrowed or owned");
            Message::from_publish(publish, self.topic, self.expires_at)
        })
    }

    fn expect_owned(&self) -> &Message {
        self.owned.as_ref().expect("a message is borrowed or owned")
    }
}

/// Subscription identifiers of one copy; nearly always none or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identifiers {
    /// None of the matching subscriptions has one.
    #[default]
    None,
    /// Exactly one.
    One(u32),
    /// All identifiers of the matching subscriptions.
    Many(Box<[u32]>),
}

impl Identifiers {
    /// The identifiers, in the order they are sent.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Identifiers::None => &[],
            Identifiers::One(one) => std::slice::from_ref(one),
            Identifiers::Many(many) => many,
        }
    }

    /// Keeps those for which `keep` holds. Whether that was not all.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) -> bool {
        let changes = self.as_slice().iter().any(|id| !keep(*id));
        if changes {
            let kept: Vec<u32> = self.as_slice().iter().copied().filter(|id| keep(*id)).collect();
            *self = Identifiers::from(&*kept);
        }
        changes
    }
}

impl From<&[u32]> for Identifiers {
    fn from(identifiers: &[u32]) -> Identifiers {
        match identifiers {
            [] => Identifiers::None,
            [one] => Identifiers::One(*one),
            many => Identifiers::Many(many.into()),
        }
    }
}

/// A copy that waits: in a session's queue, or in flight for its acknowledgement.
#[derive(Clone, Debug)]
pub struct PendingCopy {
    /// The message, shared with every other copy.
    pub message: Message,
    /// Subscription identifiers to send with it.
    pub identifiers: Identifiers,
    /// The copy's QoS: the lower of the publisher's and the subscription's.
    pub qos: QoS,
    /// The copy's retain flag.
    pub retain: bool,
    /// The shared group that it was made for; any of its members could have got it.
    pub group: Option<GroupId>,
    /// The log has it, under this name.
    pub kept: Option<KeptCopy>,
}

impl PendingCopy {
    /// Whether its PUBLISH waits for its record: QoS 2, and the log has it.
    pub(super) fn is_held_at_first(&self) -> bool {
        self.qos == QoS::ExactlyOnce && self.kept.is_some()
    }

    /// How it goes out, with the expiry that is left at `now`.
    pub fn delivery(&self, now: Time, packet_id: Option<PacketId>, dup: bool) -> Delivery<'_> {
        Delivery {
            dup,
            qos: self.qos,
            retain: self.retain,
            packet_id,
            topic: self.message.topic(),
            topic_alias: None,
            expiry: remaining_expiry(self.message.expires_at(), now),
            subscription_ids: self.identifiers.as_slice(),
            properties: self.message.properties(),
        }
    }

    /// Whether its expiry has passed.
    pub fn is_expired(&self, now: Time) -> bool {
        self.message.expires_at().is_some_and(|at| at <= now)
    }

    /// Appends the whole packet to `out`; false when it is larger than the client takes.
    pub fn write(
        &self,
        now: Time,
        packet_id: Option<PacketId>,
        dup: bool,
        to: (Version, u32),
        out: &mut WriteBuffer,
    ) -> bool {
        let (version, packet_bytes_max) = to;
        let delivery = self.delivery(now, packet_id, dup);
        let payload = self.message.payload();
        if delivery.wire_bytes(version, payload.len()) > packet_bytes_max as usize {
            return false;
        }
        append_delivery(&delivery, version, &self.message, out);
        true
    }
}

/// Appends the packet: a large payload by reference.
pub(super) fn append_delivery(
    delivery: &Delivery<'_>,
    version: Version,
    message: &Message,
    out: &mut WriteBuffer,
) {
    let payload = message.payload();
    delivery.encode_head(version, payload.len(), out.bytes_mut());
    if payload.len() >= SHARED_PAYLOAD_BYTES_MIN {
        out.splice(message.clone());
    } else {
        out.bytes_mut().extend_from_slice(payload);
    }
}

/// Whole seconds that are left of an expiry, rounded up so that a message never claims to have outlived itself on arrival.
pub fn remaining_expiry(expires_at: Option<Time>, now: Time) -> Option<u32> {
    let left = expires_at?.since(now);
    Some(u32::try_from(left.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX))
}

/// A PUBLISH encoded once for all receivers of one class (version, QoS, retain), to be copied and given its packet id.
#[derive(Default)]
pub struct Encoded {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_shared: bool,
    wire_bytes: usize,
    filled: bool,
}

impl Encoded {
    /// Forgets what it held, keeps the memory.
    pub fn clear(&mut self) {
        self.filled = false;
    }

    /// Whether it holds a packet.
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// Encodes `incoming` for the class.
    pub fn fill(
        &mut self,
        incoming: &mut Incoming<'_>,
        now: Time,
        version: Version,
        class: (QoS, bool),
        identifiers: &[u32],
    ) {
        let (qos, retain) = class;
        self.bytes.clear();
        let delivery = Delivery {
            dup: false,
            qos,
            retain,
            packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MIN),
            topic: incoming.topic(),
            topic_alias: None,
            expiry: remaining_expiry(incoming.expires_at(), now),
            subscription_ids: identifiers,
            properties: incoming.properties(),
        };
        let payload = incoming.payload();
        self.packet_id_at = delivery.encode_head(version, payload.len(), &mut self.bytes);
        self.wire_bytes = self.bytes.len() + payload.len();
        self.payload_shared = payload.len() >= SHARED_PAYLOAD_BYTES_MIN;
        if !self.payload_shared {
            self.bytes.extend_from_slice(payload);
        }
        self.filled = true;
    }

    /// Bytes of one such packet on the wire.
    pub fn wire_bytes(&self) -> usize {
        self.wire_bytes
    }

    /// Appends one copy to `out`.
    #[inline]
    pub fn append(&self, packet_id: Option<PacketId>, incoming: &mut Incoming<'_>, out: &mut WriteBuffer) {
        debug_assert!(self.filled);
        let bytes = out.bytes_mut();
        let start = bytes.len();
        bytes.extend_from_slice(&self.bytes);
        if let (Some(at), Some(id)) = (self.packet_id_at, packet_id) {
            bytes[start + at..start + at + 2].copy_from_slice(&id.get().to_be_bytes());
        }
        if self.payload_shared {
            out.splice(incoming.message().clone());
        }
    }
}

const _: () =
    assert!(std::mem::size_of::<Splice>() <= 16, "splices are rare but there may be one per large copy");
const _: () = assert!(std::mem::size_of::<PendingCopy>() <= 56, "queues hold a thousand of these per client");
