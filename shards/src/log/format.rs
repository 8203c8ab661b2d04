//! The frame around records on disk: segments, batches, record headers. Tables: ARCHITECTURE.md, "The log on disk".

use super::disk::{BLOCK_BYTES, SegmentId};
use crate::base::kept::Written;
use crate::base::lsn::Lsn;
use crate::base::shard_set::ShardId;

/// The version of all of it. A log of another version is not read.
pub const FORMAT_VERSION: u16 = 1;

/// Bytes of a segment's header: a block of its own, so that it is never written again.
pub(super) const SEGMENT_HEADER_BYTES: usize = BLOCK_BYTES;
/// Bytes of a batch's header.
pub(super) const BATCH_HEADER_BYTES: usize = 32;
/// Bytes of a record's header.
pub(super) const RECORD_HEADER_BYTES: usize = 16;
/// Records begin at multiples of this.
pub(super) const RECORD_ALIGNMENT: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"ShardMQL";
const BATCH_MAGIC: [u8; 4] = *b"SMQb";
/// The bits of a record's number that its header has; the others are those of its neighbours: 4,096 starts.
const LSN_BITS: u32 = 56;

/// Whose log it is. Every checksum covers it, so that nothing else is ever taken for a part of this log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    /// The generation of the data directory.
    pub generation: u64,
    /// Whose log.
    pub shard: ShardId,
    /// A secret of the data directory: no client can send a payload that could pass for a record after damage.
    pub salt: u64,
}

/// Where a record lies on disk, its header included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Place {
    /// In which segment.
    pub segment: SegmentId,
    /// From its start.
    pub offset: u32,
    /// As long.
    pub bytes: u32,
}

impl Place {
    /// From here through `last`, which lies behind it in the same segment.
    pub fn through(self, last: Place) -> Place {
        Place { bytes: last.offset + last.bytes - self.offset, ..self }
    }

    /// Whether `next` lies behind this in the same segment, and both with what is between within `bytes_max`.
    pub fn reaches(self, next: Place, bytes_max: u32) -> bool {
        self.segment == next.segment
            && next.offset >= self.offset + self.bytes
            && next.offset + next.bytes - self.offset <= bytes_max
    }

    /// The place of something whose last whole record this is.
    pub fn written(&self) -> Written {
        self.segment.written()
    }
}

/// Makes the checksums of one segment: CRC32C, begun with the identity of the log and the segment's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seal(u32);

impl Seal {
    pub(super) fn of(identity: LogIdentity, segment: SegmentId) -> Seal {
        let mut bytes = [0; 25];
        bytes[..8].copy_from_slice(&identity.generation.to_le_bytes());
        bytes[8] = identity.shard.index() as u8;
        bytes[9..17].copy_from_slice(&identity.salt.to_le_bytes());
        bytes[17..].copy_from_slice(&segment.0.to_le_bytes());
        Seal(crc32c::crc32c(&bytes))
    }

    #[inline]
    pub(super) fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }

    /// Whether `bytes` begin with the checksum of the rest.
    #[inline]
    fn covers(self, bytes: &[u8]) -> bool {
        bytes.split_first_chunk().is_some_and(|(sum, rest)| u32::from_le_bytes(*sum) == self.checksum(rest))
    }

    /// Makes `bytes` begin with the checksum of the rest.
    #[inline]
    fn put(self, bytes: &mut [u8]) {
        let (sum, rest) = bytes.split_first_chunk_mut().expect("every header begins with four bytes for it");
        *sum = self.checksum(rest).to_le_bytes();
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Writes the header of a segment over the start of `block`, which is one block of zeros.
pub(super) fn put_segment_header(identity: LogIdentity, segment: SegmentId, version: u16, block: &mut [u8]) {
    block[4..12].copy_from_slice(&SEGMENT_MAGIC);
    block[12..14].copy_from_slice(&version.to_le_bytes());
    block[14..16].copy_from_slice(&(identity.shard.index() as u16).to_le_bytes());
    block[16..24].copy_from_slice(&identity.generation.to_le_bytes());
    block[24..32].copy_from_slice(&segment.0.to_le_bytes());
    block[32..40].copy_from_slice(&identity.salt.to_le_bytes());
    Seal::of(identity, segment).put(&mut block[..40]);
}

/// What the header of a segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SegmentHeader {
    /// It is this segment.
    Own,
    /// It is one of a version that this program cannot read.
    Version(u16),
    /// It was never written as this segment, or is damaged.
    Other,
}

