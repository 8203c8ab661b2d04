//! The driver for where io_uring is missing: one level-triggered epoll set per shard, the same duties as the ring's.
//!
//! One receive per ready connection and turn, one send per connection with output and turn, one wait per turn. Interest is
//! changed only when it must be: added when input or room to write is wanted, taken back when an unwanted event arrives.

mod accept;
mod close;
mod links;
mod poller;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use super::clock::Clock;
use super::eventfd::EventFd;
use super::files::FileDisk;
use crate::base::limits::LOG_HOLD_MAX;
use crate::base::time::Time;
use crate::drivers::driven::Driven;
use crate::log::Disk;
use crate::mesh::ListenerId;
use crate::shard::ConnectionKey;
use accept::{Listener, listener_of};
use links::Links;
use poller::{Interest, Poller, until};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The bell's token: no connection has it, a slab never fills its last index.
const BELL: u64 = u32::MAX as u64;
/// How long a stop may take before the connections that are left are abandoned; the broker promises to exit within 5 s.
const STOP_MAX: Duration = Duration::from_millis(4_500);

/// How often the driver met what is rare, for tests and statistics.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct EpollCounters {
    /// Sends that the socket did not take whole.
    pub blocked_sends: u64,
    /// Connections that died while nothing was wanted of them.
    pub died_unread: u64,
    /// Pauses of accepting for want of descriptors or memory.
    pub accept_back_offs: u64,
}

/// A shard's loop: owns its sockets, its epoll set and the shard itself.
struct Loop<D: Driven> {
    core: D,
    poller: Poller,
    bell: EventFd,
    listeners: Vec<Listener>,
    links: Links<D::Output>,
    buffer: Box<[u8]>,
    /// Closing connections by when they have had their time.
    closing: BTreeSet<(Time, ConnectionKey)>,
    counters: EpollCounters,
    /// Where the shard's log is written, if it has one.
    disk: Option<FileDisk>,
}

/// Runs a shard on the calling thread until it was stopped and its last connection is closed.
///
/// `clock` is the same for all shards, `disk` where this one's log is kept, if it keeps one. Fails when the kernel refuses the epoll set itself,
/// and when the log does.
pub fn run<D: Driven>(
    core: D,
    listeners: Vec<(ListenerId, OwnedFd)>,
    bell: EventFd,
    clock: Clock,
    disk: Option<FileDisk>,
) -> io::Result<EpollCounters> {
    let mut shard = Loop::new(core, listeners, bell)?;
    shard.disk = disk;
    shard.run(|| clock.now())?;
    Ok(shard.counters)
}

impl<D: Driven> Loop<D> {
    fn new(core: D, listeners: Vec<(ListenerId, OwnedFd)>, bell: EventFd) -> io::Result<Loop<D>> {
        let poller = Poller::new()?;
        poller.add(&bell, BELL, Interest::READ)?;
        Ok(Loop {
            core,
            poller,
            bell,
            listeners: listeners.into_iter().map(|(id, fd)| Listener::new(id, fd)).collect(),
            links: Links::new(),
            buffer: vec![0; receive::RECEIVE_BYTES].into_boxed_slice(),
            closing: BTreeSet::new(),
            counters: EpollCounters::default(),
            disk: None,
        })
    }

    fn run(&mut self, clock: impl Fn() -> Time) -> io::Result<()> {
        let mut stop_by = None;
        // The first turn waits for nothing: it tells the broker that this shard serves.
        let mut all_done = false;
        self.tend_listeners(clock())?;
        loop {
            let asleep =
                all_done && !self.core.busy() && !self.is_due_soon(clock()) && self.core.try_sleep(clock());
            let timeout = if asleep { self.sleep_span(clock(), stop_by) } else { Duration::ZERO };
            let events = self.poller.wait(timeout)?;
            if asleep {
                self.core.woke();
            }
            let now = clock();
            all_done = self.turn(now, events)?;
            if let Some(reason) = self.core.log_failure() {
                return Err(io::Error::other(reason));
            }
            if self.core.is_stopping() {
                if self.core.is_drained() && self.links.is_empty() {
                    return Ok(());
                }
                if now >= *stop_by.get_or_insert(now + STOP_MAX) {
                    tracing::warn!("some connections took no output for {STOP_MAX:?} and are left");
                    return Ok(());
                }
            }
        }
    }

    /// Whether something is due before a wait could end, which counts in milliseconds: it is watched for without sleeping. That is the log's hold
    /// nearly always.
    fn is_due_soon(&self, now: Time) -> bool {
        self.core.poll_deadline().is_some_and(|at| at <= now + LOG_HOLD_MAX)
    }

    /// How long nothing is due.
    fn sleep_span(&self, now: Time, stop_by: Option<Time>) -> Duration {
        let own = [self.close_deadline(), self.accept_deadline(), stop_by].into_iter().flatten().min();
        until(now, own, self.core.poll_deadline())
    }

    /// One turn (DESIGN.md section 3); false when its bounds left something to do.
    fn turn(&mut self, now: Time, events: usize) -> io::Result<bool> {
        for index in 0..events {
            let event = self.poller.event(index);
            if event.token == BELL {
                self.bell.drain();
            } else if let Some(listener) = listener_of(event.token) {
                self.accept(now, listener);
            } else {
                self.ready(now, ConnectionKey::from_bits(event.token), event)?;
            }
        }
        while let Some(done) = self.disk.as_mut().and_then(Disk::poll) {
            self.core.handle_disk(now, done);
        }
        self.core.exchange_in(now);
        self.core.work(now);
        self.expire_closing(now);
        let all_done = self.drain(now);
        self.tend_listeners(now)?;
        self.core.exchange_out(now);
        if let Some(disk) = &mut self.disk {
            while let Some(request) = self.core.poll_disk() {
                disk.submit(request);
            }
        }
        Ok(all_done)
    }
}
