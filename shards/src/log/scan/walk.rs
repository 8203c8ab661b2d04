//! The way through the batches and gaps of each segment, from record to record.

use super::outline::{Outline, Peek};
use super::report::{Damage, Damaged, ScanReport, Torn};
use crate::base::limits::LOG_BATCH_BYTES_MAX;
use crate::base::lsn::{Incarnation, Lsn};
use crate::log::codec::{KIND_MAX, decode};
use crate::log::disk::SegmentId;
use crate::log::format::{
    BATCH_HEADER_BYTES, BatchHeader, Place, RECORD_ALIGNMENT, RECORD_HEADER_BYTES, RecordHeader,
    SEGMENT_HEADER_BYTES, Seal, SegmentHeader,
};
use crate::log::record::Record;
use std::collections::BTreeMap;

/// Bytes that a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What follows the batches of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Behind {
    /// Another segment of the same incarnation, and the number that it begins with, if that can be read.
    Goes(Option<Lsn>),
    /// The next incarnation, which found the log up to here.
    Ended(Lsn),
    /// Nothing: the last batch may be torn.
    Nothing,
}

impl Behind {
    /// The last record that the segment has to have, if that is known.
    pub(super) fn goal(self) -> Option<Lsn> {
        match self {
            Behind::Goes(first) => first.map(|first| Lsn(first.0 - 1)),
            Behind::Ended(last) => Some(last),
            Behind::Nothing => None,
        }
    }
}

/// A segment under the walk.
#[derive(Clone, Copy)]
struct Segment<'b> {
    id: SegmentId,
    seal: Seal,
    bytes: &'b [u8],
}

/// A record that is whole.
#[derive(Clone, Copy)]
struct Found {
    at: usize,
    header: RecordHeader,
    lsn: Lsn,
}

impl Found {
    fn end(&self) -> usize {
        self.at + self.header.extent()
    }
}

impl Segment<'_> {
    /// The record at `at`, if it is whole and its number is above `low` and not above `high`.
    fn record(&self, at: usize, low: Lsn, high: Lsn) -> Option<Found> {
        let header = RecordHeader::peek(self.bytes, at)?;
        if !(1..=KIND_MAX).contains(&header.kind) || header.length as usize > self.bytes.len() - at {
            return None;
        }
        let lsn = header.lsn(low);
        let holds = lsn > low && lsn <= high && header.holds(self.seal, self.bytes, at);
        holds.then_some(Found { at, header, lsn })
    }

    /// The first whole record that begins from `from` on, before `to`.
    fn find(&self, from: usize, to: usize, low: Lsn, high: Lsn) -> Option<Found> {
        (from..to).step_by(RECORD_ALIGNMENT).find_map(|at| self.record(at, low, high))
    }
}

/// The way so far.
pub(super) struct Walk<'t> {
    ended: BTreeMap<Incarnation, Lsn>,
    take: &'t mut dyn FnMut(Lsn, Record<'_>, Place),
    newest: Option<Lsn>,
    pub(super) report: ScanReport,
}

