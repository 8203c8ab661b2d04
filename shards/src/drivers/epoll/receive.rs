//! Input: one receive per ready connection and turn, into the shard's one buffer.

use super::Loop;
use super::links::{Closing, Reading};
use super::poller::Readiness;
use crate::base::time::Time;
use crate::drivers::driven::Driven;
use crate::shard::{ConnectionKey, End};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io;

/// Bytes of one receive. What a connection has beyond it is reported again by the next wait, after everybody else's turn.
pub(super) const RECEIVE_BYTES: usize = 64 * 1024;

impl<D: Driven> Loop<D> {
    /// Something happened to the socket of `key`.
    pub(super) fn ready(&mut self, now: Time, key: ConnectionKey, event: Readiness) -> io::Result<()> {
        let Some(link) = self.links.get_mut(key) else { return Ok(()) };
        if (event.write || event.dead) && link.outgoing.is_some() {
            self.resume_sending(now, key);
        }
        let Some(link) = self.links.get_mut(key) else { return Ok(()) };
        let readable = event.read || event.dead;
        if readable && link.closing == Closing::Lingering {
            self.discard(key);
        } else if readable && link.reading != Reading::Off && !link.ended {
            self.receive(now, key);
        } else if event.dead {
            // Nothing is wanted of it, and epoll would report it for ever.
            self.counters.died_unread += 1;
            self.links.unwatch(&self.poller, key);
            self.end(now, key, End::Failed);
        } else {
            self.links.disarm(&self.poller, key)?;
        }
        Ok(())
    }

    fn receive(&mut self, now: Time, key: ConnectionKey) {
        let link = self.links.get_mut(key).expect("the caller found it");
        match rustix::net::recv(&link.fd, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((_, 0)) => self.end(now, key, End::Eof),
            Ok((_, bytes)) => {
                if link.reading == Reading::Once {
                    link.reading = Reading::Off;
                }
                self.core.handle_input(now, key, &self.buffer[..bytes]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.end(now, key, End::Failed),
        }
    }

    /// Tells the core once that the connection is at its end; it answers with a close.
    pub(super) fn end(&mut self, now: Time, key: ConnectionKey, end: End) {
        let Some(link) = self.links.get_mut(key) else { return };
        if !std::mem::replace(&mut link.ended, true) {
            self.core.handle_end(now, key, end);
        }
    }

    /// Reads and drops what a peer still sends to a connection that is closing.
    fn discard(&mut self, key: ConnectionKey) {
        let link = self.links.get_mut(key).expect("the caller found it");
        match rustix::net::recv(&link.fd, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((_, 1..)) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok((_, 0)) | Err(_) => self.closed(key),
        }
    }
}
