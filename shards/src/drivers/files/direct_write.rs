//! One write under way without a thread: the kernel's asynchronous I/O, older than the ring and allowed where that is not.

use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::ptr;

use super::segment::SegmentFile;
use crate::drivers::eventfd::EventFd;
use crate::log::Block;

/// `IOCB_CMD_PWRITE` of linux/aio_abi.h.
const COMMAND_WRITE: u16 = 1;
/// `IOCB_FLAG_RESFD`: an eventfd is rung at the end.
const FLAG_RING: u32 = 1;

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
struct Completion {
    data: u64,
    control: u64,
    result: i64,
    result2: i64,
}

/// A place for one write past the page cache, whose end rings a bell. Lives on its shard's thread.
pub(super) struct DirectWrite {
    context: libc::c_ulong,
    /// What is being written: the kernel's until it says so.
    under_way: Option<Block>,
}

impl DirectWrite {
    /// A place.
    ///
    /// # Errors
    /// The kernel has none, or no more.
    pub(super) fn new() -> io::Result<DirectWrite> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes the one word that is passed.
        match unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) } {
            0 => Ok(DirectWrite { context, under_way: None }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Begins to write `block`, or gives it back: it would have to wait, here or for good.
    pub(super) fn begin(
        &mut self,
        file: &SegmentFile,
        offset: u64,
        block: Block,
        durable: bool,
        bell: &EventFd,
    ) -> Result<(), Block> {
        if self.under_way.is_some() || !file.is_direct() {
            return Err(block);
        }
        // SAFETY: a structure of numbers only.
        let mut control: libc::iocb = unsafe { zeroed() };
        control.aio_rw_flags = libc::RWF_NOWAIT | if durable { libc::RWF_DSYNC } else { 0 };
        control.aio_lio_opcode = COMMAND_WRITE;
        control.aio_fildes = file.raw() as u32;
        control.aio_buf = block.bytes().as_ptr() as u64;
        control.aio_nbytes = block.bytes().len() as u64;
        control.aio_offset = i64::try_from(offset).expect("a segment is far below 2^63");
        control.aio_flags = FLAG_RING;
        control.aio_resfd = bell.as_raw_fd() as u32;
        let mut control = &raw mut control;
        // SAFETY: the kernel copies the structure before the call returns. The bytes are on the heap, and stay there until the completion: `under_way`
        // is only let go then.
        let submitted = unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1, &raw mut control) };
        if submitted != 1 {
            return Err(block);
        }
        self.under_way = Some(block);
        Ok(())
    }

    /// What was written, once it is done, with the bytes that are there.
    pub(super) fn end(&mut self) -> Option<(Block, io::Result<usize>)> {
        self.under_way.as_ref()?;
        // SAFETY: a structure of numbers only.
        let mut completion: Completion = unsafe { zeroed() };
        // SAFETY: there is room for the one completion that is asked for; no time to wait is given with a zero minimum.
        let ended = unsafe {
            let none = ptr::null_mut::<libc::timespec>();
            libc::syscall(libc::SYS_io_getevents, self.context, 0, 1, &raw mut completion, none)
        };
        if ended != 1 {
            return None;
        }
        let result = usize::try_from(completion.result)
            .map_err(|_| io::Error::from_raw_os_error(-completion.result as i32));
        Some((self.under_way.take()?, result))
    }
}

impl Drop for DirectWrite {
    fn drop(&mut self) {
        match self.under_way.take() {
            // The kernel still reads from it, and giving up the place would wait for that: a disk that hangs must not hold the end of the process.
            Some(block) => std::mem::forget(block),
            // SAFETY: nothing is under way, and nobody else has the place.
            None => drop(unsafe { libc::syscall(libc::SYS_io_destroy, self.context) }),
        }
    }
}
