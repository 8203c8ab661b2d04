//! A log on disk: records become batches, batches fill segments, and one write at a time makes a batch durable.
//!
//! Group commit: while a write is under way everything that is appended gathers in the next batch. A record never lies across two batches, a batch
//! never across two segments. Blocks are filled where they are written from; two of them go round.

mod batch;
mod failure;
mod hold;
#[cfg(test)]
pub(super) mod memory_disk;
mod room;
mod segments;
#[cfg(test)]
mod tests;

pub use failure::{LogFailure, LogStep};
pub use room::Room;
pub use segments::spare_segments;

use self::batch::{Batch, batch_bytes};
use self::hold::Hold;
use self::segments::Segments;
use super::codec::{decode, encode};
use super::disk::{Block, DiskDone, DiskError, DiskRequest, SegmentId};
use super::format::{
    LogIdentity, Place, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, Seal, record_extent,
};
use super::record::{BodyId, BodyRecord, Record};
use crate::base::limits::{
    LOG_BACKLOG_BYTES_MAX, LOG_BATCH_BYTES_MAX, LOG_BLOCK_BYTES, LOG_BLOCK_KEPT_BYTES_MAX,
};
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::planted::{Bug, Planted};
use crate::wire::Message;
use std::collections::VecDeque;

/// What a log on disk begins with.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Whose log it is.
    pub identity: LogIdentity,
    /// This start of the broker: higher than any before, and on disk as such before the first record is.
    pub incarnation: Incarnation,
    /// Bytes of a segment: a multiple of [`BLOCK_BYTES`](super::BLOCK_BYTES), four at least.
    pub segment_bytes: u64,
    /// The first segment to write to: above all that are there. It is raised to [`SegmentId::first_of`] the incarnation.
    pub first: SegmentId,
    /// The segments of earlier incarnations with records that are still needed, and their bytes, oldest first.
    pub held: Vec<(SegmentId, u64)>,
    /// A record counts when it would survive the loss of power; else when the operating system has it.
    pub durable: bool,
    /// The bug of this run, if any.
    pub planted: Planted,
}

/// A write under way.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    segment: SegmentId,
    offset: u64,
    /// The newest record that it makes durable.
    newest: Lsn,
    bytes: usize,
    records: u32,
}

/// A log on disk. Lives on its shard.
#[derive(Debug)]
pub struct Journal {
    identity: LogIdentity,
    incarnation: Incarnation,
    durable: bool,
    planted: Planted,
    segments: Segments,
    /// Not handed to the disk yet, oldest first; only the last may be added to.
    gathering: VecDeque<Batch>,
    in_flight: Option<InFlight>,
    hold: Hold,
    /// Bytes of batches that are not written yet.
    unwritten_bytes: usize,
    /// Bytes of all records of this run.
    appended_bytes: u64,
    /// The newest record appended, and where it will lie.
    newest: Option<(Lsn, Place)>,
    /// The bytes of the record that is being appended.
    scratch: Vec<u8>,
    spare_block: Option<Block>,
    failure: Option<LogFailure>,
    stopped: bool,
}

impl Journal {
    /// A log that goes on, or begins, as `config` says. The first record of an incarnation is to be a `Start`.
    pub fn new(config: JournalConfig) -> Journal {
        let segment_bytes = usize::try_from(config.segment_bytes).expect("a segment fits the address space");
        let first = config.first.max(SegmentId::first_of(config.incarnation));
        let mut segments = Segments::new(first, segment_bytes, config.held);
        segments.plant(config.planted);
        Journal {
            identity: config.identity,
            incarnation: config.incarnation,
            durable: config.durable,
            planted: config.planted,
            segments,
            gathering: VecDeque::new(),
            in_flight: None,
            hold: Hold::default(),
            unwritten_bytes: 0,
            appended_bytes: 0,
            newest: None,
            scratch: Vec::new(),
            spare_block: None,
            failure: None,
            stopped: false,
        }
    }

    /// Before the first record of this incarnation.
    pub(super) fn begins_behind(&self) -> Lsn {
        let reused = self.planted.is(Bug::LsnReused) && self.incarnation > Incarnation(1);
        Lsn::before(Incarnation(self.incarnation.0 - u32::from(reused)))
    }

