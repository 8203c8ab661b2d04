//! Receiving: armed once per connection, buffers picked by the kernel when bytes are there.

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue};

use super::buffers::GROUP;
use super::links::{Reading, Stage};
use super::run::RingLoop;
use super::tag::{Operation, Tag};
use crate::drivers::driven::Driven;
use crate::shard::{ConnectionKey, End};

impl<D: Driven> RingLoop<D> {
    /// The core wants to be read to like this from now on.
    pub(super) fn want_reading(&mut self, key: ConnectionKey, wanted: Reading) {
        let link = self.links.named(key);
        if link.stage == Stage::Open && !link.ended {
            link.wanted = wanted;
            self.settle_reading(key);
        }
    }

    /// Brings what is armed in line with what is wanted, as far as the ring allows now.
    pub(super) fn settle_reading(&mut self, key: ConnectionKey) {
        let link = self.links.named(key);
        match (link.armed, link.wanted) {
            (Reading::Paused, Reading::Paused) => {}
            (Reading::Paused, wanted) if !link.starving => {
                link.armed = wanted;
                let fd = Fd(link.fd);
                let entry = match wanted {
                    Reading::Stream => opcode::RecvMulti::new(fd, GROUP).build(),
                    _ => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                        .buf_group(GROUP)
                        .build()
                        .flags(squeue::Flags::BUFFER_SELECT),
                };
                let tag = Tag::new(Operation::Receive, key.index(), key.generation());
                // SAFETY: the entry points to nothing; the kernel picks a provided buffer.
                unsafe { self.ring.push(entry.user_data(tag.to_bits())) };
            }
            (Reading::Once | Reading::Stream, Reading::Paused) if !link.cancelling => {
                link.cancelling = true;
                self.cancel_receive(key);
            }
            // Starving, being cancelled, or to be changed once the armed receive has completed.
            _ => {}
        }
    }

    fn cancel_receive(&mut self, key: ConnectionKey) {
        let receive = Tag::new(Operation::Receive, key.index(), key.generation());
        let tag = Tag { operation: Operation::Cancel, ..receive };
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(receive.to_bits())).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(tag.to_bits())) };
    }

    /// A receive completed: with bytes, at the end, without a buffer, or cancelled.
    pub(super) fn on_receive(&mut self, key: ConnectionKey, result: i32, flags: u32) {
        let Some(link) = self.links.get_mut(key) else {
            self.on_stale(flags);
            return;
        };
        let last = !cqueue::more(flags);
        if last {
            link.armed = Reading::Paused;
            link.cancelling = false;
            if link.wanted == Reading::Stream && result > 0 {
                self.counters.rearmed.add(1);
            }
        }
        if link.wanted == Reading::Once && result >= 0 {
            link.wanted = Reading::Paused;
        } else if link.wanted == Reading::Paused && result > 0 && link.stage == Stage::Open {
            self.counters.held_after_pause.add(1);
        }
        let stage = link.stage;
        match result {
            1.. => self.on_bytes(key, stage, result as usize, flags),
            0 => {
                self.give_back(flags);
                self.on_receive_end(key, End::Eof);
            }
            _ => self.on_receive_error(key, -result),
        }
        if last {
            self.settle(key);
        }
    }

    fn on_bytes(&mut self, key: ConnectionKey, stage: Stage, len: usize, flags: u32) {
        let id = cqueue::buffer_select(flags).expect("a receive with bytes names its buffer");
        // From its Close on a connection's input goes nowhere; its buffers go back like any other.
        if stage == Stage::Open {
            self.core.handle_input(self.now, key, self.buffers.filled(id, len));
        }
        self.give_back(flags);
    }

    /// Some kernels pick a buffer and then find nothing to put into it.
    fn give_back(&mut self, flags: u32) {
        if let Some(id) = cqueue::buffer_select(flags) {
            self.buffers.give_back(id);
            self.given_back += 1;
        }
    }

    fn on_receive_error(&mut self, key: ConnectionKey, errno: i32) {
        match errno {
            libc::ENOBUFS => {
                self.counters.enobufs.add(1);
                let link = self.links.named(key);
                if !link.starving && link.armed == Reading::Paused && link.wanted != Reading::Paused {
                    link.starving = true;
                    self.starving.push_back(key);
                }
            }
            // Cancelled because it was paused, and possibly wanted again since; or interrupted: settling arms it.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            _ => self.on_receive_end(key, End::Failed),
        }
    }

    fn on_receive_end(&mut self, key: ConnectionKey, end: End) {
        let link = self.links.named(key);
        link.wanted = Reading::Paused;
        match link.stage {
            Stage::Open => self.report_end(key, end),
            Stage::Lingering => self.hang_up(key),
            // A peer that shut its sending side may still read the rest; a broken one fails the send.
            Stage::Flushing | Stage::Detaching | Stage::Closing | Stage::Free => {}
        }
    }

    /// Tells the core, once; it answers with a close.
    pub(super) fn report_end(&mut self, key: ConnectionKey, end: End) {
        let link = self.links.named(key);
        if !std::mem::replace(&mut link.ended, true) {
            self.core.handle_end(self.now, key, end);
        }
    }

    /// A completion for a slot's former tenant: only its buffer is of interest.
    fn on_stale(&mut self, flags: u32) {
        self.counters.stale_completions.add(1);
        self.give_back(flags);
    }

    /// Arms those that found no buffer, the longest waiting first, and only as many as buffers came free: all at once, the
    /// first would take every buffer again and the last never get one.
    pub(super) fn feed_starving(&mut self) {
        let free = if self.ring.has_completions() { self.given_back } else { self.buffers.count() };
        for _ in 0..free {
            let Some(key) = self.starving.pop_front() else { break };
            if let Some(link) = self.links.get_mut(key) {
                link.starving = false;
                self.settle_reading(key);
            }
        }
        self.given_back = 0;
    }
}
