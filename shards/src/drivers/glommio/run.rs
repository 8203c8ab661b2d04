//! The loop of one shard: the turn, and what ends it.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use tracing::debug;

use super::accept::Listener;
use super::buffers::Buffers;
use super::close::Waiting;
use super::counters::RingCounters;
use super::links::{Links, Reading, Sending};
use super::log::LogDisk;
use super::ring::{REAP_PER_TURN, Ring, Wait};
use super::send::{Gather, QueuedSends};
use super::tag::{Operation, Tag};
use super::{DriverError, DriverOptions};
use crate::base::slab::{Key, Slab};
use crate::base::time::Time;
use crate::drivers::clock::Clock;
use crate::drivers::driven::Driven;
use crate::drivers::eventfd::EventFd;
use crate::mesh::ListenerId;
use crate::shard::{Action, ConnectionKey};

/// One shard's loop. Made, run and dropped on the shard's thread.
///
/// The ring stands before what its operations use: it is dropped first.
pub struct RingLoop<D: Driven> {
    pub(super) ring: Ring,
    pub(super) buffers: Buffers,
    pub(super) core: D,
    pub(super) links: Links<D::Output>,
    pub(super) sendings: Slab<Sending<D::Output>>,
    /// Message headers that no send uses now.
    #[allow(clippy::vec_box)] // boxed because the kernel is told their address
    pub(super) gathers: Vec<Box<Gather>>,
    pub(super) listeners: Vec<Listener>,
    /// Connections that wait for a free buffer, the longest waiting first.
    pub(super) starving: VecDeque<ConnectionKey>,
    /// Buffers given back in this turn.
    pub(super) given_back: usize,
    pub(super) queued_sends: QueuedSends,
    pub(super) waiting: Waiting,
    pub(super) counters: Arc<RingCounters>,
    pub(super) now: Time,
    pub(super) name: String,
    /// Where the shard's log is written, if it has one.
    pub(super) disk: Option<LogDisk>,
    bell: EventFd,
    bell_armed: bool,
    pub(super) clock: Clock,
    reap_per_turn: usize,
}

impl<D: Driven> RingLoop<D> {
    /// Sets up ring and buffers on the calling thread, which alone may run the loop.
    pub fn new(
        core: D,
        listeners: Vec<(ListenerId, OwnedFd)>,
        options: &DriverOptions,
        bell: EventFd,
    ) -> Result<RingLoop<D>, DriverError> {
        let counters = Arc::clone(&options.counters);
        let ring = Ring::new(options, Arc::clone(&counters))?;
        let buffers = Buffers::new(ring.uring(), options.buffer_count(), options.buffer_bytes)?;
        counters.buffers.set(buffers.count() as u64);
        Ok(RingLoop {
            ring,
            buffers,
            core,
            links: Links::new(),
            sendings: Slab::new(),
            gathers: Vec::new(),
            listeners: listeners.into_iter().map(|(id, socket)| Listener::new(id, socket)).collect(),
            starving: VecDeque::new(),
            given_back: 0,
            queued_sends: QueuedSends::default(),
            waiting: Waiting::default(),
            counters,
            now: Time::ZERO,
            name: options.name.clone(),
            disk: None,
            bell,
            bell_armed: false,
            clock: options.clock,
            reap_per_turn: options.reap_per_turn.unwrap_or(REAP_PER_TURN),
        })
    }

    /// Turns until the core has stopped and drained.
    pub fn run(&mut self) -> Result<(), DriverError> {
        loop {
            self.turn();
            if let Some(reason) = self.core.log_failure() {
                return Err(DriverError::Log(reason));
            }
            if self.core.is_stopping() && self.core.is_drained() && self.accepts_ended() {
                // What is still queued are closes: they must not wait for the ring's teardown.
                return self.ring.enter(Wait::No, 0);
            }
            self.wait()?;
        }
    }

    /// Everything of a turn but its wait.
    pub(super) fn turn(&mut self) {
        self.now = self.clock.now();
        self.reap();
        self.hear_keeper();
        self.core.exchange_in(self.now);
        self.core.work(self.now);
        self.carry_out();
        self.expire_waiting();
        self.settle_accepting();
        self.settle_bell();
        self.core.exchange_out(self.now);
        self.submit_to_disk();
    }

