//! What the driver keeps per connection, by the slot of its key.
//!
//! ```text
//!            Close(Flush)              nothing left to send
//!   Open ───────────────► Flushing ─────────────────────────► Lingering
//!    │ │ Detach              │ failed or late                     │ the peer closed, or late
//!    │ └────► Detaching      └──────────┐                         │
//!    │ Close(Now)    │ sent             ▼                         │
//!    └───────────────┼──────────────► Closing ◄───────────────────┘
//!                    ▼                  │ last completion seen
//!                  Free ◄───────────────┘
//! ```

use std::os::fd::RawFd;

use super::tag::SLOTS_MAX;
use crate::base::slab::Key;
use crate::shard::ConnectionKey;

/// Where a link is on its way; the diagram is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No connection.
    Free,
    /// Served.
    Open,
    /// To be handed over once nothing is in flight.
    Detaching,
    /// The last output is on its way.
    Flushing,
    /// Everything is sent and the sending side shut: closing now with unread input would reset the connection and could cost
    /// the peer the last bytes. Input is discarded until the peer closes too.
    Lingering,
    /// Cancelled; the last completions are awaited.
    Closing,
}

/// How a connection is read, as wanted by the core and as armed at the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Not at all.
    Paused,
    /// One read.
    Once,
    /// Until paused.
    Stream,
}

/// A send that the kernel has not finished.
pub struct Sending<O> {
    /// Owned here until the completion: the kernel reads from it.
    pub output: O,
    /// Bytes of it that the socket took so far.
    pub sent: usize,
    /// Bytes that the entry under way asks for.
    pub asked: usize,
    /// The entry's message header, when the output is in pieces.
    pub gather: Option<Box<super::send::Gather>>,
}

/// One connection.
pub struct Link<O> {
    /// The socket.
    pub fd: RawFd,
    generation: u32,
    /// The send under way, of which there is at most one.
    pub sending: Option<Key<Sending<O>>>,
    /// Where it is on its way.
    pub stage: Stage,
    /// What the core asked for.
    pub wanted: Reading,
    /// What is at the ring.
    pub armed: Reading,
    /// The armed receive is being cancelled.
    pub cancelling: bool,
    /// In the queue for a free buffer.
    pub starving: bool,
    /// The core was told of the end.
    pub ended: bool,
}

impl<O> Link<O> {
    /// Whether the ring still owes a completion for it.
    pub fn in_flight(&self) -> bool {
        self.armed != Reading::Paused || self.sending.is_some()
    }
}

/// Links per chunk: growth never moves a link, and one growth step is a few tens of kilobytes.
const CHUNK: usize = 1024;

/// The links of a shard by slot.
pub struct Links<O> {
    chunks: Vec<Vec<Link<O>>>,
}

impl<O> Links<O> {
    /// No links.
    pub fn new() -> Links<O> {
        Links { chunks: Vec::new() }
    }

    /// Gives a slot to a new tenant.
    pub fn open(&mut self, key: ConnectionKey, fd: RawFd) {
        let slot = key.index();
        assert!(slot < SLOTS_MAX, "a process cannot hold that many descriptors");
        while slot >= self.chunks.len() * CHUNK {
            self.chunks.push(Vec::new());
        }
        let chunk = &mut self.chunks[slot / CHUNK];
        while slot % CHUNK >= chunk.len() {
            chunk.push(Link {
                fd: -1,
                generation: 0,
                sending: None,
                stage: Stage::Free,
                wanted: Reading::Paused,
                armed: Reading::Paused,
                cancelling: false,
                starving: false,
                ended: false,
            });
        }
        let link = &mut chunk[slot % CHUNK];
        assert!(link.stage == Stage::Free, "a key comes back only after handle_closed or handle_detached");
        link.fd = fd;
        link.generation = key.generation();
        link.stage = Stage::Open;
        link.wanted = Reading::Paused;
        link.starving = false;
        link.ended = false;
    }

    /// Frees the slot. Nothing may be in flight: the next tenant must not share the kernel's attention with this one.
    pub fn release(&mut self, key: ConnectionKey) -> RawFd {
        let link = self.get_mut(key).expect("only a used slot is released");
        assert!(!link.in_flight(), "a slot is released after the last completion");
        link.stage = Stage::Free;
        std::mem::replace(&mut link.fd, -1)
    }

    /// The link of a key, unless the slot is free or has another tenant.
    #[inline]
    pub fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Link<O>> {
        let slot = key.index();
        let link = self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)?;
        (link.generation == key.generation() && link.stage != Stage::Free).then_some(link)
    }

    /// The link of a key that the core named just now.
    #[inline]
    pub fn named(&mut self, key: ConnectionKey) -> &mut Link<O> {
        self.get_mut(key).expect("the core names only connections that it was not told are closed")
    }
}
