//! The bell of a shard: an eventfd that its peers ring when it sleeps and that its driver polls.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

use crate::mesh::Wake;

/// One shard's bell. Lives on every shard: the owner polls and drains it, the others ring it. A clone is the same bell.
///
/// Rings coalesce: any number of them before a drain wake the owner once. Nothing is lost by that, the bell carries no
/// message.
#[derive(Clone, Debug)]
pub struct EventFd {
    fd: Arc<OwnedFd>,
}

impl EventFd {
    /// A silent bell: non-blocking and closed on exec. Fails when the process is out of descriptors.
    pub fn new() -> io::Result<EventFd> {
        let fd = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(EventFd { fd: Arc::new(fd) })
    }

    /// Makes the bell readable. Never blocks; from any thread.
    pub fn ring(&self) {
        // The only failure is a count at its maximum (EAGAIN): the bell is ringing already.
        let _ = rustix::io::write(&*self.fd, &1u64.to_ne_bytes());
    }

    /// Silences the bell; true if it was ringing.
    pub fn drain(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&*self.fd, &mut count).is_ok()
    }
}

impl Wake for EventFd {
    fn wake(&self) {
        self.ring();
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_coalesce_and_a_clone_is_the_same_bell() {
        let bell = EventFd::new().expect("descriptors are available");
        assert!(!bell.drain());
        let other = bell.clone();
        std::thread::spawn(move || (0..3).for_each(|_| other.ring())).join().expect("ringing does not panic");
        assert!(bell.drain());
        assert!(!bell.drain());
    }

    #[test]
    fn a_full_count_neither_blocks_nor_loses_the_ring() {
        let bell = EventFd::new().expect("descriptors are available");
        rustix::io::write(&bell, &(u64::MAX - 1).to_ne_bytes()).expect("the largest count fits");
        bell.ring();
        assert!(bell.drain());
        assert!(!bell.drain());
    }
}
