//! Reading a log: pure over the bytes of its segments, record by record, whatever has become of them.
//!
//! One write is under way at a time, so only the last batch of an incarnation can be torn; anything else that cannot be read was committed, and is
//! damage. What an incarnation had when the next one began, that one's `Start` says: records behind it are not real, whatever is there.
//!
//! - In a torn batch the records before the first bad one count, the rest is cut.
//! - In a damaged one, and where the header of a batch is damaged, every record counts that is whole: they are looked for at every eighth byte.
//! - A disk writes a sector of 512 bytes whole or not at all. So if bytes are bad of which every sector has a whole record too, nothing was torn:
//!   that is damage even in the last batch.

mod outline;
mod report;
#[cfg(test)]
mod tests;
mod walk;

pub use report::{Damage, Damaged, ScanError, ScanReport, Torn};

use self::outline::{Outline, PEEK_BYTES, Peek};
use self::walk::{Behind, Walk};
use super::disk::SegmentId;
use super::format::{LogIdentity, Place, Seal, SegmentHeader};
use super::record::Record;
use crate::base::limits::LOG_SCAN_BYTES;
use crate::base::lsn::Lsn;
use std::collections::BTreeMap;

/// Reads bytes of a segment: appends as many as asked for, from the offset on, fewer only at its end.
pub type ReadSegment<'r, E> = dyn FnMut(SegmentId, u64, usize, &mut Vec<u8>) -> Result<(), E> + 'r;

/// Reads the log `identity` whose segments are `segments` (with their bytes, by rising number) through `read`, hands every record to `take` in order,
/// with its number and where it lies, and says what else there was. A segment is in memory at a time.
///
/// # Errors
/// A segment cannot be read, or is of another version. Nothing that is in it is an error.
pub fn scan<E>(
    identity: LogIdentity,
    segments: &[(SegmentId, u64)],
    read: &mut ReadSegment<'_, E>,
    take: &mut dyn FnMut(Lsn, Record<'_>, Place),
) -> Result<ScanReport, ScanError<E>> {
    let mut peeks = peek_all(identity, segments, read)?;
    let used = peeks.iter().rposition(Peek::is_used).map_or(0, |last| last + 1);
    let unused = peeks.split_off(used);
    let mut ended = BTreeMap::new();
    for (incarnation, last) in peeks.iter().flat_map(|peek| &peek.ended) {
        ended.insert(*incarnation, *last);
    }
    let mut walk = Walk::new(ended, take);
    let mut bytes = Vec::new();
    for (index, peek) in peeks.iter().enumerate() {
        if !peek.is_used() && walk.has_read_all(peek.segment.incarnation()) {
            // Made ready by a run that did not come to it. Those that came after it went on above.
            walk.report.unused.push(peek.segment);
            continue;
        }
        walk.report.held.push((peek.segment, peek.bytes));
        let behind = behind(&walk, peek, &peeks[index + 1..]);
        let seal = Seal::of(identity, peek.segment);
        let outline = load(seal, peek, behind.goal(), read, &mut bytes)?;
        walk.segment(peek, seal, &bytes, &outline, behind);
    }
    walk.report.unused.extend(unused.iter().map(|peek| peek.segment));
    Ok(walk.finish())
}

/// Looks at the beginning of every segment.
fn peek_all<E>(
    identity: LogIdentity,
    segments: &[(SegmentId, u64)],
    read: &mut ReadSegment<'_, E>,
) -> Result<Vec<Peek>, ScanError<E>> {
    assert!(segments.is_sorted_by_key(|(segment, _)| *segment), "segments come in their order");
    let mut peeks = Vec::with_capacity(segments.len());
    let (mut bytes, mut near) = (Vec::new(), Lsn::NONE);
    for (segment, size) in segments {
        let mut wants = PEEK_BYTES;
        let peek = loop {
            bytes.clear();
            read(*segment, 0, wants, &mut bytes).map_err(|error| ScanError::Read(*segment, error))?;
            let peek = Peek::at(identity, *segment, &bytes, near);
            if peek.wants <= wants {
                break peek;
            }
            wants = peek.wants;
        };
        if let SegmentHeader::Version(version) = peek.header {
            return Err(ScanError::Version(*segment, version));
        }
        near = peek.first.unwrap_or(near);
        peeks.push(Peek { bytes: *size, ..peek });
    }
    Ok(peeks)
}

/// What is known of what follows the segment of `peek`.
fn behind(walk: &Walk<'_>, peek: &Peek, later: &[Peek]) -> Behind {
    let incarnation = peek.segment.incarnation();
    // What was made ready and never written is nothing that follows: it stays behind until its file is used again.
    let same = later.iter().take_while(|later| later.segment.incarnation() == incarnation);
    let mut same = same.filter(|later| later.is_used()).peekable();
    if same.peek().is_some() {
        return Behind::Goes(same.find_map(|later| later.first));
    }
    // Without a `Start` that tells of it the end is as torn as it was when it was found first.
    walk.ended(incarnation).map_or(Behind::Nothing, Behind::Ended)
}

/// Reads a segment into `bytes`, up to where its batches reach `goal`; all of it if they do not.
fn load<E>(
    seal: Seal,
    peek: &Peek,
    goal: Option<Lsn>,
    read: &mut ReadSegment<'_, E>,
    bytes: &mut Vec<u8>,
) -> Result<Outline, ScanError<E>> {
    bytes.clear();
    let mut outline = Outline::new(seal);
    loop {
        let before = bytes.len();
        read(peek.segment, before as u64, LOG_SCAN_BYTES, bytes)
            .map_err(|error| ScanError::Read(peek.segment, error))?;
        let is_all = bytes.len() < before + LOG_SCAN_BYTES;
        outline.go_on(bytes, is_all);
        let reached = goal.is_some_and(|goal| outline.newest().is_some_and(|newest| newest >= goal));
        if is_all || reached {
            return Ok(outline);
        }
    }
}
