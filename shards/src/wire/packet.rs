//! Any packet, and the two that have no content.

use super::ack::Ack;
use super::auth::Auth;
use super::connack::Connack;
use super::connect::Connect;
use super::disconnect::Disconnect;
use super::frame::{Frame, PacketType, check_version};
use super::publish::Publish;
use super::suback::Suback;
use super::subscribe::Subscribe;
use super::unsuback::Unsuback;
use super::unsubscribe::Unsubscribe;
use super::version::Version;
use super::violation::Violation;

/// A packet of either direction, borrowing from the input.
///
/// Variants differ in size: a decoded packet lives on the stack for one step, and boxing the large ones would allocate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, clippy::large_enum_variant)] // each is the packet of its name
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Reads a frame as `version` has it. CONNECT says its own version, and is read as that whatever `version` is.
    ///
    /// Whether the packet may come from that side and at that time is for the session to say.
    #[inline]
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Packet<'a>, Violation> {
        Ok(match check_version(frame.first, version)? {
            PacketType::Publish => Packet::Publish(Publish::decode(frame, version)?),
            PacketType::Puback => Packet::Puback(Ack::decode(frame, version)?),
            PacketType::Pubrec => Packet::Pubrec(Ack::decode(frame, version)?),
            PacketType::Pubrel => Packet::Pubrel(Ack::decode(frame, version)?),
            PacketType::Pubcomp => Packet::Pubcomp(Ack::decode(frame, version)?),
            PacketType::Pingreq => decode_empty(frame, Packet::Pingreq)?,
            PacketType::Pingresp => decode_empty(frame, Packet::Pingresp)?,
            PacketType::Connect => Packet::Connect(Connect::decode(frame)?),
            PacketType::Connack => Packet::Connack(Connack::decode(frame, version)?),
            PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(frame, version)?),
            PacketType::Suback => Packet::Suback(Suback::decode(frame, version)?),
            PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(frame, version)?),
            PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(frame, version)?),
            PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(frame, version)?),
            PacketType::Auth => Packet::Auth(Auth::decode(frame)?),
        })
    }

    /// Appends the packet as `version` has it; what that version cannot say is left out. CONNECT is written in its own version.
    ///
    /// Panics when a field is longer than the protocol can express, or on AUTH in v3, which has none.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Packet::Connect(connect) => connect.encode(out),
            Packet::Connack(connack) => connack.encode(version, out),
            Packet::Publish(publish) => publish.encode(version, out),
            Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
                ack.encode(self.packet_type(), version, out);
            }
            Packet::Subscribe(subscribe) => subscribe.encode(version, out),
            Packet::Suback(suback) => suback.encode(version, out),
            Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Packet::Unsuback(unsuback) => unsuback.encode(version, out),
            Packet::Pingreq | Packet::Pingresp => {
                out.extend_from_slice(&[self.packet_type().first_byte(), 0]);
            }
            Packet::Disconnect(disconnect) => disconnect.encode(version, out),
            Packet::Auth(auth) => {
                assert!(version.is_v5(), "AUTH exists only in v5");
                auth.encode(out);
            }
        }
    }

    /// Its type.
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        match self {
            Packet::Connect(_) => PacketType::Connect,
            Packet::Connack(_) => PacketType::Connack,
            Packet::Publish(_) => PacketType::Publish,
            Packet::Puback(_) => PacketType::Puback,
            Packet::Pubrec(_) => PacketType::Pubrec,
            Packet::Pubrel(_) => PacketType::Pubrel,
            Packet::Pubcomp(_) => PacketType::Pubcomp,
            Packet::Subscribe(_) => PacketType::Subscribe,
            Packet::Suback(_) => PacketType::Suback,
            Packet::Unsubscribe(_) => PacketType::Unsubscribe,
            Packet::Unsuback(_) => PacketType::Unsuback,
            Packet::Pingreq => PacketType::Pingreq,
            Packet::Pingresp => PacketType::Pingresp,
            Packet::Disconnect(_) => PacketType::Disconnect,
            Packet::Auth(_) => PacketType::Auth,
        }
    }
}

/// PINGREQ and PINGRESP (sections 3.12 and 3.13): a fixed header and nothing else.
fn decode_empty<'a>(frame: Frame<'_>, packet: Packet<'a>) -> Result<Packet<'a>, Violation> {
    if frame.body.is_empty() { Ok(packet) } else { Err(Violation::TrailingBytes) }
}
