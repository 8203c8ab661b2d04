//! CONNECT (section 3.1).

use super::frame::{Frame, PacketType};
use super::property::{Property, PropertyReader};
use super::put::{put_binary, put_packet, put_sized, put_u16};
use super::qos::QoS;
use super::reader::Reader;
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;
use super::will::Will;
use crate::base::limits::CLIENT_ID_BYTES_MAX;
use std::num::{NonZeroU16, NonZeroU32};

/// The request to open or resume a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    /// The version that the connection speaks from here on.
    pub version: Version,
    /// Whether an existing session is discarded; v3 calls it clean session.
    pub clean_start: bool,
    /// Longest silence that the client promises, in seconds; 0 is for ever.
    pub keep_alive: u16,
    /// The client identifier; may be empty. What an empty one means is for the session to say.
    pub client_id: &'a str,
    /// The will.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password; without user name only in v5.
    pub password: Option<&'a [u8]>,
    /// Properties; the default in v3.
    pub properties: ConnectProperties<'a>,
}

/// The properties of CONNECT (section 3.1.2.11). Absent ones stand for the defaults that the specification names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectProperties<'a> {
    /// Session expiry interval in seconds; `u32::MAX` is never.
    pub session_expiry: Option<u32>,
    /// QoS 1 and 2 messages that the client takes unacknowledged; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Bytes of the largest packet that the client takes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Highest topic alias that the client takes; absent is 0, none.
    pub topic_alias_maximum: Option<u16>,
    /// Whether CONNACK may carry response information; absent is no.
    pub request_response_information: Option<bool>,
    /// Whether reason strings and user properties may be sent beside PUBLISH, CONNACK and DISCONNECT; absent is yes.
    pub request_problem_information: Option<bool>,
    /// Name of the method of extended authentication.
    pub authentication_method: Option<&'a str>,
    /// Its data; never without the method.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties.
    pub user: UserProperties<'a>,
}

const CLEAN_START: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 1 << 5;
const PASSWORD: u8 = 1 << 6;
const USERNAME: u8 = 1 << 7;

impl<'a> Connect<'a> {
    /// A CONNECT with nothing but these, keep-alive off.
    pub fn new(version: Version, client_id: &'a str, clean_start: bool) -> Connect<'a> {
        Connect {
            version,
            clean_start,
            keep_alive: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }

    /// The version that a CONNECT asks for, as long as name and level can be read: a refusal must be written in some version, also where the
    /// rest of the packet is malformed.
    pub fn version_of(frame: Frame<'_>) -> Result<Version, Violation> {
        read_version(&mut Reader::new(frame.body))
    }

    /// Reads the body of a CONNECT frame; the version is in it.
    pub fn decode(frame: Frame<'a>) -> Result<Connect<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        let version = read_version(&mut body)?;
        let flags = check_flags(body.u8()?, version)?;
        let keep_alive = body.u16()?;
        let properties = ConnectProperties::decode(PropertyReader::open_in(&mut body, version)?)?;
        let client_id = body.text()?;
        if client_id.len() > CLIENT_ID_BYTES_MAX {
            return Err(Violation::ClientIdTooLong);
        }
        let will = if flags & WILL != 0 {
            let qos = QoS::from_bits((flags >> WILL_QOS_SHIFT) & 0b11).ok_or(Violation::WillQosReserved)?;
            Some(Will::decode(&mut body, version, qos, flags & WILL_RETAIN != 0)?)
        } else {
            None
        };
        // MQTT 3.1 lets the remaining length overrule these two flags: a client may set them and send nothing (section "User name").
        let missing = |body: &Reader<'_>| version == Version::V31 && body.is_empty();
        let username = match flags & USERNAME != 0 && !missing(&body) {
            true => Some(body.text()?),
            false => None,
        };
        let password = match flags & PASSWORD != 0 && !missing(&body) {
            true => Some(body.binary()?),
            false => None,
        };
        body.finish()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Connect { version, clean_start, keep_alive, client_id, will, username, password, properties })
    }

    /// Appends the packet, in its own version.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Connect.first_byte(), |out| {
            put_binary(out, self.version.protocol_name().as_bytes());
            out.extend_from_slice(&[self.version.level(), self.flags()]);
            put_u16(out, self.keep_alive);
            if self.version.is_v5() {
                put_sized(out, 0, |out| self.properties.put(out));
            }
            put_binary(out, self.client_id.as_bytes());
            if let Some(will) = &self.will {
                will.encode(self.version, out);
            }
            if let Some(username) = self.username {
                put_binary(out, username.as_bytes());
            }
            if let Some(password) = self.password {
                put_binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let set = |flag: u8, on: bool| if on { flag } else { 0 };
        let will = self
            .will
            .map_or(0, |will| WILL | (will.qos as u8) << WILL_QOS_SHIFT | set(WILL_RETAIN, will.retain));
        set(CLEAN_START, self.clean_start)
            | will
            | set(PASSWORD, self.password.is_some())
            | set(USERNAME, self.username.is_some())
    }
}

/// Protocol name and level.
fn read_version(body: &mut Reader<'_>) -> Result<Version, Violation> {
    let name = body.binary()?;
    let level = body.u8()?;
    match (name, level) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQIsdp" | b"MQTT", _) => Err(Violation::UnsupportedProtocolVersion),
        _ => Err(Violation::ProtocolNameUnknown),
    }
}

