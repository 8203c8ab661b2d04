//! What a loop drives: the calls of the sans-IO core and of its seat at the lanes, in the order of one turn.

use std::net::SocketAddr;

use super::turn::Seat;
use crate::base::time::Time;
use crate::log::{DiskDone, DiskRequest};
use crate::mesh::{ListenerId, Socket};
use crate::session::WriteBuffer;
use crate::shard::{Action, ConnectionKey, End};

/// A shard in its seat, as the ring's loop sees it. `Seat` is the one that serves; the ring's tests drive a scripted one, so
/// that rare states of the kernel interface are reached on purpose.
pub trait Driven {
    /// What is sent in one piece; owned by the driver until the kernel is done with it.
    type Output: Output;

    /// Whether new connections are welcome; asked once per turn.
    fn accepts(&self) -> bool;
    /// A connection was accepted.
    fn handle_accept(&mut self, now: Time, listener: ListenerId, peer: SocketAddr) -> ConnectionKey;
    /// Bytes arrived.
    fn handle_input(&mut self, now: Time, key: ConnectionKey, bytes: &[u8]);
    /// The peer closed or the socket failed; at most once per connection.
    fn handle_end(&mut self, now: Time, key: ConnectionKey, end: End);
    /// `bytes` more of the taken output are with the kernel; `finished` is the buffer when it is all of them.
    fn handle_sent(&mut self, now: Time, key: ConnectionKey, bytes: usize, finished: Option<Self::Output>);
    /// The close was carried out: the key may be used again.
    fn handle_closed(&mut self, key: ConnectionKey);
    /// The socket is let go, for another shard.
    fn handle_detached(&mut self, now: Time, key: ConnectionKey, socket: Socket);
    /// What the driver is to do next.
    fn poll_action(&mut self) -> Option<Action>;
    /// A connection with output of which the driver holds no buffer.
    fn poll_flush(&mut self) -> Option<ConnectionKey>;
    /// The output of a connection; none while a buffer is out.
    fn take_output(&mut self, now: Time, key: ConnectionKey) -> Option<Self::Output>;

    /// What the log asks of its disk.
    fn poll_disk(&mut self) -> Option<DiskRequest>;
    /// The disk has done something.
    fn handle_disk(&mut self, now: Time, done: DiskDone);
    /// Why the log cannot go on, if it cannot: the loop ends, so that nothing more is acknowledged.
    fn log_failure(&self) -> Option<String>;

    /// Lanes in, deadlines.
    fn exchange_in(&mut self, now: Time);
    /// One slice of what is left over.
    fn work(&mut self, now: Time);
    /// Lanes out, statistics.
    fn exchange_out(&mut self, now: Time);
    /// When the next deadline falls due.
    fn poll_deadline(&self) -> Option<Time>;
    /// Whether the next turn has work already.
    fn busy(&self) -> bool;
    /// Announces that the driver is about to block; false when something arrived meanwhile.
    fn try_sleep(&mut self, now: Time) -> bool;
    /// The driver no longer blocks.
    fn woke(&mut self);
    /// Whether the broker is stopping: no more accepts.
    fn is_stopping(&self) -> bool;
    /// Whether no connection is left.
    fn is_drained(&self) -> bool;
}

/// Bytes to send, in one piece or several, that do not move while they are on their way.
pub trait Output {
    /// Bytes in all.
    fn byte_count(&self) -> usize;
    /// The bytes, when they are in one piece.
    fn contiguous(&self) -> Option<&[u8]>;
    /// The pieces behind the first `skip` bytes, in order.
    fn pieces<'a>(&'a self, skip: usize, pieces: &mut impl Extend<&'a [u8]>);
}

impl Driven for Seat {
    type Output = Box<WriteBuffer>;

    fn accepts(&self) -> bool {
        self.is_open() && self.shard.accepts()
    }
    fn handle_accept(&mut self, now: Time, listener: ListenerId, peer: SocketAddr) -> ConnectionKey {
        self.shard.handle_accept(now, listener, peer)
    }
    fn handle_input(&mut self, now: Time, key: ConnectionKey, bytes: &[u8]) {
        self.shard.handle_input(now, key, bytes);
    }
    fn handle_end(&mut self, now: Time, key: ConnectionKey, end: End) {
        self.shard.handle_end(now, key, end);
    }
    fn handle_sent(&mut self, now: Time, key: ConnectionKey, bytes: usize, finished: Option<Self::Output>) {
        self.shard.handle_sent(now, key, bytes, finished);
    }
    fn handle_closed(&mut self, key: ConnectionKey) {
        self.shard.handle_closed(key);
    }
    fn handle_detached(&mut self, now: Time, key: ConnectionKey, socket: Socket) {
        self.shard.handle_detached(now, key, socket);
    }
    fn poll_action(&mut self) -> Option<Action> {
        self.shard.poll_action()
    }
    fn poll_flush(&mut self) -> Option<ConnectionKey> {
        self.shard.poll_flush()
    }
    fn take_output(&mut self, now: Time, key: ConnectionKey) -> Option<Self::Output> {
        self.shard.take_output(now, key)
    }
    fn poll_disk(&mut self) -> Option<DiskRequest> {
        Seat::poll_disk(self)
    }
    fn handle_disk(&mut self, now: Time, done: DiskDone) {
        Seat::handle_disk(self, now, done);
    }
    fn log_failure(&self) -> Option<String> {
        self.shard.log_failure().map(|failure| failure.to_string())
    }
    fn exchange_in(&mut self, now: Time) {
        Seat::exchange_in(self, now);
    }
    fn work(&mut self, now: Time) {
        Seat::work(self, now);
    }
    fn exchange_out(&mut self, now: Time) {
        Seat::exchange_out(self, now);
    }
    fn poll_deadline(&self) -> Option<Time> {
        [self.shard.poll_deadline(), self.log_deadline()].into_iter().flatten().min()
    }
    fn busy(&self) -> bool {
        Seat::busy(self)
    }
    fn try_sleep(&mut self, now: Time) -> bool {
        Seat::try_sleep(self, now)
    }
    fn woke(&mut self) {
        Seat::woke(self);
    }
    fn is_stopping(&self) -> bool {
        self.shard.is_stopping()
    }
    fn is_drained(&self) -> bool {
        self.has_ended()
    }
}

impl Output for Box<WriteBuffer> {
    fn byte_count(&self) -> usize {
        self.len()
    }
    fn contiguous(&self) -> Option<&[u8]> {
        self.is_contiguous().then(|| self.as_bytes())
    }
    fn pieces<'a>(&'a self, skip: usize, pieces: &mut impl Extend<&'a [u8]>) {
        self.slices(skip, pieces);
    }
}
