//! A log's disk where there is no ring: writes that the kernel takes without waiting are left to it, the others are written by a thread.

use super::direct_write::DirectWrite;
use super::segment::SegmentFile;
use super::{KeeperPort, Kept};
use crate::drivers::eventfd::EventFd;
use crate::log::{Block, Disk, DiskDone, DiskError, DiskRequest, SegmentId};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread::Builder;

/// One write.
struct Flush {
    file: Arc<SegmentFile>,
    segment: SegmentId,
    offset: u64,
    block: Block,
    durable: bool,
}

/// The disk of a shard on the epoll driver. Lives on the shard's thread; the kernel writes, or its own thread, the keeper does the rest, and all ring
/// the shard's bell.
pub struct FileDisk {
    port: KeeperPort,
    files: BTreeMap<SegmentId, Arc<SegmentFile>>,
    /// Writes without the thread, where the kernel can: two changes of threads less for each.
    direct: Option<DirectWrite>,
    /// What `direct` writes.
    writing: Option<(SegmentId, u64, bool)>,
    bell: EventFd,
    /// One write at a time is in it: a log has no more in flight.
    flushes: Sender<Flush>,
    flushed: Receiver<DiskDone>,
}

impl FileDisk {
    /// Starts the thread, called `name`. It ends with this; nobody waits for it, since a disk that hangs must not hold the end of the process.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(name: &str, port: KeeperPort, bell: EventFd) -> io::Result<FileDisk> {
        let (flushes, flushes_in) = unbounded::<Flush>();
        let (done, flushed) = unbounded();
        let ringing = bell.clone();
        Builder::new().name(name.to_owned()).spawn(move || {
            for Flush { file, segment, offset, block, durable } in flushes_in {
                let written = file.write(block.bytes(), offset, durable);
                let result = written.map_err(|errno| DiskError::Failed(errno.raw_os_error()));
                if done.send(DiskDone::Written { segment, offset, block, result }).is_ok() {
                    ringing.ring();
                }
            }
        })?;
        let direct = DirectWrite::new().ok();
        Ok(FileDisk { port, files: BTreeMap::new(), direct, writing: None, bell, flushes, flushed })
    }

    /// The file of a segment that is written to.
    fn file(&self, segment: SegmentId) -> &Arc<SegmentFile> {
        self.files.get(&segment).expect("a log writes to segments that it was given")
    }

    /// Leaves a write to the thread, which waits for whatever there is to wait for.
    fn hand_over(&self, segment: SegmentId, offset: u64, block: Block, durable: bool) {
        let flush = Flush { file: self.file(segment).clone(), segment, offset, block, durable };
        self.flushes.send(flush).expect("the flusher runs as long as this is there");
    }

    /// A write that the kernel was left with.
    fn end_direct(&mut self) -> Option<DiskDone> {
        let (block, written) = self.direct.as_mut()?.end()?;
        let (segment, offset, durable) = self.writing.take().expect("said when it began");
        let result = match written {
            Ok(bytes) if bytes == block.bytes().len() => Ok(()),
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Err(DiskError::Failed(error.raw_os_error().unwrap_or_default()))
            }
            // It would have to wait, or only a part is there: what is written twice is the same.
            Ok(_) | Err(_) => {
                self.hand_over(segment, offset, block, durable);
                return None;
            }
        };
        Some(DiskDone::Written { segment, offset, block, result })
    }
}

impl Disk for FileDisk {
    fn submit(&mut self, request: DiskRequest) {
        if let DiskRequest::Retire { segment } = &request {
            self.files.remove(segment);
        }
        let Err(DiskRequest::Write { segment, offset, block, durable }) = self.port.ask(request) else {
            return;
        };
        // What lies before is full, and its last write done: one is under way at a time.
        if self.files.first_key_value().is_some_and(|(first, _)| *first < segment) {
            self.files = self.files.split_off(&segment);
        }
        let file = self.files.get(&segment).expect("a log writes to segments that it was given");
        let begun = match &mut self.direct {
            Some(direct) => direct.begin(file, offset, block, durable, &self.bell),
            None => Err(block),
        };
        match begun {
            Ok(()) => self.writing = Some((segment, offset, durable)),
            Err(block) => self.hand_over(segment, offset, block, durable),
        }
    }

    fn poll(&mut self) -> Option<DiskDone> {
        if let Ok(done) = self.flushed.try_recv() {
            return Some(done);
        }
        if let Some(done) = self.end_direct() {
            return Some(done);
        }
        let Kept { done, file } = self.port.poll()?;
        if let (DiskDone::Prepared { segment, .. }, Some(file)) = (&done, file) {
            self.files.insert(*segment, Arc::new(file));
        }
        Some(done)
    }
}
