//! One log read: what it says, where it goes on, and what of it is damaged.

use super::data::{DataError, Quarantine};
use crate::base::lsn::{Incarnation, Lsn};
use crate::drivers::files::{Folder, StoredSegment, segment_name};
use crate::log::{LogIdentity, Place, Record, ScanReport, SegmentId, ShardImage, scan};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a log goes on from, besides what it says.
pub(super) struct ReadLog {
    /// The newest start of the broker that it knows.
    pub newest_incarnation: Incarnation,
    /// The first segment that is written to.
    pub next: SegmentId,
    /// Segments that recovery needs, and their bytes.
    pub held: Vec<(SegmentId, u64)>,
    /// The last of those, and where what was written to it ends.
    pub end: Option<(SegmentId, u64)>,
    /// Segments that nobody needs: made ready and never written, or older than what the manifest names.
    pub unneeded: Vec<SegmentId>,
}

/// Reads the log in the folder at `path`, from segment `first` on. What is damaged is copied to the quarantine, if one is given, and told to the
/// operator; everything else counts.
pub(super) fn read_log(
    path: &Path,
    identity: LogIdentity,
    first: SegmentId,
    quarantine: Option<&Quarantine>,
) -> Result<(ReadLog, ShardImage), DataError> {
    let stored = stored_segments(path)?;
    let highest = stored.last().map_or(SegmentId(0), |last| last.segment);
    let older = stored.iter().map(|stored| stored.segment).filter(|segment| *segment < first);
    let mut image = ShardImage::default();
    let report = scan_log(path, identity, first, &mut |lsn, record, place| {
        image.at = Some(place);
        image.apply(lsn, &record);
    })?;
    tell(path, &report, &image);
    if let Some(quarantine) = quarantine.filter(|_| !report.is_clean()) {
        quarantine.keep(path, identity, &report)?;
    }
    let read = ReadLog {
        newest_incarnation: report.newest.incarnation(),
        next: SegmentId(highest.0.max(first.0 - 1) + 1),
        unneeded: older.chain(report.unused.iter().copied()).collect(),
        held: report.held,
        end: report.end,
    };
    Ok((read, image))
}

/// Hands every record of the log in the folder at `path`, from segment `first` on, to `take`, with where it lies, and says how the log stands.
pub(super) fn scan_log(
    path: &Path,
    identity: LogIdentity,
    first: SegmentId,
    take: &mut dyn FnMut(Lsn, Record<'_>, Place),
) -> Result<ScanReport, DataError> {
    let stored = stored_segments(path)?;
    let needed = stored.iter().filter(|stored| stored.segment >= first);
    let segments: Vec<_> = needed.map(|stored| (stored.segment, stored.bytes)).collect();
    let mut files = Files { path, open: BTreeMap::new() };
    let mut read = |segment, offset, bytes, into: &mut Vec<u8>| files.read(segment, offset, bytes, into);
    scan(identity, &segments, &mut read, take)
        .map_err(|error| DataError::Log(path.to_owned(), error.to_string()))
}

/// By number; no folder is an empty log.
fn stored_segments(path: &Path) -> Result<Vec<StoredSegment>, DataError> {
    match Folder::stored(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        stored => stored.map_err(|error| DataError::System("read", path.to_owned(), error)),
    }
}

fn tell(path: &Path, report: &ScanReport, image: &ShardImage) {
    let path = path.display();
    if let Some(torn) = report.torn {
        tracing::info!("{path}: {torn}");
    }
    for damage in &report.damage {
        tracing::warn!("{path}: {damage}");
    }
    for (first, last) in &report.missing {
        tracing::warn!("{path}: records {} to {} are missing", first.0, last.0);
    }
    if !report.is_clean() {
        tracing::warn!(
            "{path}: damaged; {} records are whole, left over: {:?}",
            report.records,
            image.oddities
        );
    }
}

/// Segments open for reading, the one read last.
struct Files<'a> {
    path: &'a Path,
    open: BTreeMap<SegmentId, File>,
}

impl Files<'_> {
    fn read(&mut self, segment: SegmentId, offset: u64, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
        if !self.open.contains_key(&segment) {
            self.open.clear();
            self.open.insert(segment, File::open(self.path.join(segment_name(segment)))?);
        }
        let file = &self.open[&segment];
        let before = into.len();
        into.resize(before + bytes, 0);
        let mut done = 0;
        while done < bytes {
            match file.read_at(&mut into[before + done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        into.truncate(before + done);
        Ok(())
    }
}