/// The connect flags, if they may stand in `version`. MQTT 3.1 disregards the reserved bit, and will QoS and retain without will.
fn check_flags(flags: u8, version: Version) -> Result<u8, Violation> {
    if flags & PASSWORD != 0 && flags & USERNAME == 0 && !version.is_v5() {
        return Err(Violation::PasswordWithoutUserName);
    }
    if version == Version::V31 {
        return Ok(flags);
    }
    if flags & 1 != 0 {
        return Err(Violation::ConnectFlagReserved);
    }
    if flags & WILL == 0 {
        if (flags >> WILL_QOS_SHIFT) & 0b11 != 0 {
            return Err(Violation::WillQosWithoutWill);
        }
        if flags & WILL_RETAIN != 0 {
            return Err(Violation::WillRetainWithoutWill);
        }
    }
    Ok(flags)
}

impl<'a> ConnectProperties<'a> {
    fn decode(mut section: PropertyReader<'a>) -> Result<ConnectProperties<'a>, Violation> {
        let mut properties = ConnectProperties::default();
        while let Some(property) = section.next_property()? {
            let p = &mut properties;
            match property {
                Property::SessionExpiry => section.u32(&mut p.session_expiry)?,
                Property::ReceiveMaximum => {
                    section.non_zero_u16(&mut p.receive_maximum, Violation::ReceiveMaximumZero)?;
                }
                Property::MaximumPacketSize => {
                    section.non_zero_u32(&mut p.maximum_packet_size, Violation::MaximumPacketSizeZero)?;
                }
                Property::TopicAliasMaximum => section.u16(&mut p.topic_alias_maximum)?,
                Property::RequestResponseInformation => {
                    section.boolean(&mut p.request_response_information)?
                }
                Property::RequestProblemInformation => section.boolean(&mut p.request_problem_information)?,
                Property::AuthenticationMethod => section.text(&mut p.authentication_method)?,
                Property::AuthenticationData => section.binary(&mut p.authentication_data)?,
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(Violation::AuthDataWithoutMethod);
        }
        properties.user = section.user();
        Ok(properties)
    }

    fn put(&self, out: &mut Vec<u8>) {
        Property::SessionExpiry.put_u32(out, self.session_expiry);
        Property::ReceiveMaximum.put_u16(out, self.receive_maximum.map(NonZeroU16::get));
        Property::MaximumPacketSize.put_u32(out, self.maximum_packet_size.map(NonZeroU32::get));
        Property::TopicAliasMaximum.put_u16(out, self.topic_alias_maximum);
        Property::RequestResponseInformation.put_flag(out, self.request_response_information);
        Property::RequestProblemInformation.put_flag(out, self.request_problem_information);
        Property::AuthenticationMethod.put_text(out, self.authentication_method);
        Property::AuthenticationData.put_binary(out, self.authentication_data);
        self.user.put(out);
    }
}
