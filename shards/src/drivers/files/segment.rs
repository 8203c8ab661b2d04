//! One segment file, open for writing.

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fcntl_setfl, fsync, open};
use rustix::io::{Errno, IoSlice, ReadWriteFlags, pread, pwrite, pwritev2};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::log::{BLOCK_BYTES, Block};

/// Zeros written at a time while a segment is made.
const ZEROS_BYTES: usize = 1 << 20;

/// How segment files are kept. Anything but the default is there to test what a power cut finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ways {
    /// Written past the page cache where the file system can.
    pub direct: bool,
    /// Segments that nobody needs are used again instead of new ones.
    pub recycle: bool,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways { direct: true, recycle: true }
    }
}

/// A segment that can be written: its space is taken, its name is on disk.
#[derive(Debug)]
pub struct SegmentFile {
    fd: OwnedFd,
    /// Written past the page cache. Where a file system refuses that, writes are buffered and need a flush to be durable.
    direct: bool,
}

impl SegmentFile {
    /// Makes a file at `path` full of `bytes` zeros, which are on disk when this returns; its name is not yet.
    ///
    /// The zeros are written, not only allocated: otherwise every first write to a place would have to change the file system's own metadata
    /// and wait for its journal, which costs as much as the write itself.
    pub(super) fn make(path: &Path, bytes: u64, ways: Ways) -> Result<SegmentFile, Errno> {
        let file = SegmentFile::open_with(path, OFlags::CREATE | OFlags::EXCL, ways)?;
        match fallocate(&file.fd, FallocateFlags::empty(), 0, bytes) {
            // Some file systems cannot; the zeros below take the space just as well.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error),
        }
        let mut zeros = Block::with_capacity(ZEROS_BYTES);
        zeros.set_len(ZEROS_BYTES);
        let mut file = file;
        let mut offset = 0;
        while offset < bytes {
            let len = zeros.bytes().len().min(usize::try_from(bytes - offset).unwrap_or(usize::MAX));
            match pwrite(&file.fd, &zeros.bytes()[..len], offset) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => offset += written as u64,
                Err(Errno::INTR) => {}
                Err(Errno::INVAL) if file.direct => file.give_up_direct()?,
                Err(error) => return Err(error),
            }
        }
        fsync(&file.fd)?;
        Ok(file)
    }

    /// Opens one that was made before.
    pub(super) fn open(path: &Path, ways: Ways) -> Result<SegmentFile, Errno> {
        SegmentFile::open_with(path, OFlags::empty(), ways)
    }

    fn open_with(path: &Path, more: OFlags, ways: Ways) -> Result<SegmentFile, Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | more;
        let private = Mode::RUSR | Mode::WUSR;
        if !ways.direct {
            return open(path, flags, private).map(|fd| SegmentFile { fd, direct: false });
        }
        match open(path, flags | OFlags::DIRECT, private) {
            Ok(fd) => Ok(SegmentFile { fd, direct: true }),
            // Refused after the file was made: it is ours, and there now.
            Err(Errno::INVAL) => {
                let fd = open(path, flags - OFlags::EXCL, private)?;
                Ok(SegmentFile { fd, direct: false })
            }
            Err(error) => Err(error),
        }
    }

    fn give_up_direct(&mut self) -> Result<(), Errno> {
        fcntl_setfl(&self.fd, OFlags::empty())?;
        self.direct = false;
        Ok(())
    }

    /// Whether writes go past the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Its descriptor, open as long as this lives.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Writes all of `bytes`, and has them on disk if `durable`. Blocks.
    pub(super) fn write(&self, bytes: &[u8], offset: u64, durable: bool) -> Result<(), Errno> {
        let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        let mut done = 0;
        while done < bytes.len() {
            match pwritev2(&self.fd, &[IoSlice::new(&bytes[done..])], offset + done as u64, flags) {
                Ok(0) => return Err(Errno::IO),
                // Direct writes go on where a block begins; what is written twice is the same.
                Ok(written) => done = advance(done, written, bytes.len()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Where to go on after `written` more bytes of `len`.
pub(in crate::drivers) fn advance(done: usize, written: usize, len: usize) -> usize {
    let done = done + written;
    if done >= len { len } else { done / BLOCK_BYTES * BLOCK_BYTES }
}

/// Reads `bytes` bytes at `offset` of the segment at `path`. Blocks.
pub(super) fn read(path: &Path, offset: u64, bytes: usize) -> Result<Vec<u8>, Errno> {
    let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut all = vec![0; bytes];
    let mut done = 0;
    while done < bytes {
        match pread(&fd, &mut all[done..], offset + done as u64) {
            // The log asks for what it has written: a shorter file is not the one that it wrote.
            Ok(0) => return Err(Errno::IO),
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
