//! Sending: one entry under way per connection, its bytes owned here until the completion.

use io_uring::opcode;
use io_uring::types::Fd;

use super::links::{Sending, Stage};
use super::run::RingLoop;
use super::tag::{Operation, Tag};
use crate::base::limits::WRITE_BUFFER_BYTES_MAX;
use crate::base::slab::Key;
use crate::drivers::driven::{Driven, Output};
use crate::shard::{ConnectionKey, End};

/// Pieces that one gathering send names, at most; the rest follows with the next.
const PIECES_MAX: usize = 64;
/// Message headers kept for the next gathering sends: a kilobyte each.
const GATHERS_KEPT: usize = 64;

/// Bytes of an output from which its connection may well have more waiting behind it: its completion is to end the wait.
const BULK_BYTES_MIN: usize = WRITE_BUFFER_BYTES_MAX / 2;

/// The sends queued since the last enter.
#[derive(Default)]
pub struct QueuedSends {
    count: u32,
    /// Something goes on when one of them has completed: the rest of a bulk, a close, a move.
    waited_for: bool,
}

impl QueuedSends {
    fn add(&mut self, waited_for: bool) {
        self.count += 1;
        self.waited_for |= waited_for;
    }

    /// From here on something goes on when one of them has completed.
    pub fn wait_for_them(&mut self) {
        self.waited_for = true;
    }

    /// How many completions need not end a wait.
    pub fn not_waited_for(self) -> u32 {
        if self.waited_for { 0 } else { self.count }
    }
}

/// A message header and its pieces, at one address until the completion.
pub struct Gather {
    header: libc::msghdr,
    pieces: [libc::iovec; PIECES_MAX],
    count: usize,
    bytes: usize,
}

// SAFETY: the pointers are to the pieces beside them and to an output that travels with them; nothing else uses them.
unsafe impl Send for Gather {}

impl Gather {
    fn new() -> Box<Gather> {
        // SAFETY: both are plain C structures for which zeroes mean empty.
        let (header, pieces) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Box::new(Gather { header, pieces, count: 0, bytes: 0 })
    }

    fn fill<O: Output>(&mut self, output: &O, skip: usize) -> usize {
        (self.count, self.bytes) = (0, 0);
        output.pieces(skip, self);
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.count as _;
        self.bytes
    }
}

impl<'a> Extend<&'a [u8]> for Gather {
    fn extend<T: IntoIterator<Item = &'a [u8]>>(&mut self, pieces: T) {
        for piece in pieces {
            let Some(place) = self.pieces.get_mut(self.count) else { return };
            *place = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
            self.count += 1;
            self.bytes += piece.len();
        }
    }
}

impl<D: Driven> RingLoop<D> {
    /// Sends what a connection has, if anything, unless a send is under way; its completion asks again.
    pub(super) fn flush(&mut self, key: ConnectionKey) {
        // The core may have noted a flush before the close of the same turn.
        let Some(link) = self.links.get_mut(key) else { return };
        if link.sending.is_some() || !matches!(link.stage, Stage::Open | Stage::Flushing) {
            return;
        }
        let Some(output) = self.core.take_output(self.now, key) else { return };
        debug_assert!(output.byte_count() > 0, "only output is taken");
        let sending = self.sendings.insert(Sending { output, sent: 0, asked: 0, gather: None });
        self.links.named(key).sending = Some(sending);
        self.push_send(key, sending);
    }

    /// Queues the entry for what is left of a send.
    fn push_send(&mut self, key: ConnectionKey, sending: Key<Sending<D::Output>>) {
        let link = self.links.named(key);
        let (fd, stage) = (Fd(link.fd), link.stage);
        let sending =
            self.sendings.get_mut(sending).expect("a link's send is in the table until it has completed");
        let entry = if let Some(bytes) = sending.output.contiguous() {
            let rest = &bytes[sending.sent..];
            // The kernel takes 32 bits; anything longer goes out in several sends.
            sending.asked = rest.len().min(i32::MAX as usize);
            opcode::Send::new(fd, rest.as_ptr(), sending.asked as u32).flags(libc::MSG_NOSIGNAL).build()
        } else {
            self.counters.gathered_sends.add(1);
            let gather = sending.gather.get_or_insert_with(|| self.gathers.pop().unwrap_or_else(Gather::new));
            sending.asked = gather.fill(&sending.output, sending.sent);
            opcode::SendMsg::new(fd, &raw const gather.header).flags(libc::MSG_NOSIGNAL as u32).build()
        };
        self.queued_sends.add(stage != Stage::Open || sending.output.byte_count() >= BULK_BYTES_MIN);
        let tag = Tag::new(Operation::Send, key.index(), key.generation());
        // SAFETY: the bytes, header and pieces belong to the send in the table, which is removed at its last completion. Their
        // addresses do not change when the table moves: outputs own their bytes on the heap, the gather is boxed.
        unsafe { self.ring.push(entry.user_data(tag.to_bits())) };
    }

    /// A send completed: in full, in part, or not at all.
    pub(super) fn on_send(&mut self, key: ConnectionKey, result: i32) {
        let Some(link) = self.links.get_mut(key) else {
            self.counters.stale_completions.add(1);
            return;
        };
        let (stage, sending) = (link.stage, link.sending.expect("a send completes while it is under way"));
        match result {
            0.. => self.on_sent(key, sending, result as usize),
            _ if stage != Stage::Closing && matches!(-result, libc::EINTR | libc::EAGAIN) => {
                self.push_send(key, sending);
            }
            _ => {
                drop(self.end_send(key, sending));
                match stage {
                    Stage::Open => self.report_end(key, End::Failed),
                    Stage::Flushing => self.hang_up(key),
                    Stage::Detaching | Stage::Lingering | Stage::Closing | Stage::Free => {}
                }
            }
        }
        self.settle(key);
    }

    fn on_sent(&mut self, key: ConnectionKey, sending: Key<Sending<D::Output>>, bytes: usize) {
        let closing = self.links.named(key).stage == Stage::Closing;
        let state =
            self.sendings.get_mut(sending).expect("a link's send is in the table until it has completed");
        state.sent += bytes;
        if bytes < state.asked {
            self.counters.partial_sends.add(1);
        }
        let finished = state.sent >= state.output.byte_count();
        if closing {
            drop(self.end_send(key, sending));
        } else if finished {
            let output = self.end_send(key, sending);
            self.core.handle_sent(self.now, key, bytes, Some(output));
        } else {
            self.core.handle_sent(self.now, key, bytes, None);
            self.push_send(key, sending);
        }
    }

    fn end_send(&mut self, key: ConnectionKey, sending: Key<Sending<D::Output>>) -> D::Output {
        self.links.named(key).sending = None;
        let sending = self.sendings.remove(sending).expect("a send ends once");
        if self.gathers.len() < GATHERS_KEPT {
            self.gathers.extend(sending.gather);
        }
        sending.output
    }
}
