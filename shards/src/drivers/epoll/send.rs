//! Output: one send per connection and turn; only what the socket does not take is kept.

use super::Loop;
use super::links::{Closing, Outgoing};
use crate::base::time::Time;
use crate::drivers::driven::{Driven, Output};
use crate::shard::{ConnectionKey, End};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use smallvec::SmallVec;
use std::io::IoSlice;
use std::os::fd::AsFd;

/// Connections flushed per turn: a fan-out to more of them lets input in between.
const FLUSHES_PER_TURN: usize = 4_096;
/// Pieces of one gathering write (the kernel takes 1,024); what is left follows when the socket has room.
const PIECES_MAX: usize = 256;

/// What became of one write.
enum Written {
    /// All of it is with the kernel.
    All,
    /// The socket took so many bytes and no more.
    Part(usize),
    /// The socket failed.
    Failed,
}

/// How a connection stands after its output was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// The socket took everything.
    Whole,
    /// The rest waits for room.
    Blocked,
    /// The socket failed; the core was told.
    Failed,
}

fn write(fd: impl AsFd, output: &impl Output, skip: usize) -> Written {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let rest = output.byte_count() - skip;
    let result = match output.contiguous() {
        Some(bytes) => rustix::net::send(fd, &bytes[skip..], flags),
        None => {
            let mut pieces: SmallVec<[&[u8]; 32]> = SmallVec::new();
            output.pieces(skip, &mut pieces);
            let slices: SmallVec<[IoSlice<'_>; 32]> =
                pieces.iter().take(PIECES_MAX).map(|piece| IoSlice::new(piece)).collect();
            rustix::net::sendmsg(fd, &slices, &mut SendAncillaryBuffer::default(), flags)
        }
    };
    match result {
        Ok(bytes) if bytes == rest => Written::All,
        Ok(bytes) => Written::Part(bytes),
        Err(Errno::AGAIN | Errno::INTR) => Written::Part(0),
        Err(_) => Written::Failed,
    }
}

impl<D: Driven> Loop<D> {
    /// Does what the core decided and sends what it has, until there is neither; false when the turn's bound was reached.
    pub(super) fn drain(&mut self, now: Time) -> bool {
        for _ in 0..FLUSHES_PER_TURN {
            self.act(now);
            let Some(key) = self.core.poll_flush() else { return true };
            let Some(link) = self.links.get_mut(key) else { continue };
            if link.closing != Closing::No {
                self.flush_closing(now, key);
            } else if let Some(output) = self.core.take_output(now, key) {
                self.send(now, key, output);
            }
        }
        self.act(now);
        false
    }

    /// Sends `output` as far as the socket takes it.
    pub(super) fn send(&mut self, now: Time, key: ConnectionKey, output: D::Output) -> Sent {
        let link = self.links.get_mut(key).expect("the caller found it");
        assert!(link.outgoing.is_none(), "the driver has at most one buffer of a connection");
        match write(&link.fd, &output, 0) {
            Written::All => {
                self.core.handle_sent(now, key, output.byte_count(), Some(output));
                Sent::Whole
            }
            Written::Part(sent) => {
                self.counters.blocked_sends += 1;
                link.outgoing = Some(Box::new(Outgoing { output, sent }));
                if sent > 0 {
                    self.core.handle_sent(now, key, sent, None);
                }
                if self.links.arm(&self.poller, key).is_ok() {
                    return Sent::Blocked;
                }
                self.end(now, key, End::Failed);
                Sent::Failed
            }
            Written::Failed => {
                self.end(now, key, End::Failed);
                Sent::Failed
            }
        }
    }

    /// The socket has room again: goes on with what it did not take.
    pub(super) fn resume_sending(&mut self, now: Time, key: ConnectionKey) {
        let link = self.links.get_mut(key).expect("the caller found it");
        let outgoing = link.outgoing.as_mut().expect("the caller saw it");
        match write(&link.fd, &outgoing.output, outgoing.sent) {
            Written::All => self.resumed(now, key),
            Written::Part(0) => {}
            Written::Part(sent) => {
                outgoing.sent += sent;
                self.core.handle_sent(now, key, sent, None);
            }
            Written::Failed => {
                link.outgoing = None;
                match (link.closing, link.detaching) {
                    (Closing::No, false) => self.end(now, key, End::Failed),
                    // The socket's new shard meets the failure itself.
                    (Closing::No, true) => self.detach(now, key),
                    _ => self.closed(key),
                }
            }
        }
    }

    /// What was blocked is sent.
    fn resumed(&mut self, now: Time, key: ConnectionKey) {
        let link = self.links.get_mut(key).expect("the caller found it");
        let Outgoing { output, sent } = *link.outgoing.take().expect("it was being sent");
        let (closing, detaching) = (link.closing, link.detaching);
        self.core.handle_sent(now, key, output.byte_count() - sent, Some(output));
        if detaching {
            self.detach(now, key);
        } else if closing == Closing::Flushing {
            self.flush_closing(now, key);
        }
        // Room to write is nearly always there: watching for it any longer would wake for nothing.
        if self.links.disarm(&self.poller, key).is_err() {
            self.end(now, key, End::Failed);
        }
    }
}
