//! Writing the fields of a record, little-endian.

use crate::base::kept::{CopyNumber, ParkedId, SessionNumber};
use crate::base::lsn::Lsn;
use crate::base::time::Time;
use crate::wire::PacketId;
use std::net::SocketAddr;

/// The end of a record being written.
pub(super) struct Put<'b> {
    bytes: &'b mut Vec<u8>,
}

impl<'b> Put<'b> {
    pub(super) fn new(bytes: &'b mut Vec<u8>) -> Put<'b> {
        Put { bytes }
    }

    #[inline]
    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    #[inline]
    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Seven bits a byte, lowest first, the high bit on all but the last.
    #[inline]
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    #[inline]
    pub(super) fn count(&mut self, count: usize) {
        self.varint(count as u64);
    }

    /// Length and bytes.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    #[inline]
    pub(super) fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    #[inline]
    pub(super) fn lsn(&mut self, lsn: Lsn) {
        self.u64(lsn.0);
    }

    pub(super) fn parked(&mut self, parked: ParkedId) {
        self.lsn(parked.record);
        self.varint(u64::from(parked.nth));
    }

    #[inline]
    pub(super) fn time(&mut self, time: Time) {
        self.u64(time.as_micros());
    }

    #[inline]
    pub(super) fn session(&mut self, session: SessionNumber) {
        self.varint(session.0);
    }

    #[inline]
    pub(super) fn copy(&mut self, copy: CopyNumber) {
        self.varint(copy.0);
    }

    #[inline]
    pub(super) fn packet_id(&mut self, packet_id: PacketId) {
        self.u16(packet_id.get());
    }

    /// 4 or 6, the address, the port; of IPv6 also flow and scope.
    pub(super) fn peer(&mut self, peer: SocketAddr) {
        match peer {
            SocketAddr::V4(peer) => {
                self.u8(4);
                self.bytes.extend_from_slice(&peer.ip().octets());
                self.u16(peer.port());
            }
            SocketAddr::V6(peer) => {
                self.u8(6);
                self.bytes.extend_from_slice(&peer.ip().octets());
                self.u16(peer.port());
                self.varint(u64::from(peer.flowinfo()));
                self.varint(u64::from(peer.scope_id()));
            }
        }
    }
}

/// The bits of `flags`, first one lowest.
#[inline]
pub(super) fn bits<const N: usize>(flags: [bool; N]) -> u8 {
    const { assert!(N <= 8) };
    flags.iter().enumerate().fold(0, |byte, (index, flag)| byte | u8::from(*flag) << index)
}
