//! The segments of a log, read where they lie.

use crate::base::lsn::Lsn;
use crate::drivers::files::{Folder, segment_name};
use crate::log::{LogIdentity, Record, ScanReport, SegmentId, scan};
use crate::server::data::DataError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Scans the log in the folder at `path` from segment `first` on. No folder is an empty log.
pub(super) fn scan_folder(
    path: &Path,
    identity: LogIdentity,
    first: SegmentId,
    take: &mut dyn FnMut(Lsn, Record<'_>),
) -> Result<ScanReport, DataError> {
    let stored = match Folder::stored(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        stored => stored.map_err(|error| DataError::System("read", path.to_owned(), error))?,
    };
    let needed = stored.iter().filter(|stored| stored.segment >= first);
    let segments: Vec<_> = needed.map(|stored| (stored.segment, stored.bytes)).collect();
    let mut open: Option<(SegmentId, File)> = None;
    let mut read = |segment: SegmentId, offset: u64, bytes: usize, into: &mut Vec<u8>| -> io::Result<()> {
        let file = match open.take_if(|(there, _)| *there == segment) {
            Some((_, file)) => file,
            None => File::open(path.join(segment_name(segment)))?,
        };
        let result = read_from(&file, offset, bytes, into);
        open = Some((segment, file));
        result
    };
    scan(identity, &segments, &mut read, &mut |lsn, record, _| take(lsn, record))
        .map_err(|error| DataError::Log(path.to_owned(), error.to_string()))
}

/// Fewer than `bytes` only at the end of the file.
fn read_from(file: &File, offset: u64, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
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
