//! The epoll set of a shard: level-triggered, so that what a turn leaves unread is reported again by the next wait.

use crate::base::time::Time;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events taken per wait: bounds a turn; the kernel rotates what is left, so nobody starves.
const EVENTS_PER_TURN: usize = 512;
/// Longest wait: far below the 24 days at which milliseconds overflow the system call's argument.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// What a file descriptor is watched for; hang-up and error are reported whatever is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Interest {
    /// Watched for input.
    pub read: bool,
    /// Watched for room to write.
    pub write: bool,
}

/// What happened to a file descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readiness {
    /// What it was registered as.
    pub token: u64,
    /// Input, or the end of it.
    pub read: bool,
    /// Room to write.
    pub write: bool,
    /// Both directions are down, or the socket failed.
    pub dead: bool,
}

/// One epoll set and the events of the last wait.
pub(super) struct Poller {
    set: OwnedFd,
    events: Vec<Event>,
}

impl Interest {
    /// Input only.
    pub const READ: Interest = Interest { read: true, write: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }

    /// Whether all of `other` is watched too.
    pub fn covers(self, other: Interest) -> bool {
        (self.read || !other.read) && (self.write || !other.write)
    }
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { set: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS_PER_TURN) })
    }

    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.set, fd, EventData::new_u64(token), interest.flags())?)
    }

    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.set, fd, EventData::new_u64(token), interest.flags())?)
    }

    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.set, fd)?)
    }

    /// Waits until something is ready or `timeout` is over; zero only looks. A signal ends the wait early, with nothing ready.
    ///
    /// Returns how many events there are, for [`Poller::event`].
    pub fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        self.events.clear();
        // Rounded up to the milliseconds that the call counts in: waking early would only mean to wait again.
        let millis = timeout.min(WAIT_MAX).as_micros().div_ceil(1_000);
        let millis = i64::try_from(millis).expect("an hour of milliseconds fits");
        let timeout = Timespec { tv_sec: millis / 1_000, tv_nsec: millis % 1_000 * 1_000_000 };
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The event numbered `index` of the last wait.
    pub fn event(&self, index: usize) -> Readiness {
        let Event { flags, data } = self.events[index];
        Readiness {
            token: data.u64(),
            read: flags.contains(EventFlags::IN),
            write: flags.contains(EventFlags::OUT),
            dead: flags.intersects(EventFlags::HUP | EventFlags::ERR),
        }
    }
}

/// How long to wait at `now` for the earlier of two times.
pub(super) fn until(now: Time, a: Option<Time>, b: Option<Time>) -> Duration {
    a.unwrap_or(Time::NEVER).min(b.unwrap_or(Time::NEVER)).since(now)
}