impl SegmentHeader {
    pub(super) fn read(identity: LogIdentity, segment: SegmentId, block: &[u8]) -> SegmentHeader {
        let Some(header) = block.get(..40) else { return SegmentHeader::Other };
        let version = u16::from_le_bytes([header[12], header[13]]);
        let same = header[4..12] == SEGMENT_MAGIC && u64_at(header, 24) == segment.0;
        match same && Seal::of(identity, segment).covers(header) {
            true if version == FORMAT_VERSION => SegmentHeader::Own,
            true => SegmentHeader::Version(version),
            false => SegmentHeader::Other,
        }
    }
}

/// What precedes the records of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchHeader {
    /// The number of its first record.
    pub(super) first: Lsn,
    /// Bytes of its records, without this header and without what fills the last block.
    pub(super) bytes: u32,
    /// How many they are, numbered without gap.
    pub(super) records: u32,
    /// The block of the segment that it lies in.
    pub(super) block: u32,
}

impl BatchHeader {
    pub(super) fn put(self, seal: Seal, bytes: &mut [u8]) {
        bytes[4..8].copy_from_slice(&BATCH_MAGIC);
        bytes[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.records.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.block.to_le_bytes());
        bytes[28..32].fill(0);
        seal.put(&mut bytes[..BATCH_HEADER_BYTES]);
    }

    /// The header at `offset` of a segment's bytes, if there is one.
    pub(super) fn read(seal: Seal, segment: &[u8], offset: usize) -> Option<BatchHeader> {
        let header = segment.get(offset..offset + BATCH_HEADER_BYTES)?;
        if header[4..8] != BATCH_MAGIC || !seal.covers(header) {
            return None;
        }
        let read = BatchHeader {
            first: Lsn(u64_at(header, 8)),
            bytes: u32_at(header, 16),
            records: u32_at(header, 20),
            block: u32_at(header, 24),
        };
        (read.block as usize == offset / BLOCK_BYTES).then_some(read)
    }

    /// Bytes that it takes up, header and fill included.
    pub(super) fn extent(self) -> usize {
        (BATCH_HEADER_BYTES + self.bytes as usize).next_multiple_of(BLOCK_BYTES)
    }

    /// The number of its last record.
    pub(super) fn last(self) -> Lsn {
        Lsn(self.first.0 + u64::from(self.records.saturating_sub(1)))
    }
}

/// What precedes the payload of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordHeader {
    /// Bytes of its payload.
    pub(super) length: u32,
    /// Its kind.
    pub(super) kind: u8,
    lsn: u64,
}

impl RecordHeader {
    pub(super) fn new(lsn: Lsn, kind: u8, length: u32) -> RecordHeader {
        RecordHeader { length, kind, lsn: lsn.0 & ((1 << LSN_BITS) - 1) }
    }

    /// Writes it before its payload, of which `bytes` consist but for the room for it.
    #[inline]
    pub(super) fn put(self, seal: Seal, bytes: &mut [u8]) {
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&(self.lsn | u64::from(self.kind) << LSN_BITS).to_le_bytes());
        seal.put(bytes);
    }

    /// The header at `offset`, its checksum not looked at yet.
    #[inline]
    pub(super) fn peek(bytes: &[u8], offset: usize) -> Option<RecordHeader> {
        let header = bytes.get(offset..offset + RECORD_HEADER_BYTES)?;
        let word = u64_at(header, 8);
        let lsn = word & ((1 << LSN_BITS) - 1);
        Some(RecordHeader { length: u32_at(header, 4), kind: (word >> LSN_BITS) as u8, lsn })
    }

    /// Whether header and payload at `offset` are what was written there.
    #[inline]
    pub(super) fn holds(self, seal: Seal, bytes: &[u8], offset: usize) -> bool {
        let end = offset + RECORD_HEADER_BYTES + self.length as usize;
        bytes.get(offset..end).is_some_and(|record| seal.covers(record))
    }

    /// Its number, that of a record not far from `near`: within 2,048 starts.
    #[inline]
    pub(super) fn lsn(self, near: Lsn) -> Lsn {
        let round = 1u64 << LSN_BITS;
        let low = near.0 & !(round - 1) | self.lsn;
        [low.wrapping_sub(round), low, low.wrapping_add(round)]
            .into_iter()
            .min_by_key(|candidate| candidate.abs_diff(near.0))
            .map_or(Lsn(low), Lsn)
    }

    /// Bytes that it takes up, header and alignment included.
    #[inline]
    pub(super) fn extent(self) -> usize {
        record_extent(self.length as usize)
    }
}

