//! A disk for who has nothing else to do: a log that is written before the broker serves.

use super::segment::{SegmentFile, read};
use super::{Folder, disk_error};
use crate::log::{Disk, DiskDone, DiskError, DiskRequest, Journal, Log, LogFailure, LogStep, SegmentId};
use std::collections::{BTreeMap, VecDeque};

/// Does what it is asked while it is asked.
pub struct BlockingDisk {
    folder: Folder,
    files: BTreeMap<SegmentId, SegmentFile>,
    done: VecDeque<DiskDone>,
}

impl BlockingDisk {
    /// Of the log in `folder`.
    pub fn new(folder: Folder) -> BlockingDisk {
        BlockingDisk { folder, files: BTreeMap::new(), done: VecDeque::new() }
    }

    /// Writes what `log` has appended.
    ///
    /// # Errors
    /// The disk failed, or has no room.
    pub fn write_out(&mut self, log: &mut Log) -> Result<(), LogFailure> {
        while !log.is_quiet() {
            let Some(request) = log.poll_disk() else { return Err(full(log)) };
            self.submit(request);
            while let Some(done) = self.poll() {
                log.handle_disk(done)?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, request: DiskRequest) -> DiskDone {
        let failed = |errno: rustix::io::Errno| DiskError::Failed(errno.raw_os_error());
        match request {
            DiskRequest::Prepare { segment, bytes } => {
                let result = self.folder.prepare(segment, bytes).map(|file| {
                    self.files.insert(segment, file);
                });
                DiskDone::Prepared { segment, result }
            }
            DiskRequest::Write { segment, offset, block, durable } => {
                let file = self.files.get(&segment).expect("a log writes to segments that it was given");
                let result = file.write(block.bytes(), offset, durable).map_err(failed);
                DiskDone::Written { segment, offset, block, result }
            }
            DiskRequest::Read { segment, offset, bytes, tag } => {
                let result = read(&self.folder.path_of(segment), offset, bytes).map_err(disk_error);
                DiskDone::Read { tag, result }
            }
            DiskRequest::Retire { segment } => {
                self.files.remove(&segment);
                self.folder.retire(segment);
                DiskDone::Retired { segment }
            }
        }
    }
}

/// Nothing more can be asked of the disk, and not all is written: what was asked last was refused.
fn full(log: &Log) -> LogFailure {
    let segment = log.journal().map(Journal::filling).unwrap_or_default();
    LogFailure { segment, step: LogStep::Prepare, error: DiskError::Full }
}

impl Disk for BlockingDisk {
    fn submit(&mut self, request: DiskRequest) {
        let done = self.carry_out(request);
        self.done.push_back(done);
    }

    fn poll(&mut self) -> Option<DiskDone> {
        self.done.pop_front()
    }
}
