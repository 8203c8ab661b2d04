//! DISCONNECT (section 3.14).

use super::ack::read_reason;
use super::frame::{Frame, PacketType};
use super::property::{Property, PropertyReader};
use super::put::{put_packet, put_sized};
use super::reader::Reader;
use super::reason::ReasonCode;
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;

/// The last packet of a connection. v3 servers send none, and v3 clients cannot say why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    /// Why; `Success` is a normal disconnection, which discards the will.
    pub reason: ReasonCode,
    /// Properties; the default in v3.
    pub properties: DisconnectProperties<'a>,
}

/// The properties of DISCONNECT (section 3.14.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DisconnectProperties<'a> {
    /// New session expiry interval in seconds; only from a client.
    pub session_expiry: Option<u32>,
    /// For a person who reads a log.
    pub reason_string: Option<&'a str>,
    /// Another server to use; only from a server.
    pub server_reference: Option<&'a str>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// `reason`, without properties.
    pub fn new(reason: ReasonCode) -> Disconnect<'static> {
        Disconnect { reason, properties: DisconnectProperties::default() }
    }

    /// Reads the body of a DISCONNECT frame.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Disconnect<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        if body.is_empty() {
            return Ok(Disconnect::new(ReasonCode::Success));
        }
        if !version.is_v5() {
            return Err(Violation::TrailingBytes);
        }
        let reason = read_reason(&mut body, PacketType::Disconnect)?;
        // A remaining length of 1 has no property length (section 3.14.2.2.1).
        let properties = if body.is_empty() {
            DisconnectProperties::default()
        } else {
            DisconnectProperties::decode(PropertyReader::open(&mut body)?)?
        };
        body.finish()?;
        Ok(Disconnect { reason, properties })
    }

    /// Appends the packet, in its shortest form.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let silent = self.properties == DisconnectProperties::default();
        put_packet(out, PacketType::Disconnect.first_byte(), |out| {
            if !version.is_v5() || (silent && self.reason == ReasonCode::Success) {
                return;
            }
            out.push(self.reason as u8);
            if !silent {
                put_sized(out, 0, |out| self.properties.put(out));
            }
        });
    }
}

impl<'a> DisconnectProperties<'a> {
    fn decode(mut section: PropertyReader<'a>) -> Result<DisconnectProperties<'a>, Violation> {
        let mut properties = DisconnectProperties::default();
        while let Some(property) = section.next_property()? {
            match property {
                Property::SessionExpiry => section.u32(&mut properties.session_expiry)?,
                Property::ReasonString => section.text(&mut properties.reason_string)?,
                Property::ServerReference => section.text(&mut properties.server_reference)?,
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        properties.user = section.user();
        Ok(properties)
    }

    fn put(&self, out: &mut Vec<u8>) {
        Property::SessionExpiry.put_u32(out, self.session_expiry);
        Property::ReasonString.put_text(out, self.reason_string);
        Property::ServerReference.put_text(out, self.server_reference);
        self.user.put(out);
    }
}
