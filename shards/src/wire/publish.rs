//! PUBLISH (section 3.3).

use super::frame::{Frame, PacketType};
use super::packet_id::PacketId;
use super::property::{Property, PropertyReader, values};
use super::put::{put_binary, put_packet_id, put_sized};
use super::qos::QoS;
use super::reader::Reader;
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;
use std::fmt;
use std::num::NonZeroU16;

/// A message on its way in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// Sent before; never with QoS 0.
    pub dup: bool,
    /// The quality of service of this transfer.
    pub qos: QoS,
    /// To be kept (from a client), or a kept one (to a client).
    pub retain: bool,
    /// Topic name without wildcards; empty only in v5 with a topic alias.
    pub topic: &'a str,
    /// Present exactly with QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Properties; the default in v3.
    pub properties: PublishProperties<'a>,
    /// The payload, of any content.
    pub payload: &'a [u8],
}

/// The properties of PUBLISH (section 3.3.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PublishProperties<'a> {
    /// Payload format indicator: whether the payload is UTF-8 text.
    pub payload_format_utf8: Option<bool>,
    /// Message expiry interval in seconds.
    pub message_expiry: Option<u32>,
    /// Number that stands for the topic on this connection and in this direction.
    pub topic_alias: Option<NonZeroU16>,
    /// Topic for the reply: a valid topic name.
    pub response_topic: Option<&'a str>,
    /// Tells the requester which request a reply belongs to.
    pub correlation_data: Option<&'a [u8]>,
    /// Description of the content.
    pub content_type: Option<&'a str>,
    /// Identifiers of the subscriptions that the message matched; only from server to client.
    pub subscription_ids: SubscriptionIds<'a>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> Publish<'a> {
    /// Reads the body of a PUBLISH frame.
    #[inline]
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Publish<'a>, Violation> {
        let qos = QoS::from_bits((frame.first >> 1) & 0b11).ok_or(Violation::QosReserved)?;
        let mut body = Reader::new(frame.body);
        let topic = body.topic_or_empty()?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
        let properties =
            if version.is_v5() { PublishProperties::decode(&mut body)? } else { Default::default() };
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(if version.is_v5() { Violation::TopicMissing } else { Violation::TopicEmpty });
        }
        Ok(Publish {
            dup: frame.first & 0b1000 != 0,
            qos,
            retain: frame.first & 0b0001 != 0,
            topic,
            packet_id,
            properties,
            payload: body.remainder(),
        })
    }

    /// Appends the packet. Panics if a packet identifier is missing with QoS 1 or 2.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.push(first_byte(self.dup, self.qos, self.retain));
        put_sized(out, self.payload.len(), |out| {
            put_binary(out, self.topic.as_bytes());
            if self.qos != QoS::AtMostOnce {
                put_packet_id(out, self.packet_id.expect("QoS 1 and 2 carry a packet identifier"));
            }
            if version.is_v5() {
                put_sized(out, 0, |out| self.properties.put(out));
            }
        });
        out.extend_from_slice(self.payload);
    }
}

/// Type and flags. DUP stands only with QoS 1 and 2 (MQTT-3.3.1-2).
#[inline]
pub(super) fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    let dup = dup && qos != QoS::AtMostOnce;
    PacketType::Publish.first_byte() | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

