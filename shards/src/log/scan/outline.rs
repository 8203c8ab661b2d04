//! What lies where in a segment: its batches, as far as their headers can be read.

use crate::base::lsn::{Incarnation, Lsn};
use crate::log::codec::decode;
use crate::log::disk::{BLOCK_BYTES, SegmentId};
use crate::log::format::{
    BATCH_HEADER_BYTES, BatchHeader, LogIdentity, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES,
    Seal, SegmentHeader,
};
use crate::log::record::Record;

/// Bytes of a segment that are looked at first: its header and the beginning of its first batch.
pub(super) const PEEK_BYTES: usize = 64 * 1024;

/// Where the first record of a segment begins.
const FIRST_RECORD: usize = SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES;

/// What the beginning of a segment says.
#[derive(Clone, Debug)]
pub(super) struct Peek {
    pub(super) segment: SegmentId,
    pub(super) bytes: u64,
    pub(super) header: SegmentHeader,
    /// The number of its first record, if that can be read.
    pub(super) first: Option<Lsn>,
    /// What its first record says of earlier incarnations, if it is a `Start`.
    pub(super) ended: Vec<(Incarnation, Lsn)>,
    /// Bytes that would have to be looked at to know that.
    pub(super) wants: usize,
}

impl Peek {
    /// Looks at the beginning of a segment, whose first record should not be far from `near`.
    pub(super) fn at(identity: LogIdentity, segment: SegmentId, bytes: &[u8], near: Lsn) -> Peek {
        let seal = Seal::of(identity, segment);
        let header = SegmentHeader::read(identity, segment, bytes);
        let batch = BatchHeader::read(seal, bytes, SEGMENT_HEADER_BYTES);
        let near = batch.map_or(near, |batch| batch.first);
        let mut peek = Peek {
            segment,
            bytes: 0,
            header,
            first: batch.map(|batch| batch.first),
            ended: Vec::new(),
            wants: 0,
        };
        if let Some(record) = RecordHeader::peek(bytes, FIRST_RECORD) {
            if record.holds(seal, bytes, FIRST_RECORD) {
                peek.first = Some(record.lsn(near));
                let payload = &bytes[FIRST_RECORD + RECORD_HEADER_BYTES..][..record.length as usize];
                if let Ok(Record::Start(start)) = decode(record.kind, payload) {
                    peek.ended = start.ended.into_owned();
                }
            } else if batch.is_some_and(|batch| record.extent() <= batch.extent()) {
                peek.wants = FIRST_RECORD + record.extent();
            }
        }
        peek
    }

    /// Whether anything of this log is in it.
    pub(super) fn is_used(&self) -> bool {
        self.header != SegmentHeader::Other || self.first.is_some()
    }
}

/// The batches of a segment whose headers can be read, found in as much of it as is read yet.
#[derive(Debug)]
pub(super) struct Outline {
    seal: Seal,
    pub(super) batches: Vec<(usize, BatchHeader)>,
    next: usize,
}

impl Outline {
    pub(super) fn new(seal: Seal) -> Outline {
        Outline { seal, batches: Vec::new(), next: SEGMENT_HEADER_BYTES }
    }

    /// Goes on over `bytes`, the beginning of the segment, or all of it: only then it is looked for what follows a header that cannot be read.
    pub(super) fn go_on(&mut self, bytes: &[u8], is_all: bool) {
        while self.next < bytes.len() {
            match BatchHeader::read(self.seal, bytes, self.next) {
                Some(header) if self.next + header.extent() <= bytes.len() => {
                    self.batches.push((self.next, header));
                    self.next += header.extent();
                }
                _ if !is_all => return,
                _ => self.next += BLOCK_BYTES,
            }
        }
    }

    /// The last record that its batches speak of.
    pub(super) fn newest(&self) -> Option<Lsn> {
        self.batches.last().map(|(_, header)| header.last())
    }
}