/// Bytes that a record with a payload of `length` takes up.
#[inline]
pub(super) fn record_extent(length: usize) -> usize {
    (RECORD_HEADER_BYTES + length).next_multiple_of(RECORD_ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lsn::Incarnation;

    const IDENTITY: LogIdentity = LogIdentity { generation: 3, shard: ShardId::new(2), salt: 99 };

    #[test]
    fn a_record_holds_only_where_it_was_written() {
        let seal = Seal::of(IDENTITY, SegmentId(7));
        let mut bytes = vec![0; 40];
        bytes[RECORD_HEADER_BYTES..].copy_from_slice(b"a payload of 24 letters.");
        let lsn = Lsn::before(Incarnation(5000)).plus(77);
        RecordHeader::new(lsn, 8, 24).put(seal, &mut bytes);
        let read = RecordHeader::peek(&bytes, 0).expect("long enough");
        assert!(read.holds(seal, &bytes, 0) && read.kind == 8 && read.length == 24);
        for near in [Incarnation(4000), Incarnation(5000), Incarnation(6000)] {
            assert_eq!(read.lsn(Lsn::before(near)), lsn);
        }
        for other in [
            (IDENTITY, SegmentId(8)),
            (LogIdentity { generation: 4, ..IDENTITY }, SegmentId(7)),
            (LogIdentity { shard: ShardId::new(1), ..IDENTITY }, SegmentId(7)),
            (LogIdentity { salt: 98, ..IDENTITY }, SegmentId(7)),
        ] {
            assert!(!read.holds(Seal::of(other.0, other.1), &bytes, 0));
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = RecordHeader::peek(&bytes, 0).expect("long enough");
            assert!(!read.holds(seal, &bytes, 0), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_batch_header_counts_in_its_own_block_only() {
        let seal = Seal::of(IDENTITY, SegmentId(1));
        let mut segment = vec![0; 3 * BLOCK_BYTES];
        let header = BatchHeader { first: Lsn(5), bytes: 5000, records: 3, block: 1 };
        header.put(seal, &mut segment[BLOCK_BYTES..]);
        assert_eq!(BatchHeader::read(seal, &segment, BLOCK_BYTES), Some(header));
        assert!(header.extent() == 2 * BLOCK_BYTES && header.last() == Lsn(7));
        segment.copy_within(BLOCK_BYTES..2 * BLOCK_BYTES, 2 * BLOCK_BYTES);
        assert_eq!(BatchHeader::read(seal, &segment, 2 * BLOCK_BYTES), None);
    }

    #[test]
    fn a_segment_says_which_it_is() {
        let mut block = vec![0; BLOCK_BYTES];
        put_segment_header(IDENTITY, SegmentId(4), FORMAT_VERSION, &mut block);
        assert_eq!(SegmentHeader::read(IDENTITY, SegmentId(4), &block), SegmentHeader::Own);
        assert_eq!(SegmentHeader::read(IDENTITY, SegmentId(5), &block), SegmentHeader::Other);
        put_segment_header(IDENTITY, SegmentId(4), FORMAT_VERSION + 1, &mut block);
        let version = SegmentHeader::Version(FORMAT_VERSION + 1);
        assert_eq!(SegmentHeader::read(IDENTITY, SegmentId(4), &block), version);
    }
}
