//! SUBACK (section 3.9).

use super::ack::{AckProperties, check_reason};
use super::frame::{Frame, PacketType, variable_integer_bytes};
use super::packet_id::PacketId;
use super::put::{put_packet, put_packet_id};
use super::reader::Reader;
use super::version::Version;
use super::violation::Violation;

/// The answer to SUBSCRIBE: one code per filter, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suback<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Properties; the default in v3.
    pub properties: AckProperties<'a>,
    /// Granted QoS or refusal, each the number of a `ReasonCode`. v3 knows one refusal, 0x80, and is sent it for all.
    pub codes: &'a [u8],
}

/// Bytes of a v5 SUBACK or UNSUBACK of `codes` codes without properties: known before there are any.
pub fn ack_of_codes_bytes(codes: usize) -> usize {
    let body_bytes = 2 + 1 + codes;
    1 + variable_integer_bytes(body_bytes) + body_bytes
}

const REFUSAL_V3: u8 = 0x80;

impl<'a> Suback<'a> {
    /// Reads the body of a SUBACK frame.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Suback<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        let packet_id = body.packet_id()?;
        let properties = if version.is_v5() { AckProperties::decode(&mut body)? } else { Default::default() };
        let codes = body.remainder();
        if codes.is_empty() {
            return Err(Violation::AcknowledgementWithoutCode);
        }
        for &code in codes {
            if version.is_v5() {
                check_reason(code, PacketType::Suback)?;
            } else if code > 2 && code != REFUSAL_V3 {
                return Err(Violation::ReasonCodeInvalid);
            }
        }
        Ok(Suback { packet_id, properties, codes })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Suback.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            if version.is_v5() {
                self.properties.encode(out);
                out.extend_from_slice(self.codes);
            } else {
                out.extend(self.codes.iter().map(|&code| code.min(REFUSAL_V3)));
            }
        });
    }
}
