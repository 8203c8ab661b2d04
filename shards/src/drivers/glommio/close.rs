//! Closing and handing over: cancel what is in flight, and free the slot after the last completion.

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};
use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::net::{Shutdown, shutdown};

use super::links::{Reading, Stage};
use super::run::RingLoop;
use super::tag::{Operation, Tag};
use crate::base::limits::{CLOSE_FLUSH_MAX, CLOSE_LINGER_MAX};
use crate::base::time::Time;
use crate::drivers::driven::Driven;
use crate::mesh::Socket;
use crate::shard::{CloseMode, ConnectionKey};

/// Closes that wait for their peer, by deadline: each queue's span is fixed, so that its order is that of arrival.
#[derive(Default)]
pub struct Waiting {
    flushing: VecDeque<(Time, ConnectionKey)>,
    lingering: VecDeque<(Time, ConnectionKey)>,
}

impl Waiting {
    /// When the first of them has waited long enough.
    pub fn deadline(&self) -> Option<Time> {
        let first = |queue: &VecDeque<(Time, ConnectionKey)>| queue.front().map(|(at, _)| *at);
        first(&self.flushing).into_iter().chain(first(&self.lingering)).min()
    }

    fn pop_due(&mut self, now: Time) -> Option<(ConnectionKey, Stage)> {
        for (queue, stage) in [(&mut self.flushing, Stage::Flushing), (&mut self.lingering, Stage::Lingering)]
        {
            if queue.front().is_some_and(|(at, _)| *at <= now) {
                return queue.pop_front().map(|(_, key)| (key, stage));
            }
        }
        None
    }
}

impl<D: Driven> RingLoop<D> {
    /// The core is done with a connection.
    pub(super) fn begin_close(&mut self, key: ConnectionKey, mode: CloseMode) {
        let link = self.links.named(key);
        assert!(link.stage == Stage::Open, "a connection is closed once");
        if mode == CloseMode::Now {
            self.hang_up(key);
            return;
        }
        link.stage = Stage::Flushing;
        self.queued_sends.wait_for_them();
        self.flush(key);
        if self.links.named(key).sending.is_some() {
            self.waiting.flushing.push_back((self.now + CLOSE_FLUSH_MAX, key));
        } else {
            // There was nothing left to say, so there is nothing that a reset could take from the peer.
            self.hang_up(key);
        }
    }

    /// Whatever is due for a link after something completed.
    pub(super) fn settle(&mut self, key: ConnectionKey) {
        let Some(link) = self.links.get_mut(key) else { return };
        match link.stage {
            Stage::Open => self.settle_reading(key),
            Stage::Lingering => {
                if link.armed == Reading::Paused {
                    link.wanted = Reading::Stream;
                    self.settle_reading(key);
                }
            }
            Stage::Flushing if link.sending.is_none() => {
                self.flush(key);
                if self.links.named(key).sending.is_none() {
                    self.linger(key);
                }
            }
            Stage::Detaching => self.settle_detach(key),
            Stage::Closing => self.settle_closing(key),
            Stage::Flushing | Stage::Free => {}
        }
    }

    /// Everything is sent: say so, and wait until the peer has read it.
    fn linger(&mut self, key: ConnectionKey) {
        let link = self.links.named(key);
        link.stage = Stage::Lingering;
        if link.ended {
            // The peer closed first: it has nothing more to send that could reset the connection.
            self.hang_up(key);
            return;
        }
        link.wanted = Reading::Stream;
        // Not an entry of the ring: the kernel would hand it to a worker, which looks the descriptor up later, when it may be
        // another connection's. It fails only if the peer has reset, and then the receive below says so.
        // SAFETY: the descriptor is the link's and stays open until the link is released.
        let _ = shutdown(unsafe { BorrowedFd::borrow_raw(link.fd) }, Shutdown::Write);
        self.waiting.lingering.push_back((self.now + CLOSE_LINGER_MAX, key));
        self.settle_reading(key);
    }

    /// Closes now, whatever is in flight.
    pub(super) fn hang_up(&mut self, key: ConnectionKey) {
        let link = self.links.named(key);
        link.stage = Stage::Closing;
        link.wanted = Reading::Paused;
        let fd = link.fd;
        if link.in_flight() {
            let tag = Tag::new(Operation::Cancel, key.index(), key.generation());
            let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(fd)).all()).build();
            // SAFETY: the entry points to nothing.
            unsafe { self.ring.push(entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(tag.to_bits())) };
        } else {
            self.settle_closing(key);
        }
    }

    fn settle_closing(&mut self, key: ConnectionKey) {
        if self.links.named(key).in_flight() {
            return;
        }
        let fd = self.links.release(key);
        self.push_close(fd);
        self.core.handle_closed(key);
    }

    /// Closes a descriptor with the next submission. Entries are taken in order, so none before it can meet a reused descriptor.
    pub(super) fn push_close(&mut self, fd: RawFd) {
        let entry = opcode::Close::new(Fd(fd)).build();
        let tag = Tag::new(Operation::Close, 0, 0);
        // SAFETY: the entry points to nothing, and the descriptor is ours alone: its link was released.
        unsafe { self.ring.push(entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(tag.to_bits())) };
    }

    /// The connection moves to another shard once what is being written is with the kernel.
    pub(super) fn begin_detach(&mut self, key: ConnectionKey) {
        let link = self.links.named(key);
        assert!(link.stage == Stage::Open, "only an open connection moves");
        link.stage = Stage::Detaching;
        link.wanted = Reading::Paused;
        self.queued_sends.wait_for_them();
        self.settle_detach(key);
    }

    fn settle_detach(&mut self, key: ConnectionKey) {
        let link = self.links.named(key);
        assert!(
            link.armed == Reading::Paused,
            "no receive is armed when a connection moves: reads are single until CONNACK"
        );
        if link.sending.is_none() {
            let fd = self.links.release(key);
            self.core.handle_detached(self.now, key, Socket(fd as u64));
        }
    }

    /// Hangs up on those whose peers took too long to take the last bytes, or to close.
    pub(super) fn expire_waiting(&mut self) {
        while let Some((key, stage)) = self.waiting.pop_due(self.now) {
            if self.links.get_mut(key).is_some_and(|link| link.stage == stage) {
                if stage == Stage::Flushing {
                    self.counters.flush_timeouts.add(1);
                }
                self.hang_up(key);
            }
        }
    }
}
