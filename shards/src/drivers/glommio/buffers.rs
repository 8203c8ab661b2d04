//! The receive buffers of a shard: provided to the kernel, which picks one when bytes have arrived.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use super::DriverError;

/// The group under which the buffers are registered; the ring has no other.
pub const GROUP: u16 = 0;

const PAGE: usize = 4096;

/// Buffers of one size in one piece of memory, behind the ring through which the kernel takes them.
///
/// All are with the kernel except those whose completion is being handled.
pub struct Buffers {
    memory: NonNull<u8>,
    layout: Layout,
    count: u16,
    buffer_bytes: usize,
    /// Where in the memory the buffers begin, behind the ring's entries.
    first: usize,
    /// The ring's tail as the kernel will see it once [`Buffers::publish`]ed.
    tail: u16,
}

impl Buffers {
    /// Allocates and touches the buffers and hands all of them to the kernel. `count` is a power of two up to 32,768.
    ///
    /// Touched now, so that the memory a broker starts with is the memory it has under load.
    pub fn new(uring: &IoUring, count: u16, buffer_bytes: usize) -> Result<Buffers, DriverError> {
        assert!(count.is_power_of_two() && count <= 1 << 15, "the options round to what the kernel takes");
        let first = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE);
        let layout = Layout::from_size_align(first + usize::from(count) * buffer_bytes, PAGE)
            .expect("a page is a power of two and the size is far from the address space's");
        // SAFETY: the layout is not empty: there is at least one page of entries.
        let memory =
            NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        let mut buffers = Buffers { memory, layout, count, buffer_bytes, first, tail: 0 };
        for page in (0..layout.size()).step_by(PAGE) {
            // SAFETY: within the allocation. Volatile, because a write of zero to zeroed memory may be optimised away.
            unsafe { memory.as_ptr().add(page).write_volatile(0) };
        }
        for id in 0..count {
            buffers.give_back(id);
        }
        // SAFETY: the entries lie page-aligned at the start of the allocation, which lives until the ring is gone: the
        // loop drops its ring before its buffers.
        unsafe { uring.submitter().register_buf_ring_with_flags(memory.as_ptr() as u64, count, GROUP, 0) }
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINVAL | libc::ENOSYS) => DriverError::KernelTooOld("provided buffer rings"),
                _ => DriverError::setup(&error),
            })?;
        buffers.publish();
        Ok(buffers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The first `len` bytes of a buffer that a completion named.
    pub fn filled(&self, id: u16, len: usize) -> &[u8] {
        assert!(
            id < self.count && len <= self.buffer_bytes,
            "the kernel fills the buffers that it was given"
        );
        // SAFETY: within the allocation by the assertion, and the kernel does not write to a buffer between its completion
        // and its return.
        unsafe {
            let start = self.memory.as_ptr().add(self.first + usize::from(id) * self.buffer_bytes);
            std::slice::from_raw_parts(start, len)
        }
    }

    /// Makes a buffer available again, from the next [`Buffers::publish`] on.
    pub fn give_back(&mut self, id: u16) {
        assert!(id < self.count, "the kernel names the buffers that it was given");
        let place = usize::from(self.tail & (self.count - 1));
        let start = self.first + usize::from(id) * self.buffer_bytes;
        // SAFETY: both are within the allocation. The kernel does not read entries at or behind the published tail, of which
        // there is always room for all buffers; zeroed memory is a valid entry.
        unsafe {
            let entry = &mut *self.memory.as_ptr().cast::<BufRingEntry>().add(place);
            entry.set_addr(self.memory.as_ptr().add(start) as u64);
            entry.set_len(self.buffer_bytes as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back.
    pub fn publish(&mut self) {
        // SAFETY: the tail lies in the first entry, aligned, and only we write it.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.memory.as_ptr().cast());
            &*tail.cast::<AtomicU16>()
        };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`; the ring that could write to it was dropped before.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}
