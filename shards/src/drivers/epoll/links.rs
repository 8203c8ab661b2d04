//! The sockets of a shard's connections, in parallel to the core's records.

use super::poller::{Interest, Poller};
use crate::mesh::Socket;
use crate::shard::ConnectionKey;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Whether a connection's input is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Not now: paused, not asked for yet, or over.
    Off,
    /// One receive.
    Once,
    /// Until paused.
    On,
}

/// How far a close that still sends has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closing {
    /// Not closing.
    No,
    /// The last output is on its way.
    Flushing,
    /// All is sent and our direction shut; waiting for the peer to close, so that unread input does not make the kernel
    /// answer with a reset that would overtake what was sent.
    Lingering,
}

/// Output that the socket did not take at once.
pub(super) struct Outgoing<O> {
    pub output: O,
    /// Bytes of it that the socket took.
    pub sent: usize,
}

/// One connection's socket. Small: an idle connection has this and the core's record.
pub(super) struct Link<O> {
    pub fd: OwnedFd,
    generation: u32,
    /// What the epoll set watches it for; `None`: it is not in the set.
    watched: Option<Interest>,
    pub reading: Reading,
    pub closing: Closing,
    /// The core was told that the connection is at its end.
    pub ended: bool,
    /// Handed over to another shard as soon as nothing is being written.
    pub detaching: bool,
    /// Boxed: present only while a write is blocked.
    pub outgoing: Option<Box<Outgoing<O>>>,
}

impl<O> Link<O> {
    fn wanted(&self) -> Interest {
        let reading = self.reading != Reading::Off && !self.ended;
        Interest { read: reading || self.closing == Closing::Lingering, write: self.outgoing.is_some() }
    }
}

/// All links of a shard, by the index of their connection.
pub(super) struct Links<O> {
    slots: Vec<Option<Link<O>>>,
    used: usize,
}

impl<O> Links<O> {
    pub fn new() -> Links<O> {
        Links { slots: Vec::new(), used: 0 }
    }

    /// Whether no socket is open.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The socket `fd` is connection `key` from now on. It is watched once it is armed.
    pub fn insert(&mut self, key: ConnectionKey, fd: OwnedFd) {
        if self.slots.len() <= key.index() {
            self.slots.resize_with(key.index() + 1, || None);
        }
        let slot = &mut self.slots[key.index()];
        assert!(slot.is_none(), "a key comes back only after its last connection was reported closed");
        self.used += 1;
        *slot = Some(Link {
            fd,
            generation: key.generation(),
            watched: None,
            reading: Reading::Off,
            closing: Closing::No,
            ended: false,
            detaching: false,
            outgoing: None,
        });
    }

    /// Adopts a socket that another shard let go of.
    pub fn adopt(&mut self, key: ConnectionKey, socket: Socket) {
        let raw = RawFd::try_from(socket.0).expect("drivers put file descriptors in sockets");
        // SAFETY: the number comes from `into_socket` of the shard that let the connection go: that shard owns it no longer,
        // and the core hands every socket on exactly once.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        self.insert(key, fd);
    }

    pub fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Link<O>> {
        let link = self.slots.get_mut(key.index())?.as_mut()?;
        (link.generation == key.generation()).then_some(link)
    }

    /// Forgets the connection; its socket closes unless it is taken out of the link.
    pub fn remove(&mut self, key: ConnectionKey) -> Option<Link<O>> {
        self.get_mut(key)?;
        self.used -= 1;
        self.slots[key.index()].take()
    }

    /// Watches the connection for what it wants now; nothing happens when it is watched for that and more.
    ///
    /// Interest is taken back lazily, by [`Links::disarm`] when an unwanted event arrives: a client that waits for its CONNACK or
    /// was paused for a moment mostly sends nothing, and two system calls are saved.
    pub fn arm(&mut self, poller: &Poller, key: ConnectionKey) -> io::Result<()> {
        let Some(link) = self.get_mut(key) else { return Ok(()) };
        let wanted = link.wanted();
        match link.watched {
            Some(watched) if watched.covers(wanted) => return Ok(()),
            Some(_) => poller.modify(&link.fd, key.to_bits(), wanted)?,
            None if wanted == Interest::default() => return Ok(()),
            None => poller.add(&link.fd, key.to_bits(), wanted)?,
        }
        link.watched = Some(wanted);
        Ok(())
    }

    /// Stops watching for what is not wanted any more.
    pub fn disarm(&mut self, poller: &Poller, key: ConnectionKey) -> io::Result<()> {
        let Some(link) = self.get_mut(key) else { return Ok(()) };
        let wanted = link.wanted();
        if link.watched.is_some_and(|watched| watched != wanted) {
            poller.modify(&link.fd, key.to_bits(), wanted)?;
            link.watched = Some(wanted);
        }
        Ok(())
    }

    /// Takes the connection out of the epoll set altogether: a dead socket is reported by every wait, wanted or not.
    pub fn unwatch(&mut self, poller: &Poller, key: ConnectionKey) {
        let Some(link) = self.get_mut(key) else { return };
        if link.watched.take().is_some() {
            poller.remove(&link.fd).expect("what is watched is in the set");
        }
    }
}

/// The socket as the core carries it from shard to shard; its descriptor is the core's to hand on.
pub(super) fn into_socket(fd: OwnedFd) -> Socket {
    Socket(u64::try_from(fd.into_raw_fd()).expect("open file descriptors are not negative"))
}
