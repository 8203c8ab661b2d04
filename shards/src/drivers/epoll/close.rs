//! What the core decided: reading on and off, and the end of a connection (closed, closed after its last output, or handed
//! to another shard).

use super::Loop;
use super::links::{Closing, Reading, into_socket};
use super::send::Sent;
use crate::base::limits::{CLOSE_FLUSH_MAX, CLOSE_LINGER_MAX};
use crate::base::time::Time;
use crate::drivers::driven::Driven;
use crate::shard::{Action, CloseMode, ConnectionKey, End};
use rustix::net::Shutdown;

impl<D: Driven> Loop<D> {
    /// Does all that the core has decided.
    pub(super) fn act(&mut self, now: Time) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::ReadOnce(key) => self.read(now, key, Reading::Once),
                Action::Read(key) => self.read(now, key, Reading::On),
                Action::Pause(key) => {
                    if let Some(link) = self.links.get_mut(key) {
                        link.reading = Reading::Off;
                    }
                }
                Action::Attach(key, socket) => self.links.adopt(key, socket),
                Action::Detach(key) => self.detach(now, key),
                Action::Close(key, CloseMode::Now) => self.closed(key),
                Action::Close(key, CloseMode::Flush) => self.close_after_output(now, key),
            }
        }
    }

    fn read(&mut self, now: Time, key: ConnectionKey, reading: Reading) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.reading = reading;
        if let Err(error) = self.links.arm(&self.poller, key) {
            tracing::warn!("cannot watch a connection: {error}; see the sysctl fs.epoll.max_user_watches");
            self.end(now, key, End::Failed);
        }
    }

    /// Lets the socket go, once nothing is being written to it.
    pub(super) fn detach(&mut self, now: Time, key: ConnectionKey) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.reading = Reading::Off;
        if link.outgoing.is_some() {
            link.detaching = true;
            return;
        }
        self.links.unwatch(&self.poller, key);
        let link = self.links.remove(key).expect("it was there");
        self.core.handle_detached(now, key, into_socket(link.fd));
    }

    fn close_after_output(&mut self, now: Time, key: ConnectionKey) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.closing = Closing::Flushing;
        link.reading = Reading::Off;
        if link.outgoing.is_some() {
            self.closing.insert((now + CLOSE_FLUSH_MAX, key));
            return;
        }
        // Mostly nothing is left to say (the client said DISCONNECT): then there is nothing to linger for.
        let Some(output) = self.core.take_output(now, key) else { return self.closed(key) };
        match self.send(now, key, output) {
            Sent::Whole => self.flush_closing(now, key),
            Sent::Blocked => {
                self.closing.insert((now + CLOSE_FLUSH_MAX, key));
            }
            Sent::Failed => self.closed(key),
        }
    }

    /// Sends on at a closing connection; when all is sent, gives the peer a moment to read it.
    pub(super) fn flush_closing(&mut self, now: Time, key: ConnectionKey) {
        loop {
            let Some(link) = self.links.get_mut(key) else { return };
            if link.closing != Closing::Flushing || link.outgoing.is_some() {
                return;
            }
            let Some(output) = self.core.take_output(now, key) else { break };
            match self.send(now, key, output) {
                Sent::Whole => {}
                Sent::Blocked => {
                    self.closing.insert((now + CLOSE_FLUSH_MAX, key));
                    return;
                }
                Sent::Failed => return self.closed(key),
            }
        }
        let link = self.links.get_mut(key).expect("the loop found it");
        if link.ended || rustix::net::shutdown(&link.fd, Shutdown::Write).is_err() {
            return self.closed(key);
        }
        link.closing = Closing::Lingering;
        self.closing.insert((now + CLOSE_LINGER_MAX, key));
        if self.links.arm(&self.poller, key).is_err() {
            self.closed(key);
        }
    }

    /// Closes the socket and gives the key back to the core.
    pub(super) fn closed(&mut self, key: ConnectionKey) {
        if self.links.remove(key).is_some() {
            self.core.handle_closed(key);
        }
    }

    /// When the next closing connection has had its time.
    pub(super) fn close_deadline(&self) -> Option<Time> {
        self.closing.first().map(|(deadline, _)| *deadline)
    }

    /// Closes those that have had their time. Entries of connections that are gone already match no key any more.
    pub(super) fn expire_closing(&mut self, now: Time) {
        while let Some((deadline, key)) = self.closing.first().copied() {
            if deadline > now {
                return;
            }
            self.closing.pop_first();
            self.closed(key);
        }
    }
}
