//! The fixed header: cutting a stream of bytes into frames (section 2.1).

use super::put::put_packet;
use super::version::Version;
use super::violation::Violation;
use crate::base::limits::{VARIABLE_INTEGER_BYTES_MAX, VARIABLE_INTEGER_MAX};

/// The type in the upper half of a packet's first byte (section 2.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs)] // each is the packet of its name
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// All of them, in numeric order.
    pub const ALL: [PacketType; 15] = [
        PacketType::Connect,
        PacketType::Connack,
        PacketType::Publish,
        PacketType::Puback,
        PacketType::Pubrec,
        PacketType::Pubrel,
        PacketType::Pubcomp,
        PacketType::Subscribe,
        PacketType::Suback,
        PacketType::Unsubscribe,
        PacketType::Unsuback,
        PacketType::Pingreq,
        PacketType::Pingresp,
        PacketType::Disconnect,
        PacketType::Auth,
    ];

    /// The type in a packet's first byte; `None` for the reserved type 0.
    #[inline]
    pub const fn from_first(first: u8) -> Option<PacketType> {
        match first >> 4 {
            0 => None,
            number => Some(PacketType::ALL[number as usize - 1]),
        }
    }

    /// The first byte of a packet of this type, with the flags that are prescribed for it (0 for PUBLISH, whose flags say something).
    #[inline]
    pub const fn first_byte(self) -> u8 {
        let flags = match self {
            PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }
}

/// One packet, cut out of the stream but not yet read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Packet type and flags.
    pub first: u8,
    /// Everything after the fixed header.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Its type. Panics on type 0, of which [`split`] makes no frame.
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        PacketType::from_first(self.first).expect("split refuses the reserved packet type")
    }

    /// The lower four bits of the first byte.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.first & 0x0f
    }

    /// Bytes that it takes on the wire, fixed header included: how far the input moves on.
    #[inline]
    pub fn wire_bytes(&self) -> usize {
        1 + variable_integer_bytes(self.body.len()) + self.body.len()
    }

    /// The packet as it was on the wire: lengths are minimal there [MQTT-1.5.5-1].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.wire_bytes());
        put_packet(&mut bytes, self.first, |out| out.extend_from_slice(self.body));
        bytes
    }
}

/// What stands at the front of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split<'a> {
    /// A whole packet; the next one follows after [`Frame::wire_bytes`].
    Whole(Frame<'a>),
    /// The beginning of one.
    Partial {
        /// Bytes that the input must have in total before it is worth another look.
        bytes: usize,
    },
}

/// Cuts the first packet off `input`, which may hold less or more than one.
///
/// `packet_bytes_max` counts the fixed header. Breaches are reported at the first byte that shows them: type and flags at once, the size
/// as soon as the length is read, before anything of it has to be stored.
#[inline]
pub fn split(input: &[u8], packet_bytes_max: usize) -> Result<Split<'_>, Violation> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(Split::Partial { bytes: 2 });
    };
    check_flags(first)?;
    let Some((length, length_bytes)) = read_variable_integer(rest)? else {
        return Ok(Split::Partial { bytes: input.len() + 1 });
    };
    let bytes = 1 + length_bytes + length as usize;
    if bytes > packet_bytes_max {
        return Err(Violation::PacketTooLarge);
    }
    Ok(match input.get(1 + length_bytes..bytes) {
        Some(body) => Split::Whole(Frame { first, body }),
        None => Split::Partial { bytes },
    })
}

/// The rules of the first byte that hold in every version (sections 2.1.2 and 2.1.3, 3.3.1).
///
/// PUBREL, SUBSCRIBE and UNSUBSCRIBE may have DUP set: MQTT 3.1 clients do when they repeat one. [`check_version`] refuses it in later versions.
#[inline]
fn check_flags(first: u8) -> Result<(), Violation> {
    let flags = first & 0x0f;
    let as_prescribed = match first >> 4 {
        0 => return Err(Violation::PacketTypeReserved),
        3 => match (flags >> 1) & 0b11 {
            0 if flags & 0b1000 != 0 => return Err(Violation::DupWithoutQos),
            3 => return Err(Violation::QosReserved),
            _ => true,
        },
        6 | 8 | 10 => flags & 0b0111 == 0b0010,
        _ => flags == 0,
    };
    if as_prescribed { Ok(()) } else { Err(Violation::FlagsReserved) }
}

/// All rules of the first byte in `version`, for a frame from anywhere.
#[inline]
pub(super) fn check_version(first: u8, version: Version) -> Result<PacketType, Violation> {
    check_flags(first)?;
    let packet_type = PacketType::from_first(first).ok_or(Violation::PacketTypeReserved)?;
    match packet_type {
        PacketType::Auth if !version.is_v5() => Err(Violation::PacketTypeReserved),
        PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe
            if first & 0b1000 != 0 && version != Version::V31 =>
        {
            Err(Violation::FlagsReserved)
        }
        _ => Ok(packet_type),
    }
}

/// Reads a variable byte integer (section 1.5.5) at the front of `input`: its value and its bytes; `None` while it is incomplete.
#[inline]
pub(super) fn read_variable_integer(input: &[u8]) -> Result<Option<(u32, usize)>, Violation> {
    let mut value = 0;
    for (index, &byte) in input.iter().take(VARIABLE_INTEGER_BYTES_MAX).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(Violation::LengthNotMinimal);
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if input.len() < VARIABLE_INTEGER_BYTES_MAX { Ok(None) } else { Err(Violation::LengthMalformed) }
}

/// Bytes that `value` takes as a variable byte integer.
#[inline]
pub(super) const fn variable_integer_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// `value` as a variable byte integer, and how many of the bytes it takes.
///
/// Panics above 268,435,455: limits keep every packet below.
#[inline]
pub(super) fn variable_integer(value: usize) -> ([u8; VARIABLE_INTEGER_BYTES_MAX], usize) {
    assert!(value <= VARIABLE_INTEGER_MAX as usize, "limits keep every length below 268,435,456");
    let count = variable_integer_bytes(value);
    let mut bytes = [0; VARIABLE_INTEGER_BYTES_MAX];
    for (index, byte) in bytes.iter_mut().enumerate().take(count) {
        let more = if index + 1 < count { 0x80 } else { 0 };
        *byte = (value >> (7 * index)) as u8 & 0x7f | more;
    }
    (bytes, count)
}
