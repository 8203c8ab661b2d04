//! What one write makes durable.

use crate::base::lsn::Lsn;
use crate::log::disk::{BLOCK_BYTES, Block, SegmentId};
use crate::log::format::{
    BATCH_HEADER_BYTES, BatchHeader, FORMAT_VERSION, LogIdentity, Place, RECORD_HEADER_BYTES, RecordHeader,
    SEGMENT_HEADER_BYTES, Seal, put_segment_header, record_extent,
};

/// Records behind a batch header, as they will lie in their segment.
#[derive(Debug)]
pub(super) struct Batch {
    block: Block,
    segment: SegmentId,
    /// Of the block in the segment.
    offset: usize,
    /// Of the batch header in the block: behind the header of the segment, if the batch is its first.
    head: usize,
    seal: Seal,
    first: Lsn,
    newest: Lsn,
    records: u32,
}

/// Bytes of a segment that a batch needs which has one record of so many bytes, the segment's header not counted.
pub(super) fn batch_bytes(payload: usize) -> usize {
    (BATCH_HEADER_BYTES + record_extent(payload)).next_multiple_of(BLOCK_BYTES)
}

impl Batch {
    /// A batch at `offset` of `segment`, whose first record will be `first`, written into `block`.
    pub(super) fn open(
        identity: LogIdentity,
        segment: SegmentId,
        offset: usize,
        first: Lsn,
        mut block: Block,
    ) -> Batch {
        block.set_len(0);
        let head = if offset == 0 { SEGMENT_HEADER_BYTES } else { 0 };
        if offset == 0 {
            let header = block.make_room(SEGMENT_HEADER_BYTES);
            header.fill(0);
            put_segment_header(identity, segment, FORMAT_VERSION, header);
        }
        block.make_room(BATCH_HEADER_BYTES);
        Batch {
            block,
            segment,
            offset,
            head,
            seal: Seal::of(identity, segment),
            first,
            newest: Lsn::NONE,
            records: 0,
        }
    }

    pub(super) fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Bytes from the start of the batch's header.
    pub(super) fn bytes(&self) -> usize {
        self.block.bytes().len() - self.head
    }

    /// Where in the segment the next record would begin.
    pub(super) fn end(&self) -> usize {
        self.offset + self.block.bytes().len()
    }

    /// The newest record in it.
    pub(super) fn newest(&self) -> Lsn {
        self.newest
    }

    /// How many are in it.
    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// Where in the segment its block lies.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Adds a record and says where it will lie.
    pub(super) fn append(&mut self, lsn: Lsn, kind: u8, payload: &[u8]) -> Place {
        let start = self.block.bytes().len();
        let length = u32::try_from(payload.len()).expect("a record is a packet and little more");
        let place = self.block.make_room(record_extent(payload.len()));
        let (record, fill) = place.split_at_mut(RECORD_HEADER_BYTES + payload.len());
        record[RECORD_HEADER_BYTES..].copy_from_slice(payload);
        fill.fill(0);
        RecordHeader::new(lsn, kind, length).put(self.seal, record);
        self.newest = lsn;
        self.records += 1;
        Place {
            segment: self.segment,
            offset: (self.offset + start) as u32,
            bytes: (RECORD_HEADER_BYTES + payload.len()) as u32,
        }
    }

    /// Writes the header and fills the last block: nothing can be added any more.
    pub(super) fn close(mut self) -> Block {
        let header = BatchHeader {
            first: self.first,
            bytes: (self.bytes() - BATCH_HEADER_BYTES) as u32,
            records: self.records,
            block: ((self.offset + self.head) / BLOCK_BYTES) as u32,
        };
        header.put(self.seal, &mut self.block.bytes_mut()[self.head..]);
        let filled = self.block.bytes().len();
        self.block.make_room(filled.next_multiple_of(BLOCK_BYTES) - filled).fill(0);
        self.block
    }
}
