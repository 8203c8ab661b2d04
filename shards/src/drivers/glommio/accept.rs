//! Accepting: one multishot entry per listener, withdrawn while the shard takes no more and while the process is out of
//! descriptors.

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use tracing::warn;

use super::run::RingLoop;
use super::tag::{Operation, Tag};
use crate::base::limits::ACCEPT_BACKOFF;
use crate::base::time::Time;
use crate::drivers::driven::Driven;
use crate::drivers::socket::peer_address;
use crate::mesh::ListenerId;

/// One listening socket.
pub struct Listener {
    id: ListenerId,
    socket: OwnedFd,
    armed: bool,
    cancelling: bool,
    /// Not armed before this: the last accept found the process out of descriptors or memory.
    not_before: Time,
}

impl Listener {
    /// A socket that listens, not yet armed.
    pub fn new(id: ListenerId, socket: OwnedFd) -> Listener {
        Listener { id, socket, armed: false, cancelling: false, not_before: Time::ZERO }
    }
}

impl<D: Driven> RingLoop<D> {
    /// Arms or withdraws the accepts, as the shard wishes. Once per turn.
    pub(super) fn settle_accepting(&mut self) {
        let wanted = !self.core.is_stopping() && self.core.accepts();
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            let tag = Tag::new(Operation::Accept, index, 0);
            let entry = match (listener.armed, wanted) {
                (false, true) if listener.not_before <= self.now => {
                    listener.armed = true;
                    opcode::AcceptMulti::new(Fd(listener.socket.as_raw_fd()))
                        .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
                        .build()
                        .user_data(tag.to_bits())
                }
                (true, false) if !listener.cancelling => {
                    listener.cancelling = true;
                    let tag_of_cancel = Tag { operation: Operation::Cancel, ..tag };
                    opcode::AsyncCancel2::new(CancelBuilder::user_data(tag.to_bits()))
                        .build()
                        .flags(squeue::Flags::SKIP_SUCCESS)
                        .user_data(tag_of_cancel.to_bits())
                }
                _ => continue,
            };
            // SAFETY: neither entry points to anything.
            unsafe { self.ring.push(entry) };
        }
    }

    /// When a listener that backed off is to be armed again.
    pub(super) fn accept_deadline(&self) -> Option<Time> {
        let waiting = |listener: &&Listener| !listener.armed && listener.not_before > self.now;
        self.listeners.iter().filter(waiting).map(|listener| listener.not_before).min()
    }

    /// Whether the ring is done with every listener.
    pub(super) fn accepts_ended(&self) -> bool {
        self.listeners.iter().all(|listener| !listener.armed)
    }

    /// An accept completed: with a connection, withdrawn, or failed.
    pub(super) fn on_accept(&mut self, index: usize, result: i32, flags: u32) {
        let listener = &mut self.listeners[index];
        if !cqueue::more(flags) {
            listener.armed = false;
            listener.cancelling = false;
        }
        match result {
            0.. => self.on_accepted(index, result),
            _ => match -result {
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                libc::ECONNABORTED | libc::EPROTO => self.counters.accepts_aborted.add(1),
                errno => {
                    listener.not_before = self.now + ACCEPT_BACKOFF;
                    self.counters.accept_backoffs.add(1);
                    let error = std::io::Error::from_raw_os_error(errno);
                    let advice = match errno {
                        libc::EMFILE => "raise the limit on open files (ulimit -n, LimitNOFILE)",
                        libc::ENFILE => "raise the system's limit on open files (sysctl fs.file-max)",
                        _ => "connections wait in the kernel meanwhile",
                    };
                    warn!(shard = %self.name, "cannot accept: {error}; trying again shortly; {advice}");
                }
            },
        }
    }

    fn on_accepted(&mut self, index: usize, fd: RawFd) {
        // SAFETY: the kernel gave the descriptor to us, and nobody closes it during this call.
        let peer = peer_address(unsafe { BorrowedFd::borrow_raw(fd) });
        match peer {
            Ok(peer) if !self.core.is_stopping() => {
                let id = self.listeners[index].id;
                let key = self.core.handle_accept(self.now, id, peer);
                self.links.open(key, fd);
            }
            Ok(_) => self.push_close(fd),
            Err(_) => {
                self.counters.accepts_aborted.add(1);
                self.push_close(fd);
            }
        }
    }
}
