//! epoll, with timeouts finer than a millisecond.

use crate::error::BenchError;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The token it was registered with.
    pub token: u64,
    /// Bytes, an end or an error can be read.
    pub readable: bool,
    /// Bytes can be written.
    pub writable: bool,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    Both,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Interest::Read => epoll::EventFlags::IN,
            Interest::Write => epoll::EventFlags::OUT,
            Interest::Both => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        }
    }
}

/// The set of watched descriptors.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// An empty set; a wait takes at most `events_per_wait` events, the others stay ready.
    pub fn new(events_per_wait: usize) -> Result<Poller, BenchError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| BenchError::system("epoll_create", error))?;
        Ok(Poller { epoll, events: Vec::with_capacity(events_per_wait) })
    }

    /// Watches `source`; closing it ends that.
    pub fn add(&self, source: impl AsFd, token: u64, interest: Interest) -> Result<(), BenchError> {
        epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), interest.flags())
            .map_err(|error| BenchError::system("epoll_ctl add", error))
    }

    /// Watches `source` for something else.
    pub fn modify(&self, source: impl AsFd, token: u64, interest: Interest) -> Result<(), BenchError> {
        epoll::modify(&self.epoll, source, epoll::EventData::new_u64(token), interest.flags())
            .map_err(|error| BenchError::system("epoll_ctl modify", error))
    }

    /// Waits for something to happen, at most `timeout_ns`; [`Poller::ready`] tells what.
    pub fn wait(&mut self, timeout_ns: u64) -> Result<usize, BenchError> {
        self.events.clear();
        let mut timeout = timespec(timeout_ns / 1_000_000 * 1_000_000);
        // Before 5.11 epoll_wait counts whole milliseconds, too coarse for the last stretch to a paced message; ppoll counts nanoseconds.
        if (1..2_000_000).contains(&timeout_ns) {
            let set = &mut [PollFd::new(&self.epoll, PollFlags::IN)];
            match poll(set, Some(&timespec(timeout_ns))) {
                Ok(0) | Err(Errno::INTR) => return Ok(0),
                Ok(_) => timeout = Timespec::default(),
                Err(error) => return Err(BenchError::system("poll", error)),
            }
        }
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(BenchError::system("epoll_wait", error)),
        }
    }

    /// The `index`-th event of the last wait.
    pub fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let flags = event.flags;
        let ended = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        Ready {
            token: event.data.u64(),
            readable: flags.intersects(epoll::EventFlags::IN | ended),
            writable: flags.intersects(epoll::EventFlags::OUT | ended),
        }
    }
}

/// Waits until one of `pollers` has something ready, at most `timeout_ns`.
pub fn wait_for_either(pollers: [&Poller; 2], timeout_ns: u64) -> Result<(), BenchError> {
    let mut set = pollers.map(|poller| PollFd::new(&poller.epoll, PollFlags::IN));
    match poll(&mut set, Some(&timespec(timeout_ns))) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(BenchError::system("poll", error)),
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}
