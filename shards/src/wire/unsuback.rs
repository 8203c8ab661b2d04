//! UNSUBACK (section 3.11).

use super::ack::{AckProperties, check_reason};
use super::frame::{Frame, PacketType};
use super::packet_id::PacketId;
use super::put::{put_packet, put_packet_id};
use super::reader::Reader;
use super::version::Version;
use super::violation::Violation;

/// The answer to UNSUBSCRIBE: in v5 one code per filter, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsuback<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Properties; the default in v3.
    pub properties: AckProperties<'a>,
    /// Each the number of a `ReasonCode`; empty in v3.
    pub codes: &'a [u8],
}

impl<'a> Unsuback<'a> {
    /// Reads the body of an UNSUBACK frame.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Unsuback<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        let packet_id = body.packet_id()?;
        if !version.is_v5() {
            body.finish()?;
            return Ok(Unsuback { packet_id, properties: AckProperties::default(), codes: &[] });
        }
        let properties = AckProperties::decode(&mut body)?;
        let codes = body.remainder();
        if codes.is_empty() {
            return Err(Violation::AcknowledgementWithoutCode);
        }
        for &code in codes {
            check_reason(code, PacketType::Unsuback)?;
        }
        Ok(Unsuback { packet_id, properties, codes })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Unsuback.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            if version.is_v5() {
                self.properties.encode(out);
                out.extend_from_slice(self.codes);
            }
        });
    }
}
