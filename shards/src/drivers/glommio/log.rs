//! The shard's log on its ring: writes beside everything else, submitted by the same enter and waited for by the same wait.

use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use std::collections::BTreeMap;

use super::run::RingLoop;
use super::tag::{Operation, Tag};
use crate::base::slab::{Key, Slab};
use crate::drivers::driven::Driven;
use crate::drivers::files::{KeeperPort, Kept, SegmentFile, advance};
use crate::log::{Block, DiskDone, DiskError, DiskRequest, SegmentId};

/// A write under way: its bytes are the kernel's until the completion.
pub struct Writing {
    segment: SegmentId,
    offset: u64,
    block: Block,
    durable: bool,
    /// Bytes that are there.
    done: usize,
}

/// The disk of a shard's log. Writes go to the ring, past the page cache where the file system allows that; everything else to the keeper, who
/// rings the shard's bell.
pub struct LogDisk {
    port: KeeperPort,
    files: BTreeMap<SegmentId, SegmentFile>,
    writings: Slab<Writing>,
}

impl LogDisk {
    /// Whether the kernel has bytes of ours.
    pub fn is_writing(&self) -> bool {
        !self.writings.is_empty()
    }
}

impl<D: Driven> RingLoop<D> {
    /// The keeper of the shard's segments; none where no log is kept.
    pub(super) fn set_disk(&mut self, port: Option<KeeperPort>) {
        self.disk = port.map(|port| LogDisk { port, files: BTreeMap::new(), writings: Slab::new() });
    }

    /// What the keeper has done since the last turn.
    pub(super) fn hear_keeper(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        while let Some(Kept { done, file }) = disk.port.poll() {
            if let (DiskDone::Prepared { segment, .. }, Some(file)) = (&done, file) {
                disk.files.insert(*segment, file);
            }
            self.core.handle_disk(self.now, done);
        }
    }

    /// What the log asks for, last in the turn: then a batch holds all that the turn has made.
    pub(super) fn submit_to_disk(&mut self) {
        while let Some(disk) = &mut self.disk
            && let Some(request) = self.core.poll_disk()
        {
            if let DiskRequest::Retire { segment } = &request {
                disk.files.remove(segment);
            }
            if let Err(DiskRequest::Write { segment, offset, block, durable }) = disk.port.ask(request) {
                // What lies before is full, and its last write done: one is under way at a time.
                if disk.files.first_key_value().is_some_and(|(first, _)| *first < segment) {
                    disk.files = disk.files.split_off(&segment);
                }
                let key = disk.writings.insert(Writing { segment, offset, block, durable, done: 0 });
                self.push_log_write(key);
            }
        }
    }

    /// Queues the entry for what is left of a write.
    fn push_log_write(&mut self, key: Key<Writing>) {
        let disk = self.disk.as_ref().expect("only a log writes");
        let writing = disk.writings.get(key).expect("a write is in the table until its last completion");
        let file = disk.files.get(&writing.segment).expect("a log writes to segments that it was given");
        let rest = &writing.block.bytes()[writing.done..];
        let len = u32::try_from(rest.len()).expect("a batch is far below 4 GiB");
        let entry = opcode::Write::new(Fd(file.raw()), rest.as_ptr(), len)
            .offset(writing.offset + writing.done as u64)
            .rw_flags(if writing.durable { libc::RWF_DSYNC } else { 0 })
            .build();
        // A buffered write may wait for the page cache, and must do so on one of the kernel's threads.
        let entry = if file.is_direct() { entry } else { entry.flags(squeue::Flags::ASYNC) };
        let tag = Tag::new(Operation::Log, key.index(), key.generation());
        // SAFETY: the bytes belong to the write in the table, which is removed at its last completion; they are on the heap and stay where they are
        // when the table moves. The file stays open: a segment that is written to is not retired.
        unsafe { self.ring.push(entry.user_data(tag.to_bits())) };
    }

    /// A write of the log completed: in full, in part, or not at all.
    pub(super) fn on_log_write(&mut self, key: Key<Writing>, result: i32) {
        let disk = self.disk.as_mut().expect("only a log writes");
        let writing = disk.writings.get_mut(key).expect("a write completes while it is in the table");
        let len = writing.block.bytes().len();
        let failed = match result {
            1.. => {
                writing.done = advance(writing.done, result as usize, len);
                None
            }
            0 => Some(libc::EIO),
            _ if matches!(-result, libc::EINTR | libc::EAGAIN) => None,
            _ => Some(-result),
        };
        if failed.is_none() && writing.done < len {
            self.push_log_write(key);
            return;
        }
        let Writing { segment, offset, block, .. } =
            disk.writings.remove(key).expect("it was there just now");
        let result = failed.map_or(Ok(()), |errno| Err(DiskError::Failed(errno)));
        self.core.handle_disk(self.now, DiskDone::Written { segment, offset, block, result });
    }
}