impl<'a> PublishProperties<'a> {
    #[inline]
    fn decode(body: &mut Reader<'a>) -> Result<PublishProperties<'a>, Violation> {
        let section = PropertyReader::open(body)?;
        if section.section().is_empty() {
            return Ok(PublishProperties::default());
        }
        PublishProperties::decode_section(section)
    }

    fn decode_section(mut section: PropertyReader<'a>) -> Result<PublishProperties<'a>, Violation> {
        let mut properties = PublishProperties::default();
        let mut subscription_ids = 0;
        while let Some(property) = section.next_property()? {
            match property {
                Property::PayloadFormat => {
                    section.flag(&mut properties.payload_format_utf8, Violation::PayloadFormatInvalid)?;
                }
                Property::MessageExpiry => section.u32(&mut properties.message_expiry)?,
                Property::TopicAlias => {
                    section.non_zero_u16(&mut properties.topic_alias, Violation::TopicAliasZero)?;
                }
                Property::ResponseTopic => section.response_topic(&mut properties.response_topic)?,
                Property::CorrelationData => section.binary(&mut properties.correlation_data)?,
                Property::ContentType => section.text(&mut properties.content_type)?,
                Property::SubscriptionId => {
                    section.subscription_id()?;
                    subscription_ids += 1;
                }
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        properties.subscription_ids =
            SubscriptionIds(Source::Section { section: section.section(), count: subscription_ids });
        properties.user = section.user();
        Ok(properties)
    }

    fn put(&self, out: &mut Vec<u8>) {
        Property::TopicAlias.put_u16(out, self.topic_alias.map(NonZeroU16::get));
        Property::MessageExpiry.put_u32(out, self.message_expiry);
        for id in self.subscription_ids.iter() {
            Property::SubscriptionId.put_variable_integer(out, Some(id));
        }
        self.put_forwarded(out);
    }

    /// What the server passes on unaltered (sections 3.3.2.3.2, 3.3.2.3.5 to 3.3.2.3.7, 3.3.2.3.9).
    pub(super) fn put_forwarded(&self, out: &mut Vec<u8>) {
        Property::PayloadFormat.put_flag(out, self.payload_format_utf8);
        Property::ResponseTopic.put_text(out, self.response_topic);
        Property::CorrelationData.put_binary(out, self.correlation_data);
        Property::ContentType.put_text(out, self.content_type);
        self.user.put(out);
    }

    /// Whether there is anything to forward to subscribers.
    #[inline]
    pub fn has_forwarded(&self) -> bool {
        self.payload_format_utf8.is_some()
            || self.response_topic.is_some()
            || self.correlation_data.is_some()
            || self.content_type.is_some()
            || !self.user.is_empty()
    }

    /// Bytes that `put_forwarded` appends.
    pub(super) fn forwarded_bytes(&self) -> usize {
        let field = |bytes: Option<usize>| bytes.map_or(0, |bytes| 3 + bytes);
        self.payload_format_utf8.map_or(0, |_| 2)
            + field(self.response_topic.map(str::len))
            + field(self.correlation_data.map(<[u8]>::len))
            + field(self.content_type.map(str::len))
            + self.user.encoded_bytes()
    }
}

/// The subscription identifiers of one PUBLISH, in order; the same one may repeat.
#[derive(Clone, Copy)]
pub struct SubscriptionIds<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Among the other properties of a section that was checked when it was decoded.
    Section {
        section: &'a [u8],
        count: u32,
    },
    Ids(&'a [u32]),
}

impl<'a> SubscriptionIds<'a> {
    /// These identifiers, each 1 to 268,435,455, to be encoded.
    pub const fn from_slice(ids: &'a [u32]) -> SubscriptionIds<'a> {
        SubscriptionIds(Source::Ids(ids))
    }

    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Section { count, .. } => count as usize,
            Source::Ids(ids) => ids.len(),
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identifiers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (section, ids): (&[u8], &[u32]) = match self.0 {
            Source::Section { count: 0, .. } => (&[], &[]),
            Source::Section { section, .. } => (section, &[]),
            Source::Ids(ids) => (&[], ids),
        };
        let decoded = values(section, Property::SubscriptionId).map(|value| {
            Reader::new(value).variable_integer().expect("the section was checked when it was decoded")
        });
        decoded.chain(ids.iter().copied())
    }
}

impl Default for SubscriptionIds<'_> {
    fn default() -> Self {
        SubscriptionIds::from_slice(&[])
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &SubscriptionIds<'_>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
