//! An application message as the broker keeps it.

use super::publish::{Publish, PublishProperties};
use super::qos::QoS;
use super::will::Will;
use crate::base::time::Time;
use std::fmt;
use std::sync::Arc;

/// An application message, written once where it was published and then only read: by every session whose queue holds it, on every
/// shard. Cloning shares it.
#[derive(Clone)]
pub struct Message(Arc<Block>);

/// Topic ‖ forwarded properties ‖ payload in one block of bytes, what decides about deliveries beside it.
#[derive(Clone)]
struct Block {
    bytes: Box<[u8]>,
    /// Where the properties begin.
    topic_end: u16,
    qos: QoS,
    retain: bool,
    /// Where the payload begins.
    properties_end: u32,
    expires_at: Option<Time>,
}

/// What a message is made of, where it comes from neither a PUBLISH nor a will: a log, a peer, the broker itself.
#[derive(Clone, Copy, Debug)]
pub struct MessageParts<'a> {
    /// A valid topic name.
    pub topic: &'a str,
    /// Forwarded properties, encoded, as [`Message::properties`] returned them.
    pub properties: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS it was published with.
    pub qos: QoS,
    /// The RETAIN flag it was published with.
    pub retain: bool,
    /// When it is no longer to be delivered.
    pub expires_at: Option<Time>,
}

impl Message {
    /// The message of a PUBLISH. `topic` is the packet's own or what its alias stands for.
    ///
    /// Payload format, response topic, correlation data, content type and user properties are kept to be forwarded; alias and subscription
    /// identifiers belong to the connection it came over, and the expiry interval is `expires_at` from here on.
    pub fn from_publish(publish: &Publish<'_>, topic: &str, expires_at: Option<Time>) -> Message {
        let parts = MessageParts {
            topic,
            properties: &[],
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_at,
        };
        Message::build(parts, &publish.properties)
    }

    /// The message of a will, without expiry: that begins when it is published, with [`Message::with_expiry`]. Keep
    /// `will.properties.message_expiry` and `delay` until then.
    pub fn from_will(will: &Will<'_>) -> Message {
        let parts = MessageParts {
            topic: will.topic,
            properties: &[],
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_at: None,
        };
        Message::build(parts, &will.properties.to_publish())
    }

    /// The message of these parts.
    pub fn from_parts(parts: MessageParts<'_>) -> Message {
        Message::build(parts, &PublishProperties::default())
    }

    fn build(parts: MessageParts<'_>, forwarded: &PublishProperties<'_>) -> Message {
        let properties_bytes = parts.properties.len() + forwarded.forwarded_bytes();
        let mut bytes = Vec::with_capacity(parts.topic.len() + properties_bytes + parts.payload.len());
        bytes.extend_from_slice(parts.topic.as_bytes());
        bytes.extend_from_slice(parts.properties);
        forwarded.put_forwarded(&mut bytes);
        let properties_end = bytes.len();
        debug_assert_eq!(properties_end, parts.topic.len() + properties_bytes, "sized once, never grown");
        bytes.extend_from_slice(parts.payload);
        Message(Arc::new(Block {
            bytes: bytes.into_boxed_slice(),
            topic_end: u16::try_from(parts.topic.len()).expect("a topic is at most 65,535 bytes"),
            qos: parts.qos,
            retain: parts.retain,
            properties_end: u32::try_from(properties_end).expect("a packet is below 2^32 bytes"),
            expires_at: parts.expires_at,
        }))
    }

    /// The topic name.
    #[inline]
    pub fn topic(&self) -> &str {
        // Checked each time, at a few nanoseconds: a string of its own would cost every message an allocation.
        std::str::from_utf8(self.topic_bytes()).expect("the block begins with the bytes of a str")
    }

    /// The bytes of the topic name, for hashing and matching.
    #[inline]
    pub fn topic_bytes(&self) -> &[u8] {
        &self.0.bytes[..usize::from(self.0.topic_end)]
    }

    /// The properties to forward, encoded, without their length; empty when there are none.
    #[inline]
    pub fn properties(&self) -> &[u8] {
        &self.0.bytes[usize::from(self.0.topic_end)..self.0.properties_end as usize]
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.0.bytes[self.0.properties_end as usize..]
    }

    /// The QoS it was published with.
    #[inline]
    pub fn qos(&self) -> QoS {
        self.0.qos
    }

    /// The RETAIN flag it was published with.
    #[inline]
    pub fn retain(&self) -> bool {
        self.0.retain
    }

    /// From when on it is no longer to be delivered.
    #[inline]
    pub fn expires_at(&self) -> Option<Time> {
        self.0.expires_at
    }

    /// What [`Message::memory_bytes`] of the message of this PUBLISH would be.
    pub fn memory_bytes_of(publish: &Publish<'_>, topic: &str) -> usize {
        Self::OWN_BYTES + topic.len() + publish.properties.forwarded_bytes() + publish.payload.len()
    }

    const OWN_BYTES: usize = size_of::<Block>() + 2 * size_of::<usize>();

    /// Bytes of memory that it holds, however often it is shared; what the allocator rounds up is not counted.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        self.0.bytes.len() + Self::OWN_BYTES
    }

    /// Whether both are the same message in memory.
    #[inline]
    pub fn ptr_eq(&self, other: &Message) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same message with this RETAIN flag: shared if it has it already, else a copy.
    pub fn with_retain(&self, retain: bool) -> Message {
        self.changed(self.0.retain != retain, |block| block.retain = retain)
    }

    /// The same message with this expiry: shared if it has it already, else a copy.
    pub fn with_expiry(&self, expires_at: Option<Time>) -> Message {
        self.changed(self.0.expires_at != expires_at, |block| block.expires_at = expires_at)
    }

    /// The same message for another topic, a valid topic name: a copy.
    pub fn with_topic(&self, topic: &str) -> Message {
        Message::from_parts(MessageParts {
            topic,
            properties: self.properties(),
            payload: self.payload(),
            qos: self.qos(),
            retain: self.retain(),
            expires_at: self.expires_at(),
        })
    }

    fn changed(&self, differs: bool, change: impl FnOnce(&mut Block)) -> Message {
        if !differs {
            return self.clone();
        }
        let mut block = (*self.0).clone();
        change(&mut block);
        Message(Arc::new(block))
    }
}

/// By content, wherever in memory it lies.
impl PartialEq for Message {
    fn eq(&self, other: &Message) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        self.ptr_eq(other)
            || (a.topic_end, a.properties_end, a.qos, a.retain, a.expires_at)
                == (b.topic_end, b.properties_end, b.qos, b.retain, b.expires_at)
                && a.bytes == b.bytes
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .field("expires_at", &self.expires_at())
            .field("properties_bytes", &self.properties().len())
            .field("payload_bytes", &self.payload().len())
            .finish()
    }
}
