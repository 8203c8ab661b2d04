//! Reading the fields of a record. Any bytes may come: what does not read is an error, never a panic.

use super::RecordError;
use crate::base::kept::{CopyNumber, ParkedId, SessionNumber};
use crate::base::lsn::Lsn;
use crate::base::shard_set::{SHARDS_MAX, ShardId};
use crate::base::time::Time;
use crate::wire::{PacketId, QoS};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What is left of a record. What it returns borrows from the input.
pub(super) struct Take<'a> {
    rest: &'a [u8],
}

/// What a field of a record turned out to be.
pub(super) type Taken<T> = Result<T, RecordError>;

impl<'a> Take<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Take<'a> {
        Take { rest: payload }
    }

    /// Nothing is left.
    pub(super) fn end(&self) -> Taken<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::Trailing(self.rest.len())) }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Taken<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Taken<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Taken<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Taken<u64> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Taken<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Field("integer"))
    }

    /// A variable integer of at most 32 bits.
    #[inline]
    pub(super) fn varint32(&mut self, field: &'static str) -> Taken<u32> {
        u32::try_from(self.varint()?).map_err(|_| RecordError::Field(field))
    }

    /// A count of things of which each takes at least one byte: never more than what is left could hold.
    #[inline]
    pub(super) fn count(&mut self) -> Taken<usize> {
        let count = self.varint()?;
        if count > self.rest.len() as u64 { Err(RecordError::Truncated) } else { Ok(count as usize) }
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Taken<&'a [u8]> {
        let count = self.count()?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn str(&mut self, field: &'static str) -> Taken<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RecordError::Field(field))
    }

    /// A byte of which only the lowest `bits` may be set.
    #[inline]
    pub(super) fn flags(&mut self, bits: u32, field: &'static str) -> Taken<u8> {
        let flags = self.u8()?;
        if u32::from(flags) >> bits == 0 { Ok(flags) } else { Err(RecordError::Field(field)) }
    }

    #[inline]
    pub(super) fn lsn(&mut self) -> Taken<Lsn> {
        self.u64().map(Lsn)
    }

    pub(super) fn parked(&mut self) -> Taken<ParkedId> {
        Ok(ParkedId { record: self.lsn()?, nth: self.varint32("group")? })
    }

    #[inline]
    pub(super) fn time(&mut self) -> Taken<Time> {
        self.u64().map(Time::from_micros)
    }

    #[inline]
    pub(super) fn session(&mut self) -> Taken<SessionNumber> {
        self.varint().map(SessionNumber)
    }

    #[inline]
    pub(super) fn copy(&mut self) -> Taken<CopyNumber> {
        self.varint().map(CopyNumber)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Taken<PacketId> {
        PacketId::new(self.u16()?).ok_or(RecordError::Field("packet id"))
    }

    #[inline]
    pub(super) fn shard(&mut self) -> Taken<ShardId> {
        let index = usize::from(self.u8()?);
        if index < SHARDS_MAX { Ok(ShardId::new(index)) } else { Err(RecordError::Field("shard")) }
    }

    pub(super) fn peer(&mut self) -> Taken<SocketAddr> {
        Ok(match self.u8()? {
            4 => {
                let address = Ipv4Addr::from(self.array::<4>()?);
                SocketAddrV4::new(address, self.u16()?).into()
            }
            6 => {
                let address = Ipv6Addr::from(self.array::<16>()?);
                let port = self.u16()?;
                let (flow, scope) = (self.varint32("flow")?, self.varint32("scope")?);
                SocketAddrV6::new(address, port, flow, scope).into()
            }
            _ => return Err(RecordError::Field("address")),
        })
    }

    /// As many as a count says, each read by `take`.
    pub(super) fn list<T>(&mut self, mut take: impl FnMut(&mut Take<'a>) -> Taken<T>) -> Taken<Vec<T>> {
        let count = self.count()?;
        // A count may claim as many as there are bytes: memory follows what is read, not what is claimed.
        let mut list = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            list.push(take(self)?);
        }
        Ok(list)
    }
}

/// The QoS of two bits.
#[inline]
pub(super) fn qos(bits: u8) -> Taken<QoS> {
    QoS::from_bits(bits & 0b11).ok_or(RecordError::Field("QoS"))
}