    /// Handles a bounded number of completions.
    fn reap(&mut self) {
        let mut reaped = [const { MaybeUninit::uninit() }; REAP_PER_TURN];
        for completion in self.ring.reap(&mut reaped, self.reap_per_turn) {
            self.on_completion(completion);
        }
        self.buffers.publish();
        self.feed_starving();
    }

    fn on_completion(&mut self, completion: &cqueue::Entry) {
        let tag = Tag::from_bits(completion.user_data());
        let key = Key::from_bits(u64::from(tag.generation) << 32 | u64::from(tag.slot));
        let (result, flags) = (completion.result(), completion.flags());
        match tag.operation {
            Operation::Receive => self.on_receive(key, result, flags),
            Operation::Send => self.on_send(key, result),
            Operation::Accept => self.on_accept(tag.slot as usize, result, flags),
            Operation::Bell => self.bell_armed = cqueue::more(flags),
            Operation::Log => self.on_log_write(Key::from_bits(key.to_bits()), result),
            // The operation had completed already, or the peer was gone already: what was to be reached is reached.
            Operation::Cancel | Operation::Close => {
                debug!(shard = %self.name, ?tag, result, "a clean-up found nothing to do");
            }
        }
    }

    /// Drains what the core asks for: actions, and one send per connection with output.
    fn carry_out(&mut self) {
        loop {
            while let Some(action) = self.core.poll_action() {
                self.act(action);
            }
            let Some(key) = self.core.poll_flush() else { return };
            self.flush(key);
            while let Some(key) = self.core.poll_flush() {
                self.flush(key);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::ReadOnce(key) => self.want_reading(key, Reading::Once),
            Action::Read(key) => self.want_reading(key, Reading::Stream),
            Action::Pause(key) => self.want_reading(key, Reading::Paused),
            Action::Attach(key, socket) => self.links.open(key, socket.0 as i32),
            Action::Detach(key) => self.begin_detach(key),
            Action::Close(key, mode) => self.begin_close(key, mode),
        }
    }

    /// The bell is polled as long as the loop runs. It is never drained: every ring of it wakes the poll, whatever its count.
    fn settle_bell(&mut self) {
        if !self.bell_armed {
            self.bell_armed = true;
            let entry =
                opcode::PollAdd::new(Fd(self.bell.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
            let tag = Tag::new(Operation::Bell, 0, 0);
            // SAFETY: the entry points to nothing.
            unsafe { self.ring.push(entry.user_data(tag.to_bits())) };
        }
    }

    /// Submits and waits, in one call.
    pub(super) fn wait(&mut self) -> Result<(), DriverError> {
        if self.ring.has_completions() || self.core.busy() || !self.core.try_sleep(self.now) {
            self.queued_sends = QueuedSends::default();
            return self.ring.enter(Wait::No, 0);
        }
        let sends = std::mem::take(&mut self.queued_sends).not_waited_for();
        let entered = self.ring.enter(self.longest_wait(), sends);
        self.core.woke();
        entered
    }

    fn longest_wait(&self) -> Wait {
        let deadlines = [self.core.poll_deadline(), self.waiting.deadline(), self.accept_deadline()];
        match deadlines.into_iter().flatten().min() {
            None | Some(Time::NEVER) => Wait::Forever,
            Some(at) if at <= self.now => Wait::No,
            Some(at) => Wait::AtMost(at.since(self.now)),
        }
    }
}

impl<D: Driven> Drop for RingLoop<D> {
    fn drop(&mut self) {
        // After an error operations may be under way; closing the ring cancels them, but not before this returns. What they read
        // from must stay where it is; the process is about to end.
        if !self.sendings.is_empty() {
            std::mem::forget(std::mem::take(&mut self.sendings));
        }
        if self.disk.as_ref().is_some_and(LogDisk::is_writing) {
            std::mem::forget(self.disk.take());
        }
    }
}
