//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7): one shape, four types.

use super::frame::{Frame, PacketType};
use super::packet_id::PacketId;
use super::property::{Property, PropertyReader};
use super::put::{put_packet_id, put_sized};
use super::reader::Reader;
use super::reason::ReasonCode;
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;

/// A step of a QoS 1 or QoS 2 exchange. Which one is said beside it, by [`PacketType`] or the variant of `Packet`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// The PUBLISH it belongs to.
    pub packet_id: PacketId,
    /// How it went; always `Success` in v3.
    pub reason: ReasonCode,
    /// Properties; the default in v3.
    pub properties: AckProperties<'a>,
}

/// The properties that every acknowledgement has, SUBACK and UNSUBACK included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AckProperties<'a> {
    /// For a person who reads a log.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// Success, without properties.
    #[inline]
    pub fn new(packet_id: PacketId) -> Ack<'static> {
        Ack::with_reason(packet_id, ReasonCode::Success)
    }

    /// `reason`, without properties.
    #[inline]
    pub fn with_reason(packet_id: PacketId, reason: ReasonCode) -> Ack<'static> {
        Ack { packet_id, reason, properties: AckProperties::default() }
    }

    /// Reads the body of a frame of one of the four types.
    #[inline]
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Ack<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        let packet_id = body.packet_id()?;
        if body.is_empty() {
            return Ok(Ack::new(packet_id));
        }
        if !version.is_v5() {
            return Err(Violation::TrailingBytes);
        }
        let reason = read_reason(&mut body, frame.packet_type())?;
        // A remaining length of 3 has no property length (section 3.4.2.2.1).
        let properties =
            if body.is_empty() { AckProperties::default() } else { AckProperties::decode(&mut body)? };
        body.finish()?;
        Ok(Ack { packet_id, reason, properties })
    }

    /// Appends the packet as `packet_type`, in its shortest form.
    #[inline]
    pub fn encode(&self, packet_type: PacketType, version: Version, out: &mut Vec<u8>) {
        let [high, low] = self.packet_id.get().to_be_bytes();
        let first = packet_type.first_byte();
        if !version.is_v5() || (self.reason == ReasonCode::Success && self.properties.is_empty()) {
            out.extend_from_slice(&[first, 2, high, low]);
        } else if self.properties.is_empty() {
            out.extend_from_slice(&[first, 3, high, low, self.reason as u8]);
        } else {
            out.push(first);
            put_sized(out, 0, |out| {
                put_packet_id(out, self.packet_id);
                out.push(self.reason as u8);
                self.properties.encode(out);
            });
        }
    }
}

/// A reason code that may stand in `packet_type`.
#[inline]
pub(super) fn read_reason(body: &mut Reader<'_>, packet_type: PacketType) -> Result<ReasonCode, Violation> {
    check_reason(body.u8()?, packet_type)
}

#[inline]
pub(super) fn check_reason(code: u8, packet_type: PacketType) -> Result<ReasonCode, Violation> {
    match ReasonCode::try_from(code) {
        Ok(reason) if reason.stands_in(packet_type) => Ok(reason),
        _ => Err(Violation::ReasonCodeInvalid),
    }
}

impl<'a> AckProperties<'a> {
    /// Whether there is nothing to say.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user.is_empty()
    }

    pub(super) fn decode(body: &mut Reader<'a>) -> Result<AckProperties<'a>, Violation> {
        let mut section = PropertyReader::open(body)?;
        let mut properties = AckProperties::default();
        while let Some(property) = section.next_property()? {
            match property {
                Property::ReasonString => section.text(&mut properties.reason_string)?,
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        properties.user = section.user();
        Ok(properties)
    }

    /// Appends the section with its length.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_sized(out, 0, |out| {
            Property::ReasonString.put_text(out, self.reason_string);
            self.user.put(out);
        });
    }
}
