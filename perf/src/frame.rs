//! Cuts packets out of the byte stream: the receiver's hot path, by hand; wire's codec is for everything else.

use crate::limits::PACKET_BYTES_MAX;

/// One packet: its first byte and what follows the remaining length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// Packet type and flags.
    pub first: u8,
    /// The rest.
    pub body: &'a [u8],
}

/// What stands at the beginning of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A packet, and how many bytes it took.
    Whole(RawFrame<'a>, usize),
    /// Not yet a whole packet.
    Partial,
    /// Nothing that can become a packet.
    Malformed,
}

/// Cuts one packet off `input`.
#[inline]
pub fn cut(input: &[u8]) -> Cut<'_> {
    let [first, rest @ ..] = input else { return Cut::Partial };
    let (mut length, mut shift) = (0usize, 0);
    for (at, &byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            if length + 5 > PACKET_BYTES_MAX {
                return Cut::Malformed;
            }
            let head = at + 1;
            return match rest.get(head..head + length) {
                Some(body) => Cut::Whole(RawFrame { first: *first, body }, 1 + head + length),
                None => Cut::Partial,
            };
        }
    }
    if rest.len() < 4 { Cut::Partial } else { Cut::Malformed }
}

/// A PUBLISH as a subscriber sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPublish<'a> {
    /// Its topic.
    pub topic: &'a [u8],
    /// Its packet id, 0 at QoS 0.
    pub packet_id: u16,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Reads a PUBLISH; `None` when it is malformed.
#[inline]
pub fn read_publish(frame: RawFrame<'_>, has_properties: bool) -> Option<RawPublish<'_>> {
    let (topic_bytes, rest) = take_u16(frame.body)?;
    let (topic, mut rest) = rest.split_at_checked(usize::from(topic_bytes))?;
    let mut packet_id = 0;
    if frame.first & 0x06 != 0 {
        (packet_id, rest) = take_u16(rest)?;
        if packet_id == 0 {
            return None;
        }
    }
    if has_properties {
        let (bytes, after) = take_length(rest)?;
        rest = after.get(bytes..)?;
    }
    Some(RawPublish { topic, packet_id, payload: rest })
}

/// An acknowledgement: packet id and reason code (0 when it is left out).
#[inline]
pub fn read_acknowledgement(body: &[u8]) -> Option<(u16, u8)> {
    let (packet_id, rest) = take_u16(body)?;
    Some((packet_id, rest.first().copied().unwrap_or(0)))
}

#[inline]
fn take_u16(input: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = input.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

#[inline]
fn take_length(input: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0usize;
    for (at, &byte) in input.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some((length, &input[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_every_boundary() {
        let mut packet = vec![0x30, 0x85, 0x01];
        packet.extend([7; 133]);
        packet.push(0xd0);
        for end in 0..136 {
            assert_eq!(cut(&packet[..end]), Cut::Partial, "{end}");
        }
        assert_eq!(cut(&packet), Cut::Whole(RawFrame { first: 0x30, body: &[7; 133] }, 136));
        assert_eq!(cut(&[0x30, 0xff, 0xff, 0xff, 0xff]), Cut::Malformed);
        assert_eq!(cut(&[0xd0, 0]), Cut::Whole(RawFrame { first: 0xd0, body: &[] }, 2));
    }

    #[test]
    fn reads_a_publish_with_and_without_properties() {
        let qos0 = RawFrame { first: 0x30, body: b"\0\x01tp" };
        assert_eq!(read_publish(qos0, false), Some(RawPublish { topic: b"t", packet_id: 0, payload: b"p" }));
        let v5 = RawFrame { first: 0x32, body: b"\0\x01t\x01\x02\x02\x01\x01p" };
        assert_eq!(read_publish(v5, true), Some(RawPublish { topic: b"t", packet_id: 0x102, payload: b"p" }));
        assert_eq!(read_publish(RawFrame { first: 0x32, body: b"\0\x01t\0\0p" }, false), None);
        assert_eq!(read_publish(RawFrame { first: 0x30, body: b"\0\x09t" }, false), None);
    }
}
