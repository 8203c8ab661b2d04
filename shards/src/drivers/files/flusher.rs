//! A log's disk where there is no ring: writes on a thread of their own.

use super::segment::SegmentFile;
use super::{KeeperPort, Kept};
use crate::drivers::eventfd::EventFd;
use crate::log::{Block, Disk, DiskDone, DiskError, DiskRequest, SegmentId};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::BTreeMap;
use std::io;
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

/// The disk of a shard on the epoll driver. Lives on the shard's thread; its own thread writes, the keeper does the rest, and both ring the
/// shard's bell.
pub struct FileDisk {
    port: KeeperPort,
    files: BTreeMap<SegmentId, Arc<SegmentFile>>,
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
        Builder::new().name(name.to_owned()).spawn(move || {
            for Flush { file, segment, offset, block, durable } in flushes_in {
                let written = file.write(block.bytes(), offset, durable);
                let result = written.map_err(|errno| DiskError::Failed(errno.raw_os_error()));
                if done.send(DiskDone::Written { segment, offset, block, result }).is_ok() {
                    bell.ring();
                }
            }
        })?;
        Ok(FileDisk { port, files: BTreeMap::new(), flushes, flushed })
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
        let file = self.files.get(&segment).expect("a log writes to segments that it was given").clone();
        let flush = Flush { file, segment, offset, block, durable };
        self.flushes.send(flush).expect("the flusher runs as long as this is there");
    }

    fn poll(&mut self) -> Option<DiskDone> {
        if let Ok(done) = self.flushed.try_recv() {
            return Some(done);
        }
        let Kept { done, file } = self.port.poll()?;
        if let (DiskDone::Prepared { segment, .. }, Some(file)) = (&done, file) {
            self.files.insert(*segment, Arc::new(file));
        }
        Some(done)
    }
}