    /// Appends a record under its number, to be written with the next batch that has room for it.
    pub(super) fn append(&mut self, lsn: Lsn, record: &Record<'_>) {
        assert!(!self.stopped, "nothing follows the last record of a run");
        self.stopped = matches!(record, Record::Stopped);
        if self.planted.is(Bug::RecordSkipped) && lsn.0 % 64 == 63 {
            return;
        }
        self.scratch.clear();
        let kind = encode(record, &mut self.scratch);
        // The last record has a batch of its own: then whatever is hit before it was certainly whole once.
        if self.stopped || !self.gathering.back().is_some_and(|batch| self.fits(batch)) {
            self.open_batch(lsn);
        }
        let batch = self.gathering.back_mut().expect("one is open");
        let before = batch.bytes();
        let place = batch.append(lsn, kind, &self.scratch);
        self.unwritten_bytes += batch.bytes() - before;
        self.appended_bytes += (batch.bytes() - before) as u64;
        self.newest = Some((lsn, place));
        if self.scratch.capacity() > LOG_BLOCK_KEPT_BYTES_MAX {
            self.scratch = Vec::new();
        }
    }

    /// Whether the last batch can take the record in `scratch`.
    fn fits(&self, batch: &Batch) -> bool {
        let bytes = record_extent(self.scratch.len());
        batch.bytes() + bytes <= LOG_BATCH_BYTES_MAX && batch.end() + bytes <= self.segments.bytes()
    }

    /// Opens a batch behind the last, in the next segment if this one has no room for the record in `scratch`.
    fn open_batch(&mut self, first: Lsn) {
        if let Some(last) = self.gathering.back() {
            self.segments.go_on_at(last.end());
        }
        let bytes = batch_bytes(self.scratch.len());
        let (_, offset) = self.segments.position();
        let header = if offset == 0 { SEGMENT_HEADER_BYTES } else { 0 };
        if offset + header + bytes > self.segments.bytes() {
            self.segments.roll(SEGMENT_HEADER_BYTES + bytes);
        }
        let (segment, offset) = self.segments.position();
        let block = self.spare_block.take().unwrap_or_else(|| Block::with_capacity(LOG_BLOCK_BYTES));
        let batch = Batch::open(self.identity, segment, offset, first, block);
        self.unwritten_bytes += batch.bytes();
        self.gathering.push_back(batch);
    }

    /// What the disk is asked for next. Ask until there is nothing more, once everything of a turn is appended.
    pub(super) fn poll_disk(&mut self) -> Option<DiskRequest> {
        if self.failure.is_some() {
            return None;
        }
        self.poll_write().or_else(|| self.segments.poll_request())
    }

    fn poll_write(&mut self) -> Option<DiskRequest> {
        if self.in_flight.is_some() {
            return None;
        }
        self.hold.round_begins(self.gathering.front().map_or(0, Batch::records));
        let batch = self.gathering.front()?;
        if !self.segments.is_ready(batch.segment()) {
            return None;
        }
        // A batch that is full, or the last, waits for nobody.
        let is_open = self.gathering.len() == 1 && !self.stopped;
        if is_open && !self.hold.lets_go(batch.records()) {
            return None;
        }
        let batch = self.gathering.pop_front().expect("looked at above");
        if self.gathering.is_empty() {
            self.segments.go_on_at(batch.end());
        }
        let (segment, offset, records) = (batch.segment(), batch.offset() as u64, batch.records());
        self.in_flight =
            Some(InFlight { segment, offset, newest: batch.newest(), bytes: batch.bytes(), records });
        self.hold.write_begins();
        Some(DiskRequest::Write { segment, offset, block: batch.close(), durable: self.durable })
    }

