//! CONNACK (section 3.2).

use super::ack::check_reason;
use super::frame::{Frame, PacketType};
use super::property::{Property, PropertyReader, once};
use super::put::{put_packet, put_sized};
use super::qos::QoS;
use super::reader::Reader;
use super::reason::{ConnectReturnCode, ReasonCode};
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;
use std::num::{NonZeroU16, NonZeroU32};

/// The answer to CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connack<'a> {
    /// Whether a session was resumed; never with a refusal. MQTT 3.1 cannot say it.
    pub session_present: bool,
    /// How it went. In v3 it travels as a [`ConnectReturnCode`].
    pub reason: ReasonCode,
    /// Properties; the default in v3.
    pub properties: ConnackProperties<'a>,
}

/// The properties of CONNACK (section 3.2.2.3). Absent ones stand for the defaults that the specification names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnackProperties<'a> {
    /// Session expiry interval in seconds, where it is not what the client asked for.
    pub session_expiry: Option<u32>,
    /// QoS 1 and 2 messages that the server takes unacknowledged; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Highest QoS that the server takes, 0 or 1; absent is 2.
    pub maximum_qos: Option<QoS>,
    /// Whether the server keeps retained messages; absent is yes.
    pub retain_available: Option<bool>,
    /// Bytes of the largest packet that the server takes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The client identifier that the server chose for a client without one.
    pub assigned_client_id: Option<&'a str>,
    /// Highest topic alias that the server takes; absent is 0, none.
    pub topic_alias_maximum: Option<u16>,
    /// For a person who reads a log.
    pub reason_string: Option<&'a str>,
    /// Whether filters may have wildcards; absent is yes.
    pub wildcard_available: Option<bool>,
    /// Whether subscriptions may have identifiers; absent is yes.
    pub subscription_ids_available: Option<bool>,
    /// Whether shared subscriptions are served; absent is yes.
    pub shared_available: Option<bool>,
    /// The keep-alive that the client must use instead of its own, in seconds.
    pub server_keep_alive: Option<u16>,
    /// What a client may build response topics from.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// Name of the method of extended authentication.
    pub authentication_method: Option<&'a str>,
    /// Its data.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> Connack<'a> {
    /// A refusal without properties.
    pub fn refusal(reason: ReasonCode) -> Connack<'static> {
        Connack { session_present: false, reason, properties: ConnackProperties::default() }
    }

    /// Reads the body of a CONNACK frame.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Connack<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        let flags = body.u8()?;
        let code = body.u8()?;
        // In MQTT 3.1 the whole byte is reserved and unused.
        if version != Version::V31 && flags > 1 {
            return Err(Violation::ConnackFlagsReserved);
        }
        let session_present = version != Version::V31 && flags == 1;
        let reason = if version.is_v5() {
            check_reason(code, PacketType::Connack)?
        } else {
            ConnectReturnCode::from_u8(code).ok_or(Violation::ConnackReturnCodeReserved)?.to_reason()
        };
        if session_present && reason != ReasonCode::Success {
            return Err(Violation::SessionPresentOnRefusal);
        }
        let properties = ConnackProperties::decode(PropertyReader::open_in(&mut body, version)?)?;
        body.finish()?;
        Ok(Connack { session_present, reason, properties })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let session_present = self.session_present && version != Version::V31;
        put_packet(out, PacketType::Connack.first_byte(), |out| {
            out.push(u8::from(session_present));
            if version.is_v5() {
                out.push(self.reason as u8);
                put_sized(out, 0, |out| self.properties.put(out));
            } else {
                out.push(self.reason.to_connect_return() as u8);
            }
        });
    }
}

impl<'a> ConnackProperties<'a> {
    fn decode(mut section: PropertyReader<'a>) -> Result<ConnackProperties<'a>, Violation> {
        let mut properties = ConnackProperties::default();
        while let Some(property) = section.next_property()? {
            properties.take(property, &mut section)?;
        }
        properties.user = section.user();
        Ok(properties)
    }

    fn take(&mut self, property: Property, section: &mut PropertyReader<'a>) -> Result<(), Violation> {
        match property {
            Property::SessionExpiry => section.u32(&mut self.session_expiry),
            Property::ReceiveMaximum => {
                section.non_zero_u16(&mut self.receive_maximum, Violation::ReceiveMaximumZero)
            }
            Property::MaximumQos => {
                let mut above_zero = None;
                section.flag(&mut above_zero, Violation::MaximumQosInvalid)?;
                let qos = if above_zero == Some(true) { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                once(&mut self.maximum_qos, qos)
            }
            Property::RetainAvailable => section.boolean(&mut self.retain_available),
            Property::MaximumPacketSize => {
                section.non_zero_u32(&mut self.maximum_packet_size, Violation::MaximumPacketSizeZero)
            }
            Property::AssignedClientId => section.text(&mut self.assigned_client_id),
            Property::TopicAliasMaximum => section.u16(&mut self.topic_alias_maximum),
            Property::ReasonString => section.text(&mut self.reason_string),
            Property::WildcardAvailable => section.boolean(&mut self.wildcard_available),
            Property::SubscriptionIdsAvailable => section.boolean(&mut self.subscription_ids_available),
            Property::SharedAvailable => section.boolean(&mut self.shared_available),
            Property::ServerKeepAlive => section.u16(&mut self.server_keep_alive),
            Property::ResponseInformation => section.text(&mut self.response_information),
            Property::ServerReference => section.text(&mut self.server_reference),
            Property::AuthenticationMethod => section.text(&mut self.authentication_method),
            Property::AuthenticationData => section.binary(&mut self.authentication_data),
            _ => Err(Violation::PropertyMisplaced),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        // Maximum QoS 2 is said by leaving the property out.
        let maximum_qos = self.maximum_qos.filter(|&qos| qos != QoS::ExactlyOnce);
        Property::SessionExpiry.put_u32(out, self.session_expiry);
        Property::ReceiveMaximum.put_u16(out, self.receive_maximum.map(NonZeroU16::get));
        Property::MaximumQos.put_u8(out, maximum_qos.map(|qos| qos as u8));
        Property::RetainAvailable.put_flag(out, self.retain_available);
        Property::MaximumPacketSize.put_u32(out, self.maximum_packet_size.map(NonZeroU32::get));
        Property::AssignedClientId.put_text(out, self.assigned_client_id);
        Property::TopicAliasMaximum.put_u16(out, self.topic_alias_maximum);
        Property::ReasonString.put_text(out, self.reason_string);
        Property::WildcardAvailable.put_flag(out, self.wildcard_available);
        Property::SubscriptionIdsAvailable.put_flag(out, self.subscription_ids_available);
        Property::SharedAvailable.put_flag(out, self.shared_available);
        Property::ServerKeepAlive.put_u16(out, self.server_keep_alive);
        Property::ResponseInformation.put_text(out, self.response_information);
        Property::ServerReference.put_text(out, self.server_reference);
        Property::AuthenticationMethod.put_text(out, self.authentication_method);
        Property::AuthenticationData.put_binary(out, self.authentication_data);
        self.user.put(out);
    }
}
