//! A disk in memory that answers when the test says so, for what is built on a journal.

use super::{Journal, JournalConfig};
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::planted::Planted;
use crate::base::shard_set::ShardId;
use crate::log::disk::{BLOCK_BYTES, DiskDone, DiskError, DiskRequest, SegmentId};
use crate::log::format::{
    BATCH_HEADER_BYTES, BatchHeader, LogIdentity, Place, RECORD_HEADER_BYTES, RecordHeader, Seal,
};
use crate::log::{Log, codec};
use std::collections::BTreeMap;

pub(in crate::log) const IDENTITY: LogIdentity =
    LogIdentity { generation: 1, shard: ShardId::new(0), salt: 17 };
pub(in crate::log) const SEGMENT_BYTES: u64 = 16 * BLOCK_BYTES as u64;

/// What is asked of it waits until the test has it done.
#[derive(Default)]
pub(in crate::log) struct MemoryDisk {
    pub(in crate::log) segments: BTreeMap<SegmentId, Vec<u8>>,
    pub(in crate::log) asked: Vec<DiskRequest>,
}

impl MemoryDisk {
    pub(in crate::log) fn take_requests(&mut self, log: &mut Log) {
        while let Some(request) = log.poll_disk() {
            self.asked.push(request);
        }
        let writes = self.asked.iter().filter(|asked| matches!(asked, DiskRequest::Write { .. })).count();
        assert!(writes <= 1, "one write at a time");
    }

    /// Does what was asked as number `index` of those that wait.
    pub(in crate::log) fn carry_out(&mut self, index: usize) -> DiskDone {
        match self.asked.remove(index) {
            DiskRequest::Prepare { segment, bytes } => {
                let fresh = self.segments.insert(segment, vec![0xA5; bytes as usize]).is_none();
                assert!(fresh, "{segment:?} is used twice");
                DiskDone::Prepared { segment, result: Ok(()) }
            }
            DiskRequest::Write { segment, offset, block, durable } => {
                assert!(durable && offset.is_multiple_of(BLOCK_BYTES as u64));
                assert!(block.bytes().len().is_multiple_of(BLOCK_BYTES));
                let file = self.segments.get_mut(&segment).expect("prepared first");
                file[offset as usize..][..block.bytes().len()].copy_from_slice(block.bytes());
                DiskDone::Written { segment, offset, block, result: Ok(()) }
            }
            DiskRequest::Retire { segment } => {
                self.segments.remove(&segment).expect("prepared first");
                DiskDone::Retired { segment }
            }
            DiskRequest::Read { segment, offset, bytes, tag } => {
                let read = self.segments[&segment][offset as usize..][..bytes].to_vec();
                DiskDone::Read { tag, result: Ok(read) }
            }
        }
    }

    /// Refuses what was asked as number `index`.
    pub(in crate::log) fn refuse(&mut self, index: usize, error: DiskError) -> DiskDone {
        match self.asked.remove(index) {
            DiskRequest::Prepare { segment, .. } => DiskDone::Prepared { segment, result: Err(error) },
            DiskRequest::Write { segment, offset, block, .. } => {
                DiskDone::Written { segment, offset, block, result: Err(error) }
            }
            other => panic!("{other:?} cannot fail"),
        }
    }

    /// Does everything until nothing more is asked for. Returns the newest record that is committed.
    pub(in crate::log) fn settle(&mut self, log: &mut Log) -> Lsn {
        let mut committed = Lsn::NONE;
        self.take_requests(log);
        while !self.asked.is_empty() {
            let done = self.carry_out(0);
            committed = committed.max(log.handle_disk(done).expect("the disk is fine").unwrap_or_default());
            self.take_requests(log);
        }
        committed
    }

    /// All records there are, by walking the batches: the scan of a log that has no damage, as simple as can be.
    pub(in crate::log) fn records(&self) -> Vec<(Lsn, String)> {
        let mut found = Vec::new();
        for (id, bytes) in &self.segments {
            let seal = Seal::of(IDENTITY, *id);
            let mut offset = BLOCK_BYTES;
            while let Some(header) = BatchHeader::read(seal, bytes, offset) {
                let mut at = offset + BATCH_HEADER_BYTES;
                for index in 0..header.records {
                    let lsn = header.first.plus(index);
                    found.push((
                        lsn,
                        self.record_at(Place { segment: *id, offset: at as u32, bytes: 0 }, lsn),
                    ));
                    at += RecordHeader::peek(bytes, at).expect("within the segment").extent();
                }
                assert_eq!(at - offset, BATCH_HEADER_BYTES + header.bytes as usize);
                offset += header.extent();
            }
        }
        found
    }

    pub(in crate::log) fn record_at(&self, place: Place, lsn: Lsn) -> String {
        let (bytes, at) = (&self.segments[&place.segment], place.offset as usize);
        let header = RecordHeader::peek(bytes, at).expect("within the segment");
        assert!(header.holds(Seal::of(IDENTITY, place.segment), bytes, at) && header.lsn(lsn) == lsn);
        let payload = &bytes[at + RECORD_HEADER_BYTES..][..header.length as usize];
        format!("{:?}", codec::decode(header.kind, payload).expect("as it was written"))
    }
}

pub(in crate::log) fn config() -> JournalConfig {
    JournalConfig {
        identity: IDENTITY,
        incarnation: Incarnation(1),
        segment_bytes: SEGMENT_BYTES,
        first: SegmentId(1),
        held: Vec::new(),
        durable: true,
        planted: Planted::default(),
    }
}

pub(in crate::log) fn log() -> Log {
    Log::over(Journal::new(config()))
}
