//! AUTH (section 3.15), only in v5.

use super::ack::read_reason;
use super::frame::{Frame, PacketType};
use super::property::{Property, PropertyReader};
use super::put::{put_packet, put_sized};
use super::reader::Reader;
use super::reason::ReasonCode;
use super::user_properties::UserProperties;
use super::violation::Violation;

/// A step of extended authentication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: AuthProperties<'a>,
}

/// The properties of AUTH (section 3.15.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuthProperties<'a> {
    /// Name of the method.
    pub authentication_method: Option<&'a str>,
    /// Its data.
    pub authentication_data: Option<&'a [u8]>,
    /// For a person who reads a log.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// Reads the body of an AUTH frame.
    pub fn decode(frame: Frame<'a>) -> Result<Auth<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        if body.is_empty() {
            return Ok(Auth { reason: ReasonCode::Success, properties: AuthProperties::default() });
        }
        let reason = read_reason(&mut body, PacketType::Auth)?;
        let properties = AuthProperties::decode(PropertyReader::open(&mut body)?)?;
        body.finish()?;
        Ok(Auth { reason, properties })
    }

    /// Appends the packet, in its shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Auth.first_byte(), |out| {
            if self.reason != ReasonCode::Success || self.properties != AuthProperties::default() {
                out.push(self.reason as u8);
                put_sized(out, 0, |out| self.properties.put(out));
            }
        });
    }
}

impl<'a> AuthProperties<'a> {
    fn decode(mut section: PropertyReader<'a>) -> Result<AuthProperties<'a>, Violation> {
        let mut properties = AuthProperties::default();
        while let Some(property) = section.next_property()? {
            match property {
                Property::AuthenticationMethod => section.text(&mut properties.authentication_method)?,
                Property::AuthenticationData => section.binary(&mut properties.authentication_data)?,
                Property::ReasonString => section.text(&mut properties.reason_string)?,
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        properties.user = section.user();
        Ok(properties)
    }

    fn put(&self, out: &mut Vec<u8>) {
        Property::AuthenticationMethod.put_text(out, self.authentication_method);
        Property::AuthenticationData.put_binary(out, self.authentication_data);
        Property::ReasonString.put_text(out, self.reason_string);
        self.user.put(out);
    }
}
