//! What a log asks of its disk. The drivers implement it: on the shard's own ring, with a thread, in the simulator.

use crate::base::kept::Written;
use crate::base::lsn::Incarnation;

/// A segment file of one log: numbers rise, none is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct SegmentId(pub u64);

/// Bits of the number of a segment within its incarnation; the others are the incarnation's. Below 2^52 together: 16 digits.
const SEGMENT_BITS: u32 = 32;

impl SegmentId {
    /// The first that an incarnation may write to. A log that is started twice may have nothing left of the segments that the first start began,
    /// but a recycled file with sectors of theirs: their numbers must not be used again.
    pub fn first_of(incarnation: Incarnation) -> SegmentId {
        SegmentId(u64::from(incarnation.0.saturating_sub(1)) << SEGMENT_BITS | 1)
    }

    /// The incarnation that writes to it.
    pub fn incarnation(self) -> Incarnation {
        Incarnation((self.0 >> SEGMENT_BITS) as u32 + 1)
    }

    /// The place of something whose last whole record lies here.
    pub fn written(self) -> Written {
        Written(self.0)
    }
}

/// Bytes that a disk may read and write without copying them: they start at a multiple of [`BLOCK_BYTES`] in memory.
pub struct Block {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

/// Offsets and lengths on disk are multiples of this, as direct I/O wants them.
pub const BLOCK_BYTES: usize = 4096;

impl Block {
    /// Room for `capacity` bytes, rounded up to whole blocks.
    pub fn with_capacity(capacity: usize) -> Block {
        let capacity = capacity.next_multiple_of(BLOCK_BYTES);
        let bytes = vec![0; capacity + BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Block { bytes, start, len: 0 }
    }

    /// What it holds.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// What it holds, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.len() - BLOCK_BYTES
    }

    /// Makes it hold `more` bytes behind what it holds, in a larger place if need be, and returns them: they are whatever they were.
    pub fn make_room(&mut self, more: usize) -> &mut [u8] {
        let (held, len) = (self.len, self.len + more);
        if len > self.capacity() {
            let mut larger = Block::with_capacity(len.max(2 * self.capacity()));
            larger.set_len(held);
            larger.bytes_mut().copy_from_slice(self.bytes());
            *self = larger;
        }
        self.set_len(len);
        &mut self.bytes_mut()[held..]
    }

    /// Makes it hold `len` bytes; those behind what it held are whatever they were.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "a block is made for what it is to hold");
        self.len = len;
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} of {} bytes)", self.len, self.capacity())
    }
}

/// One thing that the disk is to do. Each is answered by one [`DiskDone`], in any order.
#[derive(Debug)]
pub enum DiskRequest {
    /// Make a segment of `bytes` ready to be written, on disk with its name; what is in it does not matter.
    Prepare {
        /// Which.
        segment: SegmentId,
        /// Its size, a multiple of [`BLOCK_BYTES`].
        bytes: u64,
    },
    /// Write, and make it durable if that is what the log is for.
    Write {
        /// Where.
        segment: SegmentId,
        /// A multiple of [`BLOCK_BYTES`].
        offset: u64,
        /// Whole blocks.
        block: Block,
        /// Answer only when it would survive the loss of power.
        durable: bool,
    },
    /// Read.
    Read {
        /// Where.
        segment: SegmentId,
        /// Any offset.
        offset: u64,
        /// Any length.
        bytes: usize,
        /// Comes back with the answer.
        tag: u64,
    },
    /// Nobody needs the segment any more: its space may be given back, or used again.
    Retire {
        /// Which.
        segment: SegmentId,
    },
}

/// What the disk has done.
#[derive(Debug)]
pub enum DiskDone {
    /// [`DiskRequest::Prepare`].
    Prepared {
        /// Which.
        segment: SegmentId,
        /// Whether it is there.
        result: Result<(), DiskError>,
    },
    /// [`DiskRequest::Write`].
    Written {
        /// Where.
        segment: SegmentId,
        /// As asked.
        offset: u64,
        /// To be used again.
        block: Block,
        /// Whether it is there.
        result: Result<(), DiskError>,
    },
    /// [`DiskRequest::Read`].
    Read {
        /// As asked.
        tag: u64,
        /// All bytes asked for.
        result: Result<Vec<u8>, DiskError>,
    },
    /// [`DiskRequest::Retire`].
    Retired {
        /// Which.
        segment: SegmentId,
    },
}

/// Why the disk has not done it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// No space, or less than the watermark leaves.
    Full,
    /// Anything else, by its errno: what was to be written may or may not be there, and nothing more can be trusted.
    Failed(i32),
}

/// The disk of one shard's log. Never blocks.
pub trait Disk {
    /// Takes a request.
    fn submit(&mut self, request: DiskRequest);
    /// The next request that is done.
    fn poll(&mut self) -> Option<DiskDone>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_starts_where_direct_io_wants_it() {
        for capacity in [1, 4096, 100_000] {
            let mut block = Block::with_capacity(capacity);
            assert!(block.capacity() >= capacity && block.capacity().is_multiple_of(BLOCK_BYTES));
            block.set_len(capacity);
            assert_eq!(block.bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
            block.bytes_mut().fill(7);
            assert!(block.bytes().iter().all(|byte| *byte == 7) && block.bytes().len() == capacity);
            block.make_room(capacity).fill(8);
            assert_eq!(block.bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
            let (old, new) = block.bytes().split_at(capacity);
            assert!(old.iter().all(|byte| *byte == 7) && new.iter().all(|byte| *byte == 8));
            assert!(new.len() == capacity && block.capacity() >= 2 * capacity);
        }
    }
}