impl<'t> Walk<'t> {
    pub(super) fn new(
        ended: BTreeMap<Incarnation, Lsn>,
        take: &'t mut dyn FnMut(Lsn, Record<'_>, Place),
    ) -> Walk<'t> {
        Walk { ended, take, newest: None, report: ScanReport::default() }
    }

    /// The last record of an incarnation, as a later one found it.
    pub(super) fn ended(&self, incarnation: Incarnation) -> Option<Lsn> {
        self.ended.get(&incarnation).copied()
    }

    pub(super) fn finish(mut self) -> ScanReport {
        self.report.newest = self.newest.unwrap_or_default();
        self.report
    }

    /// Whether all of an incarnation that an earlier recovery found has been read.
    pub(super) fn has_read_all(&self, incarnation: Incarnation) -> bool {
        self.is_over(incarnation, self.low())
    }

    /// Whether `low` and what comes before it is all of an incarnation that an earlier recovery found: what else there is of it was cut then.
    fn is_over(&self, incarnation: Incarnation, low: Lsn) -> bool {
        self.ended(incarnation).is_some_and(|last| low.max(Lsn::before(incarnation)) >= last)
    }

    fn low(&self) -> Lsn {
        self.newest.unwrap_or_default()
    }

    /// Goes through a segment, of which `bytes` is all that is needed.
    pub(super) fn segment(
        &mut self,
        peek: &Peek,
        seal: Seal,
        bytes: &[u8],
        outline: &Outline,
        behind: Behind,
    ) {
        let segment = Segment { id: peek.segment, seal, bytes };
        // With one batch or none the header may have been torn with it; it is not needed.
        if peek.header == SegmentHeader::Other && outline.batches.len() > 1 {
            self.damage(segment, 0..SEGMENT_HEADER_BYTES.min(bytes.len()), Damaged::SegmentHeader);
        }
        let mut end = SEGMENT_HEADER_BYTES;
        for (index, (offset, header)) in outline.batches.iter().enumerate() {
            if *offset > end {
                self.gap(segment, end..*offset, Lsn(header.first.0 - 1));
            }
            let is_last = behind == Behind::Nothing && index + 1 == outline.batches.len();
            self.batch(segment, *offset, *header, is_last);
            end = offset + header.extent();
        }
        let before = (self.report.records, self.report.torn, self.report.damage.len());
        self.tail(segment, end, behind);
        let is_all = before == (self.report.records, self.report.torn, self.report.damage.len());
        self.report.end = is_all.then_some((segment.id, end as u64));
    }

    /// The records of a batch whose header can be read.
    fn batch(&mut self, segment: Segment<'_>, offset: usize, header: BatchHeader, is_last: bool) {
        let mut at = offset + BATCH_HEADER_BYTES;
        let stop = at + header.bytes as usize;
        let before = Lsn(header.first.0 - 1);
        let mut found_at = before.max(self.low());
        while at < stop {
            if let Some(found) = segment.record(at, found_at, header.last()) {
                self.emit(segment, found);
                (at, found_at) = (found.end(), found.lsn);
                continue;
            }
            // Also where what comes before the batch was given up.
            if self.is_over(header.first.incarnation(), found_at) {
                return;
            }
            let next = segment.find(at + RECORD_ALIGNMENT, stop, found_at, header.last());
            let until = next.map_or(stop, |next| next.at);
            if is_last && may_be_torn(segment.bytes, at..until, next.is_none()) {
                self.torn(segment, at, offset + header.extent());
                return;
            }
            self.damage(segment, at..until, Damaged::Records);
            at = until;
        }
    }

    /// What lies between two batches, or before the first, where a header cannot be read.
    fn gap(&mut self, segment: Segment<'_>, range: std::ops::Range<usize>, high: Lsn) {
        if self.is_over(high.incarnation(), self.low()) {
            return;
        }
        self.damage(segment, range.clone(), Damaged::Batches);
        let mut at = range.start;
        while let Some(found) = segment.find(at, range.end, self.low(), high) {
            self.emit(segment, found);
            at = found.end();
        }
    }

    /// What follows the last batch whose header can be read: nothing, unless that of a later one cannot.
    fn tail(&mut self, segment: Segment<'_>, start: usize, behind: Behind) {
        let (low, end) = (self.low(), segment.bytes.len());
        let high = behind.goal().unwrap_or(Lsn(u64::MAX));
        if low >= high || start >= end || self.is_over(high.incarnation(), low) {
            return;
        }
        if behind == Behind::Nothing {
            self.last_tail(segment, start);
            return;
        }
        let Some(first) = segment.find(start, end, low, high) else {
            // Where the next record is missing, its number says so. Of the bytes nothing can be said.
            return;
        };
        self.damage(segment, start..first.at, Damaged::Batches);
        let mut next = Some(first);
        while let Some(found) = next {
            self.emit(segment, found);
            next = segment.find(found.end(), end, found.lsn, high);
        }
    }

    /// The end of the log, where a batch may have been torn so that not even its header is there.
    fn last_tail(&mut self, segment: Segment<'_>, start: usize) {
        let any = Lsn(u64::MAX);
        // Header and first record begin in one sector: where the record is, the header was, and is damaged.
        let mut next = segment.record(start + BATCH_HEADER_BYTES, self.low(), any);
        if next.is_some() {
            self.damage(segment, start..start + BATCH_HEADER_BYTES, Damaged::Batches);
        }
        let mut at = start;
        while let Some(found) = next {
            self.emit(segment, found);
            at = found.end();
            next = segment.record(at, found.lsn, any);
        }
        let (mut from, mut seen) = (at, None);
        let until = segment.bytes.len().min(at + LOG_BATCH_BYTES_MAX);
        while let Some(found) = segment.find(from, until, self.low(), any) {
            from = found.end();
            seen = Some(from);
        }
        if let Some(seen) = seen {
            self.torn(segment, at, seen);
        }
    }

    /// Hands on a record, if the incarnation that came after its own knew it.
    fn emit(&mut self, segment: Segment<'_>, found: Found) {
        let Found { at, header, lsn } = found;
        if self.ended(lsn.incarnation()).is_some_and(|last| lsn > last) {
            self.report.unreal += 1;
            return;
        }
        self.note_missing(lsn);
        self.newest = Some(lsn);
        let place = Place {
            segment: segment.id,
            offset: at as u32,
            bytes: (RECORD_HEADER_BYTES + header.length as usize) as u32,
        };
        let payload = &segment.bytes[at + RECORD_HEADER_BYTES..][..header.length as usize];
        match decode(header.kind, payload) {
            Ok(record) => {
                self.report.records += 1;
                self.report.record_bytes += u64::from(place.bytes);
                self.report.stopped = matches!(record, Record::Stopped);
                (self.take)(lsn, record, place);
            }
            Err(error) => self.damage(segment, at..at + place.bytes as usize, Damaged::Record(error)),
        }
    }

    /// Notes what should lie between the last record and `lsn`. Before the first record of all nothing is missed: it was given up.
    fn note_missing(&mut self, lsn: Lsn) {
        let Some(last) = self.newest else { return };
        for (incarnation, ended) in self.ended.range(last.incarnation()..lsn.incarnation()) {
            let low = last.max(Lsn::before(*incarnation));
            if *ended > low {
                self.report.missing.push((low.next(), *ended));
            }
        }
        let low = last.max(Lsn::before(lsn.incarnation()));
        if lsn > low.next() {
            self.report.missing.push((low.next(), Lsn(lsn.0 - 1)));
        }
    }

    fn damage(&mut self, segment: Segment<'_>, range: std::ops::Range<usize>, what: Damaged) {
        let (offset, bytes) = (range.start as u64, range.len() as u64);
        self.report.damage.push(Damage { segment: segment.id, offset, bytes, what });
    }

    fn torn(&mut self, segment: Segment<'_>, from: usize, to: usize) {
        let (offset, bytes) = (from as u64, (to - from) as u64);
        self.report.torn = Some(Torn { segment: segment.id, offset, bytes });
    }
}

/// Whether a sector of the bad bytes from `bad.start` to `bad.end` has nothing in it that was read: then it may never have been written.
fn may_be_torn(bytes: &[u8], bad: std::ops::Range<usize>, is_end: bool) -> bool {
    let sector = bad.start / SECTOR_BYTES * SECTOR_BYTES;
    // One byte again and again may have been there before, too: zeros in a new segment, the same payload in one that is used again.
    let read = &bytes[sector..bad.start];
    let proves_nothing = read.iter().all(|byte| *byte == read[0]);
    let first_unshared = if proves_nothing { sector } else { sector + SECTOR_BYTES };
    let last_unshared = if is_end { bad.end } else { bad.end / SECTOR_BYTES * SECTOR_BYTES };
    first_unshared < last_unshared
}