    /// The disk has done something. Returns up to where the log is committed, when that is further than before.
    ///
    /// # Errors
    /// The disk failed, now or earlier: nothing is ever committed again.
    pub(super) fn handle_disk(&mut self, done: DiskDone) -> Result<Option<Lsn>, LogFailure> {
        match done {
            DiskDone::Written { segment, offset, block, result } => {
                self.handle_written(segment, offset, block, result)
            }
            DiskDone::Prepared { segment, result } => {
                if let Err(error @ DiskError::Failed(_)) = result {
                    self.fail(LogFailure { segment, step: LogStep::Prepare, error });
                }
                self.segments.handle_prepared(segment, result.is_ok());
                self.failed_or(None)
            }
            DiskDone::Retired { segment } => {
                self.segments.handle_retired(segment);
                self.failed_or(None)
            }
            DiskDone::Read { .. } => self.failed_or(None),
        }
    }

    fn handle_written(
        &mut self,
        segment: SegmentId,
        offset: u64,
        block: Block,
        result: Result<(), DiskError>,
    ) -> Result<Option<Lsn>, LogFailure> {
        let written = self.in_flight.take().expect("the disk answers what it was asked, once");
        assert!((written.segment, written.offset) == (segment, offset), "one write at a time");
        if let Err(error) = result {
            self.fail(LogFailure { segment, step: LogStep::Write, error });
        }
        self.failed_or(())?;
        self.unwritten_bytes -= written.bytes;
        self.hold.write_ends(written.records);
        self.segments.written_up_to(segment);
        if self.spare_block.is_none() && block.capacity() <= LOG_BLOCK_KEPT_BYTES_MAX {
            self.spare_block = Some(block);
        }
        let early = self.newest.filter(|_| self.planted.is(Bug::CommitBeforeWrite));
        Ok(Some(early.map_or(written.newest, |(newest, _)| newest)))
    }

    fn fail(&mut self, failure: LogFailure) {
        self.failure.get_or_insert(failure);
    }

    fn failed_or<T>(&self, fine: T) -> Result<T, LogFailure> {
        self.failure.map_or(Ok(fine), Err)
    }

    /// Whether more waits to be written than publishers should add to.
    pub(super) fn is_backlogged(&self) -> bool {
        self.unwritten_bytes > LOG_BACKLOG_BYTES_MAX
    }

    /// Whether everything that was appended is written.
    pub(super) fn is_quiet(&self) -> bool {
        self.gathering.is_empty() && self.in_flight.is_none()
    }

    /// Why the log has ended, if it has.
    pub fn failure(&self) -> Option<LogFailure> {
        self.failure
    }

    /// The message `body` in the bytes of its record, read from `segment`; `None`: they are not what was written.
    pub(super) fn message_in(&self, bytes: &[u8], segment: SegmentId, body: BodyId) -> Option<Message> {
        let header = RecordHeader::peek(bytes, 0)?;
        if !header.holds(Seal::of(self.identity, segment), bytes, 0) {
            return None;
        }
        let payload = &bytes[RECORD_HEADER_BYTES..][..header.length as usize];
        let record = decode(header.kind, payload).ok()?;
        record.content_of(header.lsn(body.0), body).map(BodyRecord::to_message)
    }

    /// Where the newest record lies, or will.
    pub(super) fn place_of_newest(&self) -> Option<Place> {
        self.newest.map(|(_, place)| place)
    }

    /// Bytes of all records of this run.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Bytes that wait to be written.
    pub(super) fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }

    /// The last of the full segments, oldest first, that have `bytes` together, or of the first one if that has more.
    pub(super) fn full_through(&self, bytes: u64) -> Option<SegmentId> {
        self.segments.full_through(bytes)
    }

    /// Segments with records of this log, and their bytes, the one being filled up to where it is filled.
    pub fn used(&self) -> (usize, u64) {
        self.segments.used()
    }

    /// The segment being filled.
    pub fn filling(&self) -> SegmentId {
        self.segments.position().0
    }

    /// Bytes of an ordinary segment.
    pub fn segment_bytes(&self) -> u64 {
        self.segments.segment_bytes()
    }

    /// The oldest segment with records of this log.
    pub fn oldest(&self) -> SegmentId {
        self.segments.oldest()
    }

    /// Gives up the segments before `segment`. Only when what is on disk says that recovery needs none of them.
    pub(super) fn retire_before(&mut self, segment: SegmentId) {
        self.segments.retire_before(segment);
    }
}
