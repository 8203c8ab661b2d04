//! Appending the fields of a packet to the caller's buffer: the mirror of `reader`.

use super::frame::variable_integer;
use super::packet_id::PacketId;

#[inline]
pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(super) fn put_packet_id(out: &mut Vec<u8>, id: PacketId) {
    put_u16(out, id.get());
}

/// Binary data or a UTF-8 string. Panics above 65,535 bytes: what was decoded is shorter, and what this program composes must be.
#[inline]
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u16(out, u16::try_from(bytes.len()).expect("a field is at most 65,535 bytes"));
    out.extend_from_slice(bytes);
}

#[inline]
pub(super) fn put_variable_integer(out: &mut Vec<u8>, value: usize) {
    let (bytes, count) = variable_integer(value);
    out.extend_from_slice(&bytes[..count]);
}

/// A fixed header and the body that `body` appends.
pub(super) fn put_packet(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first);
    put_sized(out, 0, body);
}

/// What `body` appends, behind its length; `following` bytes, which the caller appends later, count as part of it.
pub(super) fn put_sized(out: &mut Vec<u8>, following: usize, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    body(out);
    let written = out.len() - at - 1;
    let (length, count) = variable_integer(written + following);
    if count > 1 {
        // One byte is nearly always enough; otherwise what was written makes room.
        out.resize(at + count + written, 0);
        out.copy_within(at + 1..at + 1 + written, at + count);
    }
    out[at..at + count].copy_from_slice(&length[..count]);
}
