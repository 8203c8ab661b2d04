//! What the driver is told, and why it cannot start or go on.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::counters::RingCounters;
use crate::drivers::clock::Clock;

/// Bytes of locked memory without which glommio's executor does not start.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Where a shard's thread may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Wherever the scheduler puts it.
    Unpinned,
    /// On one CPU, by the system's number.
    Cpu(usize),
    /// On any of these CPUs.
    Cpus(Vec<usize>),
}

/// How one shard's loop is set up.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// For the thread and its log lines.
    pub name: String,
    /// Where the thread may run.
    pub placement: Placement,
    /// Entries of the submission queue; the kernel rounds up to a power of two. The completion queue has four times as many.
    pub ring_entries: u32,
    /// Entries of the completion queue instead of four times the submission queue's.
    pub completion_entries: Option<u32>,
    /// Receive buffers instead of two per ring entry; rounded up to a power of two.
    pub buffers: Option<u16>,
    /// Bytes of one receive buffer: what one read returns at most.
    pub buffer_bytes: usize,
    /// Completions handled per turn instead of 512, which is also the most.
    pub reap_per_turn: Option<usize>,
    /// The broker's clock, the same for all its shards.
    pub clock: Clock,
    /// Where the loop counts; keep a clone to read.
    pub counters: Arc<RingCounters>,
}

impl DriverOptions {
    /// A shard's options with a ring of this size: 64 entries for small devices, 4,096 for a million connections.
    pub fn new(name: &str, ring_entries: u32) -> DriverOptions {
        DriverOptions {
            name: name.to_owned(),
            placement: Placement::Unpinned,
            ring_entries,
            completion_entries: None,
            buffers: None,
            buffer_bytes: 4096, // most reads are a few packets; a longer burst takes several buffers in one turn
            reap_per_turn: None,
            clock: Clock::start(),
            counters: Arc::default(),
        }
    }

    /// Receive buffers to provide: a power of two that the kernel takes.
    pub fn buffer_count(&self) -> u16 {
        let wished = self.buffers.map_or(self.ring_entries.saturating_mul(2), u32::from);
        wished.clamp(1, 1 << 15).next_power_of_two() as u16
    }
}

/// Why the driver cannot start, or stopped.
#[derive(Debug)]
pub enum DriverError {
    /// io_uring is switched off for this process: a container's seccomp profile, or kernel.io_uring_disabled.
    Denied(io::Error),
    /// The kernel has no io_uring at all.
    NoRing,
    /// The kernel lacks something that came with 6.0 or 6.1.
    KernelTooOld(&'static str),
    /// RLIMIT_MEMLOCK, in bytes, is below what the rings need.
    LockedMemory(u64),
    /// The kernel had no memory or descriptor for the ring.
    Setup(io::Error),
    /// glommio's executor did not start.
    Executor(String),
    /// Waiting failed: the loop cannot go on.
    Enter(io::Error),
    /// The log failed: what was not written may be lost, and nothing more is acknowledged.
    Log(String),
}

impl DriverError {
    /// The meaning of an error from setting up a ring.
    pub(super) fn setup(error: &io::Error) -> DriverError {
        let error = io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO));
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => DriverError::Denied(error),
            Some(libc::ENOSYS) => DriverError::NoRing,
            Some(libc::EINVAL) => DriverError::KernelTooOld("the ring flags SINGLE_ISSUER and DEFER_TASKRUN"),
            _ => DriverError::Setup(error),
        }
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DriverError::Denied(error) => write!(
                f,
                "io_uring is not permitted here ({error}): allow the io_uring system calls in the container's seccomp profile \
                 and set kernel.io_uring_disabled=0, or use --io epoll"
            ),
            DriverError::NoRing => write!(
                f,
                "this system has no io_uring: allow it in the sandbox or run Linux 6.1 or later, or use --io epoll"
            ),
            DriverError::KernelTooOld(what) => {
                write!(f, "the kernel lacks {what}: run Linux 6.1 or later, or use --io epoll")
            }
            DriverError::LockedMemory(bytes) => write!(
                f,
                "only {} KiB of memory may be locked and the rings need {} KiB: raise it (ulimit -l, LimitMEMLOCK=), or use \
                 --io epoll",
                bytes / 1024,
                MEMLOCK_BYTES_MIN / 1024
            ),
            DriverError::Setup(error) if error.raw_os_error() == Some(libc::ENOMEM) => write!(
                f,
                "no memory for the rings ({error}): raise the locked memory limit (ulimit -l, LimitMEMLOCK=) or set fewer \
                 ring_entries, or use --io epoll"
            ),
            DriverError::Setup(error) => {
                write!(f, "the rings cannot be set up: {error}; --io epoll does without")
            }
            DriverError::Executor(reason) => {
                write!(f, "glommio's executor does not start: {reason}; --io epoll does without")
            }
            DriverError::Enter(error) => write!(f, "waiting for the ring failed: {error}"),
            DriverError::Log(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for DriverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DriverError::Denied(error) | DriverError::Setup(error) | DriverError::Enter(error) => Some(error),
            _ => None,
        }
    }
}
