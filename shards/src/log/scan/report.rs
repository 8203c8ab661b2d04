//! What a scan found beside records.

use crate::base::lsn::Lsn;
use crate::log::codec::RecordError;
use crate::log::disk::SegmentId;
use std::fmt;

/// What there was to say about a log.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ScanReport {
    /// Records handed on.
    pub records: u64,
    /// Their bytes, headers included.
    pub record_bytes: u64,
    /// Segments with something of this log in them, and their bytes, oldest first: what a log that goes on holds.
    pub held: Vec<(SegmentId, u64)>,
    /// Segments that were made ready and never written: nobody needs them.
    pub unused: Vec<SegmentId>,
    /// The last segment that is held, and where what was written to it ends, if all of that could be read: what is behind is nothing.
    pub end: Option<(SegmentId, u64)>,
    /// The last record's number; 0 when there is none.
    pub newest: Lsn,
    /// The last record says that the run ended in order.
    pub stopped: bool,
    /// The log ends in a write that was not whole: nobody was told of what is cut.
    pub torn: Option<Torn>,
    /// What was committed and cannot be read.
    pub damage: Vec<Damage>,
    /// Numbers of records that are missing, first and last of each gap.
    pub missing: Vec<(Lsn, Lsn)>,
    /// Records that an earlier recovery had cut: not handed on.
    pub unreal: u64,
}

impl ScanReport {
    /// Nothing that was committed is missing.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.missing.is_empty()
    }

    /// The first segment that a log may write to that goes on behind this one: nothing that is there is ever written over.
    pub fn goes_on_at(&self) -> SegmentId {
        let held = self.held.iter().map(|(segment, _)| *segment);
        let highest = held.chain(self.unused.iter().copied()).max();
        SegmentId(highest.map_or(1, |highest| highest.0 + 1))
    }
}

/// The end of a log, cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Torn {
    /// In which segment.
    pub segment: SegmentId,
    /// Where what is cut begins.
    pub offset: u64,
    /// How much of it can be seen.
    pub bytes: u64,
}

/// Bytes that were committed and are not what was written. What could be read around them was handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// In which segment.
    pub segment: SegmentId,
    /// Where it begins.
    pub offset: u64,
    /// How far it reaches.
    pub bytes: u64,
    /// What is hit.
    pub what: Damaged,
}

/// What damage has hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damaged {
    /// The header of the segment: the segment is known by its name all the same.
    SegmentHeader,
    /// The header of a batch, or several of them, and possibly records: those that are whole were handed on.
    Batches,
    /// Records within a batch.
    Records,
    /// One record that is as it was written, and cannot be understood.
    Record(RecordError),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { segment, offset, bytes, what } = self;
        write!(f, "segment {}, {bytes} bytes from {offset} on: ", segment.0)?;
        match what {
            Damaged::SegmentHeader => write!(f, "the segment's header is damaged"),
            Damaged::Batches => write!(f, "the header of a batch is damaged"),
            Damaged::Records => write!(f, "records are damaged"),
            Damaged::Record(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Torn { segment, offset, bytes } = self;
        write!(
            f,
            "segment {}, {bytes} bytes from {offset} on: the last write was not finished and is cut",
            segment.0
        )
    }
}

/// Why a log cannot be read at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScanError<E> {
    /// A segment cannot be read.
    Read(SegmentId, E),
    /// A segment is of a format that this version does not know.
    Version(SegmentId, u16),
}

impl<E: fmt::Display> fmt::Display for ScanError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::Read(segment, error) => write!(f, "segment {} cannot be read: {error}", segment.0),
            ScanError::Version(segment, version) => {
                write!(
                    f,
                    "segment {} is written in format {version}, which this version does not know",
                    segment.0
                )
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for ScanError<E> {}
