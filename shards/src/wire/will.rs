//! The will of a CONNECT (section 3.1.3.2 to 3.1.3.4).

use super::property::{Property, PropertyReader};
use super::publish::PublishProperties;
use super::put::{put_binary, put_sized};
use super::qos::QoS;
use super::reader::Reader;
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;

/// The message that the server publishes when the connection ends badly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// QoS of the publication.
    pub qos: QoS,
    /// Whether it is published as a retained message.
    pub retain: bool,
    /// A valid topic name.
    pub topic: &'a str,
    /// The payload, of any content.
    pub payload: &'a [u8],
    /// Properties; the default in v3.
    pub properties: WillProperties<'a>,
}

/// The will properties (section 3.1.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WillProperties<'a> {
    /// Will delay interval in seconds.
    pub delay: Option<u32>,
    /// Payload format indicator: whether the payload is UTF-8 text.
    pub payload_format_utf8: Option<bool>,
    /// Message expiry interval in seconds; it starts when the will is published.
    pub message_expiry: Option<u32>,
    /// Description of the content.
    pub content_type: Option<&'a str>,
    /// Topic for the reply: a valid topic name.
    pub response_topic: Option<&'a str>,
    /// Tells the requester which request a reply belongs to.
    pub correlation_data: Option<&'a [u8]>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> Will<'a> {
    /// Reads will properties, topic and payload; QoS and retain stand in the connect flags.
    pub(super) fn decode(
        body: &mut Reader<'a>,
        version: Version,
        qos: QoS,
        retain: bool,
    ) -> Result<Will<'a>, Violation> {
        let properties = WillProperties::decode(PropertyReader::open_in(body, version)?)?;
        Ok(Will { qos, retain, topic: body.topic()?, payload: body.binary()?, properties })
    }

    pub(super) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if version.is_v5() {
            put_sized(out, 0, |out| self.properties.put(out));
        }
        put_binary(out, self.topic.as_bytes());
        put_binary(out, self.payload);
    }
}

impl<'a> WillProperties<'a> {
    fn decode(mut section: PropertyReader<'a>) -> Result<WillProperties<'a>, Violation> {
        let mut properties = WillProperties::default();
        while let Some(property) = section.next_property()? {
            match property {
                Property::WillDelay => section.u32(&mut properties.delay)?,
                Property::PayloadFormat => {
                    section.flag(&mut properties.payload_format_utf8, Violation::PayloadFormatInvalid)?;
                }
                Property::MessageExpiry => section.u32(&mut properties.message_expiry)?,
                Property::ContentType => section.text(&mut properties.content_type)?,
                Property::ResponseTopic => section.response_topic(&mut properties.response_topic)?,
                Property::CorrelationData => section.binary(&mut properties.correlation_data)?,
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        properties.user = section.user();
        Ok(properties)
    }

    fn put(&self, out: &mut Vec<u8>) {
        Property::WillDelay.put_u32(out, self.delay);
        Property::MessageExpiry.put_u32(out, self.message_expiry);
        self.to_publish().put_forwarded(out);
    }

    /// The properties of the PUBLISH that the will becomes.
    pub(super) fn to_publish(self) -> PublishProperties<'a> {
        PublishProperties {
            payload_format_utf8: self.payload_format_utf8,
            message_expiry: self.message_expiry,
            response_topic: self.response_topic,
            correlation_data: self.correlation_data,
            content_type: self.content_type,
            user: self.user,
            ..PublishProperties::default()
        }
    }
}
