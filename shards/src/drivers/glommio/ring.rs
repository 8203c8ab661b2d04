//! One shard's io_uring: set up, filled with entries, entered once per turn.

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use super::counters::RingCounters;
use super::{DriverError, DriverOptions};

/// How long an enter may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is work left.
    No,
    /// Until a completion arrives.
    Forever,
    /// Until a completion arrives or this has passed.
    AtMost(Duration),
}

/// How long a wait may hold back completions that are there only because sends completed within the enter that queued them.
///
/// Such a send would end every wait at once, and a message would cost two enters instead of one. A send that does not complete at
/// once, because its socket is full, delays by this much at most, and in this one wait.
const SENDS_HELD: Duration = Duration::from_micros(500);

/// Completions reaped in one turn, at most: the rest of the turn (deadlines, lanes, output) waits no longer than they take.
pub const REAP_PER_TURN: usize = 512;

/// A place to copy completions to: handling one may push entries, for which the ring must not be borrowed.
pub type Reaped = [MaybeUninit<cqueue::Entry>; REAP_PER_TURN];

/// The ring of one shard. Made, used and dropped on the shard's thread (SINGLE_ISSUER).
pub struct Ring {
    uring: IoUring,
    /// Entries that found the submission queue full twice, in order. Empty but under memory pressure.
    spill: VecDeque<squeue::Entry>,
    counters: Arc<RingCounters>,
    /// The kernel can wait for several completions and yet return with fewer after a while (Linux 6.12).
    holds_sends: bool,
}

impl Ring {
    /// Sets up a ring of the wished size; the real one is in the counters.
    pub fn new(options: &DriverOptions, counters: Arc<RingCounters>) -> Result<Ring, DriverError> {
        let completions = options.completion_entries.unwrap_or(options.ring_entries.saturating_mul(4));
        let uring = IoUring::builder()
            .setup_single_issuer() // one thread submits: no lock on the submission side
            .setup_defer_taskrun() // completions are worked off when we wait, not by interrupting the turn
            .setup_submit_all() // an entry that fails must not hold up those behind it
            .setup_clamp()
            .setup_cqsize(completions.max(options.ring_entries))
            .build(options.ring_entries)
            .map_err(|error| DriverError::setup(&error))?;
        let parameters = uring.params();
        for (present, feature) in [
            (parameters.is_feature_ext_arg(), "waiting with a timeout (EXT_ARG)"),
            (parameters.is_feature_nodrop(), "keeping completions that do not fit (NODROP)"),
            (parameters.is_feature_skip_cqe_on_success(), "silent success (CQE_SKIP)"),
        ] {
            if !present {
                return Err(DriverError::KernelTooOld(feature));
            }
        }
        counters.submission_entries.set(parameters.sq_entries().into());
        counters.completion_entries.set(parameters.cq_entries().into());
        let holds_sends = parameters.is_feature_min_timeout();
        Ok(Ring { uring, spill: VecDeque::new(), counters, holds_sends })
    }

    /// The ring itself, to register buffers with and to ask what the kernel can do.
    pub fn uring(&self) -> &IoUring {
        &self.uring
    }

    /// Queues an entry for the next enter, or submits at once when the queue is full.
    ///
    /// # Safety
    /// What the entry points to stays valid until its completion was reaped.
    pub unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: the caller's promise is the one that the queue asks for.
        if self.spill.is_empty() && unsafe { self.uring.submission().push(&entry) }.is_ok() {
            return;
        }
        self.counters.sq_full.add(1);
        // An error is the next enter's to report: it submits the same entries again.
        let _ = self.uring.submit();
        self.spill.push_back(entry);
        self.unspill();
        if !self.spill.is_empty() {
            self.counters.spilled.add(1);
        }
    }

    fn unspill(&mut self) {
        while let Some(entry) = self.spill.front() {
            // SAFETY: promised by whoever pushed the entry.
            if unsafe { self.uring.submission().push(entry) }.is_err() {
                return;
            }
            self.spill.pop_front();
        }
    }

    /// Submits what was queued and waits: one system call. Returns early on a signal or when the kernel is short of memory.
    ///
    /// `sends` are queued entries whose completions, if they come at once, nobody waits for.
    pub fn enter(&mut self, wait: Wait, sends: u32) -> Result<(), DriverError> {
        self.unspill();
        if self.uring.submission().cq_overflow() {
            self.counters.cq_overflows.add(1);
        }
        // What did not fit must be submitted as soon as there is room.
        let wait = if self.spill.is_empty() { wait } else { Wait::No };
        self.counters.enters.add(1);
        match self.enter_once(wait, if self.holds_sends { sends } else { 0 }) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME) => Ok(()),
                Some(libc::EINTR) => {
                    self.counters.interrupted.add(1);
                    Ok(())
                }
                // Out of request memory, or completions must be reaped first: the entries stay queued.
                Some(libc::EAGAIN | libc::EBUSY) => {
                    self.counters.refused.add(1);
                    Ok(())
                }
                _ => Err(DriverError::Enter(error)),
            },
        }
    }

    fn enter_once(&mut self, wait: Wait, sends: u32) -> io::Result<usize> {
        let queued = self.uring.submission().len() as u32;
        let submitter = self.uring.submitter();
        // GETEVENTS also when not waiting: it runs the deferred work and flushes an overflown completion queue.
        let flags = EnterFlags::GETEVENTS;
        if wait == Wait::No {
            // SAFETY: no argument is passed; the queued entries were vouched for when they were pushed.
            return unsafe { submitter.enter::<libc::sigset_t>(queued, 0, flags.bits(), None) };
        }
        let mut arguments = SubmitArgs::new();
        let span = if let Wait::AtMost(span) = wait { span } else { Duration::ZERO };
        if sends > 0 {
            // The least wait is not cut short by the longest.
            let longest = if wait == Wait::Forever { SENDS_HELD } else { span };
            arguments = arguments.min_wait_usec(SENDS_HELD.min(longest).as_micros() as u32);
        }
        let span = Timespec::from(span);
        if wait != Wait::Forever {
            arguments = arguments.timespec(&span);
        }
        let flags = flags | EnterFlags::EXT_ARG;
        // SAFETY: EXT_ARG says that the argument is a `SubmitArgs`, and it and its timespec outlive the call.
        unsafe { submitter.enter(queued, 1 + sends, flags.bits(), Some(&arguments)) }
    }

    /// Copies out at most `limit` completions.
    pub fn reap<'a>(&mut self, reaped: &'a mut Reaped, limit: usize) -> &'a [cqueue::Entry] {
        self.uring.completion().fill(&mut reaped[..limit.min(REAP_PER_TURN)])
    }

    /// Whether completions were left for the next turn, in the queue or, when that is full, in the kernel.
    pub fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty() || self.uring.submission().cq_overflow()
    }
}
